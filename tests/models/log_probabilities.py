"""Log-probabilities of one small batch, by a policy and by another library's model."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ppo_tune.models import Policy
from ppo_tune.models.read_back import logprobs_of
from tests.conftest import make_sequences

BATCH = ([[5], [2, 3, 4, 5, 6], [7, 8, 9]], [[4, 0], [3, 1, 2, 9], [6, 6, 0]])
PEFT_WARNS = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # peft 0.21
)


def said(policy: Policy, places: list[int]) -> Tensor:
    """Log-probabilities of the batch in some places, (k, B, T)."""
    batch = make_sequences(*BATCH, places=len(places))
    found = policy.evaluate(batch, temperature=1.0, places=places).logprobs
    return torch.where(batch.response_mask, found, 0.0)


def said_by(model: Any) -> Tensor:
    """The same of a model of another library, one response after another."""
    with torch.no_grad():
        found = logprobs_of(model.eval(), list(zip(*BATCH, strict=True)), None)
    return torch.nn.utils.rnn.pad_sequence(list(found), batch_first=True)
