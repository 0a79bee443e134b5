# mypy: ignore-errors
"""PED-ANOVA, held against Optuna's own and against sums done by hand."""

import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study

from ppo_tune.reporting.analysis.anova import ped_anova
from ppo_tune.reporting.analysis.evidence import best_quarter
from ppo_tune.reporting.axes import Axis

RANGES: dict[str, BaseDistribution] = {
    "real": FloatDistribution(0.8, 1.0),
    "log": FloatDistribution(1e-5, 1e-2, log=True),
    "whole": IntDistribution(1, 4),
    "steps": IntDistribution(0, 100, step=5),
    "log_whole": IntDistribution(8, 512, log=True),
    "constant": CategoricalDistribution(["only"]),
}


def study_of(n: int, ranges: dict[str, BaseDistribution]) -> Study:
    """Trials at random values; the score follows the second range, with noise."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=n))
    rng = np.random.default_rng(n)
    second = list(ranges)[1]
    for _ in range(n):
        trial = study.ask(ranges)
        study.tell(trial, float(np.log(trial.params[second]) + rng.normal()))
    return study


def shares_by_optuna(study: Study, evaluator: object) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return get_param_importances(study, evaluator=evaluator, normalize=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [12, 30, 101])
def test_ped_anova_is_optunas(n: int) -> None:
    study = study_of(n, RANGES)
    axes = [Axis(name, distribution) for name, distribution in RANGES.items()]
    places = np.stack([axis.places(t.params[axis.name] for t in study.trials) for axis in axes], axis=1)
    marked = best_quarter(np.array([[t.value for t in study.trials]]))

    found = ped_anova(axes, places, np.arange(n)[np.newaxis], marked)[0]

    by_optuna = shares_by_optuna(study, PedAnovaImportanceEvaluator(target_quantile=0.25))
    assert found == pytest.approx([by_optuna[name] for name in RANGES], rel=1e-6, abs=1e-9)


def test_ped_anova_of_many_versions_is_that_of_each() -> None:
    rng = np.random.default_rng(0)
    axes, places = [Axis("real", FloatDistribution(0, 1))], rng.random((20, 1))
    rows, marked = rng.integers(0, 20, size=(5, 20)), rng.random((5, 20)) < 0.3

    together = ped_anova(axes, places, rows, marked)

    alone = [ped_anova(axes, places, rows[i : i + 1], marked[i : i + 1])[0] for i in range(5)]
    assert together == pytest.approx(np.array(alone))


def test_ped_anova_finds_nothing_where_all_or_none_are_marked() -> None:
    axes, places = [Axis("real", FloatDistribution(0, 1))], np.linspace(0, 1, 8)[:, np.newaxis]
    rows = np.tile(np.arange(8), (2, 1))

    assert ped_anova(axes, places, rows, np.array([[True] * 8, [False] * 8])).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("choices", [2, 4])
def test_a_choice_that_decides_explains_everything(choices: int) -> None:
    """The chance of being marked is 1 with the first choice and 0 with all others."""
    axes = [Axis("choice", CategoricalDistribution(range(choices)))]
    numbers = np.repeat(np.arange(choices), 100)

    found = ped_anova(
        axes,
        numbers[:, np.newaxis] / (choices - 1),
        np.arange(len(numbers))[np.newaxis],
        numbers[np.newaxis] == 0,
    )

    assert found[0, 0] == pytest.approx((numbers == 0).var(), rel=0.1)


def test_choices_that_were_seen_once_each_are_smoothed_as_in_optuna() -> None:
    ranges: dict[str, BaseDistribution] = {"choice": CategoricalDistribution([8, 16, 32, 64])}
    study = optuna.create_study(direction="maximize")
    for value, score in ((8, 1.0), (32, 0.0)):
        study.add_trial(
            optuna.trial.create_trial(params={"choice": value}, distributions=ranges, value=score)
        )
    axes = [Axis("choice", ranges["choice"])]

    found = ped_anova(axes, np.array([[0.0], [2 / 3]]), np.array([[0, 1]]), np.array([[True, False]]))

    by_optuna = shares_by_optuna(study, PedAnovaImportanceEvaluator(target_quantile=0.25))
    assert found[0, 0] == pytest.approx(by_optuna["choice"])


def test_a_resampled_study_is_not_sharper_than_the_study() -> None:
    """A resample may have one marked trial ten times; by itself it would look as if that value decided all."""
    axes, places = [Axis("real", FloatDistribution(0, 1))], np.linspace(0.1, 0.9, 40)[:, np.newaxis]
    rows = np.stack([np.arange(40), np.array([5] * 10 + [*range(10, 40)])])

    by_itself = ped_anova(axes, places, rows, rows < 10)[:, 0]
    like_the_study = ped_anova(axes, places, rows, rows < 10, one_width=True)[:, 0]

    assert like_the_study[0] == by_itself[0]
    assert by_itself[1] > 2 * like_the_study[1]


def test_a_trial_in_which_a_value_is_not_searched_tells_nothing_of_it() -> None:
    """Half of the trials have no value: the variance within the others counts by half."""
    rng = np.random.default_rng(0)
    axes, places = [Axis("real", FloatDistribution(0, 1))], rng.random((40, 1))
    marked = (places < 0.25).T
    both, none = np.arange(40)[np.newaxis], np.full((40, 1), np.nan)

    whole = ped_anova(axes, places, both, marked)
    halved = ped_anova(axes, np.concatenate([places, none]), np.arange(80)[np.newaxis], np.tile(marked, 2))

    assert halved == pytest.approx(whole / 2)
    assert ped_anova(axes, none, both, marked).tolist() == [[0.0]]
