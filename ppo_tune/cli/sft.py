"""The command that makes a base model."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.settings import with_blocks
from ppo_tune.cli.terminal import note, progress_bar, say
from ppo_tune.config.fitting import PairColumns, SFTConfig


@with_blocks
def sft(
    data: Annotated[
        Path,
        typer.Argument(
            help="JSON, JSONL, CSV, TSV (also .gz) or Parquet file of prompts with good responses."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    columns: PairColumns,
    config: SFTConfig,
    base: Annotated[str | None, typer.Option(help="Model to go on from; default: a small new GPT-2.")] = None,
) -> Facts:
    """Make a small base model from your prompts and responses, or fit an existing one to them."""
    found = ppo_tune.read_pairs(data, columns)
    with progress_bar("fitting") as progress:
        result = ppo_tune.fit_sft(found.rows, out, config, base=base, progress=progress)
    for text in (*found.notes, *result.notes):
        note(text)
    say(
        f"{result.parameters:,} parameters, {result.examples:,} examples, held-out loss "
        f"{result.heldout_nats_per_token:.3f} nats per token",
        final=True,
    )
    say(f"model {out}", final=True)
    notes = [*found.notes, *result.notes]
    return Facts({"model": out, **asdict(result), "notes": notes})
