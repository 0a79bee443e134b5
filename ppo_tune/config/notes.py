"""What is legal in a study and may still surprise."""

from collections.abc import Iterator
from typing import Any

from ppo_tune.config.searched import possible_values
from ppo_tune.config.study import StudyConfig
from ppo_tune.plurals import counted


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
        found.append(
            f"constraints leave out {ruled_out} of the grid's {counted(study.space.grid_size(), 'cell')}"
        )
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
    surely = "some may be drawn more than once"
    if n > size:
        surely = f"at least {counted(n - int(size), 'trial', 'repeat')} one"
    return [
        f"the space has only {counted(int(size), 'combination')} for {counted(n, 'trial')}: {surely}; sampler: grid "
        "tries each of them once"
    ]


def _repeats_of_cells(study: StudyConfig) -> list[str]:
    """A note where a grid search trains a combination twice."""
    n, cells = study.n_trials, study.grid_size
    assert n is not None, "a grid counts itself"
    default_is_cell = study.space.has_cell(study.baseline)
    repeats = max(n - 1 - cells, 0) + (default_is_cell and n > cells)
    if n > cells + 1:
        repeating = counted(repeats, "trial", "repeat")
        return [f"{counted(n, 'trial')}, but the grid has {counted(cells, 'cell')}: {repeating} one"]
    if repeats:
        return ["the default config is also a cell of the grid: it runs twice, as trial 0 and in its turn"]
    return []


LEAST_REACH = 1.5
"""What moves the KL coefficient less than so many times in a whole trial holds no target."""


def _weak_target(study: StudyConfig) -> list[str]:
    """A note where a trial is too short for its adaptive KL coefficient to move."""
    if study.ppo.kl_target is None and "kl_target" not in study.space:
        return []
    searched = study.space.root.get("kl_horizon")
    horizons = possible_values(searched, study.ppo.kl_horizon)
    reach = max(_reach(study, horizon) for horizon in horizons)
    if reach >= LEAST_REACH:
        return []
    usual = study.ppo.with_params({"kl_horizon": None}).kl_horizon_episodes
    if _reach(study, None) < LEAST_REACH:
        which, way_out = "", "take more episodes, or a smaller rollout_size"
    elif searched is not None:
        which = f"even with the shortest kl_horizon that is searched, {min(filter(None, horizons)):,.0f}, "
        way_out = f"search shorter ones, of about {usual:,.0f}, or leave kl_horizon out"
    else:
        which, way_out = "with this kl_horizon, ", f"leave kl_horizon out, and it is {usual:,.0f}"
    return [
        f"kl_target does little: {which}kl_coef can change {reach:.2f}-fold at most in a trial of "
        f"{study.ppo.episodes:,} episodes; {way_out}"
    ]


def _reach(study: StudyConfig, horizon: float | None) -> float:
    """How many times larger kl_coef can become in a trial with this kl_horizon."""
    return study.ppo.with_params({"kl_horizon": horizon}).kl_coef_reach


def _schedule_corners(study: StudyConfig) -> Iterator[dict[str, Any]]:
    """Every combination of the searched batch sizes with the extreme numbers of epochs."""
    epochs = possible_values(study.space.root.get("ppo_epochs"), study.ppo.ppo_epochs)
    for batch_size in possible_values(study.space.root.get("batch_size"), study.ppo.batch_size):
        for ppo_epochs in (min(epochs), max(epochs)):
            yield {"batch_size": batch_size, "ppo_epochs": ppo_epochs}
