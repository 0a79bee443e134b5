"""Ctrl-C at any moment says what is kept and the command that goes on, and exits with 130."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import ppo_tune
from ppo_tune import __main__ as entry
from ppo_tune.cli.asked import AskedStudy
from ppo_tune.cli.output import interrupts_held
from tests.cli.conftest import Cli


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """Ctrl-C is heeded, also in tests that a shell runs in its background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def here(copy_searched: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the searched study `small`."""
    out = copy_searched()
    monkeypatch.chdir(out)
    return out


def press(*_: object, **__: object) -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def test_while_a_command_is_loaded_or_its_file_read_nothing_was_begun(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(AskedStudy, "load", press)
        read = cli("search", "small.yaml", "--set", "ppo.gamma=0.9")
    monkeypatch.setattr("ppo_tune.cli.load", press)
    loaded = cli("search", "small.yaml", "--set", "ppo.gamma=0.9")

    said = "Stopped. Nothing was begun. Go on with: ppo-tune search small.yaml --set ppo.gamma=0.9\n"
    assert (read.code, read.out) == (130, said)
    assert (loaded.code, loaded.err) == (130, said)


def test_before_anything_is_imported_nothing_was_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Pressed:
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "ppo_tune.cli", Pressed())
    monkeypatch.setattr(sys, "argv", ["ppo-tune", "train", "my best.yaml"])

    with pytest.raises(SystemExit) as left:
        entry.main()

    assert left.value.code == 130
    said = "Stopped. Nothing was begun. Go on with: ppo-tune train 'my best.yaml'\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("words", "kept", "again"),
    [
        (
            "search small.yaml --n-trials 9 --name other",
            "Nothing was begun.",
            "ppo-tune search small.yaml --name other --n-trials 9",
        ),
        (
            "search small.yaml --n-trials 9 --set ppo.gamma=1",
            "Study small keeps 3 trials.",
            "ppo-tune search small.yaml --set ppo.gamma=1 --n-trials 9",
        ),
        ("confirm small", "Study small keeps 3 trials.", "ppo-tune confirm small"),
        ("extend runs/small", "Study small keeps 3 trials.", "ppo-tune extend small"),
    ],
)
def test_before_the_first_trial_it_is_said_what_the_study_keeps(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, words: str, kept: str, again: str
) -> None:
    for name in ("run_search", "run_confirmation"):
        monkeypatch.setattr(f"ppo_tune.search.run.{name}", press)

    told, facts = cli(*words.split()), cli(*words.split(), "--json", "--quiet")

    assert (told.code, told.out) == (130, f"Stopped. {kept} Go on with: {again}\n")
    assert (facts.code, facts.err) == (130, "")
    assert json.loads(facts.out) == {"interrupted": True, "kept": kept, "again": again}


@pytest.fixture
def config(here: Path) -> Path:
    """A config to train."""
    study, experiment = ppo_tune.open_study("small")
    best = ppo_tune.trial_config(study, experiment, 1, episodes=8)
    (here / "config.json").write_text(best.model_dump_json(), encoding="utf-8")
    return here / "config.json"


def test_a_training_that_has_not_begun_stops_at_once(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    monkeypatch.setattr("ppo_tune.training.full_length.train", press)

    stopped = cli("train", "config.json")

    assert stopped.code == 130
    assert stopped.out.endswith(
        "Stopped. No checkpoint was due yet. Go on with: ppo-tune train config.json\n"
    )


@pytest.mark.parametrize("flags", [[], ["--resume"]])
def test_a_training_under_way_ends_its_iteration_and_says_how_to_resume(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, config: Path, flags: list[str]
) -> None:
    def train(*_: Any, out: Path, should_stop: Callable[[], bool], **__: Any) -> None:
        assert not should_stop()
        press()
        assert should_stop()
        (out / "checkpoints" / "episodes-0000001200").mkdir(parents=True)
        raise ppo_tune.TrainingInterrupted("stopped")

    monkeypatch.setattr("ppo_tune.training.full_length.train", train)

    stopped = cli("train", "config.json", "--out", "t", *flags)

    assert stopped.code == 130
    assert stopped.out.endswith(
        "stopping after this iteration, which a checkpoint will keep; Ctrl-C again stops at once\n"
        "Stopped. t keeps a checkpoint after 1,200 episodes. Go on with: ppo-tune train config.json --out t --resume\n"
    )


@pytest.mark.parametrize(
    ("words", "function", "kept"),
    [
        ("sft small.yaml --out m", "ppo_tune.data.examples.read_pairs", "No model was written."),
        ("reward small.yaml --base b --out m", "ppo_tune.data.labelled.read_labels", "No model was written."),
        ("export small", "ppo_tune.export.export_study", "It was not done to the end."),
    ],
)  # fmt: skip
def test_other_commands_say_how_to_do_it_again(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, words: str, function: str, kept: str
) -> None:
    monkeypatch.setattr(function, press)

    stopped = cli(*words.split())

    assert (stopped.code, stopped.out) == (130, f"Stopped. {kept} Go on with: ppo-tune {words}\n")


def test_while_libraries_are_loaded_it_counts_afterwards() -> None:
    loaded = []

    def load() -> None:
        with interrupts_held():
            press()
            loaded.append("all")

    with pytest.raises(KeyboardInterrupt):
        load()

    assert loaded == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_question_that_is_not_answered_deletes_nothing(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def confirm(*_: object, **__: object) -> None:
        raise typer.Abort  # what a question makes of Ctrl-C

    monkeypatch.setattr("typer.confirm", confirm)

    stopped = cli("delete", "small")

    assert stopped.code == 130
    assert "Stopped. Nothing was deleted. Go on with: ppo-tune delete small\n" in stopped.out
    assert ppo_tune.study_names() == ["small"]
