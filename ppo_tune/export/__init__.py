"""The family of exporters: a winner becomes the files of another trainer, or of our own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ppo_tune.calling import place_of
from ppo_tune.config.model import AdapterKind
from ppo_tune.config.tasks import EmbeddedTaskConfig
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.export import native, openrlhf, skyrl, trl, verl
from ppo_tune.export.base import Export, Scale, Sources, Winner
from ppo_tune.export.gather import winner_of
from ppo_tune.export.sources import encodes
from ppo_tune.search.storage import open_study

__all__ = ["TARGETS", "Export", "Scale", "Sources", "Winner", "export_study", "other_trainers"]

TARGETS: dict[str, Callable[[Winner, Scale], Export]] = {
    "native": native.export,
    "openrlhf": openrlhf.export,
    "verl": verl.export,
    "skyrl": skyrl.export,
    "trl": trl.export,
}
"""The trainers that a winner can be handed to, by name: each makes its files."""

ADAPTED_BY: dict[AdapterKind, tuple[str, ...]] = {
    "dora": ("native", "trl"),
    "adalora": ("native",),
    "ia3": ("native",),
    "prefix": ("native",),
}
"""Which of them can be told to train adapters of a kind, where not all can."""


def other_trainers() -> list[str]:
    """The targets that are not ppo-tune itself, the one that examples show first."""
    return [name for name in TARGETS if name != "native"]


def export_study(
    name: str,
    to: str = "native",
    *,
    trial: int | None = None,
    params_ratio: float | None = None,
    response_length: int | None = None,
    copy_models: bool = False,
    storage: str | None = None,
    out: Path | str = ".",
) -> Export:
    """The best config of a study for full training, in our own format or for another trainer.

    Args:
        name: The study's.
        to: The target; one of `TARGETS`.
        trial: The number of another completed trial, instead of the best config's.
        params_ratio: Suggest values for a model of so many times the parameters.
        response_length: Suggest values for responses of up to so many tokens.
        copy_models: Copy the folders of models that the study names, too, instead of linking to them.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        out: Folder that holds `runs/<study>/`.

    Returns:
        The files, which nothing has written yet: see `Export.write`.

    Raises:
        PPOTuneError: If there is no such target, study or completed trial, or the study has no winner.
    """
    if to not in TARGETS:
        raise ConfigError([Problem(place_of("to"), f"must be one of {', '.join(TARGETS)}, but got {to!r}")])
    scale = Scale(params_ratio, response_length)
    study, config = open_study(name, storage=storage, out=out)
    winner = winner_of(
        study, config, out=Path(out), with_sources=to != "native", number=trial, copy_models=copy_models
    )
    model, task = winner.config.model.name, winner.config.task
    encodes_own = model is None and isinstance(task, EmbeddedTaskConfig) and task.architecture == "t5"
    if to != "native" and (encodes_own or (model is not None and encodes(model))):
        named = "the task's own model" if model is None else repr(model)
        rule = f"must be native for {named}, an encoder–decoder, which {to} does not train"
        raise ConfigError([Problem("--to", f"{rule}; ppo-tune trains it at full length (ppo-tune train)")])
    adapter = winner.config.model.adapter
    if to not in ADAPTED_BY.get(adapter, TARGETS):
        rule = f"must be {' or '.join(ADAPTED_BY[adapter])} for adapter: {adapter}, which {to} does not train"
        raise ConfigError([Problem("--to", f"{rule}; ppo-tune trains it at full length (ppo-tune train)")])
    facts = winner.provenance
    return replace(TARGETS[to](winner, scale), verdict=facts["verdict"], advice=facts.get(native.ADVICE, ""))
