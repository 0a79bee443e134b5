"""The figures of the headline, from rows that were written by hand."""

import json
from collections.abc import Sequence

import pytest
from optuna.trial import TrialState

from benchmarks import headline
from benchmarks.headline_figures import (
    LOWEST,
    OURS,
    PRUNED,
    TRL,
    Results,
    Row,
    Run,
    Stage,
    Trial,
    json_line,
    objective,
    ratio,
    read,
    table,
    written,
)
from ppo_tune.config.study import StudyConfig

DEFAULT, GOOD, FAIR, WILD = ({"kl_coef": value} for value in (0.05, 0.1, 0.2, 0.001))
SCORES = {0.05: 0.4, 0.1: 0.9, 0.2: 0.6, 0.001: 1.5}
KL = {0.05: 0.2, 0.1: 1.9, 0.2: 1.0, 0.001: 3.5}
BUDGET = 2.0


def judged(trainer: str, *configs: dict[str, float], seeds: int = 2) -> list[Row]:
    """Configs on fresh seeds that take ten seconds each."""
    return [
        Run(trainer, params, seed, 10.0, SCORES[params["kl_coef"]], KL[params["kl_coef"]])
        for params in configs
        for seed in range(seeds)
    ]


def trial(number: int, params: dict[str, float], *, arm: str = TRL, ending: str = "completed") -> Trial:
    """A trial of the first repetition that took a hundred seconds."""
    value = params["kl_coef"]
    return Trial(arm, 0, number, params, 100.0, ending, SCORES[value], KL[value])


def results(*rows: Row) -> Results:
    """Rows with all configs judged in both trainers."""
    known = [run for trainer in (OURS, TRL) for run in judged(trainer, DEFAULT, GOOD, FAIR, WILD)]
    return Results(DEFAULT, BUDGET, 2, [*known, *rows])


@pytest.mark.parametrize(
    "row", [Stage(0, 32, 45.0, GOOD), trial(3, FAIR, arm=PRUNED), Run(OURS, GOOD, 1, 4.0, 0.9, 1.9)]
)
def test_a_row_is_read_as_it_was_written(row: Row) -> None:
    again = read(json.loads(json.dumps(written(row))))

    assert json.dumps(written(again)) == json.dumps(written(row))
    assert type(again) is type(row)


def test_any_score_within_the_budget_is_worth_more_than_any_beyond_it() -> None:
    within, beyond = objective(-1.0, BUDGET, BUDGET), objective(9.0, BUDGET + 0.1, BUDGET)

    assert within == -1.0
    assert LOWEST == objective(None, None, BUDGET) < objective(9.0, 50.0, BUDGET) < beyond < within


def test_the_default_config_is_worth_nothing_and_the_best_within_the_budget_one() -> None:
    found = results()

    worth = [found.value(TRL, params) for params in (DEFAULT, GOOD, FAIR, WILD)]

    assert worth == pytest.approx([0.0, 1.0, 0.4, 0.0])


def test_a_config_may_be_beyond_the_budget_by_the_tolerance() -> None:
    rows = [*judged(TRL, DEFAULT, GOOD), *(Run(TRL, FAIR, seed, 10.0, 0.8, 2.1) for seed in range(2))]

    worth = [Results(DEFAULT, BUDGET, 2, rows, tolerance).value(TRL, FAIR) for tolerance in (1.0, 1.1)]

    assert worth == pytest.approx([0.0, 0.8])


def test_the_peer_is_charged_for_its_trials_until_the_good_one_and_for_the_seeds_of_that() -> None:
    found = results(trial(0, FAIR), trial(1, WILD), trial(2, GOOD), trial(3, FAIR)).theirs(TRL, 0)

    assert (found.in_time, found.trials, found.seconds) == (True, 3, 320.0)
    assert found.value == pytest.approx(1.0)


def test_a_peer_without_a_good_config_has_taken_all_its_trials() -> None:
    found = results(trial(0, FAIR), trial(1, WILD)).theirs(TRL, 0)

    assert (found.in_time, found.trials, found.seconds) == (False, 2, 200.0)
    assert found.value == pytest.approx(0.4)


@pytest.mark.parametrize("ending", ["pruned", "failed"])
def test_only_completed_trials_within_the_budget_become_the_best_so_far(ending: str) -> None:
    found = results(trial(0, WILD), trial(1, FAIR), trial(2, DEFAULT), trial(3, GOOD, ending=ending))

    assert [incumbent.number for incumbent in found.incumbents(TRL, 0)] == [1]


def test_ppo_tune_is_charged_for_every_stage_until_the_good_config() -> None:
    found = results(Stage(0, 32, 45.0, FAIR), Stage(0, 48, 25.0, GOOD)).ours(0)

    assert (found.in_time, found.trials, found.seconds) == (True, 48, 70.0)


def test_what_is_far_from_good_on_the_first_seed_is_judged_no_further() -> None:
    first = [*judged(TRL, DEFAULT), *judged(TRL, GOOD), *judged(TRL, FAIR, WILD, seeds=1)]
    found = Results(DEFAULT, BUDGET, 2, first)

    assert [found.next_seed(TRL, params) for params in (DEFAULT, GOOD, FAIR, WILD)] == [None] * 4
    assert found.next_seed(OURS, DEFAULT) == 0


def test_before_a_better_config_is_known_every_one_within_reach_of_the_budget_is_judged_to_the_end() -> None:
    first = [*judged(TRL, DEFAULT), *judged(TRL, FAIR, WILD, seeds=1)]

    found = Results(DEFAULT, BUDGET, 2, first)

    assert [found.next_seed(TRL, params) for params in (FAIR, WILD)] == [1, None]


@pytest.mark.parametrize(
    ("named", "tried", "expected", "bounds"),
    [(GOOD, [FAIR, GOOD], 4.4, 0), (GOOD, [FAIR, WILD], 4.0, 1), (FAIR, [FAIR, GOOD], 0.0, 0)],
)
def test_a_ratio_is_a_lower_bound_without_the_peers_config_and_zero_without_ours(
    named: dict[str, float], tried: Sequence[dict[str, float]], expected: float, bounds: int
) -> None:
    found = ratio(results(Stage(0, 32, 50.0, named), *(trial(i, p) for i, p in enumerate(tried))), TRL)

    assert found is not None
    assert (found.median, found.bounds, found.interval) == (expected, bounds, None)
    assert str(found).startswith("≥") == bool(bounds)


def test_the_interval_holds_the_median_of_the_repetitions() -> None:
    rows: list[Row] = []
    for repetition, seconds in enumerate((40.0, 50.0, 60.0, 45.0, 55.0)):
        rows += [
            Stage(repetition, 32, seconds, GOOD),
            Trial(TRL, repetition, 0, FAIR, 1000.0, "completed", 0.6, 1.0),
        ]

    found = ratio(results(*rows), TRL)

    assert found is not None
    assert found.interval is not None
    assert found.median == 20.0
    assert 1000 / 60 <= found.interval[0] < found.median < found.interval[1] <= 1000 / 40


def test_the_table_and_the_line_of_json_have_every_arm_that_was_run() -> None:
    found = results(Stage(0, 32, 50.0, GOOD), trial(0, FAIR), trial(0, GOOD, arm=PRUNED))

    assert [line.split(" | ")[0] for line in table(found).splitlines()[2:]] == [
        "| ppo-tune",
        "| TRL",
        "| TRL, pruned",
    ]
    told = json.loads(json_line(found))
    assert told["ratio"][TRL]["bounds"] == 1
    assert told["ratio"][PRUNED]["median"] == 2.4
    assert told["arms"][OURS][0]["in_time"]


def test_a_study_of_the_peer_goes_on_from_its_rows(quickstart: StudyConfig) -> None:
    params = quickstart.baseline
    rows = [
        Trial(PRUNED, 0, 0, params, 9.0, "completed", 0.5, 1.0, (0.2, 0.5)),
        Trial(PRUNED, 0, 1, params, 9.0, "pruned", 0.1, 1.0, (0.1,)),
        Trial(PRUNED, 0, 2, params, 9.0, "failed", None, None),
    ]

    study = headline.study_of(rows, quickstart)

    assert [t.value for t in study.trials] == [0.5, 0.1, LOWEST]
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert study.trials[0].intermediate_values == {1: 0.2, 2: 0.5}
    assert study.best_trial.number == 0
    assert study.ask(quickstart.space.distributions()).number == 3


def test_the_best_recorded_configs_are_configs_of_the_space(quickstart: StudyConfig) -> None:
    found = list(headline.best_recorded(3))

    assert len(found) == 3
    for params in found:
        assert params.keys() == quickstart.baseline.keys()
        quickstart.ppo.with_params(params)
