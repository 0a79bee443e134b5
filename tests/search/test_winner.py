"""Which config is handed on: any completed trial's at full length, by the rules of a file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ppo_tune.config.training_file import load_training
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import ConfigError, PPOTuneError
from ppo_tune.export import export_study
from ppo_tune.search.storage import open_study
from ppo_tune.search.winner import best_config, trial_config


def test_a_trials_config_is_what_its_export_says(copy_searched: Callable[..., Path]) -> None:
    out = copy_searched()
    study, config = open_study("small", out=out)

    for number in range(3):
        export_study("small", trial=number, out=out).write(out / f"made-{number}")
        ours, theirs = (
            trial_config(study, config, number),
            load_training(out / f"made-{number}" / "best.yaml"),
        )
        assert ours.renamed(lambda named: named.kind) == theirs.renamed(lambda named: named.kind)
        assert check_user_files(ours).hashes == check_user_files(theirs).hashes, (
            "the folder holds the same files"
        )


def test_the_winners_number_gives_the_best_config(copy_searched: Callable[..., Path]) -> None:
    study, config = open_study("small", out=copy_searched())

    best = best_config(study, config)

    assert best in [trial_config(study, config, number) for number in range(3)]


def test_length_and_seed_are_replaced_and_nothing_else(copy_searched: Callable[..., Path]) -> None:
    study, config = open_study("small", out=copy_searched())
    usual = trial_config(study, config, 1)

    other = trial_config(study, config, 1, episodes=64, seed=9)

    assert (usual.ppo.episodes, other.ppo.episodes, other.seed) == (4 * 32, 64, 9)
    assert other.model_copy(update={"seed": usual.seed, "ppo": usual.ppo}) == usual
    assert other.ppo.with_params({"episodes": 128}) == usual.ppo


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"episodes": 20}, "small: --episodes: must be whole rollouts of 8, but got 20; take 24"),
        ({"episodes": 0}, "small: --episodes: `episodes >= 1` must hold, but got 0"),
        ({"seed": -1}, "small: --seed: `seed >= 0` must hold, but got -1"),
    ],
)
def test_a_length_or_seed_that_cannot_be_is_refused_as_a_files(
    copy_searched: Callable[..., Path], change: dict[str, int], refusal: str
) -> None:
    study, config = open_study("small", out=copy_searched())

    with pytest.raises(ConfigError) as refused:
        trial_config(study, config, 1, **change)

    assert str(refused.value) == refusal


def test_a_trial_that_is_not_there_is_told_with_those_that_are(copy_searched: Callable[..., Path]) -> None:
    study, config = open_study("small", out=copy_searched())

    with pytest.raises(PPOTuneError) as refused:
        trial_config(study, config, 9)

    assert str(refused.value) == (
        "trial 9 of study 'small' is not there, and only a completed one can be handed on: 0, 1, 2"
    )
