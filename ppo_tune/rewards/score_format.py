"""What stands beside a reward model of ours: how it reads a text, and what its outputs mean."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from ppo_tune.data.hub import HubName
from ppo_tune.errors import ModelError
from ppo_tune.rewards.links import Link

SIDECAR = "reward.json"

JOINED = "{prompt}{response}"
"""A template, or part of one, in which nothing stands between the two."""


@dataclass(frozen=True)
class ScoreFormat:
    """How a reward model reads a text and what its raw score means.

    Attributes:
        template: The text, with {prompt} and {response}; of no effect where it reads chats.
        append_eos: Whether the text ends with the end-of-sequence token.
        gain: The raw score is multiplied by it.
        bias: Then this is added.
        accuracy: Share of pairs of held-out responses that it orders as they were judged, where known.
        heldout_pairs: How many pairs that share is of.
        accuracy_low: Lower end of its 95 % interval.
        accuracy_high: Upper end.
        chat: Whether it reads the turns of a prompt with the answer through its chat template.
        link: From its outputs to the raw score.
        scales: Gain and bias of each attribute alone, where several are rated.
    """

    template: str = JOINED
    append_eos: bool = False
    gain: float = 1.0
    bias: float = 0.0
    accuracy: float | None = None
    heldout_pairs: int | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    chat: bool = False
    link: Link = field(default_factory=Link)
    scales: tuple[tuple[float, float], ...] = ()

    def write(self, folder: Path) -> None:
        """Put it beside the model."""
        (folder / SIDECAR).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")


def read_format(name: str | Path) -> ScoreFormat:
    """What stands beside a model, by its folder or hub name, or the plain format for one that is not ours.

    Raises:
        ModelError: If what stands there is no such format.
    """
    file = sidecar(str(name))
    if file is None:
        return ScoreFormat()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        link: dict[str, Any] = found.pop("link", {})
        link = {key: tuple(value) if isinstance(value, list) else value for key, value in link.items()}
        scales = tuple((gain, bias) for gain, bias in found.pop("scales", ()))
        return ScoreFormat(**found, link=Link(**link), scales=scales)
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{SIDECAR} of reward model {str(name)!r} cannot be read: {error}") from error


def sidecar(name: str) -> Path | None:
    """The file beside the model, in its folder or on the hub."""
    if Path(name).is_dir():
        return Path(name, SIDECAR) if Path(name, SIDECAR).is_file() else None
    try:
        repo, revision = HubName.of(name)
        found = cached_file(repo, SIDECAR, revision=revision)
    except OSError:
        return None
    return None if found is None else Path(found)
