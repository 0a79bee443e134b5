"""Policies of a family's folder, and what they and transformers say of three sequences."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from ppo_tune.config.model import AdapterKind
from ppo_tune.models import Policy, Sequences, load_policy
from ppo_tune.seeding import generator
from tests.conftest import VOCABULARY, adapters_of, make_sequences, stir
from tests.models.families.tiny import Family

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9]]
RESPONSES = [[4, 0], [3, 1, 2, 9, 8, 12], [6, 6, 6, 0]]
STOPS = [0, 3, 6, 9]
"""Enough of them that rows end at different steps, and some early."""

T = 0.7
NATS = 1e-4
"""How far two ways of saying the same may lie apart."""


def rows(table: Sequence[Family]) -> pytest.MarkDecorator:
    """A test of every row; those that are not looked at in every run are marked."""
    return pytest.mark.parametrize(
        "row",
        [pytest.param(row, id=row.name, marks=() if row.brief else pytest.mark.families) for row in table],
    )


def fresh(
    folder: Path, *, places: int = 1, lora_rank: int | None = 4, adapter: AdapterKind = "lora"
) -> Policy:
    """A policy as a user loads it; every place is the reference."""
    settings = {"prefix_length": 2} if adapter == "prefix" else {"lora_rank": lora_rank}
    config = adapters_of(adapter, name=str(folder), dtype="float32", **settings)
    policy = load_policy(config, places=places, device=torch.device("cpu"))
    for place in range(places):
        policy.reset(place, generator("place", place))
    return policy


def stirred(folder: Path, *, places: int = 1, adapter: AdapterKind = "lora") -> Policy:
    """A policy whose places differ from the reference and from one another."""
    policy = fresh(folder, places=places, adapter=adapter)
    return stir(
        policy, 0.3 if adapter == "adalora" else 0.1
    )  # a product of three small numbers is hardly one


def plainly(model: Any, prompt: Sequence[int], response: Sequence[int], temperature: float = T) -> Tensor:
    """Log-probabilities of a response by a model that is given the sequence and nothing else."""
    if model.config.is_encoder_decoder:
        written = torch.tensor([[model.config.decoder_start_token_id, *response]])
        logits = model(torch.tensor([[*prompt]]), decoder_input_ids=written).logits[0, :-1]
    else:
        logits = model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
    logits = logits[:, : len(VOCABULARY)]
    distribution: Tensor = (logits.float() / temperature).log_softmax(-1)
    return distribution[range(len(response)), response]


def load_plainly(folder: Path) -> Any:
    """What transformers alone makes of a folder; nothing may be missing in it or left over."""
    encodes = AutoConfig.from_pretrained(folder).is_encoder_decoder
    auto = AutoModelForSeq2SeqLM if encodes else AutoModelForCausalLM
    loaded: Any = auto.from_pretrained(folder, output_loading_info=True)
    model, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model.eval()


def assert_says_what(policy: Policy, model: Any, place: int = 0) -> None:
    """Of a left-padded batch the policy says what another library's model says of each sequence alone."""
    batch = make_sequences(PROMPTS, RESPONSES)
    said = policy.evaluate(batch, temperature=T, places=[place]).logprobs.detach()[0]
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        with torch.no_grad():
            expected = plainly(model, prompt, response)
        assert_close(said[row, : len(response)], expected, atol=NATS, rtol=0)


def junk_at_padding(batch: Sequences) -> Sequences:
    """The same sequences with other tokens where nothing is."""
    prompts, mask = batch.prompts, batch.response_mask
    return replace(
        batch,
        prompts=replace(prompts, ids=prompts.ids.where(prompts.mask, 9)),
        response_ids=batch.response_ids.where(mask, 7),
    )
