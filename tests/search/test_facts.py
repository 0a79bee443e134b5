"""What is written of a trial and of a study is what is read back, under the keys that old studies have."""

import math
from dataclasses import fields

import optuna
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import Study

from ppo_tune.search.facts import Chosen, StudyFacts, TrialFacts
from ppo_tune.search.heldout import (
    HELDOUT,
    CurvePoint,
    HeldOut,
    JudgeScore,
    heldout_facts,
    point_of,
    read_heldout,
)
from ppo_tune.trainer.evaluation import Evaluation, Judgement, Sample


def evaluation(scores: list[float], **judges: list[float]) -> Evaluation:
    samples = tuple(
        Sample(f"p{i}", "r", score, {name: given[i] for name, given in judges.items()})
        for i, score in enumerate(scores)
    )
    return Evaluation(
        score=1.5, score_standard_error=0.25, kl_per_sequence=2.0, response_tokens=9.0, eos_rate=0.75, samples=samples,
        judges={name: Judgement(0.5 + i, 0.125) for i, name in enumerate(judges)},
    )  # fmt: skip


def a_study() -> Study:
    return optuna.create_study(direction="maximize")


def test_a_result_has_every_number_of_an_evaluation() -> None:
    numbers = {field.name for field in fields(HeldOut)} - {"scores", "judges"}

    assert set(HELDOUT) == numbers
    assert set(HELDOUT.values()) == set(evaluation([1.0, 2.0]).metrics())


def test_a_result_is_read_back_as_it_was_written() -> None:
    found = read_heldout(heldout_facts(evaluation([1.0, 2.0], gold=[0.0, 1.0], safety=[3.0, 5.0])))

    assert found == HeldOut(
        score=1.5, score_error=0.25, kl=2.0, response_tokens=9.0, eos_rate=0.75, scores=[1.0, 2.0],
        judges={"gold": JudgeScore(0.5, 0.125, [0.0, 1.0]), "safety": JudgeScore(1.5, 0.125, [3.0, 5.0])},
    )  # fmt: skip


def test_without_judges_there_are_none() -> None:
    found = read_heldout(heldout_facts(evaluation([1.0])))

    assert found is not None
    assert found.judges == {}
    assert math.isnan(found.by("gold").mean)


def test_what_version_0_1_0_stored_without_a_gold_judge_is_no_judge() -> None:
    stored = {"heldout/score": 1.0, "scores": [1.0, 2.0], "golds": [None, None]}
    found = read_heldout(stored)

    assert found is not None
    assert (found.scores, found.judges) == ([1.0, 2.0], {})


def test_who_was_never_scored_has_no_result() -> None:
    assert read_heldout({"ending": "diverged"}) is None


@given(st.lists(st.tuples(st.floats(-9, 9), st.none() | st.floats(-9, 9)), max_size=4))
def test_a_curve_is_read_back_as_it_was_written(scored: list[tuple[float, float | None]]) -> None:
    curve = [
        CurvePoint(episodes=64 * i, seconds=2.0 * i, score=score, score_error=0.1, kl=1.0, response_tokens=9.0,
                   judges={} if gold is None else {"gold": JudgeScore(gold, 0.5), "kind-ness": JudgeScore(1.0, None)})
        for i, (score, gold) in enumerate(scored)
    ]  # fmt: skip
    trial = a_study().ask()

    TrialFacts(trial).curve = curve

    facts = TrialFacts(trial)
    assert facts.curve == curve
    assert facts.last == (curve[-1] if curve else None)


def test_a_milestone_is_stored_under_the_names_of_version_0_1_0() -> None:
    trial = a_study().ask()

    TrialFacts(trial).curve = [point_of(evaluation([1.0, 2.0], gold=[0.0, 1.0]), 64, 3.0)]

    assert trial.user_attrs["curve"] == [
        {"episodes": 64, "score": 1.5, "gold": 0.5, "kl": 2.0, "seconds": 3.0, "score_error": 0.25, "gold_error": 0.125,
         "response_tokens": 9.0}
    ]  # fmt: skip


def test_a_trial_is_stored_under_the_names_of_version_0_1_0() -> None:
    trial = a_study().ask()

    facts = TrialFacts(trial)
    facts.config, facts.score_std = {"gamma": 1.0}, 0.5
    facts.ending, facts.reason = "completed", ""
    facts.episodes, facts.tokens, facts.seconds = 64, 700, 9.0
    facts.write_heldout(evaluation([1.0], gold=[0.25]))

    assert trial.user_attrs == {
        "config": {"gamma": 1.0}, "score_std": 0.5, "ending": "completed", "reason": "", "episodes": 64, "tokens": 700,
        "seconds": 9.0, "heldout/score": 1.5, "heldout/score_standard_error": 0.25, "heldout/kl_per_sequence": 2.0,
        "heldout/response_tokens": 9.0, "heldout/eos_rate": 0.75, "heldout/gold": 0.5,
        "heldout/gold_standard_error": 0.125,
        "scores": [1.0], "golds": [0.25],
    }  # fmt: skip


def test_a_running_trial_is_seen_at_its_last_milestone_and_an_ended_one_at_its_end() -> None:
    trial, judged = a_study().ask(), evaluation([1.0])
    TrialFacts(trial).curve = [point_of(judged, 64, 3.0)]
    running = TrialFacts(trial)
    running.write_heldout(judged)
    ended = TrialFacts(trial)

    assert (running.seen, running.heldout) == (running.last, None)
    assert ended.seen == ended.heldout != ended.last


def test_a_study_keeps_what_is_written_under_the_names_of_version_0_1_0() -> None:
    study = a_study()
    facts = StudyFacts(study)

    facts.inputs, facts.versions, facts.n_seeds = {"task.path": "abc"}, {"torch": "2"}, 5
    facts.chosen = {3: Chosen({"gamma": 1.0}, 0.5, True)}
    facts.untrained = [0.5], {"gold": [0.25], "safety": [1.0]}

    again = StudyFacts(study)
    assert (again.inputs, again.versions, again.n_seeds) == ({"task.path": "abc"}, {"torch": "2"}, 5)
    assert (again.chosen, again.untrained) == (facts.chosen, ([0.5], {"gold": [0.25], "safety": [1.0]}))
    assert study.user_attrs == {
        "inputs": {"task.path": "abc"}, "versions": {"torch": "2"}, "seeds": 5,
        "base": {"scores": [0.5], "golds": [0.25], "judged": {"safety": [1.0]}},
        "candidates": {"3": {"params": {"gamma": 1.0}, "search_score": 0.5, "is_default": True}},
    }  # fmt: skip


def test_a_study_of_somebody_else_has_no_experiment() -> None:
    facts = StudyFacts(a_study())

    assert (facts.config, facts.score_std, facts.untrained, facts.chosen) == (None, None, None, {})
