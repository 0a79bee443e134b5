"""The command that trains one config at full length."""

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

import ppo_tune
from ppo_tune.cli.arguments import SQLITE, CanBePath, study_at
from ppo_tune.cli.evaluate import measured, told
from ppo_tune.cli.output import NOT_BEGUN, Facts, interrupts_held, stoppable
from ppo_tune.cli.settings import read_settings
from ppo_tune.cli.terminal import Settings, as_typed, console, heard, note, say, tell_note
from ppo_tune.data.user_files import check_functions
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.events import Event
from ppo_tune.plurals import counted
from ppo_tune.search.folders import StudyFolder
from ppo_tune.training.folders import checkpoints_in

if TYPE_CHECKING:
    from ppo_tune.training.full_length import TrainingResult


def train(
    config: Annotated[
        str,
        typer.Argument(
            help="A config, such as reports/quickstart/best.yaml; with --trial a study: its name, its file, or its "
            "folder in runs/."
        ),
        CanBePath(),
    ],
    trial: Annotated[
        int | None, typer.Option(min=0, help="Number of a completed trial of the study CONFIG.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="Length, instead of the config's; >= 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the config's; >= 0.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: trained/<name>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    from_weights: Annotated[
        bool, typer.Option("--from-weights", help="With --trial: begin with what it learned, not untrained.")
    ] = False,
    studies: Annotated[
        Path | None, typer.Option(help="With --trial: folder that holds runs/; default: this one.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="With --trial: URL of an Optuna store; default: SQLite beside the trials."),
        CanBePath(SQLITE),
    ] = None,
    settings: Settings = None,
) -> Facts:
    """Train one config at full length and write a model folder.

    Milestones on the way choose which model is kept; they answer the same held-out prompts with the same random
    numbers, so the best of them is too high. What is said of the model at the end, on its card and in evaluation.json
    was measured on other prompts with other random numbers, which chose nothing, and is what `ppo-tune evaluate` says.
    """
    with stoppable(lambda: NOT_BEGUN):
        values = read_settings(settings)
        if trial is None:
            _check_is_file(
                config, {"--studies": studies, "--storage": storage, "--from-weights": from_weights or None}
            )
            loaded = ppo_tune.load_training(
                config, episodes=episodes, seed=seed, settings=values, watch=tell_note
            )
        else:
            config, studies = study_at(config, studies or Path())
            study, experiment = ppo_tune.open_study(config, storage=storage, out=studies)
            loaded = ppo_tune.trial_config(
                study, experiment, trial, episodes=episodes, seed=seed, settings=values
            )
        check_functions(loaded)
    folder = out or Path("trained") / (loaded.name if trial is None else f"{loaded.name}-trial-{trial}")
    start = None
    if from_weights and trial is not None:
        start = StudyFolder.of(studies or Path(), loaded.name).trial(trial).adapter
        say(
            f"begins with the weights of trial {trial}; the optimizer begins anew, and KL is still to the untrained "
            "model"
        )
    say(
        "milestones compare: each answers the same held-out prompts with the same random numbers, so the best of them "
        "reads too high; the model that is kept is measured anew at the end"
    )
    with stoppable(lambda: _kept_of(folder), lambda: _go_on(folder)), _stop_flag() as should_stop:
        with interrupts_held():
            run = ppo_tune.train
        try:
            result = run(
                loaded, out=folder, resume=resume, start=start, watch=_print_training, should_stop=should_stop
            )
        except ppo_tune.TrainingInterrupted:
            raise KeyboardInterrupt from None
    table = Table("", "before", "after", box=None, header_style="dim")
    for name, before in result.before.metrics().items():
        table.add_row(name.removeprefix("heldout/"), f"{before:.3f}", f"{result.after.metrics()[name]:.3f}")
    with heard(True):
        console.print(table)
    say(measured(result.after))
    say(Text(kept(result, loaded)), final=True)
    say(f"model      {result.model}", final=True)
    command = ["ppo-tune", "evaluate", str(result.model), "--config", str(result.folder / "config.json")]
    say(f"go on with {shlex.join(command)}")
    return Facts({
        "folder": result.folder, "model": result.model, "interrupted": False, "episodes": result.episodes,
        "milestone": result.milestone, "before": told(result.before), "after": told(result.after),
    })  # fmt: skip


def _check_is_file(config: str, of_studies: Mapping[str, object]) -> None:
    """What is to be trained is no study, and nothing was said of where studies are.

    Raises:
        ConfigError: If it is, or was.
    """
    given = [flag for flag, value in of_studies.items() if value is not None]
    if given:
        what = "is about a study, whose trial must be named by --trial; give that too, or leave it out"
        raise ConfigError([Problem(flag, what) for flag in given])
    study, out = study_at(config, Path())
    if not Path(config).is_file() and study in ppo_tune.study_names(out=out):
        what = "is no file but a study; name one of its trials by --trial, or give reports/<study>/best.yaml"
        raise ConfigError([Problem(config, what)])


def _kept_of(folder: Path) -> str:
    """What is kept of a training that was stopped, as a sentence."""
    kept = [path.name.removeprefix("episodes-") for path in checkpoints_in(folder / "checkpoints")]
    return (
        f"{folder} keeps a checkpoint after {counted(int(kept[-1]), 'episode')}."
        if kept
        else "No checkpoint was due yet."
    )


def _go_on(folder: Path) -> str:
    """The command that goes on with a training: as it was typed, from its checkpoint if there is one."""
    resumes = checkpoints_in(folder / "checkpoints") and "--resume" not in sys.argv
    return as_typed() + (" --resume" if resumes else "")


def kept(result: "TrainingResult", config: "ppo_tune.TrainConfig") -> str:
    """Which of the policies at the milestones the model folder holds, and why."""
    budget, kl = config.kl_budget, result.after.kl_per_sequence
    model = f"kept       the model after {counted(result.episodes, 'episode')}"
    if budget is None:
        return f"{model}, the last"
    if result.milestone is None:
        return (
            f"careful: no milestone stayed within the KL budget of {budget:g} nats, and the last is kept, at "
            f"{kl:.2f}; look at what it writes, and train shorter or with a higher kl_coef"
        )
    chosen = (
        f"whose milestone scored {result.milestone:.3f}, the best within the KL budget of {budget:g} nats"
    )
    beyond = f"; careful: measured again its KL is {kl:.2f}, beyond the budget" if kl > budget else ""
    return f"{model}, {chosen}{beyond}"


def _print_training(event: Event) -> None:
    if event["kind"] == "note":
        note(event["text"])
    if event["kind"] == "evaluation":
        judges = (name for name in event if f"{name}_standard_error" in event and name != "heldout/score")
        beside = "".join(f", {name.removeprefix('heldout/')} {event[name]:.3f}" for name in judges)
        say(
            f"{event['episodes']:>8,.0f} episodes: milestone score {event['heldout/score']:.3f} ± "
            f"{event['heldout/score_standard_error']:.3f}{beside}, KL {event['heldout/kl_per_sequence']:.2f} nats"
        )


@contextmanager
def _stop_flag() -> Iterator[Callable[[], bool]]:
    """Within this block Ctrl-C raises a flag that iterations ask for; before the first, or twice, it stops at once."""
    asked, begun = threading.Event(), threading.Event()

    def on_interrupt(*_: object) -> None:
        if asked.is_set() or not begun.is_set():
            raise KeyboardInterrupt
        asked.set()
        say("stopping after this iteration, which a checkpoint will keep; Ctrl-C again stops at once")

    def should_stop() -> bool:
        begun.set()
        return asked.is_set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield should_stop
    finally:
        signal.signal(signal.SIGINT, before)
