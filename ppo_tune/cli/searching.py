"""Commands that run a study: check its file, search."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ppo_tune.cli.terminal import (
    EXIT_INTERRUPTED,
    Out,
    Storage,
    StudyFile,
    app,
    console,
    quiet,
    say,
)


@app.command()
def check(
    file: StudyFile,
    yes: Annotated[bool, typer.Option("--yes", help="Accept a grid of more than 10,000 cells.")] = False,
) -> None:
    """Validate a study file, count its trials and estimate the work; loads no model."""
    from ppo_tune.inputs import check_inputs
    from ppo_tune.study_file import load_study, notes

    config = load_study(file, allow_huge_grid=yes)
    prompts = check_inputs(config).prompts
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
    for note in notes(config):
        say(Text("note: ", style="yellow") + Text(note))


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
) -> None:
    """Start a study, or go on with it if it exists; then write its report."""
    from ppo_tune.cli.studies import write_study_report
    from ppo_tune.progress import Display, SearchState
    from ppo_tune.search.endings import count_endings
    from ppo_tune.search.runner import crowding, default_workers, run_search
    from ppo_tune.study_file import load_study, notes

    quiet()
    config = load_study(file, allow_huge_grid=yes)
    if n_trials is not None:
        search_block = config.search.model_copy(update={"n_trials": n_trials})
        config = config.model_copy(update={"search": search_block})
    workers = workers or default_workers()
    for note in [*notes(config), *crowding(config, workers)]:
        say(Text("note: ", style="yellow") + Text(note))
    display = Display(console, SearchState(config))
    with display.shown():
        result = run_search(config, out=out, storage=storage, workers=workers, watch=display.watch)
    counts = ", ".join(f"{n} {ending}" for ending, n in count_endings(result.study).items())
    say(f"study {config.name}: {counts}")
    write_study_report(result.study, config, out)
    if result.interrupted:
        say(f"Stopped. Go on with: ppo-tune search {file}")
        raise typer.Exit(EXIT_INTERRUPTED)
