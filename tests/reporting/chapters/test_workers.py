"""How busy the workers were, and which trial was slow."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.files import append_json_line
from ppo_tune.reporting.chapters.health import chapter as health
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.search.results import LOST, STATES
from tests.reporting.conftest import HandMade

MIDNIGHT = datetime(2026, 1, 1)


def trial(
    number: int, start: float, end: float | None, ending: str = "completed", pid: int = 1
) -> FrozenTrial:
    """A trial that ran from one second to another after midnight."""
    state = TrialState.RUNNING if end is None else STATES[ending]
    attrs: dict[str, Any] = {"host": "vm", "pid": pid}
    if end is not None:
        attrs["ending"] = ending
        attrs |= {} if ending in LOST else {"seconds": end - start, "episodes": 640}
    return FrozenTrial(
        number=number, trial_id=number, state=state, value=0.0 if state is TrialState.COMPLETE else None,
        datetime_start=MIDNIGHT + timedelta(seconds=start),
        datetime_complete=None if end is None else MIDNIGHT + timedelta(seconds=end),
        params={}, distributions={}, user_attrs=attrs, system_attrs={}, intermediate_values={},
    )  # fmt: skip


def record_of(hand_made: HandMade, *trials: FrozenTrial) -> StudyRecord:
    lost = [t for t in trials if t.user_attrs.get("ending") in LOST]
    return replace(hand_made.record(), trials=tuple(t for t in trials if t not in lost), lost=tuple(lost))


def log(hand_made: HandMade, number: int, seconds: float) -> None:
    """Let a trial have shown its last sign of life after so many seconds."""
    folder = hand_made.folder / "trials" / f"{number:04d}"
    folder.mkdir(parents=True)
    append_json_line(folder / "metrics.jsonl", {"objective/score_mean": 0.0, "time/seconds": seconds})


@pytest.fixture
def spans(hand_made: HandMade) -> pd.DataFrame:
    """Worker 1 trains two side by side and rests for 4 of 20 seconds; worker 2 trains one after the other."""
    return health.spans_table(record_of(
        hand_made, trial(0, 0, 10), trial(1, 2, 6, "pruned"), trial(2, 14, 20), trial(3, 1, 9, pid=2),
        trial(4, 9, 30, pid=2),
    ))  # fmt: skip


def test_workers_are_counted_by_their_first_trial(spans: pd.DataFrame) -> None:
    table = spans.set_index("number")

    assert table["worker"].to_dict() == {0: 1, 3: 2, 1: 1, 4: 2, 2: 1}
    assert table["start"].to_dict() == {0: 0, 3: 1, 1: 2, 4: 9, 2: 14}


def test_workers_are_idle_when_they_train_nothing(spans: pd.DataFrame) -> None:
    workers = health.workers_table(spans).set_index("worker")

    assert workers["trials"].tolist() == [3, 2]
    assert workers["seconds"].tolist() == [20.0, 29.0]
    assert workers["idle"].tolist() == pytest.approx([0.2, 0.0])
    assert workers["side_by_side"].tolist() == [20 / 16, 1.0]


def test_idle_workers_are_named(spans: pd.DataFrame) -> None:
    words = health.workers_reading(spans, health.workers_table(spans))

    assert words == (
        "2 workers searched for 30 seconds. From its first trial to its last, a worker had nothing to train in 10 % "
        "of the time on average; worker 1 most, in 20 %. While it trained, a worker had 1.1 trials side by side on "
        "average."
    )


def test_a_night_between_two_searches_is_left_out(hand_made: HandMade) -> None:
    night = 36_000
    spans = health.spans_table(record_of(
        hand_made, trial(0, 0, 300), trial(1, night, night + 100, pid=2), trial(2, night + 50, night + 400, pid=2),
    ))  # fmt: skip

    assert spans["start"].tolist() == [0, 300, 350]
    assert spans["end"].tolist() == [300, 400, 700]
    assert spans["session"].tolist() == [0, 1, 1]
    assert "interrupted 1 time, which is left out." in health.workers_reading(
        spans, health.workers_table(spans)
    )


def test_a_short_rest_is_no_pause(hand_made: HandMade) -> None:
    spans = health.spans_table(record_of(hand_made, trial(0, 0, 10), trial(1, 50, 60)))

    assert spans["start"].tolist() == [0, 50]
    assert spans["session"].max() == 0


def test_a_lost_trial_lasts_to_its_last_sign_of_life(hand_made: HandMade) -> None:
    log(hand_made, 0, 20.0)
    spans = health.spans_table(record_of(
        hand_made, trial(0, 0, 36_000, "lost"), trial(1, 0, 10), trial(2, 5, None), trial(3, 5, 8, "preempted")
    ))  # fmt: skip

    assert spans.set_index("number")["end"].to_dict() == {0: 20, 1: 10, 2: 5, 3: 5}


def test_trials_of_unknown_workers_have_a_timeline_too(usual: HandMade) -> None:
    spans = health.spans_table(usual.record())

    assert spans["worker"].tolist() == [1] * 7
    assert sorted(spans["number"]) == [0, 1, 2, 3, 4, 5, 6]


def test_a_study_without_trials_has_no_timeline(hand_made: HandMade) -> None:
    assert health.workers_sections(hand_made.record()) == ()
    assert health.spans_table(hand_made.record()).empty


def trials_table(paces: list[float]) -> pd.DataFrame:
    return pd.DataFrame({
        "number": range(len(paces)), "ending": "completed", "episodes": 1000, "seconds": paces, "tokens": 12_345,
    })  # fmt: skip


def test_a_slow_trial_is_measured_by_the_median() -> None:
    words = health.slowest_reading(trials_table([10.0] * 9 + [12.0, 30.0]))

    assert words.startswith(" Trial 10 took longest for an episode, 3.0 times the median: long responses")


@pytest.mark.parametrize("paces", [[10.0] * 9 + [14.0], [10.0] * 8 + [99.0]])
def test_equal_paces_and_few_trials_are_not_worth_a_word(paces: list[float]) -> None:
    assert health.slowest_reading(trials_table(paces)) == ""


def test_only_idle_workers_get_a_table(hand_made: HandMade) -> None:
    busy = health.workers_sections(record_of(hand_made, trial(0, 0, 100), trial(1, 111, 200)))[0]
    idle = health.workers_sections(record_of(hand_made, trial(0, 0, 100), trial(1, 130, 200)))[0]

    assert busy.table is None
    assert idle.table is not None
    assert idle.table["idle"].tolist() == [0.15]
    assert busy.figure is None and idle.figure is None
