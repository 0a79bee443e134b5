"""The recorded landscape as a world: its scale, its noise, and how near it is to what the product found by training."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.worlds.table import TABLE, nats, read_landscape, read_study, scaled_kl, unit_point
from benchmarks.worlds.world import Truth, World
from ppo_tune.config.study import StudyConfig

FOUND = (
    (5.42e-4, 0.9874, 0.9595, 0.1821, 0.03388, 32, 0.813),
    (2.87e-4, 0.9512, 0.9858, 0.2426, 0.0606, 8, 0.716),
    (5.69e-4, 0.9758, 0.9342, 0.0921, 0.1244, 16, 0.660),
    (1e-4, 1.0, 0.95, 0.2, 0.05, 32, 0.365),
)
"""Configs that the quickstart of `reports/example` confirmed on three seeds or five, and their mean scores there."""


REAL_TEXT = TABLE.with_name("restaurants.parquet")


def test_the_tables_are_small() -> None:
    assert TABLE.stat().st_size + REAL_TEXT.stat().st_size <= 1_000_000


@pytest.mark.parametrize("repeated", [9, 1])
def test_real_text_is_a_world_too_though_few_of_its_configs_have_two_runs(repeated: int) -> None:
    study = read_study(REAL_TEXT)
    recorded = read_landscape(study, REAL_TEXT)
    kept = np.ones(len(recorded.config), dtype=bool)
    for config in np.flatnonzero(np.bincount(recorded.config) > 1)[repeated:]:
        kept[np.flatnonzero(recorded.config == config)[1:]] = False
    fewer = replace(
        recorded, points=recorded.points[kept], config=recorded.config[kept], numbers=recorded.numbers[kept],
        heldout=recorded.heldout[kept], confirmed=recorded.confirmed[kept],
    )  # fmt: skip
    world = World(study, "gp", fewer)

    run = world.draw(study.baseline, np.random.default_rng(0))

    assert study.name == "restaurants"
    assert run.score.shape == (len(study.milestone_episodes()),)
    assert abs(run.score[-1] - world.truth(study.baseline).score) < 0.2


def test_the_default_has_value_0_and_the_best_within_the_budget_has_1(
    world: World, quickstart: StudyConfig
) -> None:
    scale = world.scale
    default = world.truth(quickstart.baseline)
    best = Truth(scale.best, quickstart.search.kl_budget)

    assert scale.value(default) == scale.value(default, 1.0) == 0
    assert not scale.is_better(default)
    assert scale.value(best) == scale.value(best, 1.0) == 1


def test_a_config_beyond_the_budget_has_no_value(world: World) -> None:
    scale = world.scale

    assert scale.value(Truth(scale.best, 2.1)) == 1
    assert scale.value(Truth(scale.best, 2.1), 1.0) == 0
    assert scale.value(Truth(scale.best, 2.3)) == 0
    assert scale.is_beyond(Truth(scale.best, 2.3))


def test_a_config_worse_than_the_default_has_a_negative_value(world: World) -> None:
    assert world.scale.value(Truth(world.scale.default - 0.1, 0.1)) < 0


def test_what_runs_add_to_a_config_is_0_on_average(gp_world: World) -> None:
    deviations = np.stack(list(gp_world.deviations.values()))

    assert np.abs(deviations.mean(0)).max() < 0.01
    assert 0.01 < np.median(np.abs(deviations[:, gp_world.layout.confirm_score])) < 0.06


def test_runs_of_a_config_scatter_around_its_truth(world: World, quickstart: StudyConfig) -> None:
    rng = np.random.default_rng(0)
    truth = world.truth(quickstart.baseline)

    runs = [world.draw(quickstart.baseline, rng) for _ in range(300)]

    assert np.mean([run.confirmed.mean() for run in runs]) == pytest.approx(truth.score, abs=0.02)
    assert np.mean([run.confirm_kl for run in runs]) == pytest.approx(truth.kl, abs=0.05)


@pytest.mark.parametrize("found", FOUND)
def test_a_finished_quickstart_is_near(
    world: World, quickstart: StudyConfig, found: tuple[float, ...]
) -> None:
    *values, score = found
    params = dict(zip(quickstart.space, (*values[:5], int(values[5])), strict=True))

    assert world.truth(params).score == pytest.approx(score, abs=0.08)


def test_points_of_the_unit_cube(quickstart: StudyConfig) -> None:
    low = {
        "learning_rate": 1e-5,
        "gamma": 0.95,
        "gae_lambda": 0.8,
        "clip_range": 0.05,
        "kl_coef": 1e-3,
        "batch_size": 8,
    }
    high = {
        "learning_rate": 1e-2,
        "gamma": 1.0,
        "gae_lambda": 1.0,
        "clip_range": 0.4,
        "kl_coef": 0.5,
        "batch_size": 64,
    }

    assert unit_point(quickstart.space, low) == pytest.approx(np.zeros(6))
    assert unit_point(quickstart.space, high) == pytest.approx(np.ones(6))


def test_kl_comes_back_from_its_scale() -> None:
    kl = np.array([-0.1, 0.0, 0.3, 2.0, 40.0])

    assert nats(scaled_kl(kl)) == pytest.approx(kl)
