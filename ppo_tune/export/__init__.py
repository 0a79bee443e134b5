"""The family of exporters: a winner becomes the files of another trainer, or of our own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ppo_tune.errors import ConfigError, Problem
from ppo_tune.export import native, openrlhf, skyrl, trl, verl
from ppo_tune.export.base import Export, Scale, Sources, Winner
from ppo_tune.export.gather import winner_of
from ppo_tune.search.storage import open_study

__all__ = ["TARGETS", "Export", "Scale", "Sources", "Winner", "export_study", "exporter"]

Exporter = Callable[[Winner, Scale], Export]


class Target(NamedTuple):
    """A trainer that a winner can be handed to.

    Attributes:
        export: Makes its files.
        needs_sources: Whether the files name model, reward and prompts; our own config names them already.
    """

    export: Exporter
    needs_sources: bool = True


TARGETS = {
    "native": Target(native.export, needs_sources=False),
    "openrlhf": Target(openrlhf.export),
    "verl": Target(verl.export),
    "skyrl": Target(skyrl.export),
    "trl": Target(trl.export),
}


def exporter(target: str) -> Exporter:
    """The function that makes the files of a target.

    Raises:
        ConfigError: If there is no such target.
    """
    return _target(target).export


def export_study(
    name: str,
    to: str = "native",
    *,
    params_ratio: float | None = None,
    response_length: int | None = None,
    storage: str | None = None,
    out: Path | str = ".",
) -> Export:
    """The best config of a study for full training, in our own format or for another trainer.

    Args:
        name: The study's.
        to: The target; one of `TARGETS`.
        params_ratio: Suggest values for a model of so many times the parameters.
        response_length: Suggest values for responses of up to so many tokens.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.

    Returns:
        The files, which nothing has written yet: see `Export.write`.

    Raises:
        PPOTuneError: If there is no such target or study, or the study has no winner.
    """
    target, scale = _target(to), Scale(params_ratio, response_length)
    study, config = open_study(name, storage=storage, out=out)
    winner = winner_of(study, config, out=Path(out), with_sources=target.needs_sources)
    facts = winner.provenance
    return replace(
        target.export(winner, scale), verdict=facts["verdict"], advice=facts.get(native.ADVICE, "")
    )


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise ConfigError([Problem("--to", f"must be one of {', '.join(TARGETS)}, but got {name!r}")])
    return TARGETS[name]
