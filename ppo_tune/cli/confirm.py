"""The command that confirms a study's best few."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.search import flags_of, show
from ppo_tune.cli.terminal import Out, Storage, StudyName, Workers


def confirm(
    study: StudyName,
    top: Annotated[
        int | None, typer.Option(min=1, help="How many of the best, instead of the file's.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="How many fresh seeds, instead of the file's.")
    ] = None,
    workers: Workers = None,
    storage: Storage = None,
    out: Out = Path(),
) -> Facts:
    """Run the best few and the default on fresh seeds and unseen prompts, or go on with it."""
    _, config = ppo_tune.open_study(study, storage=storage, out=out)
    wanted = {"confirm_top": top, "confirm_seeds": seeds}
    changes = {name: value for name, value in wanted.items() if value is not None}
    config = config.model_copy(update={"search": config.search.model_copy(update=changes)})
    run = partial(ppo_tune.run_confirmation, config, out=out, storage=storage, workers=workers)
    return show(run, config, out, storage, again=f"ppo-tune confirm {study}{flags_of(storage, out)}")
