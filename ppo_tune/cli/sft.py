"""The command that makes a base model."""

import math
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
from ppo_tune.config.fitting import PairColumns, SFTConfig
from ppo_tune.fitting.folders import FitFolder
from ppo_tune.plurals import counted


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
    base: Annotated[
        str | None, typer.Option(help="Model to go on from; default: a small new GPT-2."), CanBePath()
    ] = None,
) -> Facts:
    """Make a small base model from your prompts and responses, or fit an existing one to them."""
    FitFolder.of(out, "sft", base)  # before a large file is read
    with stoppable(lambda: NO_MODEL), fit_progress() as progress:
        found = ppo_tune.read_pairs(data, columns)
        with interrupts_held():
            fit = ppo_tune.fit_sft
        result = fit(found.rows, out, config, base=base, places=found.places, progress=progress)
    for text in (*found.notes, *result.notes):
        note(text)
    loss = result.heldout_nats_per_token
    told = f"{interval(result.interval)}perplexity {math.exp(min(loss, 99)):.3g}"
    say(
        f"{result.parameters:,} parameters, {counted(result.examples, 'example')}, held-out loss {loss:.3f} nats per "
        f"token ({told}) on {counted(result.heldout_examples, 'example')} of "
        f"{counted(result.heldout_prompts, 'prompt')}; {result.nats_before:.3f} before the fit",
        final=True,
    )
    careful(result.warnings)
    say(f"model {out}", final=True)
    notes = [*found.notes, *result.notes]
    return Facts({"model": out, **asdict(result), "warnings": result.warnings, "notes": notes})
