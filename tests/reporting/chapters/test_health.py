# mypy: ignore-errors
"""Endings with their reasons, what they cost, and what stopping early spared."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.files import append_json_line
from ppo_tune.reporting.analysis.spend import spend_table
from ppo_tune.reporting.chapters.health import chapter as health
from ppo_tune.search.results import STATES
from tests.reporting.conftest import HandMade


def spend(*rows: tuple[str, str, int, float]) -> pd.DataFrame:
    """Trials by ending, reason, episodes and seconds; a token per episode."""
    table = pd.DataFrame(rows, columns=["ending", "reason", "episodes", "seconds"])
    return table.assign(number=range(len(rows)), tokens=table["episodes"])


def test_the_ledger_adds_up(usual: HandMade) -> None:
    ledger = health.ledger_table(spend_table(usual.record()), 640).set_index("ending")

    assert ledger["trials"].to_dict() == {
        "completed": 3, "pruned": 1, "diverged": 1, "kl_limit": 1, "running": 1, "total": 7,
    }  # fmt: skip
    assert ledger.loc["completed", ["episodes", "tokens", "seconds"]].tolist() == [3 * 640, 15_000, 14.0]
    assert ledger.loc["total", ["episodes", "tokens", "seconds"]].tolist() == [2432, 18_000, 16.25]


def test_what_was_spared_goes_at_each_trials_own_pace(usual: HandMade) -> None:
    ledger = health.ledger_table(spend_table(usual.record()), 640).set_index("ending")

    assert ledger["episodes_spared"].dropna().to_dict() == {
        "pruned": 640 - 256, "diverged": 640, "kl_limit": 640 - 128, "total": 1536,
    }  # fmt: skip
    assert ledger.loc["pruned", "seconds_spared"] == (640 - 256) * 1.0 / 256
    assert ledger.loc["kl_limit", "seconds_spared"] == (640 - 128) * 0.5 / 128
    median = (4 / 640 + 1 / 256) / 2  # of 4/640, twice 5/640 and thrice 1/256 seconds per episode
    assert ledger.loc["diverged", "seconds_spared"] == pytest.approx(640 * median)


def test_the_ledger_is_told_in_words(usual: HandMade) -> None:
    words = health.ledger_reading(health.ledger_table(spend_table(usual.record()), 640))

    assert words == (
        "7 trials used 2,432 episodes, 18,000 response tokens and 16 seconds of trial time, in which trials that "
        "train side by side each count their own. Stopping early spared 1,536 of 3,968 episodes (39 %): 384 by the "
        "pruner, 512 by the KL limit, 640 by divergence. At each trial's own pace that is 6.8 seconds of trial time."
    )


def test_a_search_that_stopped_nothing_spared_nothing() -> None:
    ledger = health.ledger_table(spend(("completed", "", 640, 2.0), ("crashed", "why", 64, 1.0)), 640)

    assert health.ledger_reading(ledger).endswith("No trial was stopped early, so nothing was spared.")


def test_trials_that_cost_nothing_have_no_pace() -> None:
    ledger = health.ledger_table(spend(("diverged", "at once", 0, 0.0)), 640)

    assert ledger["episodes_spared"].tolist() == [640, 640]
    assert "spared 640 of 640 episodes (100 %)" in health.ledger_reading(ledger)
    assert "pace" not in health.ledger_reading(ledger)


def test_a_lost_trial_costs_what_its_log_says(usual: HandMade) -> None:
    number = usual.add("running", [0.2])
    frozen = next(t for t in usual.study.trials if t.number == number)
    usual.study._storage.set_trial_user_attr(frozen._trial_id, "ending", "lost")
    usual.study.tell(number, state=STATES["lost"])
    folder = usual.folder / "trials" / f"{number:04d}"
    folder.mkdir(parents=True)
    for i in (1, 2):
        append_json_line(folder / "metrics.jsonl", {
            "episodes": 64 * i, "tokens": 500 * i, "objective/score_mean": 0.1, "time/seconds": 1.5 * i,
        })  # fmt: skip

    table = spend_table(usual.record()).set_index("number")

    assert table.loc[number, ["ending", "episodes", "tokens", "seconds"]].tolist() == ["lost", 128, 1000, 3.0]
    words = health.endings_reading(table.reset_index())
    assert words.startswith(
        "7 trials: 3 completed, 1 pruned, 1 diverged, 1 over the KL limit, 1 still running."
    )
    assert "Besides, 1 were cut off (1 with their worker, 0 by the user) and ran again" in words
    assert "8 trials, those cut off included, used" in health.ledger_reading(
        health.ledger_table(table.reset_index(), 640)
    )


def test_failures_are_counted_by_their_reason_whatever_the_numbers() -> None:
    table = health.endings_table(
        spend(
            ("reward_error", "nan at sample 12", 64, 1.0),
            ("completed", "", 640, 6.0),
            ("reward_error", "returned 3 scores for 64 responses", 64, 1.0),
            ("reward_error", "nan at sample 13", 64, 2.0),
        )
    )

    assert table.to_dict("records") == [
        {"ending": "completed", "trials": 1, "share_of_seconds": 0.6, "example": "trial 1",
         "reason": "reached its budget"},
        {"ending": "reward_error", "trials": 2, "share_of_seconds": 0.3, "example": "trial 0",
         "reason": "nan at sample 12"},
        {"ending": "reward_error", "trials": 1, "share_of_seconds": 0.1, "example": "trial 2",
         "reason": "returned 3 scores for 64 responses"},
    ]  # fmt: skip


def test_rare_reasons_are_told_together_and_long_ones_are_cut() -> None:
    reasons = ["a", "a", "b", "c", "d", "e" * 900]
    table = health.endings_table(spend(*(("reward_error", reason, 64, 1.0) for reason in reasons)))

    assert table["trials"].tolist() == [2, 1, 1, 2]
    assert table["reason"].tolist() == ["a", "b", "c", "2 other reasons"]
    table = health.endings_table(spend(("reward_error", "e" * 900, 64, 1.0)))
    assert table["reason"].tolist() == ["e" * (health.MAX_LETTERS - 1) + "…"]


@given(
    st.lists(
        st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)), min_size=2, max_size=2
    )
)
def test_reasons_that_differ_in_a_number_are_of_one_kind(numbers: list[float]) -> None:
    one, other = (
        health.kind_of(f"KL {number} beyond 4 nats at 0x7f{abs(int(numbers[0])) % 16:x}")
        for number in numbers
    )

    assert one == other


def test_reasons_that_differ_in_a_word_are_of_two_kinds() -> None:
    assert health.kind_of("nan at sample 1") != health.kind_of("inf at sample 1")


def test_failures_are_told_apart_from_what_a_search_learns_from() -> None:
    words = health.endings_reading(
        spend(("pruned", "", 1, 1.0), ("out_of_memory", "", 1, 1.0), ("crashed", "", 1, 1.0))
    )

    assert words == (
        "3 trials: 1 pruned, 1 out of memory, 1 crashed. 2 failed, which teaches the sampler nothing; the table says "
        "why."
    )


def test_a_study_without_trials_has_no_chapter(hand_made: HandMade) -> None:
    assert health.chapter(hand_made.record()).sections == ()


def test_the_chapter_tells_endings_cost_and_workers(usual: HandMade) -> None:
    sections = health.chapter(usual.record()).sections

    assert [section.anchor for section in sections] == ["endings", "cost", "timeline"]
    assert all(section.reading for section in sections)
