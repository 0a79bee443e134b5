"""The command that makes a reward model."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import ppo_tune
from ppo_tune.cli.arguments import CanBePath
from ppo_tune.cli.fitting import NO_MODEL, careful, fit_progress, interval
from ppo_tune.cli.output import Facts, interrupts_held, stoppable
from ppo_tune.cli.settings import with_blocks
from ppo_tune.cli.terminal import note, say
from ppo_tune.config.fitting import LabelColumns, RewardTrainingConfig
from ppo_tune.fitting.folders import FitFolder
from ppo_tune.plurals import counted

if TYPE_CHECKING:  # it imports torch, which help need not wait for
    from ppo_tune.fitting.reward_model import RewardTrainingResult


@with_blocks
def reward(
    data: Annotated[
        Path,
        typer.Argument(
            help="JSON, JSONL, CSV, TSV (also .gz) or Parquet file of judged responses: pairs of a chosen and a "
            "rejected one, or as HH, TL;DR, SHP and UltraFeedback are published; or responses with ratings or classes."
        ),
    ],
    base: Annotated[
        str, typer.Option(help="Model it starts from; its samples fix mean and scale."), CanBePath()
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    columns: LabelColumns,
    config: RewardTrainingConfig,
) -> Facts:
    """Make a reward model from pairs of responses, ratings, classes or comments."""
    FitFolder.of(out, "reward", base)  # before a large file is read
    with stoppable(lambda: NO_MODEL), fit_progress() as progress:
        found = ppo_tune.read_labels(data, columns)
        with interrupts_held():
            fit = ppo_tune.fit_reward
        result = fit(
            found.rows, base, out, config, labels=found.labels, places=found.places, progress=progress
        )
    for text in (*found.notes, *result.notes):
        note(text)
    for line in _lines(result):
        say(line, final=True)
    careful(result.warnings)
    say(f"reward model {out}", final=True)
    notes = [*found.notes, *result.notes]
    return Facts({"reward_model": out, **asdict(result), "warnings": result.warnings, "notes": notes})


def _lines(result: "RewardTrainingResult") -> Iterator[str]:
    """How good a reward model is, in words."""
    unit = {"pairs": "preference", "ratings": "rated response", "classes": "labelled response"}[result.labels]
    n_pairs, n_prompts = result.heldout_pairs, result.heldout_prompts
    of_prompts = f" of {counted(n_prompts, 'prompt')}" if n_prompts < n_pairs else ""
    of_prompts = " of responses taken two by two" if result.across else of_prompts
    low, high = result.interval
    yield (
        f"{counted(result.examples, unit)}, held-out accuracy {result.accuracy:.3f} on {counted(n_pairs, 'pair')}"
        f"{of_prompts} ({interval(result.interval).removesuffix(', ')}); base samples had mean {result.base_mean:.3f} "
        f"and standard deviation {result.base_std:.3f}, now 0 and 1"
    )
    in_units = " standard deviations of a rating" if result.labels == "ratings" else ""
    yield (
        f"rank correlation {result.rank_correlation:.2f} ({2 * low - 1:.2f} to {2 * high - 1:.2f}), calibration error "
        f"{result.calibration_error:.3f}{in_units}"
    )
    for name, ordered in result.attributes:
        yield f"{name}: accuracy {ordered.accuracy:.3f} ({interval(ordered.interval).removesuffix(', ')})"
    if (teacher := result.teacher) is not None:
        told = interval(teacher.interval).removesuffix(", ")
        yield f"the teacher, which reads the comments: accuracy {teacher.accuracy:.3f} ({told})"
    if result.curve:
        points = (f"{point.accuracy:.3f} from {point.rows:,}" for point in result.curve)
        yield f"learning curve, accuracy by rows learned from: {', '.join(points)}"
    if result.agreement is not None:
        share, n = result.agreement.share, result.agreement.n
        yield f"raters agree among themselves in {share:.3f} of {n:,} comparisons of the same responses"
