"""A trial that is trained again is the same bit by bit, and where it is not, what differs and why is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from ppo_tune.errors import PPOTuneError, StorageError, StudyMismatchError
from ppo_tune.search.facts import StudyFacts, TrialFacts
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.heldout import CurvePoint, JudgeScore
from ppo_tune.search.rerun import Difference, differences, rerun_trial
from ppo_tune.search.storage import load_study_from, open_study, storage_url

pytestmark = pytest.mark.slow


@pytest.fixture
def out(copy_searched: Callable[..., Path]) -> Path:
    """A folder with the searched study `small`."""
    return copy_searched()


def change(out: Path, number: int, key: str, value: Any) -> None:
    """Store another fact of a trial."""
    study, _ = open_study("small", out=out)
    trial = study.get_trials(deepcopy=False)[number]
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?) "
            "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json",
            (trial._trial_id, key, json.dumps(value)),
        )
    engine.dispose()


@pytest.mark.parametrize("number", [0, 2])
def test_a_trial_comes_out_the_same_bit_by_bit_and_changes_no_study(out: Path, number: int) -> None:
    study, _ = open_study("small", out=out)
    before = study.get_trials(deepcopy=False)

    again = rerun_trial("small", number, out=out)

    curve = TrialFacts(before[number]).curve
    assert again.equal
    assert (again.before, again.now, again.differences) == ("completed", "completed", ())
    assert [point.score for point in again.curve] == [point.score for point in curve]
    assert [point.kl for point in again.curve] == [point.kl for point in curve]
    assert curve[-1].kl != 0
    assert load_study_from(storage_url(out, "small"), "small").get_trials(deepcopy=False) == before
    assert not list(out.glob("runs/small/trials/000[3-9]"))


def test_what_a_trial_leaves_is_kept_where_it_is_wanted_and_is_the_same(out: Path, tmp_path: Path) -> None:
    rerun_trial("small", 1, folder=tmp_path / "kept", out=out)

    kept, first = (
        StudyFolder(path).trial(1) for path in (tmp_path / "kept", StudyFolder.of(out, "small").path)
    )
    assert kept.samples.read_bytes() == first.samples.read_bytes()
    for file in ("adapter_model.safetensors", "value_head.safetensors"):
        assert (kept.adapter / file).read_bytes() == (first.adapter / file).read_bytes()


def test_a_folder_that_holds_something_is_refused(out: Path) -> None:
    with pytest.raises(StorageError, match=r"searched holds something already; choose another with `folder`"):
        rerun_trial("small", 1, folder=out, out=out)


def test_a_pruned_trial_is_ended_where_it_was(out: Path) -> None:
    study, _ = open_study("small", out=out)
    curve = study.get_trials()[1].user_attrs["curve"]
    change(out, 1, "curve", curve[:1])
    change(out, 1, "ending", "pruned")

    again = rerun_trial("small", 1, out=out)

    assert again.equal
    assert (again.now, len(again.curve)) == ("pruned", 1)


def test_a_trial_that_ran_again_keeps_the_random_numbers_of_the_first_time(out: Path) -> None:
    study, _ = open_study("small", out=out)
    trial = study.get_trials()[1]
    study.add_trial(
        optuna.trial.create_trial(
            params=trial.params, distributions=trial.distributions, value=trial.value, constraints=trial.constraints,
            user_attrs={**trial.user_attrs, "rerun_of": 1},
        )
    )  # fmt: skip

    assert rerun_trial("small", 3, out=out).equal


def test_what_differs_is_told_with_its_largest_and_what_is_known_to_matter(out: Path) -> None:
    study, _ = open_study("small", out=out)
    curve = study.get_trials()[1].user_attrs["curve"]
    change(out, 1, "curve", [{**point, "score": point["score"] + 0.5 * i} for i, point in enumerate(curve)])
    facts = StudyFacts(study)
    facts.versions = {**facts.versions, "torch": "1.0"}
    StudyFolder.of(out, "small").packs.write_text(
        '{"worker": 0, "pack": 4, "seconds": {"1": 1.0, "4": 0.5}}\n'
        '{"worker": 0, "seconds": 2.0, "compiled_seconds": 1.0, "failure": ""}\n',
        encoding="utf-8",
    )
    auto = open_study("small", out=out)[1]
    facts.config = auto.model_copy(update={"search": auto.search.model_copy(update={"pack": "auto"})})
    change(out, 1, "host", "another")

    again = rerun_trial("small", 1, out=out)

    (found,) = again.differences
    assert not again.equal
    assert (found.what, found.episodes, found.now) == ("score", 32, curve[1]["score"])
    assert found.before == found.now + 0.5
    pack, compiled, host, versions = again.reasons
    assert pack == "it was trained in a pack of up to 4 trials, and now alone"
    assert compiled == "its learning pass may have been compiled, and is not now"
    assert host == "it was trained on another, whose processor may add in another order"
    assert versions.startswith("the study was begun with other versions: torch 1.0, now ")


@pytest.mark.parametrize("ending", ["diverged", "crashed"])
def test_another_ending_is_not_equal(out: Path, ending: str) -> None:
    change(out, 1, "ending", ending)

    again = rerun_trial("small", 1, out=out)

    assert not again.equal
    assert (again.before, again.now, again.differences) == (ending, "completed", ())


def test_a_trial_whose_files_have_changed_is_not_trained_again(out: Path) -> None:
    study, _ = open_study("small", out=out)
    facts = StudyFacts(study)
    facts.inputs = {**facts.inputs, "task.path": "of something else"}

    with pytest.raises(StudyMismatchError, match=r"content\.task\.path: 'of something else' before"):
        rerun_trial("small", 1, out=out)


def test_only_a_trial_that_has_ended_is_trained_again(out: Path) -> None:
    study, config = open_study("small", out=out)
    study.ask(config.space.distributions())
    change(out, 1, "ending", "lost")
    with study._storage._backend.engine.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE trials SET state = 'FAIL' WHERE number = 1")
    refusals = {
        1: "was cut off and ran again under another number",
        3: "is running",
        9: "is not there",
    }

    for number, what in refusals.items():
        with pytest.raises(PPOTuneError) as refused:
            rerun_trial("small", number, out=out)
        assert str(refused.value) == (
            f"trial {number} of study 'small' {what}, and only one that has ended can be trained again: 0, 2"
        )


def point(episodes: int, score: float, kl: float, gold: float | None = None) -> CurvePoint:
    judges = {} if gold is None else {"gold": JudgeScore(gold, 0.1)}
    return CurvePoint(
        score=score,
        score_error=0.1,
        kl=kl,
        response_tokens=3.0,
        judges=judges,
        episodes=episodes,
        seconds=episodes,
    )


def test_differences_are_the_largest_of_each_number_and_nan_is_itself() -> None:
    nan = float("nan")
    before = [point(8, 1.0, nan, 0.5), point(16, 2.0, 1.0, 0.5), point(24, 3.0, 1.0)]
    now = [point(8, 1.25, nan, 0.5), point(16, 1.0, nan, 0.75)]

    assert list(differences(before, now))[:1] == [Difference("score", 16, 2.0, 1.0)]
    assert [(d.what, d.episodes) for d in differences(before, now)] == [
        ("score", 16),
        ("kl", 16),
        ("gold", 16),
    ]
    assert list(differences(before, before)) == []
