"""A recorded landscape of a study: many configs trained to the end, as `benchmarks/landscape.md` describes them.

    python benchmarks/landscape.py search_spaces/quickstart.yaml landscape.parquet --configs 384
    python benchmarks/landscape.py search_spaces/quickstart.yaml again.parquet --ids -1 4 17    # these configs only

Configs are points of a scrambled Sobol sequence over the study's space, and the default config, which has four times
as many runs as another one. Every run has its own random numbers. No run is pruned and none is ended by a KL limit.

Rows are kept one by one in OUT.jsonl beside the table, so whatever is killed goes on with the same words; with other
ones, configs and runs are added. The table holds all rows, and in its metadata the study and what the untrained model
scored: all that `benchmarks/replay.py --landscape OUT.parquet` needs.
"""

import argparse
import json
import math
import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded: the parallelism is that of the processes
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from filelock import FileLock
from scipy.stats import qmc

from benchmarks.worlds.recording import DEFAULT_ID, Job, Recorder, Row
from ppo_tune import load_study
from ppo_tune.config.ranges import CategoricalParam, FloatParam, IntParam, Param
from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig
from ppo_tune.files import append_json_line, read_json_lines
from ppo_tune.search.worker import keep_freed_memory
from ppo_tune.tasks import prepare_task

SEED = 20261129
"""Of the Sobol sequence, whichever the space: a config of one space has the same id in every landscape of it."""

LEVELS = 12
"""The sequence has 2 ** LEVELS points."""

BLOCK = 64
"""Configs that are recorded before the next ones: those of a block fill packs sorted by their batch size."""

DEFAULT_RUNS = 4
"""Runs of the default config for one of another config: every value of a replay is measured from it."""


def sobol_params(space: Space, n: int) -> list[dict[str, Any]]:
    """The first points of the sequence, as values of a space."""
    points = qmc.Sobol(len(space), scramble=True, seed=SEED).random_base2(LEVELS)[:n]
    return [
        {name: value_at(space[name], part) for name, part in zip(space, point, strict=True)}
        for point in points.tolist()
    ]


def value_at(param: Param, part: float) -> Any:
    """The value of a hyperparameter that so much of its range, from 0 to below 1, lies below."""
    if isinstance(param, CategoricalParam):
        return param.choices[int(part * len(param.choices))]
    if isinstance(param, FloatParam) and param.log == "complement":
        return param.nearest(param.scale.values(part))
    low, high = param.ends
    if isinstance(param, IntParam):
        high += param.step
    value = low * (high / low) ** part if param.log else low + part * (high - low)
    return param.nearest(math.floor(value) if isinstance(param, IntParam) else value)


def jobs_of(study: StudyConfig, ids: Iterable[int], n_runs: int) -> list[Job]:
    """The runs to be recorded, in their order: the default config, then block by block one run of each config."""
    params = {DEFAULT_ID: study.baseline, **dict(enumerate(sobol_params(study.space, 2**LEVELS)))}
    found = [
        Job(config_id, rep, params[config_id])
        for config_id in set(ids)
        for rep in range(n_runs * DEFAULT_RUNS if config_id == DEFAULT_ID else n_runs)
    ]

    def order(job: Job) -> tuple[int, int, int, int]:
        batch_size = study.ppo.with_params(job.params).batch_size
        return job.config_id // BLOCK, job.rep, batch_size, job.config_id

    return sorted(found, key=order)


class Log:
    """The rows of a landscape, as they are recorded by one process or several.

    Args:
        path: The file of JSON lines. Its first line says of what study, and what the untrained model scores.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(f"{path}.lock")

    @property
    def head(self) -> dict[str, Any] | None:
        """The first line, or None."""
        return next(read_json_lines(self.path), None)

    @property
    def rows(self) -> list[Row]:
        """All rows, one of each run, also where two calls recorded it at once."""
        found: dict[tuple[int, int], Row] = {}
        for line in read_json_lines(self.path):
            if "config_id" in line:
                found.setdefault((line["config_id"], line["rep"]), line)
        return list(found.values())

    def add(self, row: Row) -> None:
        """Keep a row."""
        with self._lock:
            append_json_line(self.path, row)

    def join(self, head: dict[str, Any]) -> None:
        """Begin the file, or make sure that it goes on with the same.

        Raises:
            SystemExit: If it holds another study, or the same one of a model that scores otherwise.
        """
        with self._lock:
            known = self.head
            if known is None:
                append_json_line(self.path, head)
            elif differing := [name for name in head if head[name] != known.get(name)]:
                raise SystemExit(
                    f"{self.path} was recorded with another {' and '.join(differing)}; name another file"
                )


def record(study: StudyConfig, log: Log, jobs: Sequence[Job], places: int) -> None:
    """Record runs in this process, on one thread."""
    torch.set_num_threads(1)
    keep_freed_memory()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    recorder = Recorder(study, places)
    log.join({
        "study": study.model_dump(mode="json"), "judges": list(recorder.judges), "untrained": recorder.untrained,
    })  # fmt: skip
    for row in recorder.record(jobs):
        log.add(row)
        print(f"config {row['config_id']}, run {row['rep']}: {row['ending']}", flush=True)


def record_all(study: StudyConfig, log: Log, jobs: Sequence[Job], *, places: int, processes: int) -> None:
    """Record runs in several processes.

    Raises:
        SystemExit: If one of them failed.
    """
    prepare_task(study.task)
    shares = [jobs[i::processes] for i in range(processes)]
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=record, args=(study, log, share, places)) for share in shares if share]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise SystemExit("a process failed; the same words go on with what is left")


def schema_of(study: StudyConfig, judges: Sequence[str]) -> list[tuple[str, pa.DataType]]:
    """The columns of the table and their types."""
    number, curve, text, whole = pa.float32(), pa.list_(pa.float32()), pa.large_string(), pa.int64()
    kinds: Mapping[str, pa.DataType] = {"float": pa.float64(), "int": whole}
    searched = {
        name: pa.infer_type(list(param.choices)) if isinstance(param, CategoricalParam) else kinds[param.type]
        for name, param in study.space.root.items()
    }
    numbers = ("score", *judges, "kl")
    return [
        *((name, whole) for name in ("config_id", "rep", "seed")),
        *searched.items(),
        *(("ending", text), ("reason", text), ("pack", whole), ("seconds", number), ("design", text)),
        ("episodes", pa.list_(whole)),
        *(
            (name, curve)
            for name in (*numbers, "response_tokens", "score_se", *(f"{name}_se" for name in judges))
        ),
        *((name, curve) for name in ("train_kl", "train_score", "entropy")),
        *((f"final_{name}", number) for name in numbers),
        ("heldout_other_sampling", number),
        *((f"confirm_{name}", number) for name in (*numbers, "tokens")),
        *((f"{name}_scores_by_prompt", curve) for name in ("heldout", "confirm")),
    ]


def write_table(log: Log, path: Path) -> None:
    """Make the table of all rows, in the order of configs and runs."""
    head, rows = log.head, sorted(log.rows, key=lambda row: (row["config_id"], row["rep"]))
    assert head is not None
    study = StudyConfig.model_validate_json(json.dumps(head["study"]))
    metadata = {name: json.dumps(head[name]) for name in ("study", "untrained")}
    schema = pa.schema(schema_of(study, head["judges"]), metadata=metadata)
    pq.write_table(pa.Table.from_pylist(rows, schema), path, compression="zstd", compression_level=19)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="a study file")
    parser.add_argument("out", type=Path, help="the table, a Parquet file")
    parser.add_argument("--configs", type=int, default=256, help="how many besides the default config")
    parser.add_argument("--ids", type=int, nargs="+", help="instead: which, -1 the default config")
    parser.add_argument("--runs", type=int, default=2, help="of each config")
    parser.add_argument("--pack", type=int, default=16, help="runs trained side by side in a process")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Record what is missing and write the table."""
    told = arguments(words)
    study, log = load_study(told.study), Log(told.out.with_suffix(".jsonl"))
    done = {(row["config_id"], row["rep"]) for row in log.rows}
    wanted = jobs_of(study, told.ids or range(DEFAULT_ID, told.configs), told.runs)
    todo = [job for job in wanted if (job.config_id, job.rep) not in done]
    print(f"{len(todo)} of {len(wanted)} runs to record")
    if told.jobs == 1:
        record(study, log, todo, told.pack)
    else:
        record_all(study, log, todo, places=told.pack, processes=told.jobs)
    write_table(log, told.out)
    print(f"{told.out}: {len(log.rows)} runs, {told.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
