"""Whole studies replayed: the product decides, everything follows from the seed, and the last line is one of JSON."""

import json
import math
from pathlib import Path

import pytest
from optuna.exceptions import ExperimentalWarning

from benchmarks import replay
from benchmarks.worlds import replayed
from benchmarks.worlds.world import World
from ppo_tune.config.study import StudyConfig
from ppo_tune.files import make_folder

pytestmark = pytest.mark.filterwarnings(f"ignore::{ExperimentalWarning.__module__}.ExperimentalWarning")


def of_seed(study: StudyConfig, seed: int, **search: object) -> StudyConfig:
    return study.model_copy(update={"search": study.search.model_copy(update={"seed": seed, **search})})


def test_the_same_seed_names_the_same_config_and_another_one_another(
    gp_world: World, quickstart: StudyConfig
) -> None:
    once, again, other = (
        replayed.replay(gp_world, of_seed(quickstart, seed, confirm_top=3, confirm_seeds=2), 30)
        for seed in (1, 1, 2)
    )

    assert once == again
    assert once != other


def test_a_total_is_what_search_and_confirmation_cost(gp_world: World, quickstart: StudyConfig) -> None:
    small = of_seed(quickstart, 0, confirm_top=2, confirm_seeds=3)

    named = replayed.replay(gp_world, small, 20)

    assert named.candidates == 2
    assert named.search_cost + named.confirmation_cost == pytest.approx(20, abs=4)


def test_without_a_confirmation_the_best_of_the_search_is_named(
    gp_world: World, quickstart: StudyConfig
) -> None:
    named = replayed.replay(gp_world, of_seed(quickstart, 0, confirm_top=0), 12)

    assert named.confirmation_cost == named.candidates == 0
    assert named.value == named.unconfirmed


def test_who_leaves_the_kl_limit_is_cut_off_and_pruned_ones_cost_less(
    gp_world: World, quickstart: StudyConfig
) -> None:
    pruned, whole = (
        replayed.replay(gp_world, of_seed(replay.study_with([f"search.pruner={name}"]), 0, confirm_top=0), 12)
        for name in ("successive_halving", "none")
    )

    assert pruned.trials > whole.trials > 12


def test_as_many_are_under_way_as_the_study_says(gp_world: World, quickstart: StudyConfig) -> None:
    """Four unless it says another number: who learns from fewer results proposes other trials."""
    usual, four, ten = (
        replayed.replay(gp_world, of_seed(quickstart, 0, confirm_top=0, **pack), 14)
        for pack in ({}, {"pack": 4}, {"pack": 10})
    )

    assert usual == four != ten


def test_an_earlier_study_that_is_unlike_says_of_every_config_what_is_so_of_its_mirror_image(
    gp_world: World, quickstart: StudyConfig, tmp_path: Path
) -> None:
    config = of_seed(quickstart, 0, pack=4, n_trials=None)

    alike, unalike = (
        replayed.earlier_study(gp_world, config, make_folder(tmp_path / likeness), likeness)
        for likeness in replayed.LIKENESSES
    )

    ends = quickstart.space["learning_rate"]
    assert ends.type == "float"
    assert len(alike.configs) > 0
    for one, other in zip(alike.configs, unalike.configs, strict=True):
        assert one["learning_rate"] * other["learning_rate"] == pytest.approx(math.prod(ends.ends))
        assert one["batch_size"] == other["batch_size"]


def test_a_setting_is_replaced_by_its_place() -> None:
    study = replay.study_with(["search.sampler=gp", "search.confirm_seeds=3", "search.pruner={name: median}"])

    assert study.search.sampler.name == "gp"
    assert study.search.confirm_seeds == 3
    assert study.search.pruner.name == "median"


def test_fresh_repetitions_are_the_last_third_of_all() -> None:
    assert set(replay.DEVELOPMENT).isdisjoint(replay.FRESH)
    assert 2 * len(replay.FRESH) == len(replay.DEVELOPMENT)


def test_it_ends_with_a_line_of_json_and_goes_on_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, gp_world: World
) -> None:
    monkeypatch.setattr(replay, "World", lambda *_: gp_world)
    out = tmp_path / "studies.jsonl"
    words = ["--totals", "22", "24", "--worlds", "gp", "--repetitions", "2", "--jobs", "1", "--out", str(out)]

    replay.main(words)
    first = capsys.readouterr().out
    replay.main(words)
    second = capsys.readouterr().out

    told = json.loads(first.splitlines()[-1])
    assert {"value", "truly_better", "beyond_budget"} <= told.keys()
    assert told["value"].keys() == {"22", "24"}
    assert first == second
    assert len(out.read_text(encoding="utf-8").splitlines()) == 4
