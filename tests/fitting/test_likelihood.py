"""The loss of `sft` is what transformers computes from labels, for both kinds of models and whatever stands beside."""

import pytest
import torch
from torch.testing import assert_close
from transformers import PreTrainedModel

from ppo_tune.fitting.examples import Example
from ppo_tune.fitting.likelihood import likelihood
from tests.conftest import ENCODER_DECODERS, tiny_model, tiny_tokenizer

PAIRS = [([2, 3, 4, 0], [5, 6, 0]), ([7, 0], [8, 9, 10, 11, 0]), ([2, 2, 2, 2, 2, 0], [3, 0])]
EXAMPLES = [Example.of([*p, *r], [False] * len(p) + [True] * len(r)) for p, r in PAIRS]


def loss_of(model: PreTrainedModel, prompt: list[int], response: list[int]) -> torch.Tensor:
    """By transformers alone, of one pair without padding; summed over the tokens."""
    if model.config.is_encoder_decoder:
        said = model(input_ids=torch.tensor([prompt]), labels=torch.tensor([response]))
    else:
        labels = [-100] * len(prompt) + response
        said = model(input_ids=torch.tensor([prompt + response]), labels=torch.tensor([labels]))
    loss: torch.Tensor = said.loss * len(response)
    return loss


@pytest.mark.parametrize("family", ["gpt2", "llama", *ENCODER_DECODERS])
@torch.no_grad()
def test_it_is_what_transformers_computes_of_each_pair_alone(family: str) -> None:
    model = tiny_model(family).eval()
    loss = likelihood(model, tiny_tokenizer())

    nats = loss.of(EXAMPLES)

    expected = torch.stack([loss_of(model, *pair) for pair in PAIRS])
    assert_close(nats, expected, atol=1e-4, rtol=1e-5)
    assert [loss.terms(example) for example in EXAMPLES] == [3, 5, 2]


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_both_ends_of_an_encoder_decoder_learn(family: str) -> None:
    model = tiny_model(family).eval()

    likelihood(model, tiny_tokenizer()).of(EXAMPLES).sum().backward()

    learned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    still = {name for name, weight in learned.items() if weight.grad is None or not weight.grad.any()}
    assert still == set()
