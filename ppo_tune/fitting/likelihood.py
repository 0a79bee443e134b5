"""How likely responses are, as the kind of model reads them: what `sft` minimizes."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ppo_tune.fitting.examples import Example
from ppo_tune.fitting.loop import Loss
from ppo_tune.models.causal import positions
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.layout import TokenLayout
from ppo_tune.models.text import Sequences, pad_left, pad_right


def likelihood(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Loss[Example]:
    """The negative log-likelihood of examples in nats, and how many tokens of each it is of."""
    layout = layout_of(model.config)
    if layout.closes_prompts:
        return Loss(partial(_nats_of_responses, layout(model, tokenizer, model.dtype)), _n_said)
    return Loss(partial(_nats, model), _n_predicted)


def _n_said(example: Example) -> int:
    return sum(example.learned)


def _n_predicted(example: Example) -> int:
    """Nothing is before the first token, so it is predicted by nothing."""
    return sum(example.learned[1:])


def _nats(model: PreTrainedModel, examples: Sequence[Example]) -> Tensor:
    """Of each example's learned tokens in one text, (N,)."""
    device = model.device
    ids, mask = pad_right([ids for ids, _ in examples], device)
    learned = pad_right([learned for _, learned in examples], device)[0].bool()
    logits = model(input_ids=ids, attention_mask=mask.long(), position_ids=positions(mask)).logits.float()
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return torch.where(learned[:, 1:], losses, 0.0).sum(-1)


def _nats_of_responses(layout: TokenLayout, examples: Sequence[Example]) -> Tensor:
    """Of each example's response to its prompt, (N,)."""
    ends = [example.learned.index(1) for example in examples]
    prompts = pad_left([ids[:end] for (ids, _), end in zip(examples, ends, strict=True)], layout.device)
    ids, mask = pad_right([ids[end:] for (ids, _), end in zip(examples, ends, strict=True)], layout.device)
    ended = torch.ones_like(mask[:, 0])
    logits = layout.teacher_force(Sequences(prompts, ids, mask, ended)[None]).logits[0].float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    return torch.where(mask, losses, 0.0).sum(-1)
