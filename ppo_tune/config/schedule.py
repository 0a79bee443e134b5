"""How episodes, rollouts, batches and an adaptive KL coefficient fit one another."""

import math
from collections.abc import Mapping, Sequence

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.ranges import Param
from ppo_tune.config.reader import Reader
from ppo_tune.config.searched import possible_values
from ppo_tune.config.strict_yaml import Path_, dotted


def check_schedule(reader: Reader, ppo: PPOConfig, space: Mapping[str, Param]) -> None:
    """Episodes are whole rollouts, a rollout whole batches, a batch whole micro-batches."""
    if ppo.episodes % ppo.rollout_size and reader.is_right("episodes", "rollout_size"):
        fitting = ppo.iterations * ppo.rollout_size
        reader.add(
            ("ppo", "episodes"),
            f"must be whole rollouts of {ppo.rollout_size}, but got {ppo.episodes}; take {fitting}",
        )
    place = ("space", "batch_size") if "batch_size" in space else ("ppo", "batch_size")
    micro = ppo.micro_batch_size
    sizes = [n for n in possible_values(space.get("batch_size"), ppo.batch_size) if isinstance(n, int)]
    sizes = sizes if reader.is_right("batch_size") else []
    wrong = [size for size in sizes if size < 1 or ppo.rollout_size % size]
    if wrong and reader.is_right("rollout_size"):
        got = ", ".join(map(str, wrong))
        way_out = _fitting(reader, place, ppo, sizes)
        if "batch_size" in space and space["batch_size"].when and wrong == [ppo.batch_size]:
            way_out = f"take a rollout_size of {math.lcm(*sizes)}"  # it is that where it is not searched
        reader.add(
            place, f"`batch_size` must divide rollout_size {ppo.rollout_size}, but got {got}; {way_out}"
        )
    for size in sizes:
        if micro is not None and size % micro:
            reader.add(("ppo", "micro_batch_size"), f"must divide batch_size {size}, but got {micro}")
    _check_horizon(reader, ppo, space)
    if ppo.kl_target is not None and 0 in possible_values(space.get("kl_coef"), ppo.kl_coef):
        reader.add(("ppo", "kl_target"), "`kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0")


def _fitting(reader: Reader, place: Path_, ppo: PPOConfig, sizes: Sequence[int]) -> str:
    """The way out of batch sizes of which some do not divide the rollout, as one would write it."""
    micro = ppo.micro_batch_size or 1
    divisors = [n for n in range(1, ppo.rollout_size + 1) if ppo.rollout_size % n == 0]
    fitting = [n for n in divisors if n % micro == 0] or divisors
    entry = str(max((n for n in fitting if n <= max(sizes)), default=fitting[0]))
    if place[0] == "space":
        kept = [n for n in fitting if n in sizes]
        entry = f"{{type: categorical, choices: {kept if len(kept) > 1 else fitting[-4:]}}}"
    by_flag = reader.called_by_flag(("ppo", "rollout_size")) and not reader.called_by_flag(place)
    return f"take --set '{dotted(place)}={entry}' too" if by_flag else f"take {entry}"


def _check_horizon(reader: Reader, ppo: PPOConfig, space: Mapping[str, Param]) -> None:
    """No rollout can take an adaptive KL coefficient to 0 or below, where it would stay."""
    if ppo.kl_target is None and "kl_target" not in space:
        return
    place = ("space", "kl_horizon") if "kl_horizon" in space else ("ppo", "kl_horizon")
    for horizon in possible_values(space.get("kl_horizon"), ppo.kl_horizon):
        if isinstance(horizon, int | float) and 5 * horizon <= ppo.rollout_size:
            reader.add(
                place,
                f"`kl_horizon > rollout_size / 5` must hold, or one rollout can take β to 0, but got {horizon:g} "
                f"with rollout_size {ppo.rollout_size}",
            )
            return
