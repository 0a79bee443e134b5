"""The command that judges a model."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

import ppo_tune
from ppo_tune.cli.arguments import CanBePath
from ppo_tune.cli.fitting import interval
from ppo_tune.cli.output import Facts, interrupts_held
from ppo_tune.cli.terminal import console, heard, printable, say, tell_note
from ppo_tune.data.draws import measured_on
from ppo_tune.data.user_files import check_functions
from ppo_tune.plurals import counted

if TYPE_CHECKING:
    from ppo_tune.trainer.pass_rates import PassRate


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A model folder or hub name, or that of a LoRA, DoRA, AdaLoRA, IA³ or prefix adapter in PEFT's format."
        ),
        CanBePath(),
    ],
    config: Annotated[Path, typer.Option(help="A study file or config that names the task.")],
    base: Annotated[
        str | None,
        typer.Option(help="Model that the adapter was made of, instead of the one it names."),
        CanBePath(),
    ] = None,
    split: Annotated[
        Literal["confirmation", "heldout"],
        typer.Option(help="Prompts that chose nothing, as in evaluation.json; or those of the milestones."),
    ] = "confirmation",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the config's.")] = None,
    responses: Annotated[
        int, typer.Option(min=1, help="Responses to each prompt: more than one give pass@k by unit tests.")
    ] = 1,
    samples: Annotated[int, typer.Option(min=0, help="How many responses to show.")] = 5,
    against: Annotated[
        str | None,
        typer.Option(help="Another model, such as the base, to compare with on the same prompts."),
        CanBePath(),
    ] = None,
) -> Facts:
    """Score a model on a task's prompts, and show what it writes.

    The same model and config give the same numbers: the config's seed, length, temperature and dtype are used (but
    float32 weights of another model than the config's own stay float32, for a shorter format would round away what a
    training added). By default they are those of evaluation.json, where `train` wrote the model with this config (it
    is config.json in the training's folder). With `--split heldout` they are those of the config's milestones; for a
    study's base model, those of its base.json.
    """
    run = ppo_tune.load_run(config, watch=tell_note)
    check_functions(run)
    with interrupts_held():
        evaluate_model = ppo_tune.evaluate_model
    judged = evaluate_model(
        model, run, base=base, split=split, seed=seed, responses=responses, against=against
    )
    table = Table(box=None, show_header=False)
    for name, value in judged.metrics().items():
        if name != "heldout/kl_per_sequence":  # to itself
            table.add_row(name.removeprefix("heldout/"), f"{value:.3f}")
    for name, rate in pass_rates(judged):
        low, high = rate.interval
        table.add_row(name, f"{rate.share:.3f}", f"95 % interval {low:.3f} to {high:.3f}")
    for name, value in judged.texts.items():
        table.add_row(name, f"{value:.3f}")
    with heard(True):
        console.print(table)
    for one in judged.versus:
        (low, high), ends = one.wins_interval, interval(one.interval).removesuffix(", ")
        say(
            f"{one.judge} {one.difference:+.3f} over {against} ({ends}), better on {one.wins:.0%} of the prompts "
            f"({low:.0%} to {high:.0%})"
        )
    say(measured(judged) if split == "confirmation" else _milestones(judged))
    for sample in judged.samples[:samples]:
        beside = "".join(f", {name} {score:.2f}" for name, score in sample.judges.items())
        console.print()
        say(Text(printable(sample.prompt), style="dim"))
        say(Text(f"{printable(sample.response)}  [score {sample.score:.2f}{beside}]"))
    shown = [sample.as_dict() for sample in judged.samples[:samples]]
    compared = {"against": against, "versus": [*map(asdict, judged.versus)]} if judged.versus else {}
    return Facts({"model": model, **told(judged), **judged.texts, **compared, "samples": shown})


def told(judged: "ppo_tune.Evaluation") -> dict[str, Any]:
    """The numbers, and what they were measured on, for scripts."""
    numbers: dict[str, Any] = {
        name.removeprefix("heldout/"): value for name, value in judged.metrics().items()
    }
    for name, rate in pass_rates(judged):
        numbers |= {name: rate.share, f"{name}_low": rate.interval[0], f"{name}_high": rate.interval[1]}
    return {**numbers, "split": judged.split, "n_prompts": len(judged.samples)}


def pass_rates(judged: "ppo_tune.Evaluation") -> "Iterator[tuple[str, PassRate]]":
    """pass@k by its name, which begins with that of the judge where it is not the objective."""
    for scorer, rates in judged.pass_at.items():
        for rate in rates:
            yield f"{'' if scorer == 'score' else f'{scorer}_'}pass@{rate.k}", rate


def measured(judged: "ppo_tune.Evaluation") -> str:
    """What the numbers above were measured on."""
    return f"measured on {measured_on(judged.split, len(judged.samples))}"


def _milestones(judged: "ppo_tune.Evaluation") -> str:
    return (
        f"measured on {counted(len(judged.samples), 'held-out prompt')}, with the random numbers of the config's "
        "milestones: "
        "compare it with them only"
    )
