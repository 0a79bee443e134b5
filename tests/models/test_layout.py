"""The contract of token layouts, for every kind of model: what is written token by token is what is read at once."""

from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close
from transformers import PreTrainedModel

from ppo_tune.models import Sequences
from ppo_tune.models.causal import CausalLayout
from ppo_tune.models.encoder_decoder import EncoderDecoderLayout
from ppo_tune.models.layout import DecodingState, Output, TokenLayout
from ppo_tune.models.text import pad_left
from tests.conftest import tiny_model, tiny_tokenizer

KINDS: dict[type[TokenLayout], Callable[[], PreTrainedModel]] = {
    CausalLayout: lambda: tiny_model("gpt2"),
    EncoderDecoderLayout: lambda: tiny_model("bart", max_position_embeddings=16),
}
"""A model for each layout."""

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9]]
RESPONSES = [[4, 6, 2], [3, 1, 2], [6, 6, 11]]

kinds = pytest.mark.parametrize("kind", KINDS)


def layout_of(kind: type[TokenLayout], *, listens: bool = True) -> TokenLayout:
    layout = kind(KINDS[kind]().train(False), tiny_tokenizer(), torch.float32)
    if listens:
        layout.listen()
    return layout


def sequences() -> Sequences:
    ids = torch.tensor(RESPONSES)
    return Sequences(pad_left(PROMPTS), ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros(3).bool())


def write(state: DecodingState) -> Output:
    """Write the responses; (N, T, ·)."""
    found = []
    for tokens in torch.tensor(RESPONSES).T:
        found.append(state.step())
        state.append(tokens)
    hidden = [output.hidden for output in found if output.hidden is not None]
    return Output(torch.stack([output.logits for output in found], 1), torch.stack(hidden, 1))


def at_once(layout: TokenLayout) -> Output:
    logits, hidden = layout.teacher_force(sequences()[None])
    assert hidden is not None
    return Output(logits[0], hidden[0])


def test_every_layout_has_a_model_here() -> None:
    assert set(TokenLayout.__subclasses__()) == set(KINDS)


@kinds
@torch.no_grad()
def test_what_is_written_token_by_token_is_what_is_read_at_once(kind: type[TokenLayout]) -> None:
    layout = layout_of(kind)

    assert_close(write(layout.begin(pad_left(PROMPTS), 3)), at_once(layout), atol=1e-5, rtol=0)


@kinds
@torch.no_grad()
def test_rows_that_leave_change_nothing_for_the_others(kind: type[TokenLayout]) -> None:
    layout = layout_of(kind)
    expected = at_once(layout).logits
    state = layout.begin(pad_left(PROMPTS), 3)
    assert state.keeps_rows_apart
    state.step()
    state.append(torch.tensor(RESPONSES)[:, 0])

    state.keep(torch.tensor([2, 0]))

    assert_close(state.step().logits, expected[[2, 0], 1], atol=1e-5, rtol=0)


@kinds
@torch.no_grad()
def test_padding_changes_nothing(kind: type[TokenLayout]) -> None:
    layout = layout_of(kind)

    wide = layout.teacher_force(sequences()[None].widen(9, 5))

    assert_close(wide.logits[0, :, :3], at_once(layout).logits, atol=1e-5, rtol=0)


@kinds
@torch.no_grad()
def test_a_model_left_to_itself_begins_a_response_as_the_layout_does(kind: type[TokenLayout]) -> None:
    layout = layout_of(kind)

    alone = [layout.next_logits(prompt) for prompt in PROMPTS]

    assert_close(torch.stack(alone), at_once(layout).logits[:, 0], atol=1e-5, rtol=0)


@kinds
@torch.no_grad()
def test_the_output_layer_makes_the_logits_of_what_is_handed_out_and_only_to_a_listener(
    kind: type[TokenLayout],
) -> None:
    layout = layout_of(kind)
    logits, hidden = layout.teacher_force(sequences()[None])

    assert_close(layout.model.get_output_embeddings()(hidden), logits, atol=1e-5, rtol=0)
    assert layout_of(kind, listens=False).teacher_force(sequences()[None]).hidden is None


@kinds
def test_prompts_fill_what_responses_leave_of_the_context(kind: type[TokenLayout]) -> None:
    layout = layout_of(kind)
    room = layout.room_for_prompts(3)
    assert room is not None

    full = [[4] * room]
    ids = torch.tensor([RESPONSES[0]])
    whole = Sequences(pad_left(full), ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros(1).bool())

    assert layout.teacher_force(whole[None]).logits.isfinite().all()
    assert layout.stop_ids == [0]
    assert layout.task_type


def test_prompts_are_widened_on_the_left_and_responses_on_the_right_and_never_cut() -> None:
    whole = Sequences(pad_left([[7, 8]]), torch.tensor([[3]]), torch.ones(1, 1).bool(), torch.zeros(1).bool())

    wide, same = whole.widen(4, 2), whole.widen(1, 0)

    assert wide.prompts.mask.tolist() == [[False, False, True, True]]
    assert wide.prompts.ids[0, 2:].tolist() == [7, 8]
    assert wide.response_mask.tolist() == [[True, False]]
    assert wide.response_ids[0, :1].tolist() == [3]
    assert (same.prompts.ids.tolist(), same.response_ids.tolist()) == ([[7, 8]], [[3]])
