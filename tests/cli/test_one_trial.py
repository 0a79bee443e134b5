"""Commands about one trial of a study: train it at full length, train it again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ppo_tune.files import read_json, read_json_lines, write_json
from ppo_tune.search.heldout import CurvePoint
from ppo_tune.search.rerun import Difference, Rerun
from tests.cli.conftest import Cli


@pytest.fixture
def here(copy_searched: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the searched study `small`."""
    out = copy_searched()
    monkeypatch.chdir(out)
    return out


@pytest.mark.slow
def test_a_trial_is_trained_into_a_folder_of_its_name(cli: Cli, here: Path) -> None:
    trained = cli("train", "small", "--trial", 2, "--episodes", 8, "--seed", 3)

    written = read_json(here / "trained" / "small-trial-2" / "config.json")
    used = read_json(here / "runs" / "small" / "trials" / "0002" / "config.json")
    assert trained.code == 0, trained.err
    assert (written["name"], written["seed"], written["ppo"]) == ("small", 3, {**used, "episodes": 8})
    assert "model      trained/small-trial-2/model" in trained.out


def test_a_study_elsewhere_is_named_by_its_folder(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.parent)

    missing = cli("train", "small", "--trial", 9)
    refused = cli("train", "small", "--trial", 9, "--studies", here)

    assert (missing.code, refused.code) == (2, 2)
    assert "there is no study 'small' at runs/small/study.db" in missing.err
    assert (
        "trial 9 of study 'small' is not there, and only a completed one can be handed on: 0, 1, 2"
        in refused.err
    )


def test_a_study_without_a_trial_is_told_what_to_add(cli: Cli, here: Path) -> None:
    outcome = cli("train", "small")

    assert (outcome.code, outcome.err) == (
        2,
        "error: small: is no file but a study; name one of its trials by --trial, or give "
        "reports/<study>/best.yaml\n",
    )


@pytest.mark.parametrize("flags", [["--studies", "."], ["--storage", "sqlite:///x.db"], ["--from-weights"]])
def test_where_a_study_is_means_nothing_without_a_trial(cli: Cli, here: Path, flags: list[str]) -> None:
    outcome = cli("train", "small.yaml", *flags)

    assert (outcome.code, outcome.err) == (
        2,
        f"error: {flags[0]}: is about a study, whose trial must be named by --trial; give that too, or leave it out\n",
    )


@pytest.mark.slow
def test_a_trial_that_is_trained_again_is_said_to_be_equal(cli: Cli, here: Path) -> None:
    again = cli("rerun", "small", 2, "--folder", "kept")

    assert again.code == 0, again.err
    first, second, verdict, where = again.out.splitlines()
    assert first.startswith("      16 episodes: score ")
    assert second.startswith("      32 episodes: score ")
    assert (
        verdict
        == "trial 2 of study small, trained again, is equal bit by bit: completed, at all 2 milestones"
    )
    assert where == "trial      kept"


MADE = CurvePoint(score=1.0, score_error=0.1, kl=1.0, response_tokens=3.0, episodes=16, seconds=1.0)
OTHER = Difference("score", 16, 1.0, 1.5)


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        (
            Rerun(2, "pruned", "pruned", (MADE,), (), ("it is dark",)),
            ["trial 2 of study small, trained again, is equal bit by bit: pruned, at its milestone"],
        ),
        (
            Rerun(2, "diverged", "diverged", (), (), ()),
            [
                "trial 2 of study small, trained again, is equal bit by bit: diverged, it ended before the first "
                "milestone"
            ],
        ),
        (
            Rerun(2, "completed", "completed", (MADE,), (OTHER,), ("it is dark",)),
            [
                "trial 2 of study small, trained again, is not equal",
                "score differs by up to 0.5: 1.0 before, 1.5 now, after 16 episodes",
                "known to matter: it is dark",
            ],
        ),
        (
            Rerun(2, "completed", "completed", (MADE,), (OTHER,), ()),
            [
                "trial 2 of study small, trained again, is not equal; nothing is known that would explain it: please "
                "report it",
                "score differs by up to 0.5: 1.0 before, 1.5 now, after 16 episodes",
            ],
        ),
        (
            Rerun(2, "diverged", "completed", (), (), ()),
            [
                "trial 2 of study small, trained again, is not equal: it ended as completed, and before as diverged"
            ],
        ),
    ],
)
def test_whether_it_is_equal_is_said_with_what_differs_and_why(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, again: Rerun, expected: list[str]
) -> None:
    monkeypatch.setattr("ppo_tune.search.rerun.rerun_trial", lambda *_, **__: again)

    assert cli("rerun", "small", 2).out.splitlines() == expected


@pytest.mark.slow
def test_a_training_goes_on_from_a_trials_weights(cli: Cli, here: Path) -> None:
    flags = ("--trial", 2, "--episodes", 8)
    went_on = cli("train", "small", *flags, "--from-weights", "--out", "on", "--json")
    anew = cli("train", "small", *flags, "--out", "anew", "--json")
    refused = cli("train", "small", *flags, "--out", "on", "--resume")

    assert (went_on.code, anew.code, refused.code) == (0, 0, 2), went_on.err + anew.err
    first, other = (next(read_json_lines(here / name / "metrics.jsonl")) for name in ("on", "anew"))
    assert first["episodes"] == other["episodes"] == 0
    assert first["heldout/kl_per_sequence"] > 1e-3 > 1e-6 > abs(other["heldout/kl_per_sequence"])
    assert json.loads(went_on.out)["before"] == json.loads(anew.out)["before"]
    assert "begins with the weights of trial 2; the optimizer begins anew" in went_on.err
    cards = [(here / name / "model" / "README.md").read_text(encoding="utf-8") for name in ("on", "anew")]
    assert ["It began with an adapter that was trained before" in card for card in cards] == [True, False]
    assert "content.start: '" in refused.err


def test_weights_that_are_not_there_or_of_another_shape_are_refused(cli: Cli, here: Path) -> None:
    adapter = here / "runs" / "small" / "trials" / "0002" / "adapter"
    said = adapter / "adapter_config.json"
    facts = read_json(said)
    write_json(said, {**facts, "r": 5})
    other = cli("train", "small", "--trial", 2, "--from-weights")
    write_json(said, {**facts, "use_rslora": True})
    stabilized = cli("train", "small", "--trial", 2, "--from-weights")
    said.unlink()
    missing = cli("train", "small", "--trial", 2, "--from-weights")

    where = "error: runs/small/trials/0002/adapter holds"
    assert (other.code, stabilized.code, missing.code) == (2, 2, 2)
    assert other.err == f"{where} an adapter of lora_rank 5; set the same in model, or begin untrained\n"
    assert (
        stabilized.err
        == f"{where} an adapter of adapter: rslora; set the same in model, or begin untrained\n"
    )
    assert missing.err == f"{where} no adapter to begin with; a completed trial that trains one leaves it\n"
