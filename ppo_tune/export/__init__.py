"""The family of exporters: a winner becomes the files of another trainer, or of our own."""

from collections.abc import Callable

from ppo_tune.errors import ConfigError, Problem
from ppo_tune.export import native, openrlhf, skyrl, trl, verl
from ppo_tune.export.base import Export, Scale, Sources, Winner

__all__ = ["TARGETS", "Export", "Scale", "Sources", "Winner", "exporter"]

Exporter = Callable[[Winner, Scale], Export]

TARGETS: dict[str, Exporter] = {
    "native": native.export,
    "openrlhf": openrlhf.export,
    "verl": verl.export,
    "skyrl": skyrl.export,
    "trl": trl.export,
}


def exporter(target: str) -> Exporter:
    """The function that makes the files of a target.

    Raises:
        ConfigError: If there is no such target.
    """
    if target not in TARGETS:
        raise ConfigError([Problem("--to", f"must be one of {', '.join(TARGETS)}, but got {target!r}")])
    return TARGETS[target]
