"""The command that trains a trial of a study again."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.terminal import Out, Storage, StudyName, say, tell, tell_note
from ppo_tune.events import Event
from ppo_tune.plurals import counted

if TYPE_CHECKING:
    from ppo_tune.search.rerun import Rerun


def rerun(
    study: StudyName,
    trial: Annotated[int, typer.Argument(metavar="N", min=0, help="Number of a trial that has ended.")],
    folder: Annotated[
        Path | None, typer.Option(help="Keep what it leaves in this folder; default: keep nothing.")
    ] = None,
    storage: Storage = None,
    out: Out = Path(),
) -> Facts:
    """Train a trial again exactly as it was, and say whether it is equal.

    Its values, seed, prompts and random numbers are those of the first time. On a CPU, where it was not trained beside
    others, its curve comes out the same bit by bit; where it does not, the largest differences are told and what is
    known to cause them. The study is not changed.
    """
    again = ppo_tune.rerun_trial(study, trial, folder=folder, storage=storage, out=out, watch=_tell)
    tell(_verdict(study, again), final=True)
    for found in again.differences:
        say(
            f"{found.what} differs by up to {abs(found.now - found.before):.3g}: {found.before!r} before, "
            f"{found.now!r} now, after {counted(found.episodes, 'episode')}"
        )
    for reason in again.reasons if not again.equal else ():
        say(f"known to matter: {reason}")
    if folder is not None:
        say(f"trial      {folder}")
    return Facts({"study": study, **asdict(again), "equal": again.equal})


def _tell(event: Event) -> None:
    tell_note(event)
    if event["kind"] == "milestone":
        say(f"{event['episodes']:>8,.0f} episodes: score {event['score']:.3f}")


def _verdict(study: str, again: "Rerun") -> str:
    """Whether it is equal, as a sentence."""
    what = f"trial {again.number} of study {study}, trained again,"
    if again.before != again.now:
        return f"{what} is not equal: it ended as {again.now}, and before as {again.before}"
    if again.differences:
        unknown = "" if again.reasons else "; nothing is known that would explain it: please report it"
        return f"{what} is not equal{unknown}"
    n = len(again.curve)
    at = (
        "it ended before the first milestone"
        if n == 0
        else f"at all {counted(n, 'milestone')}"
        if n > 1
        else "at its milestone"
    )
    return f"{what} is equal bit by bit: {again.now}, {at}"
