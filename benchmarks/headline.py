"""Wall-clock to a good config: `ppo-tune search` against TRL 1.12.0's PPOTrainer in a default Optuna loop, two cores.

    .venv/bin/python benchmarks/headline.py            # after `make .venv-trl/done`; hours on an idle machine
    .venv/bin/python benchmarks/headline.py --quick    # a smoke run, two short trials per arm; its numbers say nothing

The arms have the same embedded task, model with LoRA, search space, reward, 2,560 episodes per trial, evaluation on
held-out prompts and KL budget:

    ppo-tune     `ppo-tune search` of the quickstart with the confirmation that it chooses itself, on its two workers;
                 if what it names is not good enough, the same with more trials, up to 48. All is counted: start,
                 search, confirmation, report.
    TRL          `optuna.create_study(direction="maximize")`, nothing else set, and one trial after the other, each on
                 two threads; its value is the score at the end if it is within the KL budget, else less than any
                 score. What is trained is the script that `ppo-tune export --to trl` writes, in one process whose
                 start is not counted. Up to 48 trials.
    TRL, pruned  The same with that value reported at the ten milestones, so that `create_study`'s own pruner, the
                 median, ends trials. Another pruner was not tried.

A config's value is judged in the trainer that it was found with, off the clock: trained on three fresh seeds, scored
on the 256 prompts of a confirmation with random numbers that chose nothing (on the prompts themselves ppo-tune's own
confirmation chose among a few configs). 0 is the default config, 1 the best one known in that trainer within the KL
budget: of the recorded landscape's best, of all that ppo-tune named and of all that were an incumbent of the peer. A
config beyond 1.1 budgets, by the mean of its seeds, has value 0. One that is far from what is wanted on its first seed
is not trained on the others.

The time of ppo-tune is that of its commands until it names a config of value 0.8. That of the peer is until its best
trial so far has value 0.8, as if somebody told it to stop there, and the seconds of that config's three fresh seeds,
which are its confirmation; where 48 trials find none, it is their time, and the ratio a lower bound. A repetition in
which ppo-tune finds none counts as a ratio of 0. The interval is of the median over repetitions.

Every finished piece of work is a line of `rows.jsonl` in the output folder; whatever is killed goes on there. Where a
better config becomes known, values fall, and an arm that had stopped goes on. The last line is one JSON object.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import optuna
import pandas as pd
import torch
import transformers
from optuna.study import Study
from optuna.trial import TrialState, create_trial
from ruamel.yaml import YAML

from benchmarks.headline_figures import (
    LOWEST,
    OURS,
    PEERS,
    PRUNED,
    TRL,
    WANTED,
    Params,
    Results,
    Row,
    Run,
    Stage,
    Trial,
    json_line,
    objective,
    read,
    table,
    written,
)
from benchmarks.worlds.table import TABLE
from ppo_tune import load_study
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.errors import TrialError
from ppo_tune.export import TARGETS, Scale, Winner
from ppo_tune.export.sources import read_sources
from ppo_tune.export.trl import convert
from ppo_tune.files import append_json_line, read_json_lines
from ppo_tune.models import load_adapter
from ppo_tune.search.storage import open_study
from ppo_tune.search.winner import winning_trial
from ppo_tune.seeding import derive_seed
from ppo_tune.trainer.assembly import Assembly, assemble, claim_evaluator
from ppo_tune.trainer.evaluation import Evaluation, Evaluator

HERE = Path(__file__).parent
STUDY = HERE.parent / "search_spaces" / "quickstart.yaml"
PEER = HERE.parent / ".venv-trl" / "bin" / "python"


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Attributes:
        stages: Totals of trials after which ppo-tune names a config.
        trials: At which a search of the peer is stopped.
        episodes: Of a trial.
        seeds: Fresh ones on which a config is judged.
        known: How many of the recorded landscape's best configs are judged too.
        threads: Of the peer.
    """

    stages: tuple[int, ...] = (32, 48)
    trials: int = 48
    episodes: int = 2560
    seeds: int = 3
    known: int = 3
    threads: int = 2


QUICK = Plan(stages=(2,), trials=2, episodes=256, seeds=1, known=1, threads=1)


class Peer:
    """The process that trains by TRL.

    Args:
        folder: Gets the exported script, and the adapters on their way.
        study: Whose trials are trained.
        score_std: The unit of its values.
        threads: Of the process.
    """

    def __init__(self, folder: Path, study: StudyConfig, score_std: float, threads: int) -> None:
        self.study, self.score_std = study, score_std
        self.sources = read_sources(study)
        self.adapter = folder / "adapter"
        TARGETS["trl"](self._winner({}, 0), Scale()).write(folder, force=True)
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        environment |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [str(PEER), str(HERE / "headline_trl.py"), str(folder), str(threads)]
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "stderr").open("w"),
            text=True,
            env=environment,
        )
        assert self._answer() == {"ready": True}

    def train(self, params: Params, seed: int, milestones: Sequence[int], goes_on: Callable[[], bool]) -> str:
        """Train a config; says how it ended.

        Args:
            params: Its searched values.
            seed: Of all its random numbers.
            milestones: Episodes at which its adapter is written.
            goes_on: Called there.
        """
        settings = convert(self._winner(params, seed % 2**31)).settings
        named = {setting.name: setting.value for setting in settings if setting.value is not None}
        self._send({"settings": named, "milestones": list(milestones), "adapter": str(self.adapter)})
        while "ending" not in (answer := self._answer()):
            self._send({"goes_on": goes_on()})
        return str(answer["ending"])

    def stop(self) -> None:
        """End the process."""
        self.popen.kill()
        self.popen.wait()

    def _winner(self, params: Params, seed: int) -> Winner:
        study = self.study
        config = TrainConfig(
            name=study.name, task=study.task, model=study.model, ppo=study.ppo.with_params(params), seed=seed,
            kl_budget=study.search.kl_budget, score_std=self.score_std,
        )  # fmt: skip
        return Winner(config, sources=self.sources)

    def _send(self, line: Mapping[str, Any]) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(line) + "\n")
        self.popen.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise SystemExit(f"TRL's process died; {self.adapter.parent / 'stderr'} says why")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Headline:
    """All arms, and the rows that they leave.

    Args:
        plan: How much is done.
        folder: Holds `rows.jsonl` and everything else.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        usual = load_study(STUDY)
        ppo = usual.ppo.model_copy(update={"episodes": plan.episodes})
        self.study = usual.model_copy(update={"ppo": ppo})
        folder.mkdir(parents=True, exist_ok=True)
        self.results = Results(
            self.study.baseline,
            self.study.search.kl_budget,
            plan.seeds,
            [read(line) for line in read_json_lines(folder / "rows.jsonl")],
        )
        self.work: Assembly = assemble(self.study)
        self.claims = claim_evaluator(self.work.policy, self.work.task, self.study)
        self.work.policy.reset(0, torch.Generator())
        untrained = _judged(self.work.evaluator)
        claimed = _judged(self.claims)
        assert untrained is not None and claimed is not None
        self.untrained_score, self.score_std = claimed.score, untrained.score_std or 1.0
        self.peer = Peer(folder / "trl", self.study, self.score_std, plan.threads)

    def run(self, repetitions: int) -> None:
        """Do what is missing, until no better config is known and no arm has to go on for it."""
        before = -1
        while before != len(self.results.rows):
            before = len(self.results.rows)
            self._run_once(repetitions)

    def _run_once(self, repetitions: int) -> None:
        for params in [self.study.baseline, *best_recorded(self.plan.known)]:
            self.judge(OURS, params)
            self.judge(TRL, params)
        for repetition in range(repetitions):
            self.run_ours(repetition)
            for arm in PEERS:
                self.run_theirs(arm, repetition)

    def keep(self, row: Row) -> None:
        """Note a finished piece of work."""
        self.results.rows.append(row)
        append_json_line(self.folder / "rows.jsonl", written(row))
        print(json.dumps(written(row)), file=sys.stderr)

    def judge(self, trainer: str, params: Params) -> None:
        """Judge a config in a trainer, unless that was done."""
        while (seed := self.results.next_seed(trainer, params)) is not None:
            drawn, started = derive_seed("headline", "fresh", seed), time.perf_counter()
            found = self._train_here(params, drawn) if trainer == OURS else self._train_there(params, drawn)
            seconds = time.perf_counter() - started
            if found is None:
                ceiling = self.study.search.kl_ceiling
                self.keep(Run(trainer, params, seed, seconds, self.untrained_score, ceiling))
            else:
                self.keep(Run(trainer, params, seed, seconds, found.score, found.kl_per_sequence))

    def _train_here(self, params: Params, seed: int) -> Evaluation | None:
        """A training by ppo-tune, and what it came to; None if it failed."""
        config, trainer = self.study.ppo.with_params(params), self.work.trainer
        trainer.start(0, config, seed, score_std=self.score_std)
        failed = any(isinstance(trainer.step()[0], TrialError) for _ in range(config.iterations))
        found = None if failed else _judged(self.claims)
        trainer.drop(0)
        return found

    def _train_there(self, params: Params, seed: int) -> Evaluation | None:
        """A training by TRL, and what it came to; None if it failed."""
        found: list[Evaluation | None] = [None]

        def goes_on() -> bool:
            found[0] = self._judge_adapter(self.claims)
            return True

        self.peer.train(params, seed, [self.plan.episodes], goes_on)
        return found[0]

    def _judge_adapter(self, evaluator: Evaluator) -> Evaluation | None:
        load_adapter(evaluator.policy, 0, self.peer.adapter)
        return _judged(evaluator)

    def run_ours(self, repetition: int) -> None:
        """Let ppo-tune search until it names a config of the wanted value; what it names is judged in both trainers."""
        done = {stage.trials for stage in self.results.stages(repetition)}
        for before, trials in zip((None, *self.plan.stages), self.plan.stages, strict=False):
            if self.results.ours(repetition).in_time:
                return
            if trials not in done:
                self.keep(self._search(repetition, before, trials))
            for stage in self.results.stages(repetition):
                self.judge(OURS, stage.params)
                self.judge(TRL, stage.params)

    def _search(self, repetition: int, before: int | None, trials: int) -> Stage:
        """One command of ppo-tune, in a copy of what the one before it left."""
        folder = self.folder / f"ppo-tune-{repetition}-{trials}"
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            folder.mkdir()
            self._write_study(folder / STUDY.name, repetition)
        else:
            shutil.copytree(self.folder / f"ppo-tune-{repetition}-{before}", folder)
        command = [sys.executable, "-m", "ppo_tune", "search", str(folder / STUDY.name)]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "--n-trials", str(trials), "--out", str(folder)],
            stdout=subprocess.DEVNULL,
            check=False,
        )
        seconds = time.perf_counter() - started
        assert done.returncode in (0, 3), "3 says that nothing can be named"
        study, config = open_study(self.study.name, out=folder)
        winner = winning_trial(study, config)
        return Stage(repetition, trials, seconds, self.study.baseline if winner is None else winner.params)

    def _write_study(self, path: Path, repetition: int) -> None:
        """The quickstart's file with this repetition's seed and the confirmation left to ppo-tune."""
        written = YAML(typ="safe").load(STUDY.read_text(encoding="utf-8"))
        written["ppo"]["episodes"] = self.plan.episodes
        confirmation = ("confirm_top", "confirm_seeds")
        kept = {name: value for name, value in written["search"].items() if name not in confirmation}
        written["search"] = {**kept, "seed": repetition}
        with path.open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump(written, file)

    def run_theirs(self, arm: str, repetition: int) -> None:
        """Let the peer search until its best has the wanted value, or there were enough trials."""
        seeded = self.study.search.model_copy(update={"seed": repetition})
        evaluator = assemble(self.study.model_copy(update={"search": seeded})).evaluator
        while True:
            for incumbent in self.results.incumbents(arm, repetition):
                self.judge(TRL, incumbent.params)
            reached = self.results.theirs(arm, repetition)
            if reached.in_time or reached.trials >= self.plan.trials:
                return
            self.keep(self._try(arm, repetition, evaluator))

    def _try(self, arm: str, repetition: int, evaluator: Evaluator) -> Trial:
        """The next trial of a search of the peer."""
        study = study_of(self.results.trials(arm, repetition), self.study)
        started = time.perf_counter()
        trial = study.ask(self.study.space.distributions())
        judged: list[Evaluation | None] = []
        reports: list[float] = []
        milestones = self.study.milestone_episodes() if arm == PRUNED else [self.plan.episodes]

        def goes_on() -> bool:
            judged.append(self._judge_adapter(evaluator))
            reports.append(self._objective(judged[-1]))
            trial.report(reports[-1], step=len(reports))
            return len(reports) == len(milestones) or not trial.should_prune()

        seed = derive_seed("headline", repetition, trial.number)
        ending = self.peer.train(trial.params, seed, milestones, goes_on)
        last = judged[-1] if judged and ending != "failed" else None
        return Trial(
            arm, repetition, trial.number, trial.params, time.perf_counter() - started,
            "failed" if last is None else ending, None if last is None else last.score,
            None if last is None else last.kl_per_sequence, tuple(reports),
        )  # fmt: skip

    def _objective(self, judged: Evaluation | None) -> float:
        if judged is None:
            return LOWEST
        return objective(judged.score, judged.kl_per_sequence, self.study.search.kl_budget)


def study_of(trials: Sequence[Trial], config: StudyConfig) -> Study:
    """The peer's study with its trials so far, as `create_study` makes it."""
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        pruned = trial.ending == "pruned"
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                value=objective(trial.score, trial.kl, config.search.kl_budget),
                params=dict(trial.params),
                distributions=config.space.distributions(),
                intermediate_values=dict(enumerate(trial.reports, 1)),
            )
        )
    return study


def best_recorded(n: int) -> Iterator[Params]:
    """The best configs of the recorded landscape with two runs or more, by their means, within the KL budget."""
    study, runs = load_study(STUDY), pd.read_parquet(TABLE)
    names = list(study.space)
    means = runs.groupby("config_id").agg({"confirm_score": "mean", "confirm_kl": "mean", "seed": "size"})
    kept = means[(means["seed"] > 1) & (means["confirm_kl"] <= study.search.kl_budget)]
    for config_id in kept.sort_values("confirm_score", ascending=False).index[:n]:
        yield runs.loc[runs["config_id"] == config_id, names].astype(object).iloc[0].to_dict()


def _judged(evaluator: Evaluator) -> Evaluation | None:
    """What an evaluator says of the first place; None if that has diverged."""
    found = evaluator([0])[0]
    return None if isinstance(found, TrialError) else found


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="two short trials per arm, in a temporary folder"
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/headline"), help="the output folder")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Do what is missing, print a table, and end with one line of JSON."""
    told = arguments(words)
    if not PEER.is_file():
        raise SystemExit(f"{PEER} is missing; run `make .venv-trl/done`, which installs the peer")
    if os.getloadavg()[0] > 0.5:
        print(
            "this machine is busy: two threads of TRL are many times slower then; times are worthless",
            file=sys.stderr,
        )
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        headline = Headline(QUICK if told.quick else Plan(), Path(temporary) if told.quick else told.out)
        try:
            headline.run(1 if told.quick else told.repetitions)
        finally:
            headline.peer.stop()
    print(f"{WANTED:g} of the head-room, configs within 1.1 KL budgets\n\n{table(headline.results)}\n")
    print(json_line(headline.results))


if __name__ == "__main__":
    main()
