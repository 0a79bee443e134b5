"""Score against gold: changes with their intervals, flags, the worst offender, and the chapter."""

import math

import numpy as np
import pytest
from scipy import stats

from ppo_tune.reporting.analysis import overoptimisation as over
from ppo_tune.reporting.analysis.exploitation import trials_tables, worst_offender
from ppo_tune.reporting.analysis.paired_changes import Judged, change
from ppo_tune.reporting.chapters.hacking import chapter as hacking
from ppo_tune.reporting.chapters.hacking.judges import changes_reading
from tests.reporting.chapters.judged import add, write_base
from tests.reporting.conftest import HandMade


def judged(score: float = 0.0, *, error: float = math.nan, scores: tuple[float | None, ...] = ()) -> Judged:
    return Judged({"score": score, "gold": math.nan}, {"score": error, "gold": math.nan},
                  {"score": scores, "gold": ()}, 1.0, max(len(scores), 1))  # fmt: skip


def flags(hand_made: HandMade) -> list[str]:
    return over.changes_table(hand_made.record(), "gold")["flag"].tolist()


def test_two_models_are_compared_prompt_by_prompt() -> None:
    before, after = (0.1, 0.9, 2.0, -1.0, 0.5, 0.0, 1.5), (0.4, 1.0, 2.5, -0.2, 0.9, 0.1, 1.4)

    found = change(
        judged(float(np.mean(before)), scores=before), judged(float(np.mean(after)), scores=after), "score"
    )

    expected = stats.ttest_rel(after, before).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(np.mean(after) - np.mean(before))


def test_without_single_scores_the_standard_errors_are_added_as_if_independent() -> None:
    found = change(judged(1.0, error=0.3), judged(2.0, error=0.4), "score")

    assert (found.low, found.high) == pytest.approx((1 - 1.959964 * 0.5, 1 + 1.959964 * 0.5), abs=1e-6)


def test_a_pruned_trial_is_compared_on_the_first_prompts_which_it_answered() -> None:
    before, after = (0.1, 0.9, 2.0, -1.0, 0.5, 0.0, 1.5, 9.0, 9.0), (0.4, 1.0, 2.5, -0.2, 0.9, 0.1, 1.4)

    found = change(judged(1.0, scores=before), judged(float(np.mean(after)), scores=after), "score")

    expected = stats.ttest_rel(after, before[:7]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_scores_of_other_prompts_are_not_paired() -> None:
    found = change(judged(error=0.3, scores=(0.0,) * 8), judged(1.0, error=0.4, scores=(1.0,) * 9), "score")

    assert found.error == pytest.approx(0.5)


def test_changes_are_those_against_the_untrained_model(hand_made: HandMade) -> None:
    write_base(hand_made, **{"heldout/score": -0.5, "heldout/gold": 0.3})
    add(hand_made, [0.1, 1.0], [0.2, 0.7])

    row = over.changes_table(hand_made.record(), "gold").iloc[0]

    assert (row["score_change"], row["judge_change"]) == pytest.approx((1.5, 0.4))
    assert row["judge_high"] - row["judge_low"] == pytest.approx(2 * 1.959964 * 0.1 * 2**0.5, abs=1e-6)


def test_a_trial_is_flagged_where_its_score_rose_and_gold_fell_beyond_their_intervals(
    hand_made: HandMade,
) -> None:
    write_base(hand_made)
    add(hand_made, [1.0], [-0.4])  # reach of both: 1.96 · 0.141 = 0.277
    add(hand_made, [1.0], [-0.2])
    add(hand_made, [0.2], [-0.4])
    add(hand_made, [-1.0], [-0.4])
    add(hand_made, [1.0], [0.4])

    assert flags(hand_made) == [over.fell("gold"), "", "", "", ""]


def test_a_trial_is_flagged_where_gold_fell_from_its_own_peak_while_the_score_rose(
    hand_made: HandMade,
) -> None:
    write_base(hand_made)
    add(hand_made, [0.5, 1.0], [1.0, 0.5])
    add(hand_made, [1.0, 1.0], [1.0, 0.5])  # the score did not rise
    add(hand_made, [0.5, 1.0], [1.0, 0.7])  # 0.3 is within 2.24 · 0.141, the reach for two milestones
    add(hand_made, [0.5, 1.0], [0.5, 1.0])

    assert flags(hand_made) == [over.PAST, "", "", ""]


def test_the_best_of_more_milestones_must_lead_by_more(hand_made: HandMade) -> None:
    write_base(hand_made)
    add(hand_made, [0.5, 1.0], [1.0, 0.66])  # 0.34: beyond 2.24 · 0.141 = 0.317
    add(hand_made, [0.5, *[0.7] * 8, 1.0], [1.0, *[0.9] * 8, 0.66])  # within 2.81 · 0.141 = 0.397

    assert flags(hand_made) == [over.PAST, ""]


def test_nothing_is_flagged_where_errors_are_not_known(hand_made: HandMade) -> None:
    write_base(hand_made, **{"heldout/gold_standard_error": None})
    add(hand_made, [1.0, 5.0], [3.0, -3.0], error=math.nan)

    record = hand_made.record()
    changes = over.changes_table(record, "gold")

    assert changes["flag"].tolist() == [""]
    assert "1 trials cannot be judged: gold's standard error is not known." in changes_reading(
        changes, None, 64, "gold", "reward"
    )


def test_the_worst_offender_is_the_flagged_trial_whose_gold_ended_lowest(hand_made: HandMade) -> None:
    write_base(hand_made)
    add(hand_made, [3.0], [-9.0], [0.5], baseline=True)  # the default is shown anyway
    add(hand_made, [2.0], [-0.5], [0.5])
    add(hand_made, [1.9], [-1.5], [4.0])
    add(hand_made, [2.0], [-2.0], [4.0], error=5.0)  # lower, but within its interval
    add(hand_made, [2.0], [-3.0], [4.0], ending="running")
    record = hand_made.record()

    worst = worst_offender(record)

    assert worst is not None
    assert worst.number == 2


def test_the_winner_is_the_worst_offender_only_if_it_is_flagged_and_lowest(hand_made: HandMade) -> None:
    write_base(hand_made)
    add(hand_made, [0.1], [0.0], [0.5], baseline=True)
    add(hand_made, [2.0], [-0.5], [0.5])
    record = hand_made.record()
    worst = worst_offender(record)

    assert worst is not None
    assert record.winner is not None
    assert worst.number == record.winner.number == 1
    words = hacking.chapter(record).sections[0].reading
    assert "The best so far is the worst offender: trial 1, score +2.00 (+1.72 to +2.28), gold -0.50" in words


def test_without_a_flag_there_is_no_worst_offender(usual: HandMade) -> None:
    assert worst_offender(usual.record()) is None


def test_the_chapter_shows_trials_curves_and_kl(hand_made: HandMade) -> None:
    write_base(hand_made)
    add(hand_made, [0.5, 1.0], [0.2, 0.4], baseline=True)
    add(hand_made, [1.0, 2.0], [0.5, 0.6])
    add(hand_made, [1.0, 3.0], [0.3, -1.0], [3.0, 9.0])

    chapter = hacking.chapter(hand_made.record())

    assert [section.anchor for section in chapter.sections] == ["gold", "gold-curves", "gold-kl"]
    trials, curves, _ = chapter.sections
    assert trials.reading.startswith(
        "In 1 of 3 trials the reward rose and the gold score fell against the untrained"
    )
    assert (
        "in none gold fell from its own peak while the reward rose on (both beyond 95 %, 64 prompts; by luck"
        in trials.reading
    )
    assert (
        "Worst offender: trial 2, score +3.00 (+2.72 to +3.28), gold -1.00 (-1.28 to -0.72), at 9.0 nats"
        in (trials.reading)
    )
    assert "Best so far: trial 1, score +2.00" in trials.reading
    assert (
        "Worst offender: gold was highest at 3.0 nats (+0.30) and ended at -1.00 at 9.0 nats"
        in curves.reading
    )
    assert "Default: gold was highest at its end, +0.40 at 1.0 nats" in curves.reading
    assert trials.table is not None
    assert trials.table["role"].tolist() == ["default", "best so far", "worst offender"]
    assert curves.table is not None
    assert set(curves.table["role"]) == {"default", "best so far", "worst offender"}


def test_two_judges_that_disagree_have_a_negative_rank_correlation(hand_made: HandMade) -> None:
    write_base(hand_made)
    for i in range(12):
        add(hand_made, [1 + 0.1 * i], [-0.1 * i if i else -0.15])

    words = hacking.chapter(hand_made.record()).sections[0].reading

    # one swap of neighbours: 6 · 2 / (12 · 143) = 0.007 from -1; by Fisher's z 2.828 ± 1.96 · √((1 + 0.493) / 9)
    assert "Rank correlation of the two judges over 12 trials: -0.99 (-1.00 to -0.97)." in words


def test_without_the_untrained_model_the_chapter_says_so(hand_made: HandMade) -> None:
    add(hand_made, [1.0], [-1.0])

    (section,) = hacking.chapter(hand_made.record()).sections

    assert "base.json is not in the study's folder" in section.reading
    assert section.figure is None


def test_without_a_score_there_is_no_chapter(hand_made: HandMade) -> None:
    assert hacking.chapter(hand_made.record()).sections == ()


def test_marked_trials_come_first_and_the_page_says_where_all_are(hand_made: HandMade) -> None:
    write_base(hand_made)
    for i in range(60):
        add(hand_made, [1.0 + i], [1.0 - 0.001 * i])
    record = hand_made.record()

    section = hacking.chapter(record).sections[0]

    assert section.table is not None
    assert section.table["role"].tolist() == ["best so far"] + [""] * 59
    assert section.table["gold_change"].is_monotonic_increasing  # the winner's gold is lowest here
    assert (section.max_rows, section.all_rows) == (40, "hacking.csv")
    assert len(trials_tables(record)["hacking.csv"]) == 60
