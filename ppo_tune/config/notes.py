"""What is legal in a study and may still surprise."""

from collections.abc import Iterator
from typing import Any

from ppo_tune.config.searched import possible_values
from ppo_tune.config.study import StudyConfig


def notes(study: StudyConfig) -> list[str]:
    """What is legal in a study and may still surprise; one sentence each."""
    found = []
    inert = [study.ppo.with_params(params).steps_per_iteration == 1 for params in _schedule_corners(study)]
    if "clip_range" in study.space and all(inert):
        found.append(
            "clip_range is inert: with one optimizer step per rollout the policy ratio is 1 everywhere; "
            "raise ppo_epochs or lower batch_size"
        )
    elif "clip_range" in study.space and any(inert):
        found.append(
            "clip_range is inert in trials with batch_size = rollout_size and one PPO epoch: the policy "
            "ratio is 1 everywhere"
        )
    found += _weak_target(study)
    if study.search.sampler.exhaustive and (ruled_out := study.space.grid_size() - study.grid_size):
        found.append(f"constraints leave out {ruled_out} of the grid's {study.space.grid_size()} cells")
    found += _repeats_of_cells(study) if study.search.sampler.exhaustive else _repeats(study)
    for name, value in study.baseline.items():
        wanted = study.space[name].default
        wanted = study.default(name) if wanted is None else wanted
        if value != wanted:
            found.append(
                f"trial 0, the default config, uses {name} = {value}: the default {wanted} is outside "
                "the space"
            )
    return found


def _repeats(study: StudyConfig) -> list[str]:
    """A note where so few combinations can be drawn that trials repeat them; the default config is one of them."""
    n, size = study.n_trials, study.space.size()
    if n is None or size >= 2 * n:
        return []
    surely = f"at least {n - size} trials repeat one" if n > size else "some may be drawn more than once"
    return [
        f"the space has only {size} combinations for {n} trials: {surely}; sampler: grid tries each of them once"
    ]


def _repeats_of_cells(study: StudyConfig) -> list[str]:
    """A note where a grid search trains a combination twice."""
    n, cells = study.n_trials, study.grid_size
    assert n is not None, "a grid counts itself"
    default_is_cell = study.space.has_cell(study.baseline)
    repeats = max(n - 1 - cells, 0) + (default_is_cell and n > cells)
    if n > cells + 1:
        return [f"{n} trials, but the grid has {cells} cells: {repeats} trials repeat one"]
    if repeats:
        return ["the default config is also a cell of the grid: it runs twice, as trial 0 and in its turn"]
    return []


LEAST_REACH = 1.5
"""What moves the KL coefficient less than so many times in a whole trial holds no target."""


def _weak_target(study: StudyConfig) -> list[str]:
    """A note where a trial is too short for its adaptive KL coefficient to move."""
    if study.ppo.kl_target is None and "kl_target" not in study.space:
        return []
    horizons = possible_values(study.space.root.get("kl_horizon"), study.ppo.kl_horizon)
    reach = max(study.ppo.with_params({"kl_horizon": horizon}).kl_coef_reach for horizon in horizons)
    if reach >= LEAST_REACH:
        return []
    return [
        f"kl_target does little: with this kl_horizon, kl_coef can change {reach:.2f}-fold at most in a trial of "
        f"{study.ppo.episodes:,} episodes; leave kl_horizon out, and it is a tenth of them"
    ]


def _schedule_corners(study: StudyConfig) -> Iterator[dict[str, Any]]:
    """Every combination of the searched batch sizes with the extreme numbers of epochs."""
    epochs = possible_values(study.space.root.get("ppo_epochs"), study.ppo.ppo_epochs)
    for batch_size in possible_values(study.space.root.get("batch_size"), study.ppo.batch_size):
        for ppo_epochs in (min(epochs), max(epochs)):
            yield {"batch_size": batch_size, "ppo_epochs": ppo_epochs}
