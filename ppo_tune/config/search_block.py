"""The block `search` beside the others: a grid that can be listed, and episodes for what is asked for."""

from collections.abc import Mapping

from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.ranges import Param
from ppo_tune.config.reader import Reader
from ppo_tune.config.space import MAX_GRID_CELLS, Space


def check_search(
    reader: Reader, search: SearchConfig, space: Mapping[str, Param], ppo: PPOConfig, *, allow_huge_grid: bool
) -> None:
    """A grid that can be listed, limits in order, and episodes for what is asked for."""
    _check_max_episodes(reader, search, ppo)
    _check_warm_start(reader, search)
    if search.kl_ceiling < search.kl_budget:
        reader.add(
            ("search", "kl_limit"),
            f"`kl_limit >= kl_budget` must hold, but got {search.kl_limit:g} < {search.kl_budget:g}",
        )
    if not search.sampler.exhaustive or not space:
        return
    grid = Space(dict(space))
    for name in grid.without_grid_values():
        reader.add(("space", name), "`points` must be given for a grid: a list of values, or how many")
    size = grid.grid_size()
    if size > MAX_GRID_CELLS and not allow_huge_grid:
        reader.add(
            ("space",),
            f"`cells <= {MAX_GRID_CELLS}` must hold, but the grid has {size}; use fewer points, "
            "another sampler, or --yes",
        )


def _check_warm_start(reader: Reader, search: SearchConfig) -> None:
    """It names another study, and the sampler does not try everything anyway."""
    if search.warm_start == reader.name:
        reader.add(
            ("search", "warm_start"),
            f"must name an earlier study, but {reader.name!r} is this one; leave it out",
        )
    elif search.warm_start is not None and search.sampler.exhaustive:
        reader.add(
            ("search", "warm_start"),
            f"sampler {search.sampler} tries every cell once, whatever was found before; leave it out",
        )


def _check_max_episodes(reader: Reader, search: SearchConfig, ppo: PPOConfig) -> None:
    """All episodes pay for a trial, and for as many runs of a confirmation as the file asks for."""
    if search.max_episodes is None or not reader.is_right("episodes"):
        return
    auto = search.confirm_top == search.confirm_seeds == "auto"
    runs = 0 if auto else search.confirmation(0).runs
    least = (1 + runs) * ppo.episodes
    if search.max_episodes >= least:
        return
    confirmed = f" and {runs} runs of the confirmation (confirm_top, confirm_seeds)" if runs else ""
    reader.add(
        ("search", "max_episodes"),
        f"`max_episodes >= {least}` must hold, for a trial of {ppo.episodes}{confirmed}, but got "
        f"{search.max_episodes}",
    )


def check_pack(
    reader: Reader, search: SearchConfig, space: Mapping[str, Param], model: ModelConfig | None
) -> None:
    """Trials that train all weights share no model."""
    adapters = model is None or model.lora_rank is not None or "lora_rank" in space
    if not adapters and search.pack not in ("auto", 1):
        reader.add(
            ("search", "pack"),
            f"`pack = 1` must hold when all weights are trained (model.lora_rank: null), but got {search.pack}; set a "
            "lora_rank",
        )
