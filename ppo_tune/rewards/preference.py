"""A learned reward model: a sequence classifier with one label, read at the last real token."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.config import PreferenceRewardConfig
from ppo_tune.errors import ModelError
from ppo_tune.models.kernels import settle
from ppo_tune.models.loading import check_tokens, load_tokenizer, load_whole
from ppo_tune.models.policy import context_length
from ppo_tune.rewards.base import Columns, Reward

SIDECAR = "reward.json"


@dataclass(frozen=True)
class ScoreFormat:
    """How a reward model reads a text and what its raw score means.

    Attributes:
        template: The text, with {prompt} and {response}.
        append_eos: Whether the text ends with the end-of-sequence token.
        gain: The raw score is multiplied by it.
        bias: Then this is added.
        accuracy: Share of held-out preferences it gets right, where known.
    """

    template: str = "{prompt}{response}"
    append_eos: bool = False
    gain: float = 1.0
    bias: float = 0.0
    accuracy: float | None = None

    def write(self, folder: Path) -> None:
        """Put it beside the model."""
        (folder / SIDECAR).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")


def read_format(folder: Path) -> ScoreFormat:
    """What stands beside the model, or the plain format for a model that is not ours."""
    sidecar = folder / SIDECAR
    return (
        ScoreFormat(**json.loads(sidecar.read_text(encoding="utf-8"))) if sidecar.is_file() else ScoreFormat()
    )


def gain_and_bias(
    mean: float, std: float, *, wanted_mean: float = 0.0, wanted_std: float = 1.0
) -> tuple[float, float]:
    """The line that gives scores of this mean and spread the wanted ones.

    gain = σ* / σ and bias = μ* - gain · μ.

    Reference:
        Ziegler et al., 2019, arXiv:1909.08593, 2.2.
    """
    gain = wanted_std / std
    return gain, wanted_mean - gain * mean


class PreferenceReward(Reward):
    """The score of a reward model, centred and scaled where it was made by `ppo-tune reward`.

    Args:
        config: Names the model and, if need be, how it reads a text.
        device: Where the model runs.

    Raises:
        ModelError: If the model cannot be loaded, lacks weights, or has more than one label.
    """

    def __init__(self, config: PreferenceRewardConfig, device: torch.device) -> None:
        self.name = config.model
        refusal = f"reward model {config.model!r} cannot be loaded"
        model = load_whole(AutoModelForSequenceClassification, config.model, refusal)
        self.tokenizer = load_tokenizer(config.model)
        check_tokens(self.tokenizer, model, f"reward model {config.model!r}")
        if model.config.num_labels != 1:
            raise ModelError(
                f"reward model {config.model!r} must have one label, but has {model.config.num_labels}"
            )
        self.model = settle(model, device).train(False).requires_grad_(False)
        self.format = read_format(Path(config.model))
        self.template = config.template or self.format.template

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One number per response."""
        texts = [self.template.format(prompt=p, response=r) for p, r in zip(prompts, responses, strict=True)]
        with torch.no_grad():
            raw = raw_scores(self.model, self.tokenizer, texts, append_eos=self.format.append_eos)
        scores: list[float] = (self.format.gain * raw + self.format.bias).tolist()
        return scores

    def __str__(self) -> str:
        return f"reward model {self.name}"


def raw_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, append_eos: bool
) -> Tensor:
    """What the classifier says of each text, at its last real token whatever the pad token is.

    Args:
        model: A sequence classifier with one label.
        tokenizer: Its tokenizer.
        texts: N texts.
        append_eos: Whether to end each with the end-of-sequence token.

    Returns:
        Shape (N,), float32; differentiable.
    """
    eos = [tokenizer.eos_token_id] if append_eos and tokenizer.eos_token_id is not None else []
    tokenizer.truncation_side = "left"  # what is lost is the prompt's beginning, not the response's end
    limit = context_length(model)
    room = {} if limit is None else {"truncation": True, "max_length": limit - len(eos)}
    rows: list[list[int]] = [row + eos for row in tokenizer(list(texts), **room)["input_ids"]]
    device = next(model.parameters()).device
    width = max(1, max(map(len, rows)))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    last = torch.tensor([max(len(row), 1) - 1 for row in rows], device=device)
    mask = torch.arange(width, device=device) <= last[:, None]
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Module):  # an encoder: it pools by itself
        return model(input_ids=ids, attention_mask=mask.long()).logits[:, 0].float()  # type: ignore[no-any-return]
    hidden = model.base_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    picked = hidden[torch.arange(len(rows), device=device), last]
    return head(picked)[:, 0].float()  # type: ignore[no-any-return]
