"""The command line: each command is a few lines over the Python API."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ppo_tune.errors import PPOTuneError, TrialError

if TYPE_CHECKING:
    from optuna.study import Study

    from ppo_tune.config import StudyConfig, TrainConfig
    from ppo_tune.training import TrainingResult

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find hyperparameters for PPO-RLHF that you can trust: search, prune, report, export, train.",
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

EXIT_BUG, EXIT_MISTAKE, EXIT_INTERRUPTED = 1, 2, 130

StudyFile = Annotated[Path, typer.Argument(help="A study file, such as search_spaces/quickstart.yaml.")]
StudyName = Annotated[str, typer.Argument(help="A study's name: its file's name without .yaml.")]
Out = Annotated[Path, typer.Option(help="Folder that holds runs/ and reports/.")]
Storage = Annotated[
    str | None, typer.Option(help="URL of an Optuna store; default: SQLite beside the trials.")
]


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2."""
    try:
        app(standalone_mode=True)
    except (PPOTuneError, TrialError) as error:
        errors.print(Text("error: ", style="bold red") + Text(str(error)), soft_wrap=True)
        sys.exit(EXIT_MISTAKE)
    except KeyboardInterrupt:
        errors.print("stopped")
        sys.exit(EXIT_INTERRUPTED)


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
    from ppo_tune.progress import Display, SearchState
    from ppo_tune.search.endings import count_endings
    from ppo_tune.search.runner import crowding, default_workers, run_search
    from ppo_tune.study_file import load_study, notes

    _quiet()
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
    _report(result.study, config, out)
    if result.interrupted:
        say(f"Stopped. Go on with: ppo-tune search {file}")
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command()
def report(study: StudyName, storage: Storage = None, out: Out = Path()) -> None:
    """Write reports/<study>/: the page index.html, trials.csv and best.yaml."""
    opened, config = _open(study, storage, out)
    _report(opened, config, out)


@app.command()
def export(
    study: StudyName,
    storage: Storage = None,
    out: Out = Path(),
    to: Annotated[Path | None, typer.Option(help="File to write; default: the terminal.")] = None,
) -> None:
    """Write the best config as the file that `ppo-tune train` reads."""
    opened, config = _open(study, storage, out)
    text = _best_yaml(opened, config)
    if to is None:
        sys.stdout.write(text)
        return
    from ppo_tune.files import write_text

    write_text(to, text)
    say(f"wrote {to}")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A config, such as reports/quickstart/best.yaml.")],
    episodes: Annotated[int | None, typer.Option(min=1, help="Length, instead of the config's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the config's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: trained/<name>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train one config at full length and write a model folder."""
    from ppo_tune.study_file import load_training
    from ppo_tune.training import TrainingInterrupted
    from ppo_tune.training import train as train_config

    _quiet()
    loaded = load_training(config, episodes=episodes, seed=seed)
    folder = out or Path("trained") / loaded.name
    with _stop_flag() as should_stop:
        try:
            result = train_config(
                loaded, out=folder, resume=resume, watch=_print_training, should_stop=should_stop
            )
        except TrainingInterrupted as stopped:
            say(str(stopped))
            raise typer.Exit(EXIT_INTERRUPTED) from None
    table = Table("", "before", "after", box=None, header_style="dim")
    for name, before in result.before.metrics().items():
        table.add_row(name.removeprefix("heldout/"), f"{before:.3f}", f"{result.after.metrics()[name]:.3f}")
    console.print(table)
    say(Text(kept(result, loaded)))
    say(f"model      {result.model}")
    say(f"go on with ppo-tune evaluate {result.model} --config {config}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder or hub name.")],
    config: Annotated[Path, typer.Option(help="A study file or config that names the task.")],
    samples: Annotated[int, typer.Option(min=0, help="How many responses to show.")] = 5,
) -> None:
    """Score a model on a task's held-out prompts, and show what it writes."""
    from ppo_tune.study_file import load_run
    from ppo_tune.workbench import evaluate_model

    _quiet()
    judged = evaluate_model(model, load_run(config))
    table = Table(box=None, show_header=False)
    for name, value in judged.metrics().items():
        if name != "heldout/kl_per_sequence":  # to itself
            table.add_row(name.removeprefix("heldout/"), f"{value:.3f}")
    console.print(table)
    for sample in judged.samples[:samples]:
        gold = "" if sample.gold is None else f", gold {sample.gold:.2f}"
        console.print()
        say(Text(printable(sample.prompt), style="dim"))
        say(Text(f"{printable(sample.response)}  [score {sample.score:.2f}{gold}]"))


@app.command()
def sft(
    data: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet file of prompts with good responses.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    prompt: Annotated[str, typer.Option(help="Column of the prompts.")] = "prompt",
    response: Annotated[str, typer.Option(help="Column of the responses.")] = "response",
    template: Annotated[str, typer.Option(help="Text given to the model, with {column} names.")] = "{prompt}",
    base: Annotated[str | None, typer.Option(help="Model to go on from; default: a small new GPT-2.")] = None,
    layers: Annotated[int, typer.Option(min=1, help="Blocks of a new model.")] = 4,
    width: Annotated[int, typer.Option(min=1, help="Width of a new model.")] = 128,
    vocab_size: Annotated[int, typer.Option(min=300, help="Vocabulary of a new tokenizer.")] = 1024,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="Peak step size; about 1e-5 with --base.")] = 3e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples per optimizer step.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
) -> None:
    """Make a small base model from your prompts and responses, or fit an existing one to them."""
    from ppo_tune.data import read_table
    from ppo_tune.sft import SFTConfig, fit_sft

    _quiet()
    rows = read_table(data, [prompt, response]).rows
    pairs = [
        (template.format(**{**row.columns, "prompt": row.columns[prompt]}), row.columns[response])
        for row in rows
    ]
    config = SFTConfig(layers=layers, width=width, vocab_size=vocab_size, epochs=epochs, learning_rate=learning_rate,
                       batch_size=batch_size, seed=seed)  # fmt: skip
    with _bar("fitting") as progress:
        result = fit_sft(pairs, out, config, base=base, progress=progress)
    say(
        f"{result.parameters:,} parameters, {result.examples:,} examples, held-out loss "
        f"{result.heldout_nats_per_token:.3f} nats per token"
    )
    say(f"model {out}")


@app.command()
def reward(
    data: Annotated[
        Path, typer.Argument(help="JSONL, CSV or Parquet file with prompt, chosen and rejected.")
    ],
    base: Annotated[str, typer.Option(help="Model it starts from; its samples fix mean and scale.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the preferences.")] = 1,
    learning_rate: Annotated[
        float, typer.Option(help="Peak step size; about 1e-5 for a large model.")
    ] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Preferences per optimizer step.")] = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the base's samples.")] = 32,
    template: Annotated[str, typer.Option(help="Text the model reads.")] = "{prompt}{response}",
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
) -> None:
    """Make a preference reward model from pairs of responses."""
    from ppo_tune.data import read_table
    from ppo_tune.reward_training import RewardTrainingConfig, fit_reward

    _quiet()
    columns = ("prompt", "chosen", "rejected")
    rows = read_table(data, columns).rows
    preferences = [(row.columns["prompt"], row.columns["chosen"], row.columns["rejected"]) for row in rows]
    config = RewardTrainingConfig(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size,
                                  max_new_tokens=max_new_tokens, template=template, seed=seed)  # fmt: skip
    with _bar("fitting") as progress:
        result = fit_reward(preferences, base, out, config, progress=progress)
    say(
        f"{result.preferences:,} preferences, held-out accuracy {result.accuracy:.3f}; base samples had mean "
        f"{result.base_mean:.3f} and standard deviation {result.base_std:.3f}, now 0 and 1"
    )
    say(f"reward model {out}")


def say(text: str | Text) -> None:
    """One line to the terminal, never broken: a path that is cut in two cannot be copied."""
    console.print(text if isinstance(text, Text) else Text(text), soft_wrap=True)


def printable(text: str) -> str:
    """Text with control characters shown as symbols, so that it cannot steer a terminal."""
    return "".join(
        chr(0x2400 + ord(c)) if ord(c) < 32 else "␡" if ord(c) in range(127, 160) else c for c in text
    )


def _open(name: str, storage: str | None, out: Path) -> "tuple[Study, StudyConfig]":
    from ppo_tune.config import check_name
    from ppo_tune.search.storage import load_study_from, storage_url, stored_config

    _quiet()
    check_name(name)
    study = load_study_from(storage or storage_url(out, name), name)
    return study, stored_config(study)


def _report(study: "Study", config: "StudyConfig", out: Path) -> None:
    """Write the report's files and say where they are and what won."""
    from ppo_tune.files import make_folder, write_text
    from ppo_tune.progress import describe
    from ppo_tune.reporting import write_report
    from ppo_tune.search.results import baseline_trial, best_trial
    from ppo_tune.search.storage import run_folder

    folder = make_folder(out / "reports" / config.name)
    page = write_report(study, config, run_folder(out, config.name), folder)
    winner = best_trial(study)
    if winner is not None:
        write_text(folder / "best.yaml", _best_yaml(study, config))
        default = baseline_trial(study)
        beside = "" if default is None or default.value is None else f" (default: {default.value:.3f})"
        say(f"winner     trial {winner.number}, score {winner.value:.3f}{beside}")
        say(f"           {describe(winner.params)}")
        say(f"go on with ppo-tune train {folder / 'best.yaml'}")
    say(f"report     {page}")


def _best_yaml(study: "Study", config: "StudyConfig") -> str:
    from ppo_tune.export.native import render
    from ppo_tune.search.results import best_config, best_trial
    from ppo_tune.versions import versions

    best = best_config(study, config)
    winner = best_trial(study)
    assert winner is not None
    facts = {
        "from": f"study {config.name}, trial {winner.number}, {winner.user_attrs['episodes']} episodes long",
        "held-out score": f"{winner.value:.4f}, at {winner.user_attrs['heldout/kl_per_sequence']:.2f} nats of KL",
        "made with": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    return render(best, facts)


def kept(result: "TrainingResult", config: "TrainConfig") -> str:
    """Which of the evaluated policies the model folder holds, and why."""
    budget, kl = config.kl_budget, result.after.kl_per_sequence
    if budget is not None and kl > budget:
        return (
            f"careful: no evaluation stayed within the KL budget of {budget:g} nats, and the last is kept, at "
            f"{kl:.2f}; look at what it writes, and train shorter or with a higher kl_coef"
        )
    why = "the last" if budget is None else f"the best within the KL budget of {budget:g} nats"
    return f"kept       the model after {result.episodes:,} episodes, {why}"


def _print_training(event: Any) -> None:
    if event["kind"] == "evaluation":
        gold = f", gold {event['heldout/gold']:.3f}" if "heldout/gold" in event else ""
        say(
            f"{event['episodes']:>8,.0f} episodes: held-out score {event['heldout/score']:.3f}{gold}, KL "
            f"{event['heldout/kl_per_sequence']:.2f} nats"
        )


@contextmanager
def _bar(what: str) -> Iterator[Callable[[float], None]]:
    from rich.progress import Progress

    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def _stop_flag() -> Iterator[Callable[[], bool]]:
    """Within this block the first Ctrl-C only raises a flag; the second stops at once."""
    asked = threading.Event()

    def on_interrupt(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _quiet() -> None:
    """Only our own words on the terminal."""
    import optuna
    import transformers

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
