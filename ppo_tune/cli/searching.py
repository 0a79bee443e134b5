"""Commands that run a study: check its file, search, confirm."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ppo_tune.cli.terminal import (
    EXIT_INTERRUPTED,
    EXIT_NOTHING,
    Out,
    Storage,
    StudyFile,
    StudyName,
    app,
    console,
    flags_of,
    open_study,
    quiet,
    say,
)


@app.command()
def check(
    file: StudyFile,
    yes: Annotated[bool, typer.Option("--yes", help="Accept a grid of more than 10,000 cells.")] = False,
) -> None:
    """Validate a study file, count its trials and estimate the work; loads no model."""
    from ppo_tune.config.study_file import load_study, notes
    from ppo_tune.data.user_files import check_user_files

    config = load_study(file, allow_huge_grid=yes)
    inputs = check_user_files(config)
    prompts = inputs.prompts
    n, episodes = config.n_trials, config.ppo.episodes
    say(f"{file} is a valid study.")
    say(f"  searched   {', '.join(config.space)}")
    say(
        f"  trials     {n}, by {config.search.sampler}, pruned by {config.search.pruner}; the default is trial 0"
    )
    say(f"  episodes   {episodes:,} per trial, at most {n * episodes:,} in all")
    if prompts is not None:
        used = min(config.task.heldout_prompts, prompts["heldout"])
        say(
            f"  prompts    {prompts['train']:,} to train on, {prompts['heldout']:,} held out, of which {used:,} "
            f"score every trial, {prompts['confirmation']:,} for confirmation"
        )
    say(f"  scored at  {', '.join(f'{e:,}' for e in config.milestone_episodes())} episodes")
    if config.search.confirm_top:
        top, seeds = config.search.confirm_top, config.search.confirm_seeds
        say(
            f"  confirmed  the best {top} and the default, on {seeds} fresh seeds: at most {(top + 1) * seeds} runs, "
            f"{(top + 1) * seeds * episodes:,} episodes"
        )
    for note in [*notes(config), *inputs.notes]:
        say(Text.assemble(("note: ", "yellow"), note))


@app.command()
def search(
    file: StudyFile,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: one per GPU, else per core.")
    ] = None,
    storage: Storage = None,
    n_trials: Annotated[
        int | None, typer.Option(min=1, help="Total of trials, instead of the file's.")
    ] = None,
    out: Out = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Accept a grid of more than 10,000 cells.")] = False,
    no_confirm: Annotated[
        bool, typer.Option("--no-confirm", help="Leave out the confirmation on fresh seeds.")
    ] = False,
) -> None:
    """Start a study, or go on with it; confirm its best few on fresh seeds; write its report.

    Exit code 3 says that the study is over and no trial of it can be gone on with.
    """
    from ppo_tune.cli.progress import Display, SearchState
    from ppo_tune.cli.studies import write_study_report
    from ppo_tune.config.study_file import load_study, notes
    from ppo_tune.search.endings import count_endings
    from ppo_tune.search.local_workers import default_workers
    from ppo_tune.search.run import crowding, run_search

    quiet()
    config = load_study(file, allow_huge_grid=yes)
    if n_trials is not None:
        search_block = config.search.model_copy(update={"n_trials": n_trials})
        config = config.model_copy(update={"search": search_block})
    workers = workers or default_workers()
    for note in [*notes(config), *crowding(config, workers)]:
        say(Text.assemble(("note: ", "yellow"), note))
    display = Display(console, SearchState(config))
    with display.shown():
        result = run_search(
            config,
            out=out,
            storage=storage,
            workers=workers,
            watch=display.watch,
            confirm=not no_confirm,
        )
    counts = ", ".join(f"{n} {ending}" for ending, n in count_endings(result.study).items())
    say(f"study {config.name}: {counts}")
    verdict = write_study_report(result.study, config, out)
    if result.interrupted:
        say(f"Stopped. Go on with: ppo-tune search {shlex.quote(str(file))}{flags_of(storage, out)}")
        raise typer.Exit(EXIT_INTERRUPTED)
    if verdict.kind == "nothing_feasible":
        raise typer.Exit(EXIT_NOTHING)


@app.command()
def confirm(
    study: StudyName,
    top: Annotated[
        int | None, typer.Option(min=1, help="How many of the best, instead of the file's.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=3, help="How many fresh seeds, instead of the file's.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: one per GPU, else per core.")
    ] = None,
    storage: Storage = None,
    out: Out = Path(),
) -> None:
    """Run the best few and the default on fresh seeds and unseen prompts, or go on with it."""
    from ppo_tune.cli.progress import Display, SearchState
    from ppo_tune.cli.studies import write_study_report
    from ppo_tune.search.run import run_confirmation

    _, config = open_study(study, storage, out)
    wanted = {"confirm_top": top, "confirm_seeds": seeds}
    changes = {name: value for name, value in wanted.items() if value is not None}
    config = config.model_copy(update={"search": config.search.model_copy(update=changes)})
    display = Display(console, SearchState(config))
    with display.shown():
        result = run_confirmation(config, out=out, storage=storage, workers=workers, watch=display.watch)
    verdict = write_study_report(result.study, config, out)
    if result.interrupted:
        say(f"Stopped. Go on with: ppo-tune confirm {study}{flags_of(storage, out)}")
        raise typer.Exit(EXIT_INTERRUPTED)
    if verdict.kind == "nothing_feasible":
        raise typer.Exit(EXIT_NOTHING)
