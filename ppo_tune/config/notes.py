"""What is legal in a study and may still surprise."""

from collections.abc import Iterator
from typing import Any

from ppo_tune.config.model import AdapterKind
from ppo_tune.config.rewards import ReferenceRewardConfig
from ppo_tune.config.room import Room
from ppo_tune.config.scale import short
from ppo_tune.config.searched import possible_values
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import named_judges
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
    found += _slow_adapters(study)
    found += _weak_target(study)
    found += _light_penalty(study)
    found += _same_judges(study)
    found += _constraints(study) if study.constraints else []
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


def _constraints(study: StudyConfig) -> list[str]:
    """How much the constraints leave, what of it they leave alone, and where they ask nothing."""
    room = study.room
    found = [_share(room, grid=study.search.sampler.exhaustive)]
    found += [f"constraints leave {name} {_alone(value)} in every trial" for name, value in room.only.items()]
    for text, off, silent in zip(study.constraints, room.off, room.silent, strict=True):
        is_off = f"{' or '.join(off)} is off (null)"
        if silent < room.allowed:
            share = _percent(silent / room.allowed)
            found += [f"`{text}` asks nothing where {is_off}, {share} of what is left"] if silent else []
        elif room.only.keys().isdisjoint(off):
            found.append(f"`{text}` asks nothing: {is_off} in every trial")
    return found


def _share(room: Room, *, grid: bool) -> str:
    """How much of the space constraints leave."""
    cells = counted(room.tried, "cell")
    every = (
        f"each of the grid's {cells}" if grid else f"each of {counted(room.tried, 'config')} drawn at random"
    )
    if room.allowed == room.tried:
        return f"constraints rule nothing out: {every} satisfies them"
    if grid:
        return f"constraints leave out {room.tried - room.allowed} of the grid's {cells}"
    return f"constraints leave about {_percent(room.allowed / room.tried)} of the space"


def _percent(share: float) -> str:
    """A share that is neither nothing nor all."""
    return f"{min(max(round(100 * share), 1), 99)} %"


def _alone(value: Any) -> str:
    return "off (null)" if value is None else f"at {short(value)}"


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
    """Notes where a grid has fewer cells than trials are asked for, and where it trains a combination twice."""
    asked, every, found = study.search.n_trials, 1 + study.grid_size, list[str]()
    if asked is not None and asked > every:
        cells = counted(study.grid_size, "cell")
        found.append(
            f"{counted(asked, 'trial', 'are')} asked for, but the grid has {cells}: the search ends after "
            f"{counted(every, 'trial')}, the default config and each cell once"
        )
    if study.n_trials == every and study.space.has_cell(study.baseline):
        found.append(
            "the default config is also a cell of the grid: it runs twice, as trial 0 and in its turn"
        )
    return found


LEAST_RATE: dict[AdapterKind, tuple[float, str]] = {
    "ia3": (1e-2, "about ten times what low-rank adapters do"),
    "prefix": (1e-2, "about ten times what low-rank adapters do"),
    "adalora": (3e-3, "three to ten times what LoRA does"),
}
"""Step size that a search of some kinds of adapters should reach, and how that compares."""


def _slow_adapters(study: StudyConfig) -> list[str]:
    """A note where adapters that move little are trained by steps that suit LoRA."""
    kind = study.model.adapter
    rates = possible_values(study.space.root.get("learning_rate"), study.ppo.learning_rate)
    least, wanted = LEAST_RATE.get(kind, (0.0, ""))
    if max(rates) >= least:
        return []
    return [
        f"adapter: {kind} moves little at learning_rate {max(rates):g}, the largest here: it wants {wanted}; let the "
        f"range reach {least:g} or beyond, as {{low: 1e-4, high: 1e-1}}"
    ]


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


LEAST_SHARE = 0.05
"""A KL coefficient that holds a policy near its reference where rewards go from 0 to 1."""


def _light_penalty(study: StudyConfig) -> list[str]:
    """A note where the KL penalty, which is in the reward's unit, is lost beside scores that go to 100."""
    reward, is_adaptive = study.task.reward, study.ppo.kl_target is not None or "kl_target" in study.space
    largest = max(possible_values(study.space.root.get("kl_coef"), study.ppo.kl_coef))
    if not isinstance(reward, ReferenceRewardConfig) or is_adaptive or largest >= 100 * LEAST_SHARE:
        return []
    return [
        f"kl_coef is in the reward's unit, and {reward.metric} goes from 0 to 100: {largest:g}, the largest here, "
        f"weighs no more than {largest / 100:g} where rewards go to 1; let the range reach {100 * LEAST_SHARE:g} or "
        "beyond, as {low: 0.1, high: 50}"
    ]


def _same_judges(study: StudyConfig) -> list[str]:
    """A note for every judge that is the reward itself."""
    reward, judges = study.task.reward, named_judges(study.task)
    places = {name: "task.gold" if name == "gold" else f"task.judges.{name}" for name in judges}
    return [
        f"{places[name]} is the reward itself, so it is no independent judge: it rises whether a policy learns the "
        "task or the reward's weakness; name what PPO does not maximize, such as other tests"
        for name, judge in judges.items()
        if judge == reward
    ]


def _schedule_corners(study: StudyConfig) -> Iterator[dict[str, Any]]:
    """Every combination of the searched batch sizes with the extreme numbers of epochs."""
    epochs = possible_values(study.space.root.get("ppo_epochs"), study.ppo.ppo_epochs)
    for batch_size in possible_values(study.space.root.get("batch_size"), study.ppo.batch_size):
        for ppo_epochs in (min(epochs), max(epochs)):
            yield {"batch_size": batch_size, "ppo_epochs": ppo_epochs}
