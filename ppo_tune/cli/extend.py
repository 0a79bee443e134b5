"""The command that goes on with a study beyond its limits."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.search import flags_of, show
from ppo_tune.cli.terminal import Out, Storage, StudyName, Workers
from ppo_tune.errors import ConfigError, Problem


def extend(
    study: StudyName,
    trials: Annotated[int | None, typer.Option(min=1, help="So many more trials.")] = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="So many more episodes, the confirmation's included.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="So many more seconds, above 0, the confirmation's included.")
    ] = None,
    longer: Annotated[
        int | None,
        typer.Option(
            min=2, help="Train the best three and the default so many times as long, as another study."
        ),
    ] = None,
    workers: Workers = None,
    storage: Storage = None,
    out: Out = Path(),
) -> Facts:
    """Go on with a study beyond its limits; confirm again on top of what was confirmed; write its report.

    The first of the numbers that is reached ends it, and the earlier limits count no more. Without any of them it goes
    on to those it has. With --longer 4 another study, STUDY-x4, trains the best few for four times the episodes.
    """
    more = {"trials": trials, "episodes": episodes, "seconds": seconds}
    given = [f"--{name}" for name, value in more.items() if value is not None]
    if longer is not None and given:
        what = f"makes another study, which {given[0]} can be given to once it exists; leave one of both out"
        raise ConfigError([Problem("--longer", what)])
    opened, config = ppo_tune.open_study(study, storage=storage, out=out)
    again = f"ppo-tune extend {study}{flags_of(storage, out)}"
    if longer is None:
        config = ppo_tune.extended(config, opened, trials=trials, episodes=episodes, seconds=seconds)
    else:
        config, again = ppo_tune.lengthened(config, opened, longer), f"{again} --longer {longer}"
    run = partial(ppo_tune.run_search, config, out=out, storage=storage, workers=workers)
    return show(run, config, out, storage, again=again)
