"""When a search ends: at the first of its limits, with its confirmation paid for, worked by hand."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from ppo_tune.config.methods import SearchConfig, Size
from ppo_tune.config.notes import notes
from ppo_tune.config.study import StudyConfig
from ppo_tune.errors import ConfigError
from ppo_tune.search.budget import Budget, expected_trials, extended, training_seconds
from ppo_tune.search.facts import Expectation, StudyFacts, enqueue_default
from ppo_tune.search.results import STATES, is_over
from ppo_tune.search.samplers import make_sampler
from ppo_tune.search.storage import ask_as, close_lost_trials, confirmation_name
from ppo_tune.search.verdict import read_facts, read_verdict
from tests.worlds import OWNER, StudyMaker

WHOLE = 32
"""Episodes of a trial of `make_study`."""

NOW = datetime(2026, 1, 1)


def study_of(*trials: tuple[str, float], name: str = "small", storage: Any = None) -> Study:
    """A study of trials that ended so, or run, after so many full trials' worth."""
    study = optuna.create_study(study_name=name, storage=storage)
    for ending, worth in trials:
        add(study, ending, worth)
    return study


def add(study: Study, ending: str, worth: float, begin: float = 0.0, end: float = 1.0, **more: Any) -> None:
    """Add a trial that was under way from one second to another."""
    point = {"episodes": round(worth * WHOLE), "score": 0.0, "score_error": 0.1, "kl": 0.0, "seconds": 1.0}
    curve = {"curve": [{**point, "gold": None, "gold_error": None, "response_tokens": 4.0}]}
    over = ending not in ("running", "waiting")
    facts = {"ending": ending, "episodes": round(worth * WHOLE)} if over else curve if worth else {}
    state = STATES[ending] if over else TrialState[ending.upper()]
    value = 0.0 if ending == "completed" else None
    trial = create_trial(state=state, value=value, user_attrs={**facts, **more})
    trial.datetime_start = None if ending == "waiting" else NOW + timedelta(seconds=begin)
    trial.datetime_complete = NOW + timedelta(seconds=end) if over else None
    study.add_trial(trial)


@pytest.mark.parametrize(
    ("search", "trials", "left"),
    [
        pytest.param({"n_trials": 4}, [("completed", 1), ("pruned", 0.5), ("running", 0)], 1, id="trials"),
        pytest.param({"n_trials": 4}, [("lost", 0), ("waiting", 0)], 4, id="lost and waiting ones do not count"),
        pytest.param({"max_episodes": 4 * WHOLE}, [], 4, id="episodes, before the first is over"),
        pytest.param({"max_episodes": 4 * WHOLE}, [("completed", 1), ("completed", 1)], 2, id="episodes"),
        pytest.param({"max_episodes": 4 * WHOLE}, [("pruned", 0.5), ("pruned", 0.5)], 6, id="cheap ones"),
        pytest.param({"max_episodes": 4 * WHOLE}, [("completed", 1), ("running", 0)], 2, id="under way"),
        pytest.param({"max_episodes": 4 * WHOLE}, [("pruned", 0.5), ("running", 0.5)], 5, id="longer than usual"),
        pytest.param({"max_episodes": 4 * WHOLE}, [("completed", 1)] * 3 + [("pruned", 0.5)], 1, id="half fits"),
        pytest.param({"max_episodes": 4 * WHOLE}, [("completed", 1)] * 4, 0, id="nothing is left"),
        pytest.param({"max_episodes": 4 * WHOLE}, [("lost", 1)] + [("completed", 1)] * 3, 0, id="lost ones cost"),
        pytest.param({"max_episodes": 4 * WHOLE, "n_trials": 2}, [("completed", 1)], 1, id="trials come first"),
        pytest.param({"max_episodes": 2 * WHOLE, "n_trials": 9}, [("completed", 1)], 1, id="episodes come first"),
        pytest.param(
            {"max_episodes": 10 * WHOLE, "confirm_top": 1, "confirm_seeds": 2}, [("completed", 1)], 5,
            id="a confirmation of four runs is paid for",
        ),
    ],
)  # fmt: skip
def test_so_many_trials_may_still_begin(
    make_study: StudyMaker, search: dict[str, Any], trials: list[tuple[str, float]], left: int
) -> None:
    config = make_study(search={"n_trials": None, **search})

    assert Budget(config).remaining(study_of(*trials)) == left


@given(total=st.floats(1, 500), top=st.sampled_from(["auto", 0, 3]), seeds=st.sampled_from(["auto", 2, 5]))
def test_a_split_is_never_more_than_the_total_and_leaves_no_trial_unused(
    total: float, top: Any, seeds: Any
) -> None:
    search = SearchConfig(confirm_top=top, confirm_seeds=seeds)

    part, size = search.split(total)

    assert part + size.runs <= total + 1e-9
    assert not size.top or size == search.confirmation(part)
    more = part + 1
    assert more + search.confirmation(more).runs > total


@pytest.mark.parametrize(
    ("total", "part", "size"),
    [
        (24, 24, Size(0, 0)),
        (31, 31, Size(0, 0)),
        (32, 24, Size(3, 2)),
        (48, 36, Size(3, 3)),
        (400, 370, Size(5, 5)),
    ],
)
def test_a_total_is_split_so_that_a_quarter_pays_for_the_confirmation_or_nothing_is_confirmed(
    total: float, part: float, size: Size
) -> None:
    assert SearchConfig().split(total) == (part, size)


def test_what_is_confirmed_is_what_was_left_for_it(make_study: StudyMaker) -> None:
    """Who overshoots by a trial confirms no more for it, and where a quarter does not pay nothing is confirmed."""
    budget = Budget(make_study(search={"n_trials": None, "max_episodes": 48 * WHOLE, "confirm_top": "auto"}))
    poor = Budget(make_study(search={"n_trials": None, "max_episodes": 31 * WHOLE, "confirm_top": "auto"}))
    free = Budget(make_study(search={"confirm_top": "auto"}))

    sizes = [
        one.confirmation(study_of(*[("completed", 1)] * n))
        for one, n in ((budget, 36), (budget, 45), (poor, 31), (free, 45))
    ]

    assert sizes == [Size(3, 3), Size(3, 3), Size(0, 0), Size(4, 3)]


def timed(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch, *, gone: float, start_up: float = 0.0
) -> Budget:
    """The budget of a call whose first trial began so late, and which began so long ago."""
    began = NOW.timestamp() - start_up
    monkeypatch.setattr(time, "time", lambda: began + gone)
    return Budget(config, began + (config.search.max_seconds or 0), began)


def test_no_trial_begins_when_the_seconds_are_over(
    make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = timed(make_study(search={"n_trials": 9, "max_seconds": 60.0417}), monkeypatch, gone=61)
    study = study_of(("completed", 1), ("waiting", 0))
    study.enqueue_trial({}, user_attrs={"rerun_of": 7})

    assert budget.is_late
    assert budget.remaining(study) == 0
    assert budget.why_over(study) == (
        "max_seconds 60 ended the search after 1 trial, 32 episodes in 1 seconds of training; 1 under way were given "
        "back"
    )


def test_a_start_up_that_took_the_seconds_is_told(
    make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_study(search={"n_trials": None, "max_seconds": 5})

    assert timed(config, monkeypatch, gone=8).why_over(study_of(("waiting", 0))) == (
        "max_seconds 5 ended the search before a trial began: start-up alone took 8 seconds"
    )
    assert timed(config, monkeypatch, gone=9, start_up=4).why_over(study_of(("completed", 1))) == (
        "max_seconds 5 ended the search after 1 trial, 32 episodes in 1 seconds of training and 4 of start-up"
    )


def test_before_the_first_score_nobody_knows_what_fits(
    make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_study(search={"n_trials": None, "max_seconds": 60})

    assert (
        timed(config, monkeypatch, gone=30).remaining(study_of(("running", 0)))
        == expected_trials(config)
        == 32
    )


def test_the_search_ends_in_time_for_its_confirmation(
    make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a trial a second 20 of them fit into 20 seconds; a confirmation of 4 runs and another start-up go off it."""
    search = {"n_trials": None, "max_seconds": 20, "confirm_top": 1, "confirm_seeds": 2}
    config = make_study(search=search)
    study = study_of(*[])
    for second in range(10):
        add(study, "completed", 1, second, second + 1)

    idle = timed(config, monkeypatch, gone=10).remaining(study)
    slow = timed(config, monkeypatch, gone=13, start_up=3).remaining(study)
    late = timed(config, monkeypatch, gone=16).remaining(study)

    assert (idle, slow, late) == (6, 0, 0)


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        pytest.param(28, "seconds", id="24 would pay for it if as many more followed"),
        pytest.param(36, "", id="the search took what was left for it"),
    ],
)
def test_a_verdict_knows_that_the_seconds_paid_for_no_confirmation(
    make_study: StudyMaker, tmp_path: Path, trials: int, why: str
) -> None:
    search = {"n_trials": None, "max_seconds": trials, "confirm_top": "auto", "confirm_seeds": "auto"}
    study = study_of()
    for second in range(trials):
        add(study, "completed", 1, second, second + 1)
    study.set_user_attr("ended", "max_seconds ended the search")

    config = make_study(search=search)
    assert read_facts(study, config, tmp_path).unconfirmed == why
    facts = StudyFacts(study)
    facts.unconfirmed = "seconds"  # the search knew how long its start-up was, and nobody else does
    assert read_verdict(study, config, tmp_path).sentence.endswith(
        "A quarter of its seconds does not pay for 3 candidates and the default on 2 seeds; `ppo-tune confirm small` "
        "does it anyway."
    )
    facts.unconfirmed = "over"
    assert read_verdict(study, config, tmp_path).sentence.endswith(
        "The seconds were over before the confirmation was; `ppo-tune confirm small` goes on with it."
    )


def test_seconds_of_earlier_calls_are_gone(make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials side by side count once, those between calls not at all, and the confirmation's do."""
    monkeypatch.setattr(time, "time", lambda: NOW.timestamp() + 500)
    storage = optuna.storages.InMemoryStorage()
    study = study_of(name="small", storage=storage)
    add(study, "completed", 1, 0, 10)
    add(study, "preempted", 1, 5, 20)
    add(study, "lost", 1, 20, 400)
    confirmation = study_of(name=confirmation_name("small"), storage=storage)
    add(confirmation, "completed", 1, 100, 105)

    budget = Budget.of(make_study(search={"max_seconds": 60}), study)

    assert training_seconds(study.trials) == 20
    assert budget.deadline - time.time() == 60 - 25


def test_what_is_under_way_counts_until_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW.timestamp() + 7)
    study = study_of()
    add(study, "running", 0, 4)

    assert training_seconds(study.trials) == 3


def test_what_ended_a_search_is_said_unless_it_is_its_total(make_study: StudyMaker) -> None:
    limited = make_study(search={"n_trials": None, "max_episodes": 3 * WHOLE})
    both = make_study(search={"n_trials": 3, "max_episodes": 3 * WHOLE})
    study = study_of(*[("completed", 1)] * 3)

    assert Budget(both).why_over(study) == ""
    assert Budget(limited).why_over(study_of(("completed", 1))) == ""
    assert (
        Budget(limited).why_over(study)
        == "max_episodes 96 ended the search after 3 trials, 96 episodes in 1 seconds of training"
    )


def test_a_search_is_over_by_its_total_or_by_another_limit(make_study: StudyMaker) -> None:
    total, limited = (
        make_study(search={"n_trials": 2}),
        make_study(search={"n_trials": None, "max_episodes": 99}),
    )
    ended = study_of(("completed", 1), ("waiting", 0))
    ended.set_user_attr("ended", "max_seconds 60 ended it")

    assert is_over(study_of(*[("completed", 1)] * 2), total)
    assert not is_over(study_of(("completed", 1), ("waiting", 0)), total)
    assert not is_over(study_of(*[("completed", 1)] * 2), limited)
    assert is_over(ended, limited)
    add(ended, "running", 0)
    assert not is_over(ended, limited)


def test_an_extended_study_may_spend_so_much_more_than_it_has_spent(make_study: StudyMaker) -> None:
    config = make_study(search={"n_trials": 3, "max_episodes": 9 * WHOLE})
    storage = optuna.storages.InMemoryStorage()
    study = study_of(("completed", 1), ("pruned", 0.5), ("preempted", 0.25), ("waiting", 0), storage=storage)
    study_of(("completed", 1), ("completed", 1), name=confirmation_name("small"), storage=storage)

    def limits(**more: float) -> tuple[int | None, int | None, float | None]:
        search = extended(config, study, **more).search  # type: ignore[arg-type]
        return search.n_trials, search.max_episodes, search.max_seconds

    assert limits() == (3, 9 * WHOLE, None)
    assert limits(trials=4) == (7, None, None)
    assert limits(episodes=100) == (None, 3.75 * WHOLE + 100, None)
    assert limits(trials=4, seconds=60) == (7, None, 61)


@pytest.mark.parametrize("top", ["auto", 0, 1])
def test_an_extended_search_gets_no_more_episodes_than_are_asked_for(
    make_study: StudyMaker, top: Any
) -> None:
    """A confirmation that was asked for may have taken more than the part that is one's."""
    config = make_study(search={"n_trials": 3, "confirm_top": top, "confirm_seeds": 2 if top else "auto"})
    storage = optuna.storages.InMemoryStorage()
    study = study_of(*[("completed", 1)] * 3, storage=storage)
    study_of(*[("completed", 1)] * 30, name=confirmation_name("small"), storage=storage)

    more = extended(config, study, episodes=2 * WHOLE)

    assert Budget(more).remaining(study) == 2


@pytest.mark.parametrize(
    ("better", "left", "size"),
    [
        pytest.param(0, 0.4, Size(3, 2), id="the same three again cost nothing"),
        pytest.param(1, 2.4, Size(3, 2), id="a new one costs two runs"),
        pytest.param(1, 1.4, Size(0, 0), id="which are not there"),
        pytest.param(2, 2.4, Size(1, 2), id="one of two new ones"),
        pytest.param(2, 4.4, Size(3, 2), id="both"),
        pytest.param(3, 30.0, Size(3, 3), id="a third seed for all seven as well"),
    ],
)
def test_an_extended_confirmation_takes_no_more_episodes_than_are_left(
    make_study: StudyMaker, better: int, left: float, size: Size
) -> None:
    """Three configs and the default have two seeds; there are so many better trials since."""
    storage = optuna.storages.InMemoryStorage()
    study = study_of(*[("completed", 1)] * 40, storage=storage)
    order = [*range(10, 10 + better), 1, 2, 3]
    StudyFacts(study).ranking = {number: Expectation(0.5, 0.1, 1.0) for number in order}
    confirmation = study_of(name=confirmation_name("small"), storage=storage)
    for number in (0, 1, 2, 3) * 2:
        add(confirmation, "completed", 1, confirms=number)
    search = {"n_trials": None, "max_episodes": round((48 + left) * WHOLE), "confirm_top": "auto"}

    assert Budget(make_study(search=search)).confirmation(study) == size
    demanded = {**search, "confirm_top": 3, "confirm_seeds": 2}
    assert Budget(make_study(search=demanded)).confirmation(study) == Size(3, 2)


GRID = {
    "ppo_epochs": {"type": "int", "low": 1, "high": 3},
    "batch_size": {"type": "categorical", "choices": [2, 4]},
}


def grid_of(config: StudyConfig, *endings: str) -> Study:
    """A study of the default config and the first cells of its grid, whose trials ended so."""
    study = optuna.create_study(study_name="small")
    enqueue_default(study, config.baseline)
    study.tell(ask_as(study, config.space, OWNER), 0.0)
    for ending in endings:
        study.sampler = make_sampler(config, len(study.trials))
        trial = ask_as(study, config.space, OWNER)
        if ending != "running":
            trial.set_user_attr("ending", ending)
            study.tell(trial, 0.0 if ending == "completed" else None, state=STATES[ending])
    return study


@pytest.mark.parametrize(
    ("endings", "left"),
    [
        pytest.param([], 6, id="all"),
        pytest.param(
            ["completed", "pruned", "crashed", "out_of_memory"], 2, id="a cell that failed is taken"
        ),
        pytest.param(["completed", "lost", "preempted"], 5, id="a lost one is not"),
        pytest.param(["completed"] * 5 + ["running"], 0, id="one under way is"),
    ],
)
def test_a_grid_ends_after_its_last_cell_whatever_else_it_may_spend(
    make_study: StudyMaker, endings: list[str], left: int
) -> None:
    for limits in ({"n_trials": 99}, {"n_trials": None, "max_episodes": 99 * WHOLE}, {"n_trials": None}):
        config = make_study(space=GRID, search={"sampler": "grid", **limits})

        assert Budget(config).remaining(grid_of(config, *endings)) == left


def test_a_cell_whose_trial_was_lost_waits_for_it_and_is_counted_once(make_study: StudyMaker) -> None:
    config = make_study(space=GRID, search={"sampler": "grid", "n_trials": None})
    study = grid_of(config, *["completed"] * 5, "running")
    close_lost_trials(study, OWNER.search)

    assert Budget(config).remaining(study) == 1
    again = ask_as(study, config.space, OWNER)
    assert again.params == study.trials[6].params
    assert Budget(config).remaining(study) == 0


@pytest.mark.parametrize("flag", ["trials", "episodes", "seconds"])
def test_a_finished_grid_is_not_extended(make_study: StudyMaker, flag: str) -> None:
    config = make_study(space=GRID, search={"sampler": "grid", "n_trials": None})
    study = grid_of(config, *["completed"] * 5, "pruned")

    with pytest.raises(ConfigError) as refused:
        extended(config, study, **{flag: 3})

    assert str(refused.value) == (
        f"--{flag}: asks for more trials, but the grid is finished: each of its 6 cells has its trial; `ppo-tune "
        "confirm small` runs the best on more seeds, and a finer grid (more `points` or choices) is another study, "
        "under another name"
    )


def test_a_grid_is_extended_by_no_more_than_the_cells_that_are_left(make_study: StudyMaker) -> None:
    config = make_study(space=GRID, search={"sampler": "grid", "n_trials": 5})
    study = grid_of(config, *["completed"] * 4)

    more = extended(config, study, trials=10)

    assert Budget(config).remaining(study) == 0
    assert Budget(more).remaining(study) == 2
    assert (more.search.n_trials, more.n_trials) == (15, 7)
    assert notes(more)[0].endswith("the search ends after 7 trials, the default config and each cell once")


def test_episodes_in_which_no_trial_would_begin_are_no_extension(make_study: StudyMaker) -> None:
    config, study = make_study(), study_of()

    with pytest.raises(ConfigError) as refused:
        extended(config, study, episodes=WHOLE // 2 - 1)

    assert str(refused.value) == (
        "episodes: `episodes >= 16` must hold, half of a trial's 32, but got 15; no trial would begin"
    )
    assert extended(config, study, episodes=WHOLE // 2).search.max_episodes == WHOLE // 2


def test_nothing_more_is_no_extension(make_study: StudyMaker) -> None:
    """A study whose seconds were stored as 0 could not be read again."""
    config, study = make_study(), study_of()

    with pytest.raises(ConfigError) as refused:
        extended(config, study, trials=0, seconds=0.0)

    assert str(refused.value) == (
        "trials: `trials > 0` must hold, but got 0\nseconds: `seconds > 0` must hold, but got 0.0"
    )
