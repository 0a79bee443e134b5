"""What is written of a trial and of a study is what is read back, under the keys that old studies have."""

from dataclasses import fields

import optuna
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import Study

from ppo_tune.search.facts import (
    HELDOUT,
    CurvePoint,
    HeldOut,
    TrialFacts,
    heldout_facts,
    point_of,
    read_heldout,
    write_ended,
)
from ppo_tune.search.study_facts import Chosen, StudyFacts
from ppo_tune.trainer.evaluation import Evaluation, Sample


def evaluation(scores: list[float], golds: list[float] | None) -> Evaluation:
    samples = tuple(
        Sample(f"p{i}", "r", score, golds[i] if golds else None) for i, score in enumerate(scores)
    )
    return Evaluation(
        score=1.5, score_standard_error=0.25, gold=0.5 if golds else None, kl_per_sequence=2.0, response_tokens=9.0,
        eos_rate=0.75, samples=samples, gold_standard_error=0.125 if golds else None,
    )  # fmt: skip


def a_study() -> Study:
    return optuna.create_study(direction="maximize")


def test_a_result_has_every_number_of_an_evaluation() -> None:
    numbers = {field.name for field in fields(HeldOut)} - {"scores", "golds"}

    assert set(HELDOUT) == numbers
    assert set(HELDOUT.values()) == set(evaluation([1.0, 2.0], [0.0, 1.0]).metrics())


def test_a_result_is_read_back_as_it_was_written() -> None:
    found = read_heldout(heldout_facts(evaluation([1.0, 2.0], [0.0, 1.0])))

    assert found == HeldOut(
        score=1.5, score_error=0.25, gold=0.5, gold_error=0.125, kl=2.0, response_tokens=9.0, eos_rate=0.75,
        scores=[1.0, 2.0], golds=[0.0, 1.0],
    )  # fmt: skip


def test_without_a_gold_judge_there_is_no_gold() -> None:
    found = read_heldout(heldout_facts(evaluation([1.0], None)))

    assert found is not None
    assert (found.gold, found.gold_error, found.golds) == (None, None, [None])


def test_who_was_never_scored_has_no_result() -> None:
    assert read_heldout({"ending": "diverged"}) is None


@given(st.lists(st.tuples(st.floats(-9, 9), st.none() | st.floats(-9, 9)), max_size=4))
def test_a_curve_is_read_back_as_it_was_written(scored: list[tuple[float, float | None]]) -> None:
    curve = [
        CurvePoint(episodes=64 * i, seconds=2.0 * i, score=score, score_error=0.1, gold=gold, gold_error=gold, kl=1.0,
                   response_tokens=9.0)
        for i, (score, gold) in enumerate(scored)
    ]  # fmt: skip
    trial = a_study().ask()

    TrialFacts(trial).curve = curve

    facts = TrialFacts(trial)
    assert facts.curve == curve
    assert facts.last == (curve[-1] if curve else None)


def test_a_milestone_is_stored_under_the_names_of_version_0_1_0() -> None:
    trial = a_study().ask()

    TrialFacts(trial).curve = [point_of(evaluation([1.0, 2.0], [0.0, 1.0]), 64, 3.0)]

    assert trial.user_attrs["curve"] == [
        {"episodes": 64, "score": 1.5, "gold": 0.5, "kl": 2.0, "seconds": 3.0, "score_error": 0.25, "gold_error": 0.125,
         "response_tokens": 9.0}
    ]  # fmt: skip


def test_a_trial_is_stored_under_the_names_of_version_0_1_0() -> None:
    trial = a_study().ask()

    facts = TrialFacts(trial)
    facts.config, facts.score_std = {"gamma": 1.0}, 0.5
    write_ended(trial, "completed", "", episodes=64, tokens=700, seconds=9.0, judged=evaluation([1.0], None))

    assert trial.user_attrs == {
        "config": {"gamma": 1.0}, "score_std": 0.5, "ending": "completed", "reason": "", "episodes": 64, "tokens": 700,
        "seconds": 9.0, "heldout/score": 1.5, "heldout/score_standard_error": 0.25, "heldout/kl_per_sequence": 2.0,
        "heldout/response_tokens": 9.0, "heldout/eos_rate": 0.75, "scores": [1.0], "golds": [None],
    }  # fmt: skip


def test_a_running_trial_is_seen_at_its_last_milestone_and_an_ended_one_at_its_end() -> None:
    trial, judged = a_study().ask(), evaluation([1.0], None)
    TrialFacts(trial).curve = [point_of(judged, 64, 3.0)]
    running = TrialFacts(trial)
    write_ended(trial, "completed", "", episodes=64, tokens=700, seconds=9.0, judged=judged)
    ended = TrialFacts(trial)

    assert (running.seen, running.heldout) == (running.last, None)
    assert ended.seen == ended.heldout != ended.last


def test_a_study_keeps_what_is_written_under_the_names_of_version_0_1_0() -> None:
    study = a_study()
    facts = StudyFacts(study)

    facts.inputs, facts.versions, facts.n_seeds = {"task.path": "abc"}, {"torch": "2"}, 5
    facts.chosen = {3: Chosen({"gamma": 1.0}, 0.5, True)}
    facts.untrained = [0.5], [None]

    again = StudyFacts(study)
    assert (again.inputs, again.versions, again.n_seeds) == ({"task.path": "abc"}, {"torch": "2"}, 5)
    assert (again.chosen, again.untrained) == (facts.chosen, ([0.5], [None]))
    assert study.user_attrs == {
        "inputs": {"task.path": "abc"}, "versions": {"torch": "2"}, "seeds": 5,
        "base": {"scores": [0.5], "golds": [None]},
        "candidates": {"3": {"params": {"gamma": 1.0}, "search_score": 0.5, "is_default": True}},
    }  # fmt: skip


def test_a_study_of_somebody_else_has_no_experiment() -> None:
    facts = StudyFacts(a_study())

    assert (facts.config, facts.score_std, facts.untrained, facts.chosen) == (None, None, None, {})
