# mypy: ignore-errors
"""What holds for every family of models: it is right in everything, or refused in one sentence.

About a dozen rows are looked at in every run, and all of them by `make families`.
"""

import re
import warnings
from collections import Counter

import pytest
import torch
from torch.testing import assert_close

from ppo_tune.errors import ModelError
from ppo_tune.files import read_json
from ppo_tune.models import load_adapter, save_adapter, save_merged
from ppo_tune.models.read_back import adapter_note, say
from ppo_tune.models.text import pad_left
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    WORDS,
    WordReward,
    make_sequences,
    make_toy_task,
    prompts_for,
    small_config,
    uniforms_for,
)
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
    plainly,
    rows,
    stirred,
)
from tests.models.families.table import ALONE, PEFT_MISREADS, REFUSED, RIGHT

TASTES = {word: 0.3 + (i % 5 - 2) / 2 for i, word in enumerate(WORDS)}
"""Scores by which hardly two responses are alike."""

every_right_row = rows(RIGHT)


kinds = pytest.mark.parametrize(
    "adapter",
    ["lora", *(pytest.param(kind, marks=pytest.mark.families) for kind in ("dora", "adalora")), "ia3"],
)
"""Adapters that add, also by three factors or with rows that turn (which have tests of their own), or that multiply."""


@every_right_row
def test_a_padded_batch_says_what_each_sequence_says_alone(row, folder_of):
    policy = stirred(folder_of(row), places=2)
    batch = junk_at_padding(make_sequences(PROMPTS, RESPONSES, places=2))
    settings = {"temperature": T, "places": [0, 1], "with_entropy": True}

    with torch.no_grad():
        together = policy.evaluate(batch, **settings)
        alone = [
            policy.evaluate(make_sequences([prompt], [response], places=2), **settings)
            for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
        ]

    for i, (one, response) in enumerate(zip(alone, RESPONSES, strict=True)):
        n = len(response)
        assert_close(together.logprobs[:, i, :n], one.logprobs[:, 0], atol=NATS, rtol=0)
        assert_close(together.values[:, i, :n], one.values[:, 0], atol=NATS, rtol=0)
        assert_close(together.entropy[:, i, :n], one.entropy[:, 0], atol=NATS, rtol=0)


@every_right_row
def test_the_reference_is_what_transformers_says_of_each_sequence(row, folder_of):
    policy = stirred(folder_of(row))
    model = load_plainly(folder_of(row))

    reference = policy.reference(make_sequences(PROMPTS, RESPONSES), temperature=T)

    for i, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        with torch.no_grad():
            expected = plainly(model, prompt, response)
        assert_close(reference[0, i, : len(response)], expected, atol=NATS, rtol=0)


@every_right_row
@kinds
def test_an_untrained_adapter_is_exactly_the_reference(row, adapter, folder_of):
    policy = fresh(folder_of(row), places=2, adapter=adapter)
    batch = make_sequences(PROMPTS, RESPONSES, places=2)

    with torch.no_grad():
        logprobs = policy.evaluate(batch, temperature=T, places=[0, 1]).logprobs

    assert policy.adapters.layers
    assert torch.equal(logprobs, policy.reference(batch, temperature=T))


@every_right_row
@kinds
@pytest.mark.parametrize("places", [[0, 1], [0]], ids=["packed", "alone"])
def test_what_is_said_while_sampling_is_what_is_said_while_training(row, places, adapter, folder_of):
    policy = stirred(folder_of(row), places=2, adapter=adapter)
    policy.stop_ids = torch.tensor(STOPS)
    prompts = prompts_for(PROMPTS * 3, len(places))

    sequences, sampled = policy.generate(
        prompts, uniforms_for(len(places), 9, 8), temperature=T, places=places
    )
    with torch.no_grad():
        trained = policy.evaluate(sequences, temperature=T, places=places, with_entropy=True)

    real = sequences.response_mask
    assert sequences.ended.any()
    assert real.sum(-1).unique().numel() > 1  # rows left on the way, where rows can leave
    for name in ("logprobs", "values", "entropy"):
        assert_close(getattr(sampled, name)[real], getattr(trained, name)[real], atol=NATS, rtol=0)


@every_right_row
def test_adapters_learn_where_the_layers_own_weights_would_and_nothing_else_does(row, folder_of):
    policy, model = stirred(folder_of(row)), load_plainly(folder_of(row))
    seen = policy.evaluate(make_sequences(PROMPTS, RESPONSES), temperature=T, places=[0])

    (seen.logprobs.sum() + seen.values.square().sum()).backward()
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        plainly(model, prompt, response).sum().backward()

    weights = {name: model.get_submodule(name).weight for name in policy.adapters.layers}
    uses = Counter(map(id, weights.values()))
    alone = {
        name: weight for name, weight in weights.items() if uses[id(weight)] == 1
    }  # shared ones learn elsewhere
    learned = {name for name in alone if all(policy.rows[f"{name}.{matrix}"].grad.any() for matrix in "AB")}
    assert learned == {
        name for name, weight in alone.items() if weight.grad is not None and weight.grad.any()
    }
    assert len(learned) >= len(alone) / 2 > 0
    assert policy.rows["value_head.weight"].grad.any()
    assert policy.rows["value_head.bias"].grad.any()
    assert all(parameter.grad is None for parameter in policy.model.parameters())


@every_right_row
def test_dropout_in_a_models_config_does_nothing(row, folder_of):
    config = row.config().to_dict()
    rates = [name for name, value in config.items() if "drop" in name and isinstance(value, float)]
    steady, dropping = (
        stirred(folder_of(row, **dict.fromkeys(set(rates) - set(row.special), rate))) for rate in (0.0, 0.3)
    )
    batch, prompts = make_sequences(PROMPTS, RESPONSES), prompts_for(PROMPTS)

    said, sampled = zip(
        *(
            (
                policy.evaluate(batch, temperature=T, places=[0]).logprobs,
                policy.generate(prompts, uniforms_for(1, 3, 8), temperature=T, places=[0])[0].response_ids,
            )
            for policy in (steady, dropping)
        ),
        strict=True,
    )

    assert torch.equal(*said)
    assert torch.equal(*sampled)


def learner(row, folder, places):
    """A policy that learns; in float64 where rounding would add up to more than is allowed."""
    policy = fresh(folder, places=places)
    if row.adds_up:
        policy.model.double()
        policy.dtype = torch.float64
    return policy


@every_right_row
def test_a_trial_learns_the_same_alone_and_in_a_pack(row, folder_of):
    configs = [
        small_config(
            learning_rate=rate, batch_size=size, adam_epsilon=1e-4
        )  # rounding of 1e-8 is to be no step
        for rate, size in ((0.01, 4), (0.003, 2), (0.03, 8))
    ]
    packed, alone = (
        PPOTrainer(learner(row, folder_of(row), places=n), make_toy_task(WordReward(TASTES)), small_config())
        for n in (3, 1)
    )
    for place, config in enumerate(configs):
        packed.start(place, config, seed=place)
    alone.start(0, configs[1], seed=1)

    for _ in range(2):
        packed.step()
        alone.step()

    batch = make_sequences(PROMPTS, RESPONSES)
    with torch.no_grad():
        said, expected = (
            trainer.policy.evaluate(batch, temperature=T, places=[place]).logprobs
            for trainer, place in ((packed, 1), (alone, 0))
        )
    real = batch.response_mask
    assert_close(said[real], expected[real], atol=NATS, rtol=0)
    assert (alone.policy.reference(batch, temperature=T) - expected)[real].abs().max() > 100 * NATS


@every_right_row
@kinds
def test_a_merged_folder_says_what_the_policy_says(row, adapter, folder_of, tmp_path):
    policy = stirred(folder_of(row), places=2, adapter=adapter)

    save_merged(policy, 1, tmp_path)

    assert_says_what(policy, load_plainly(tmp_path), place=1)
    again = fresh(tmp_path).reference(make_sequences(PROMPTS, RESPONSES), temperature=T)
    said = policy.evaluate(make_sequences(PROMPTS, RESPONSES), temperature=T, places=[1]).logprobs.detach()
    real = make_sequences(PROMPTS, RESPONSES).response_mask
    assert_close(again[real], said[real], atol=NATS, rtol=0)
    assert (policy.reference(make_sequences(PROMPTS, RESPONSES), temperature=T) - said).abs().max() > 1e-2


@every_right_row
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21
@kinds
def test_peft_reads_the_adapters_as_they_were_trained_or_there_are_none(row, adapter, folder_of, tmp_path):
    peft = pytest.importorskip("peft")
    policy, folder = stirred(folder_of(row), places=2, adapter=adapter), tmp_path / "adapter"

    save_adapter(policy, 1, folder)
    by_weight = "target_parameters" in read_json(folder / "adapter_config.json")
    note = adapter_note(policy, folder, say(policy, 1, pad_left(PROMPTS), uniforms_for(1, 3, 8)[0]))

    refusal = None if adapter == "ia3" else row.no_adapter
    if adapter == "adalora" and refusal == PEFT_MISREADS:  # weights of its name are LoRA's alone
        refusal = None
    if adapter == "dora" and by_weight:
        told = "cannot read it .*ParamWrapper does not work with use_dora=True"
        refusal = told if refusal is None else f"{refusal}|{told}"
    if refusal is not None:
        assert re.search(refusal, note)
        assert not folder.exists()
        return
    assert note is None
    model = peft.PeftModel.from_pretrained(load_plainly(folder_of(row)), str(folder))
    assert_says_what(policy, model.eval(), place=1)


@every_right_row
@kinds
def test_adapters_come_back_bit_for_bit(row, adapter, folder_of, tmp_path):
    policy, other = (make(folder_of(row), places=2, adapter=adapter) for make in (stirred, fresh))

    save_adapter(policy, 1, tmp_path)
    load_adapter(other, 0, tmp_path)

    assert torch.equal(other.rows.values[0], policy.rows.values[1])


@every_right_row
def test_all_weights_learn_what_they_learn_in_transformers_and_are_saved(row, folder_of, tmp_path):
    policy, model = fresh(folder_of(row), lora_rank=None), load_plainly(folder_of(row))
    batch = make_sequences(PROMPTS, RESPONSES)
    real = batch.response_mask

    logprobs = policy.evaluate(batch, temperature=T, places=[0]).logprobs[real]
    logprobs.sum().backward()
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        plainly(model, prompt, response).sum().backward()

    assert_close(logprobs, policy.reference(batch, temperature=T)[real], atol=NATS, rtol=0)
    expected = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    length = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    for name, weight in policy.model.named_parameters():
        gradient = expected.get(name, torch.zeros_like(weight))
        assert (policy.rows[name].grad[0] - gradient).norm() <= 1e-4 * length, name
    policy.rows.values.add_(policy.rows.grads, alpha=float(1 / length))
    save_merged(policy, 0, tmp_path)
    assert_says_what(policy, load_plainly(tmp_path))
    moved = policy.evaluate(batch, temperature=T, places=[0]).logprobs[real]
    assert (moved - logprobs).abs().max() > 100 * NATS


@rows(REFUSED)
@pytest.mark.parametrize("lora_rank", [4, None], ids=["adapters", "all weights"])
def test_what_would_be_wrong_is_refused(row, lora_rank, folder_of):
    with warnings.catch_warnings(action="ignore"), pytest.raises(ModelError, match=row.sentence) as caught:
        fresh(folder_of(row), lora_rank=lora_rank)

    assert str(folder_of(row)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_mixes_the_rows_of_a_batch_is_trained_alone_and_refused_for_a_pack(folder_of):
    policy, model = stirred(folder_of(ALONE)), load_plainly(folder_of(ALONE))

    reference = policy.reference(make_sequences(PROMPTS, RESPONSES), temperature=T)

    assert_close(reference[0, 1], plainly(model, PROMPTS[1], RESPONSES[1]).detach(), atol=NATS, rtol=0)
    with pytest.raises(ModelError, match=r"cannot be trained in a pack: its layers .*; set search\.pack: 1"):
        fresh(folder_of(ALONE), places=2)


def test_the_table_has_no_family_twice():
    names = [row.name for row in (*RIGHT, *REFUSED)]

    assert len(set(names)) == len(names) >= 45
