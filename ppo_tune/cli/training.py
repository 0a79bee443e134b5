"""Commands about models: train one config at full length, judge a model, make a base or a reward model."""

import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from ppo_tune.cli.terminal import EXIT_INTERRUPTED, app, console, printable, quiet, say

if TYPE_CHECKING:
    from ppo_tune.config.blocks import TrainConfig
    from ppo_tune.data.tables import Row
    from ppo_tune.trainer.evaluation import Evaluation
    from ppo_tune.training.full_length import TrainingResult


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A config, such as reports/quickstart/best.yaml.")],
    episodes: Annotated[int | None, typer.Option(min=1, help="Length, instead of the config's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the config's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: trained/<name>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train one config at full length and write a model folder.

    Milestones on the way choose which model is kept; they answer the same held-out prompts with the same random
    numbers, so the best of them is too high. What is said of the model at the end, on its card and in evaluation.json
    was measured on other prompts with other random numbers, which chose nothing, and is what `ppo-tune evaluate` says.
    """
    from ppo_tune.config.study_file import load_training
    from ppo_tune.training.full_length import TrainingInterrupted
    from ppo_tune.training.full_length import train as train_config

    quiet()
    loaded = load_training(config, episodes=episodes, seed=seed)
    folder = out or Path("trained") / loaded.name
    say(
        "milestones compare: each answers the same held-out prompts with the same random numbers, so the best of them "
        "reads too high; the model that is kept is measured anew at the end"
    )
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
    say(_measured(result.after))
    say(Text(kept(result, loaded)))
    say(f"model      {result.model}")
    command = ["ppo-tune", "evaluate", str(result.model), "--config", str(result.folder / "config.json")]
    say(f"go on with {shlex.join(command)}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder or hub name.")],
    config: Annotated[Path, typer.Option(help="A study file or config that names the task.")],
    split: Annotated[
        Literal["confirmation", "heldout"],
        typer.Option(help="Prompts that chose nothing, as in evaluation.json; or those of the milestones."),
    ] = "confirmation",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the config's.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="How many responses to show.")] = 5,
) -> None:
    """Score a model on a task's prompts, and show what it writes.

    The same model and config give the same numbers: the config's seed, length, temperature and dtype are used (but
    float32 weights of another model than the config's own stay float32, for a shorter format would round away what a
    training added). By default they are those of evaluation.json, where `train` wrote the model with this config (it
    is config.json in the training's folder). With `--split heldout` they are those of the config's milestones; for a
    study's base model, those of its base.json.
    """
    from ppo_tune.config.study_file import load_run
    from ppo_tune.trainer.assembly import evaluate_model

    quiet()
    judged = evaluate_model(model, load_run(config), split=split, seed=seed)
    table = Table(box=None, show_header=False)
    for name, value in judged.metrics().items():
        if name != "heldout/kl_per_sequence":  # to itself
            table.add_row(name.removeprefix("heldout/"), f"{value:.3f}")
    console.print(table)
    say(_measured(judged) if split == "confirmation" else _milestones(judged))
    for sample in judged.samples[:samples]:
        beside = "".join(f", {name} {score:.2f}" for name, score in sample.judges.items())
        console.print()
        say(Text(printable(sample.prompt), style="dim"))
        say(Text(f"{printable(sample.response)}  [score {sample.score:.2f}{beside}]"))


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
    from ppo_tune.data.tables import read_table
    from ppo_tune.fitting.sft import SFTConfig, fit_sft

    quiet()
    rows = read_table(data, [prompt, response]).rows
    pairs = [(_filled(template, row, prompt), row.columns[response]) for row in rows]
    config = SFTConfig(layers=layers, width=width, vocab_size=vocab_size, epochs=epochs, learning_rate=learning_rate,
                       batch_size=batch_size, seed=seed)  # fmt: skip
    with _bar("fitting") as progress:
        result = fit_sft(pairs, out, config, base=base, progress=progress)
    _say_notes(result.notes)
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
    from ppo_tune.data.tables import read_table
    from ppo_tune.fitting.reward_model import RewardTrainingConfig, fit_reward

    quiet()
    columns = ("prompt", "chosen", "rejected")
    rows = read_table(data, columns).rows
    preferences = [(row.columns["prompt"], row.columns["chosen"], row.columns["rejected"]) for row in rows]
    config = RewardTrainingConfig(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size,
                                  max_new_tokens=max_new_tokens, template=template, seed=seed)  # fmt: skip
    with _bar("fitting") as progress:
        result = fit_reward(preferences, base, out, config, progress=progress)
    _say_notes(result.notes)
    low, high = result.interval
    say(
        f"{result.preferences:,} preferences, held-out accuracy {result.accuracy:.3f} on {result.heldout_pairs:,} "
        f"pairs (95 % interval {low:.3f} to {high:.3f}); base samples had mean {result.base_mean:.3f} and standard "
        f"deviation {result.base_std:.3f}, now 0 and 1"
    )
    if result.warning:
        say(f"careful: {result.warning}")
    say(f"reward model {out}")


def _filled(template: str, row: "Row", prompt: str) -> str:
    """The text that the model is given for a row."""
    from ppo_tune.errors import ConfigError, Problem

    try:
        return template.format(**{**row.columns, "prompt": row.columns[prompt]})
    except (KeyError, IndexError, ValueError) as error:
        what = (
            f"{template!r} cannot be filled from {row.where} ({type(error).__name__}: {error}); the row has "
        )
        raise ConfigError([Problem("--template", what + ", ".join(row.columns))]) from error


def _say_notes(notes: tuple[str, ...]) -> None:
    for note in notes:
        say(f"note: {printable(note)}")


def kept(result: "TrainingResult", config: "TrainConfig") -> str:
    """Which of the policies at the milestones the model folder holds, and why."""
    budget, kl = config.kl_budget, result.after.kl_per_sequence
    model = f"kept       the model after {result.episodes:,} episodes"
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


def _measured(judged: "Evaluation") -> str:
    """What the numbers above were measured on."""
    from ppo_tune.data.draws import measured_on

    return f"measured on {measured_on(judged.split, len(judged.samples))}"


def _milestones(judged: "Evaluation") -> str:
    return (
        f"measured on {len(judged.samples):,} held-out prompts, with the random numbers of the config's milestones: "
        "compare it with them only"
    )


def _print_training(event: Any) -> None:
    if event["kind"] == "note":
        say(f"note: {printable(event['text'])}")
    if event["kind"] == "evaluation":
        judges = (name for name in event if f"{name}_standard_error" in event and name != "heldout/score")
        beside = "".join(f", {name.removeprefix('heldout/')} {event[name]:.3f}" for name in judges)
        say(
            f"{event['episodes']:>8,.0f} episodes: milestone score {event['heldout/score']:.3f} ± "
            f"{event['heldout/score_standard_error']:.3f}{beside}, KL {event['heldout/kl_per_sequence']:.2f} nats"
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
