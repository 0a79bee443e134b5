"""How episodes, rollouts, batches and an adaptive KL coefficient fit one another."""

from collections.abc import Mapping

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.ranges import Param
from ppo_tune.config.reader import Reader
from ppo_tune.config.searched import possible_values


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
    for size in possible_values(space.get("batch_size"), ppo.batch_size):
        if not isinstance(size, int) or not reader.is_right("batch_size"):
            continue
        if reader.is_right("rollout_size") and (size < 1 or ppo.rollout_size % size):
            reader.add(place, f"`batch_size` must divide rollout_size {ppo.rollout_size}, but got {size}")
        if micro is not None and size % micro:
            reader.add(("ppo", "micro_batch_size"), f"must divide batch_size {size}, but got {micro}")
    _check_horizon(reader, ppo, space)
    if ppo.kl_target is not None and 0 in possible_values(space.get("kl_coef"), ppo.kl_coef):
        reader.add(("ppo", "kl_target"), "`kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0")


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
