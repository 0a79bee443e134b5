"""The command that makes a reward model."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import ppo_tune
from ppo_tune.cli.arguments import CanBePath
from ppo_tune.cli.fitting import NO_MODEL, careful, fit_progress, interval
from ppo_tune.cli.output import Facts, interrupts_held, stoppable
from ppo_tune.cli.settings import with_blocks
from ppo_tune.cli.terminal import note, say
from ppo_tune.config.fitting import PreferenceColumns, RewardTrainingConfig
from ppo_tune.fitting.folders import FitFolder
from ppo_tune.plurals import counted


@with_blocks
def reward(
    data: Annotated[
        Path,
        typer.Argument(
            help="JSON, JSONL, CSV, TSV (also .gz) or Parquet file of preferences: with a prompt, a chosen and a "
            "rejected response each, or as HH, TL;DR, SHP and UltraFeedback are published."
        ),
    ],
    base: Annotated[
        str, typer.Option(help="Model it starts from; its samples fix mean and scale."), CanBePath()
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    columns: PreferenceColumns,
    config: RewardTrainingConfig,
) -> Facts:
    """Make a preference reward model from pairs of responses."""
    FitFolder.of(out, "reward", base)  # before a large file is read
    with stoppable(lambda: NO_MODEL), fit_progress() as progress:
        found = ppo_tune.read_preferences(data, columns)
        with interrupts_held():
            fit = ppo_tune.fit_reward
        result = fit(found.rows, base, out, config, places=found.places, progress=progress)
    for text in (*found.notes, *result.notes):
        note(text)
    n_pairs, n_prompts = result.heldout_pairs, result.heldout_prompts or result.heldout_pairs
    of = f" of {counted(n_prompts, 'prompt')}" if n_prompts < n_pairs else ""
    say(
        f"{counted(result.preferences, 'preference')}, held-out accuracy {result.accuracy:.3f} on "
        f"{counted(n_pairs, 'pair')}{of} "
        f"({interval(result.interval).removesuffix(', ')}); base samples had mean {result.base_mean:.3f} and standard "
        f"deviation {result.base_std:.3f}, now 0 and 1",
        final=True,
    )
    careful(result.warnings)
    say(f"reward model {out}", final=True)
    notes = [*found.notes, *result.notes]
    return Facts({"reward_model": out, **asdict(result), "warnings": result.warnings, "notes": notes})
