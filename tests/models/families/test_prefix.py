"""What holds for prefixes of every family of models: they are right in everything, or refused in one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.errors import ModelError
from ppo_tune.models import Policy, load_adapter, save_adapter
from ppo_tune.models.encoder_decoder import EncoderDecoderLayout
from ppo_tune.models.prefix import Prefix
from ppo_tune.models.read_back import adapter_note, say
from ppo_tune.models.text import pad_left
from tests.conftest import VOCABULARY, make_sequences, prompts_for, uniforms_for
from tests.models.families.saying import (
    NATS,
    PROMPTS,
    RESPONSES,
    STOPS,
    T,
    assert_says_what,
    fresh,
    junk_at_padding,
    load_plainly,
    rows,
    stirred,
)
from tests.models.families.table import RIGHT
from tests.models.families.tiny import Family

LENGTH = 2

Wide = Callable[[Family], Path]

WINDOWS = (
    "sliding_window",
    "sliding_window_size",
    "attention_window_size",
    "window_size",
    "keep_window_size",
)

every_row_with_a_prefix = rows([row for row in RIGHT if row.no_prefix is None])
every_row_without = rows([row for row in RIGHT if row.no_prefix is not None])


@pytest.fixture
def wide(folder_of: Callable[..., Path]) -> Wide:
    """The folder of a family whose windows, if it has any, are as wide as its context."""

    def find(row: Family) -> Path:
        names = row.config().to_dict()
        return folder_of(row, **dict.fromkeys({*WINDOWS} & {*names}, 32))

    return find


def behind_tokens(policy: Policy, model: Any, prompt: list[int], response: list[int]) -> Tensor:
    """Log-probabilities of a response by transformers, if it is given the tokens that a prefix starts as.

    That of an encoder–decoder starts as what its decoder makes of them beside one prompt.
    """
    layout = policy.layout
    if isinstance(layout, EncoderDecoderLayout):
        opened = [*layout.opening[-1:] * LENGTH, *layout.opening]
        written = torch.tensor([[*opened, *response]])
        logits = model(torch.tensor([prompt]), decoder_input_ids=written).logits[0, len(opened) - 1 : -1]
    else:
        read = [layout.boundary] * LENGTH + prompt
        logits = model(torch.tensor([[*read, *response]])).logits[0, len(read) - 1 : -1]
    distribution: Tensor = (logits[:, : len(VOCABULARY)].float() / T).log_softmax(-1)
    return distribution[range(len(response)), response]


@every_row_with_a_prefix
def test_it_starts_as_the_model_that_has_read_what_stands_between_texts(row: Family, wide: Wide) -> None:
    policy, model = fresh(wide(row), places=2, adapter="prefix"), load_plainly(wide(row))
    prompts = [[policy.layout.boundary]] * 3 if row.encodes else PROMPTS
    batch = make_sequences(prompts, RESPONSES, places=2)

    with torch.no_grad():
        said = policy.evaluate(batch, temperature=T, places=[0, 1]).logprobs
        expected = [behind_tokens(policy, model, *texts) for texts in zip(prompts, RESPONSES, strict=True)]

    for i, logprobs in enumerate(expected):
        for place in (0, 1):
            assert_close(said[place, i, : len(logprobs)], logprobs, atol=NATS, rtol=0)
    real = batch.response_mask
    assert (said - policy.reference(batch, temperature=T))[real].abs().max() > 20 * NATS
    assert not policy.is_reference(0)


@every_row_with_a_prefix
def test_a_padded_batch_says_what_each_sequence_says_alone_and_the_reference_hears_no_prefix(
    row: Family, wide: Wide
) -> None:
    policy = stirred(wide(row), places=2, adapter="prefix")
    batch = junk_at_padding(make_sequences(PROMPTS, RESPONSES, places=2))

    with torch.no_grad():
        together = policy.evaluate(batch, temperature=T, places=[0, 1]).logprobs
        for i, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            for place in (0, 1):
                alone = policy.evaluate(make_sequences([prompt], [response]), temperature=T, places=[place])
                assert_close(together[place, i, : len(response)], alone.logprobs[0, 0], atol=NATS, rtol=0)
        reference = policy.reference(batch, temperature=T)
        unheard = fresh(wide(row)).reference(batch[:1], temperature=T)

    real = batch.response_mask
    assert_close(reference[:1][real[:1]], unheard[real[:1]], atol=NATS, rtol=0)
    assert (together - reference)[real].abs().max() > 20 * NATS


@every_row_with_a_prefix
@pytest.mark.parametrize("places", [[0, 1], [0]], ids=["packed", "alone"])
def test_what_is_said_while_sampling_is_what_is_said_while_training(
    row: Family, places: list[int], wide: Wide
) -> None:
    policy = stirred(wide(row), places=2, adapter="prefix")
    policy.stop_ids = torch.tensor(STOPS)
    prompts, uniforms = prompts_for(PROMPTS * 3, len(places)), uniforms_for(len(places), 9, 8)

    sequences, sampled = policy.generate(prompts, uniforms, temperature=T, places=places)
    with torch.no_grad():
        trained = policy.evaluate(sequences, temperature=T, places=places)

    real = sequences.response_mask
    assert real.sum(-1).unique().numel() > 1
    for name in ("logprobs", "values"):
        assert_close(getattr(sampled, name)[real], getattr(trained, name)[real], atol=NATS, rtol=0)


@every_row_with_a_prefix
def test_every_number_of_it_learns_and_the_model_does_not(row: Family, wide: Wide) -> None:
    policy = stirred(wide(row), adapter="prefix")

    policy.evaluate(make_sequences(PROMPTS, RESPONSES), temperature=T, places=[0]).logprobs.sum().backward()

    assert isinstance(policy.adapters, Prefix)
    gradients = policy.rows.cut(policy.rows.grads[0])
    learned = [bool(gradients[name].flatten(1).any(-1).all()) for name in policy.adapters.shapes()]
    assert any(learned)
    assert all(learned) is not row.own_prefix
    assert all(parameter.grad is None for parameter in policy.model.parameters())


@every_row_with_a_prefix
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21
def test_it_comes_back_bit_for_bit_and_peft_says_the_same_or_that_is_told(
    row: Family, wide: Wide, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    policy, other = (make(wide(row), places=2, adapter="prefix") for make in (stirred, fresh))

    save_adapter(policy, 1, tmp_path)
    load_adapter(other, 0, tmp_path)
    note = adapter_note(policy, tmp_path, say(policy, 1, pad_left(PROMPTS), uniforms_for(1, 3, 8)[0]))

    assert torch.equal(other.rows.values[0], policy.rows.values[1])
    if row.own_prefix:
        assert str(note).startswith(f"{tmp_path} is read by ppo-tune evaluate alone, for peft cannot read it")
        return
    assert note is None
    model = peft.PeftModel.from_pretrained(load_plainly(wide(row)), str(tmp_path))
    assert_says_what(policy, model.eval(), place=1)


@every_row_without
def test_what_cannot_have_one_says_why_and_what_it_can_have(row: Family, wide: Wide) -> None:
    with pytest.raises(ModelError, match=row.no_prefix) as caught:
        fresh(wide(row), adapter="prefix")

    assert str(wide(row)) in str(caught.value)
    assert str(caught.value).endswith("; take adapter: lora")
    assert "\n" not in str(caught.value)
    assert fresh(wide(row), adapter="lora")
