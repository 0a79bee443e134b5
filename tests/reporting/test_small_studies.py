# mypy: ignore-errors
"""What the page says of studies that failed, still run, are small, are a grid, or search one hyperparameter."""

import json
from typing import Any

import pytest

from ppo_tune.config.methods import GridSamplerConfig
from ppo_tune.config.space import Space
from ppo_tune.reporting.chapters import values
from ppo_tune.reporting.chapters.health import dynamics
from ppo_tune.reporting.chapters.importance import chapter as importance
from ppo_tune.reporting.chapters.results.verdict import results_table
from ppo_tune.reporting.page import Page, build_chapters, study_page
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Section
from tests.reporting.conftest import HandMade, fill_all_failed


def sections(record: StudyRecord) -> dict[str, Section]:
    """All sections of the page, by anchor."""
    return {section.anchor: section for chapter in build_chapters(record) for section in chapter.sections}


def page(record: StudyRecord) -> Page:
    return study_page(record, build_chapters(record))


def log(made: HandMade, number: int, iterations: int, kl: float) -> None:
    """Leave the log of so many iterations, as a trial under way or over has it."""
    folder = made.folder / "trials" / f"{number:04d}"
    folder.mkdir(parents=True)
    fixed = {"objective/score_mean": 0.1, "objective/kl_per_sequence": kl, "policy/optimizer_steps": 4}
    lines = [
        {**fixed, "episodes": 64 * i, "tokens": 500 * i, "time/seconds": 1.5 * i}
        for i in range(1, iterations + 1)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")


def test_a_study_in_which_everything_failed_is_over_and_says_what_to_change(hand_made: HandMade) -> None:
    record = fill_all_failed(hand_made).record()

    assert list(page(record).headline) == [
        "No trial was completed within the KL budget of 0.05 nats (6 ended at the KL limit).",
        "In a new study lower learning_rate, raise kl_coef or raise search.kl_budget (0.05 nats now).",
    ]
    assert record.verdict.kind == "nothing_feasible"


@pytest.mark.parametrize(
    ("ending", "advice"),
    [
        ("diverged", "In a new study lower learning_rate."),
        ("out_of_memory", "In a new study lower ppo.rollout_size or ppo.max_new_tokens."),
        ("reward_error", "Mend the reward: why reward_error."),
        ("crashed", "See why its workers died: why crashed."),
    ],
)
def test_the_way_out_is_that_of_what_most_trials_failed_of(
    hand_made: HandMade, ending: str, advice: str
) -> None:
    for _ in range(6):
        hand_made.add(ending, [])
    for _ in range(2):
        hand_made.add("kl_limit", [0.1], kl=9.0)

    verdict = hand_made.record().verdict

    assert (verdict.kind, verdict.advice) == ("nothing_feasible", advice)


def test_a_study_that_is_not_over_may_still_find_something(hand_made: HandMade) -> None:
    hand_made.add("kl_limit", [0.1], kl=9.0)

    verdict = hand_made.record().verdict

    assert verdict.kind == "open"
    assert verdict.sentence == "No trial has been completed within the KL budget of 3 nats yet."
    assert verdict.advice == ""


def test_too_few_iterations_show_no_soundness_and_kl_beyond_the_budget_is_a_sign(hand_made: HandMade) -> None:
    fill_all_failed(hand_made)
    log(hand_made, 0, 2, kl=4.7)
    log(hand_made, 1, 2, kl=0.01)

    record = hand_made.record()
    words = dynamics.dynamics_reading(dynamics.read_courses(record), record.config.ppo, 0.05)

    assert "None of these trials" not in words
    assert "Trial 0 (best): KL ended at 4.7 nats, beyond the budget of 0.05." in words
    assert (
        "Too few iterations (fewer than 8) to say whether training was sound: trial 0 (best), trial 1 (worst)."
        in words
    )


def test_without_a_winner_nothing_is_said_of_edges(hand_made: HandMade) -> None:
    found = sections(fill_all_failed(hand_made).record())

    assert "Neither the winner" not in found["slices"].reading
    assert found["slices"].reading.startswith(
        "No trial was completed within the KL budget, so there are no good values to look at."
    )


def test_a_running_study_says_how_far_it_is(hand_made: HandMade) -> None:
    """The default is under way at its second milestone, and its log knows what it cost."""
    hand_made.add("running", [0.3, 0.4], gold=[0.5, 0.6], baseline=True)
    log(hand_made, 0, 5, kl=1.0)

    record = hand_made.record()
    row = results_table(record).set_index("what").loc["default config (trial 0, still running)"]

    assert "not over, 0 of 8 trials so far, 1 still running, by GP" in page(record).kind
    assert (row["score"], row["gold"], row["kl"]) == (0.4, 0.6, 1.0)
    assert record.table.loc[0, ["episodes", "tokens", "seconds"]].tolist() == [320, 2500, 7.5]
    failing = sections(record)["importance-failing"].reading
    assert failing == "No trial has ended yet in a way that could say why trials fail."


def space(made: HandMade, params: dict[str, Any], **search: Any) -> None:
    """Search something else, another way."""
    block = made.config.search.model_copy(update=search)
    made.config = made.config.model_copy(update={"space": Space.model_validate(params), "search": block})


def test_a_single_hyperparameter_has_no_importance(hand_made: HandMade) -> None:
    space(hand_made, {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}})
    for i in range(14):
        hand_made.add("completed", [0.1 * i] * 5, params={"learning_rate": 1e-4 * (i + 1)})
    record = hand_made.record()

    assert importance.chapter(record).sections == ()
    assert [section.anchor for section in values.chapter(record).sections] == ["slices"]


def test_a_grid_shows_its_cells_with_means_and_says_what_repeats(hand_made: HandMade) -> None:
    """Three rates by two coefficients; the default is a cell too, and two more trials than cells were run."""
    rates, coefs = [1e-4, 3e-4, 1e-3], [0.05, 0.2]
    choices = {"learning_rate": rates, "kl_coef": coefs}
    params = {name: {"type": "categorical", "choices": values} for name, values in choices.items()}
    space(hand_made, params, sampler=GridSamplerConfig(name="grid"), n_trials=9)
    cells = [{"learning_rate": rate, "kl_coef": coef} for rate in rates for coef in coefs]
    hand_made.add("completed", [0.2] * 5, params=cells[1], baseline=True)
    for i, cell in enumerate([*cells, cells[0], cells[2]]):
        hand_made.add("completed", [0.1 * i] * 5, params=cell, kl=3.5 if i == 5 else 1.0)
    record = hand_made.record()

    found = sections(record)
    table = found["cells"].table
    means = found["marginals"].table

    assert found["cells"].reading.startswith(
        "6 of 6 cells have a completed trial, 5 of them within the KL budget. 2 trials repeat cells of the grid, for "
        "there are more trials than cells."
    )
    assert found["importance-score"].reading.endswith("A grid is read from its cells.")
    assert page(record).kind.endswith(
        "2 trials repeat cells of the grid, for there are more trials than cells."
    )
    assert table is not None
    assert table["score"].round(6).tolist() == [
        0.45,
        0.4,
        0.3,
        0.3,
        0.15,
        0.5,
    ]  # the last is beyond the budget
    trials = table.set_index(["learning_rate", "kl_coef"])["trials"]
    assert trials["0.0003", "0.05"] == trials["0.0001", "0.2"] == 2
    assert trials["0.001", "0.05"] == trials["0.001", "0.2"] == 1
    assert means is not None
    by_value = means.set_index(["name", "value"])["score"].round(6)
    assert by_value["learning_rate", "0.0001"] == pytest.approx((0.3 + 0.15) / 2)
    assert by_value["kl_coef", "0.05"] == pytest.approx((0.3 + 0.45 + 0.4) / 3)
