# mypy: ignore-errors
"""Loggers get a copy of the numbers, and whatever becomes of them the training goes on."""

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

import ppo_tune.tracking
from ppo_tune.config.block import differences
from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.study_file import load_study
from ppo_tune.config.training_file import load_training
from ppo_tune.errors import ConfigError, RewardError
from ppo_tune.search.storage import GROWING
from ppo_tune.tracking import Logger, Tracked, Tracking

STUDY = "task: {name: support}\nspace: {gamma: {type: float, low: 0.9, high: 1}}\n"


class Recorder(Logger):
    """Notes what it hears; raises where it is told to."""

    def __init__(self, fails_at: str = "") -> None:
        self.heard: list[object] = []
        self.fails_at = fails_at

    def log(self, episodes: int, numbers: Mapping[str, float]) -> None:
        self._hear("log", episodes, dict(numbers))

    def finish(self, ending: str, *, failed: bool) -> None:
        self._hear("finish", ending, failed)

    def forget_after(self, episodes: int) -> None:
        self._hear("forget_after", episodes)

    def _hear(self, what: str, *facts: object) -> None:
        self.heard.append((what, *facts))
        if what == self.fails_at:
            raise OSError(28, "No space left on device")


class Made:
    """A `Tracking` over recorders, and what it warned of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **recorders: Recorder) -> None:
        monkeypatch.setattr(ppo_tune.tracking, "_make", lambda name, _: recorders[name])
        self.warnings: list[str] = []
        tracked = Tracked("study", "0007", Path(), {})
        self.tracking = Tracking(tuple(recorders), tracked, self.warnings.append)  # type: ignore[arg-type]


def test_a_logger_gets_the_episodes_and_every_finite_number(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    made = Made(monkeypatch, tensorboard=recorder)

    made.tracking.log(
        {
            "episodes": 64.0,
            "a/whole": 3,
            "a/real": 0.5,
            "nan": math.nan,
            "inf": math.inf,
            "gold": None,
            "text": "x",
        }
    )

    assert recorder.heard == [("log", 64, {"a/whole": 3.0, "a/real": 0.5})]
    assert made.warnings == []


@pytest.mark.parametrize("fails_at", ["log", "forget_after", "finish"])
def test_a_logger_that_fails_is_told_of_once_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    broken, whole = Recorder(fails_at), Recorder()
    made = Made(monkeypatch, tensorboard=broken, wandb=whole)

    for _ in range(2):
        made.tracking.log({"episodes": 64})
        made.tracking.forget_after(32)
    made.tracking.finish("completed")

    assert made.warnings == [
        "tensorboard failed and gets nothing more of 0007, which goes on: [Errno 28] No space left on device"
    ]
    assert [fact[0] for fact in broken.heard].count(fails_at) == 1
    assert [fact[0] for fact in whole.heard] == ["log", "forget_after", "log", "forget_after", "finish"]


def test_a_logger_that_cannot_even_begin_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file where a folder should be", encoding="utf-8")
    warnings: list[str] = []

    tracking = Tracking(("tensorboard",), Tracked("study", "0007", tmp_path, {}), warnings.append)
    tracking.log({"episodes": 64, "x": 1.0})
    tracking.finish("completed")

    assert len(warnings) == 1
    assert warnings[0].startswith("tensorboard failed and gets nothing more of 0007, which goes on: folder")


def test_an_error_without_words_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Recorder):
        def log(self, episodes: int, numbers: Mapping[str, float]) -> None:
            raise BrokenPipeError

    made = Made(monkeypatch, wandb=Silent())

    made.tracking.log({"episodes": 64})

    assert made.warnings == ["wandb failed and gets nothing more of 0007, which goes on: BrokenPipeError"]


@pytest.mark.parametrize(
    ("ending", "failed"),
    [
        ("completed", False),
        ("pruned", False),
        ("diverged", True),
        ("out_of_memory", True),
        ("preempted", True),
    ],
)
def test_an_ending_is_passed_on_once(monkeypatch: pytest.MonkeyPatch, ending: str, failed: bool) -> None:
    recorder = Recorder()
    made = Made(monkeypatch, tensorboard=recorder)

    made.tracking.finish(ending)
    made.tracking.finish(ending)

    assert recorder.heard == [("finish", ending, failed)]


@pytest.mark.parametrize(
    ("error", "ending", "failed"),
    [
        (None, "completed", False),
        (RewardError("no"), "reward_error", True),
        (KeyboardInterrupt(), "stopped", True),
    ],
)
def test_a_block_ends_as_its_training_does(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None, ending: str, failed: bool
) -> None:
    recorder = Recorder()
    made = Made(monkeypatch, tensorboard=recorder)

    def train() -> None:
        with made.tracking.finished_after():
            if error is not None:
                raise error

    if error is None:
        train()
    else:
        with pytest.raises(type(error)):
            train()

    assert recorder.heard == [("finish", ending, failed)]


def test_a_name_that_stands_twice_is_one_logger(tmp_path: Path) -> None:
    tracking = Tracking(
        ("tensorboard", "tensorboard"), Tracked("study", "0007", tmp_path, {}), lambda text: pytest.fail(text)
    )
    tracking.finish("completed")

    assert len(list((tmp_path / "tensorboard" / "0007").iterdir())) == 1


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_one_line_of_a_file_turns_loggers_on(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY + "search: {log: [tensorboard, wandb]}"))
    training = load_training(write(tmp_path, "task: {name: support}\nlog: [tensorboard]"))

    assert study.search.log == ("tensorboard", "wandb")
    assert training.log == ("tensorboard",)
    assert SearchConfig().log == TrainConfig.model_validate({"task": {"name": "support"}}).log == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[tensorbord]", r"log\.0: unknown 'tensorbord'; did you mean 'tensorboard'\?"),
        ("[mlflow]", r"log\.0: unknown 'mlflow'; choose one of tensorboard, wandb"),
        ("tensorboard", r"log: must be a list, but got 'tensorboard'"),
    ],
)
def test_a_logger_that_is_none_is_refused_with_its_line(tmp_path: Path, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"study\.yaml:3: search\." + message):
        load_study(write(tmp_path, STUDY + f"search: {{log: {value}}}"))
    with pytest.raises(ConfigError, match=r"study\.yaml:2: " + message):
        load_training(write(tmp_path, f"task: {{name: support}}\nlog: {value}"))


def test_a_logger_that_is_not_installed_is_refused_when_the_file_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "ppo_tune.config.reader.find_spec", lambda name: None if name == "wandb" else found(name)
    )

    with pytest.raises(ConfigError) as study:
        load_study(write(tmp_path, STUDY + "search:\n  log: [tensorboard, wandb]"))
    with pytest.raises(ConfigError) as training:
        load_training(write(tmp_path, "task: {name: support}\nlog: [wandb]"))

    path = tmp_path / "study.yaml"
    how = "wandb is not installed; run: pip install 'ppo-tune[wandb]'"
    assert str(study.value) == f"{path}:4: search.log.1: {how}"
    assert str(training.value) == f"{path}:2: log.0: {how}"


@pytest.mark.parametrize(
    ("package", "told"),
    [
        (None, []),
        ("json", []),
        ("no_such", ["log.0: no_such is not installed; run: pip install 'ppo-tune[wandb]'"]),
    ],
)
def test_the_package_of_a_logger_is_looked_for_and_the_extra_has_the_name_of_the_logger(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str | None, told: list[str]
) -> None:
    monkeypatch.setattr("ppo_tune.config.reader.PACKAGES", {"wandb": package})
    found = []
    try:
        load_training(write(tmp_path, "task: {name: support}\nlog: [wandb]"))
    except ConfigError as error:
        found = [f"{problem.where}: {problem.what}" for problem in error.problems]
    assert found == told


def test_a_study_is_the_same_experiment_whoever_gets_its_numbers(tmp_path: Path) -> None:
    plain = load_study(write(tmp_path, STUDY))
    logged = load_study(write(tmp_path, STUDY + "search: {log: [tensorboard]}"))

    assert differences(plain.model_dump(), logged.model_dump()) != []
    assert differences(plain.model_dump(), logged.model_dump(), ignored=GROWING) == []
    assert StudyConfig.model_validate_json(logged.model_dump_json()) == logged
