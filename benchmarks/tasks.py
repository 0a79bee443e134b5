"""What tuning is worth on each embedded task: untrained model, default config, winner, and the reward exploited.

    python benchmarks/tasks.py                       # every task, either architecture; over an hour on two cores
    python benchmarks/tasks.py --tasks summarize --architectures t5
    python benchmarks/tasks.py --page docs/results.md     # only put the rows into the page's table

Each shipped study file is searched and confirmed as it is, with either architecture. What the study names, the default
config, and what the study names with the KL penalty at the lower end of its range, alone and with three times the
learning rate, or the highest of its range, are then trained for a trial's episodes on five fresh seeds, and scored on
all prompts of the confirmation split with random numbers that chose nothing. A difference has Student's interval over
seeds and prompts, as in a confirmation. Every study is a line of the output file; what is killed goes on there.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import transformers
from optuna.study import Study

from benchmarks.worlds.fresh import End, Params, judge_fresh
from ppo_tune import best_config, open_study
from ppo_tune.config.ranges import FloatParam
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import Architecture, EmbeddedName
from ppo_tune.errors import PPOTuneError
from ppo_tune.files import append_json_line, read_json_lines, write_text
from ppo_tune.search.certainty import gain
from ppo_tune.search.confirmation import read_confirmation

HERE = Path(__file__).parent.parent
FILES: Mapping[EmbeddedName, str] = {"support": "quickstart"}
"""Study files that are not called as their task."""

SEEDS = 5
"""Fresh ones per config."""

GOLD = "gold"
KINDS: Mapping[Architecture, str] = {"gpt2": "decoder (GPT-2)", "t5": "encoder–decoder (T5)"}
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def search(task: EmbeddedName, name: str, out: Path, **settings: str) -> tuple[Study, StudyConfig, float]:
    """Run a task's shipped study file under a name, or go on with it; says how many seconds that took now.

    Args:
        task: The task.
        name: Of the study.
        out: The folder of its results.
        settings: What is set of the task, as YAML.
    """
    file = HERE / "search_spaces" / f"{FILES.get(task, task)}.yaml"
    flags = [flag for key, value in settings.items() for flag in ("--set", f"task.{key}={value}")]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ppo_tune", "search", str(file), *flags, "--name", name, "--out", str(out)],
        cwd=HERE, stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 3):  # 3 says that nothing can be named
        raise SystemExit(f"the search of {name} ended with exit code {done.returncode}")
    study, config = open_study(name, out=str(out))
    return study, config, time.perf_counter() - started


def arms_of(config: StudyConfig, winner: Params) -> dict[str, Params]:
    """What is trained: the default, the winner, and two ways to exploit the reward that the searched ranges hold."""
    kl, rate = (config.space[name] for name in ("kl_coef", "learning_rate"))
    assert isinstance(kl, FloatParam) and isinstance(rate, FloatParam), "shipped study files search them so"
    free = {**winner, "kl_coef": kl.low}
    return {
        "default": config.baseline,
        "winner": winner,
        "free": free,
        "reckless": {**free, "learning_rate": min(3 * winner["learning_rate"], rate.high)},
    }


def measure(
    study: Study, config: StudyConfig, seconds: float, arms_of: Callable[..., dict[str, Params]] = arms_of
) -> dict[str, Any]:
    """A study's row; what is trained follows from its config and its winner."""
    try:
        named = best_config(study, config).ppo.model_dump(mode="json")
        winner: Params = {name: named[name] for name in config.space}
    except PPOTuneError:
        winner = config.baseline
    configs = arms_of(config, winner)
    fresh = judge_fresh(config, list(configs.values()), seeds=SEEDS, label="tasks")
    arms = dict(zip(configs, fresh.ends, strict=True))
    confirmed = read_confirmation(study, config)
    outcome = None if confirmed is None else confirmed.outcome
    told = outcome and outcome.gain
    return {
        "study": config.name,
        "task": config.task.name,
        "architecture": config.task.model_dump().get("architecture", "gpt2"),
        "kl_budget": config.search.kl_budget,
        "seconds": round(seconds),
        "outcome": outcome and outcome.kind,
        "confirmed": told and [round(told.mean, 3), round(told.low, 3), round(told.high, 3)],
        "untrained": _told([fresh.untrained]),
        **{name: {"params": dict(configs[name]), **_told(ends)} for name, ends in arms.items()},
        "differences": measure_differences(arms, fresh.untrained),
    }


def measure_differences(arms: Mapping[str, Sequence[End]], untrained: End) -> dict[str, Any]:
    """Differences of score and gold between what is worth comparing, by pair, with their 95 % intervals."""
    pairs = [("default", "untrained"), ("winner", "default"), ("winner", "untrained")]
    pairs += [(arm, other) for arm in ("free", "reckless") for other in ("winner", "default", "untrained")]
    pairs = [(one, other) for one, other in pairs if one in arms]
    seeds = len(arms["default"])
    known = {**arms, "untrained": [untrained] * seeds}
    return {f"{one} - {other}": _difference(known[one], known[other]) for one, other in pairs}


def _told(ends: Sequence[End]) -> dict[str, Any]:
    """Means over seeds and prompts, and each seed's KL."""
    score = float(np.mean([end.score for end in ends]))
    gold = float(np.mean([end.judges[GOLD].mean() for end in ends]))
    return {"score": round(score, 3), "gold": round(gold, 3), "kl": [round(end.kl, 2) for end in ends]}


def _difference(ours: Sequence[End], theirs: Sequence[End]) -> dict[str, list[float]]:
    """Of score and gold, with the 95 % interval."""
    found = {
        "score": gain(np.stack([end.scores for end in ours]), np.stack([end.scores for end in theirs])),
        GOLD: gain(*(np.stack([end.judges[GOLD] for end in ends]) for ends in (ours, theirs))),
    }
    return {name: [round(x, 3) for x in (one.mean, one.low, one.high)] for name, one in found.items()}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown, five lines a study."""
    lines = ["| task and model | config | score | gold | KL, nats |", "|---|---|---|---|---|"]
    for row in rows:
        title = f"{row['task']}, {KINDS[row['architecture']]}"
        for arm, words in _arms(row).items():
            told, name = row[arm], f"**{title}**" if arm == "untrained" else ""
            kl = "0" if arm == "untrained" else f"{np.mean(told['kl']):.1f}"
            lines.append(f"| {name} | {words} | {told['score']:.2f} | {told['gold']:.2f} | {kl} |")
    return "\n".join(lines)


def _arms(row: Mapping[str, Any]) -> dict[str, str]:
    """What the lines of a study are called, with what is certain of them."""

    def change(pair: str, judge: str) -> str:
        mean, low, high = row["differences"][pair][judge]
        return f"{judge} {mean:+.2f} ({low:.2f} to {high:.2f})"

    def over_default(arm: str) -> str:
        pair = f"{arm} - default"
        return f"{change(pair, 'score')}, {change(pair, GOLD)} over the default"

    winner = f"winner: {over_default('winner')}"
    if row["winner"]["params"] == row["default"]["params"]:
        winner = "the search names nothing better than the default"
    rate = row["reckless"]["params"]["learning_rate"] / row["winner"]["params"]["learning_rate"]
    return {
        "untrained": "untrained",
        "default": f"default: {change('default - untrained', GOLD)} over untrained",
        "winner": winner,
        "free": f"winner, `kl_coef` at its lowest: {over_default('free')}",
        "reckless": f"and {rate:.2g} times its learning rate: {over_default('reckless')}",
    }


def put(table: str, page: Path, begin: str, end: str) -> None:
    """Put a table into a page, between two marks."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    write_text(page, f"{before}{begin}\n{table}\n{end}{after}")


def main(words: Sequence[str] | None = None) -> None:
    """Do what is missing, print a table, and put it into a page if that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names, kinds = get_args(EmbeddedName), get_args(Architecture)
    parser.add_argument("--tasks", nargs="+", default=names, choices=names)
    parser.add_argument("--architectures", nargs="+", default=kinds, choices=kinds)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/tasks"), help="folder of the studies and the rows"
    )
    parser.add_argument(
        "--page", type=Path, help="a page whose table becomes that of the rows; nothing is run"
    )
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "rows.jsonl"
    for task in options.tasks if options.page is None else ():
        for architecture in options.architectures:
            if f"{task}-{architecture}" not in {row["study"] for row in read_json_lines(file)}:
                name = f"{task}-{architecture}"
                row = measure(*search(task, name, options.out, architecture=architecture))
                append_json_line(file, row)
                print(json.dumps(row), file=sys.stderr)
    order = [f"{task}-{architecture}" for task in names for architecture in kinds]
    rows = sorted(read_json_lines(file), key=lambda row: order.index(row["study"]))
    print(table(rows))
    if options.page is not None:
        put(table(rows), options.page, BEGIN, END)


if __name__ == "__main__":
    main()
