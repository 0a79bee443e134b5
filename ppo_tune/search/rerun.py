"""A trial once more, exactly as it was: its config, its random numbers, its prompts; and whether that is equal.

On a CPU, alone in its pack, a trial comes to the very same numbers. Where it does not, what is known to move them is
named.
"""

import contextlib
import math
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from optuna.study import Study
from optuna.trial import FrozenTrial

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import PPOTuneError, StorageError
from ppo_tune.events import Watcher
from ppo_tune.files import make_folder, read_json_lines
from ppo_tune.models.loading import best_device
from ppo_tune.search.facts import StudyFacts, TrialFacts, enqueue_again
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.heldout import CurvePoint, stored_curve
from ppo_tune.search.pack_size import wanted_pack
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.results import ending_of, was_lost
from ppo_tune.search.storage import check_same, open_study
from ppo_tune.search.trial_loop import TrialPack
from ppo_tune.tasks import prepare_task
from ppo_tune.versions import versions


@dataclass(frozen=True)
class Difference:
    """Where a number came out otherwise, and by how much at most.

    Attributes:
        what: Of a milestone, such as `score`.
        episodes: When it differed most.
        before: What the study holds of then.
        now: What it came to.
    """

    what: str
    episodes: int
    before: float
    now: float


@dataclass(frozen=True)
class Rerun:
    """A trial that was trained again.

    Attributes:
        number: Of the trial.
        before: The name of its ending in the study.
        now: The name of its ending this time; a pruned one is ended where it was pruned.
        curve: What it came to this time, at its milestones.
        differences: The largest of each number of a milestone that differs at all; empty if it is equal bit by bit.
        reasons: What is known to move its numbers; empty where nothing is.
    """

    number: int
    before: str
    now: str
    curve: Sequence[CurvePoint]
    differences: tuple[Difference, ...]
    reasons: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether it ended as before, with the very same numbers at each milestone."""
        return self.before == self.now and not self.differences


def rerun_trial(
    name: str,
    number: int,
    *,
    folder: Path | str | None = None,
    storage: str | None = None,
    out: Path | str = ".",
    watch: Watcher = lambda _: None,
) -> Rerun:
    """Train a trial of a study again, and compare its curve with the one that the study holds; changes no study.

    Args:
        name: The study's.
        number: Of a trial that has ended.
        folder: Gets what a trial leaves, below `trials/`; None keeps nothing.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.
        watch: Told of everything that happens.

    Raises:
        PPOTuneError: If there is no such study or trial, the trial has not ended, a file that it was trained by has
            changed, or `folder` holds something.
    """
    study, config = open_study(name, storage=storage, out=out)
    trial = _ended(study, number)
    inputs = check_user_files(config)
    check_same(study, config, inputs.hashes)
    prepare_task(config.task, lambda stage, done: watch({"kind": "stage", "name": stage, "done": done}))
    home, device = StudyFolder.of(Path(out), name), best_device()
    with _folder(folder) as place, _one_thread():
        if home.base.is_file():
            shutil.copyfile(home.base, StudyFolder(place).base)
        curve, now = _train(trial, config, place, device, watch)
    before = TrialFacts(trial).curve
    return Rerun(
        number=number,
        before=ending_of(trial),
        now=now,
        curve=tuple(curve),
        differences=tuple(differences(before, curve)),
        reasons=tuple(_reasons(study, trial, config, home, device)),
    )


def _ended(study: Study, number: int) -> FrozenTrial:
    """A trial that came to an end by itself.

    Raises:
        PPOTuneError: If it is none.
    """
    trials = {t.number: t for t in study.get_trials(deepcopy=False)}
    trial = trials.get(number)
    if trial is not None and trial.state.is_finished() and not was_lost(trial):
        return trial
    ended = [str(n) for n, t in trials.items() if t.state.is_finished() and not was_lost(t)]
    if trial is None:
        what = "is not there"
    elif was_lost(trial):
        what = "was cut off and ran again under another number"
    else:
        what = f"is {ending_of(trial)}"
    raise PPOTuneError(
        f"trial {number} of study {study.study_name!r} {what}, and only one that has ended can be trained again: "
        f"{', '.join(ended) or 'there is none yet'}"
    )


@contextlib.contextmanager
def _folder(wanted: Path | str | None) -> Iterator[Path]:
    """Where the trial writes, for this block: a folder that stays, or one that does not.

    Raises:
        StorageError: If it holds something.
    """
    if wanted is None:
        with tempfile.TemporaryDirectory(prefix="ppo-tune-") as scratch:
            yield Path(scratch)
        return
    folder = make_folder(Path(wanted))
    if any(folder.iterdir()):
        raise StorageError(f"{folder} holds something already; choose another with --folder")
    yield folder


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sum in the order of a worker on a CPU, for this block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(
    trial: FrozenTrial, config: StudyConfig, folder: Path, device: torch.device, watch: Watcher
) -> tuple[Sequence[CurvePoint], str]:
    """Train a trial in a study of its own; returns what it came to at its milestones, and the name of its ending."""
    facts = TrialFacts(trial)
    unlogged = config.model_copy(update={"search": config.search.model_copy(update={"log": ()})})
    pack = TrialPack(SearchPlan(unlogged), folder, places=1, device=device, emit=watch)
    alone = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    StudyFacts(alone).score_std = facts.score_std
    enqueue_again(alone, trial, counts=False)
    pack.join(alone)
    again = alone.ask()
    config.space.suggest(again)
    pack.begin(0, again)
    run, ending = pack.runs[0], ""
    while not ending:
        ended = pack.advance()
        if 0 in ended:
            ending = ended[0].name
        elif ending_of(trial) == "pruned" and len(run.curve) == len(facts.curve):
            ending = "pruned"
            pack.clear(ending)
    kept = StudyFolder(folder).trial(trial.number).path
    run.folder.path.rename(make_folder(kept.parent) / kept.name)
    return run.curve, ending


def differences(before: Sequence[CurvePoint], now: Sequence[CurvePoint]) -> Iterator[Difference]:
    """Of each number that differs at any milestone of two curves, where it differs most; seconds do not count."""
    found: dict[str, Difference] = {}
    for old, new in zip(stored_curve(before), stored_curve(now), strict=False):
        for what in old.keys() & new.keys() - {"episodes", "seconds"}:
            if _is_equal(old[what], new[what]):
                continue
            here = Difference(what, old["episodes"], _number(old[what]), _number(new[what]))
            if what not in found or _size(here) > _size(found[what]):
                found[what] = here
    return iter(sorted(found.values(), key=lambda it: (it.what != "score", it.what != "kl", it.what)))


def _is_equal(before: float | None, now: float | None) -> bool:
    """Bit by bit; NaN is itself."""
    return before == now or (
        before is not None and now is not None and math.isnan(before) and math.isnan(now)
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _size(difference: Difference) -> float:
    size = abs(difference.now - difference.before)
    return math.inf if math.isnan(size) else size


def _reasons(
    study: Study, trial: FrozenTrial, config: StudyConfig, home: StudyFolder, device: torch.device
) -> Iterator[str]:
    """What is known to move a trial's numbers by rounding, which training may enlarge."""
    if device.type != "cpu":
        yield "a GPU adds in another order from one time to the next"
    packs = list(read_json_lines(home.packs))
    pack = wanted_pack(config) or max((line.get("pack", 1) for line in packs), default=1)
    if pack > 1:
        yield f"it was trained in a pack of up to {pack} trials, and now alone"
    if any(line.get("compiled_seconds") for line in packs):
        yield "its learning pass may have been compiled, and is not now"
    host = TrialFacts(trial).host
    if host is not None and host != platform.node():
        yield f"it was trained on {host}, whose processor may add in another order"
    changed = _changed(StudyFacts(study).versions, versions())
    if changed:
        yield f"the study was begun with other versions: {', '.join(changed)}"


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [f"{name} {old}, now {now[name]}" for name, old in before.items() if now.get(name, old) != old]
