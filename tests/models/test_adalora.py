"""AdaLoRA: ranks of many trials on one model, each of which goes where PEFT would have it go."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.models import Policy, load_adapter, save_adapter, save_merged
from ppo_tune.models.adalora import Allocated, Budget
from ppo_tune.models.loading import load_language_model
from ppo_tune.models.lora import Bottleneck
from ppo_tune.seeding import generator
from ppo_tune.trainer.trainer import PPOTrainer
from ppo_tune.training.checkpoints import load_checkpoint, save_checkpoint
from tests.conftest import (
    LIKES,
    WordReward,
    make_sequences,
    make_toy_task,
    small_config,
    stirred_policy,
    tiny_model,
    tiny_policy,
)
from tests.models.log_probabilities import BATCH, PEFT_WARNS, said, said_by

kinds = pytest.mark.parametrize("family", ["gpt2", "t5"])
"""Conv1D and Linear, a decoder and an encoder–decoder."""


def allocated(policy: Policy) -> Allocated:
    assert isinstance(policy.adapters, Allocated)
    return policy.adapters


def kept(policy: Policy, place: int = 0) -> int:
    """How many parts all layers have together."""
    return sum(int(policy.rows[f"{name}.E"][place].count_nonzero()) for name in allocated(policy).layers)


def test_the_rank_at_first_is_half_as_much_again() -> None:
    wide = [Bottleneck.made("adalora", rank, 12.0) for rank in (1, 2, 3, 4, 16)]

    assert [(each.rank, each.width) for each in wide] == [(1, 2), (2, 3), (3, 5), (4, 6), (16, 24)]
    assert [each.scale for each in wide] == [6.0, 4.0, 2.4, 2.0, 0.5]
    assert Bottleneck.made("lora", 4, 12.0).width == 4


def test_a_budget_falls_by_the_cube_between_a_tenth_and_seven_tenths_of_the_steps() -> None:
    nothing = torch.zeros(0)
    budget = Budget(100, nothing, nothing)

    assert (budget.warmup, budget.settled) == (10, 70)
    assert [budget.at(step, 60, 40) for step in (10, 40, 70)] == [60, 42, 40]  # 40 + 20/8 is 42.5
    for steps in range(1, 50):
        assert Budget(steps, nothing, nothing).warmup < Budget(steps, nothing, nothing).settled <= steps


@kinds
def test_an_untrained_policy_is_exactly_the_reference(family: str) -> None:
    policy = tiny_policy(family, adapter="adalora", places=2)
    batch = make_sequences(*BATCH, places=2)

    with torch.no_grad():
        found = policy.evaluate(batch, temperature=1.0, places=[0, 1]).logprobs

    assert torch.equal(found, policy.reference(batch, temperature=1.0))
    assert allocated(policy).usual == Bottleneck(4, 8.0, spares=True)
    assert policy.is_reference(0)
    policy.rows[f"{next(iter(allocated(policy).layers))}.E"].data[0, 3] = 1e-3
    assert not policy.is_reference(0)


@PEFT_WARNS
@kinds
def test_peft_reads_what_was_saved_and_it_comes_back_and_merged_it_says_the_same(
    family: str, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    policy, other = (make(family, adapter="adalora", places=2) for make in (stirred_policy, tiny_policy))

    save_adapter(policy, 1, tmp_path / "adapter")
    load_adapter(other, 0, tmp_path / "adapter")
    save_merged(policy, 1, tmp_path / "model")

    assert torch.equal(other.rows.values[0], policy.rows.values[1])
    expected = said(policy, [1])[0]
    theirs = peft.PeftModel.from_pretrained(tiny_model(family), str(tmp_path / "adapter"))
    assert_close(said_by(theirs), expected, atol=1e-5, rtol=0)
    assert_close(said_by(load_language_model(str(tmp_path / "model"))), expected, atol=1e-5, rtol=0)
    assert (said_by(tiny_model(family)) - expected).abs().max() > 1e-3


@kinds
def test_a_place_says_in_a_pack_what_it_says_alone_and_learns_for_itself(family: str) -> None:
    policy = stirred_policy(family, adapter="adalora", places=3, adapters_vary=True)
    allocated(policy).become(2, Bottleneck(3, 2.0, spares=True))

    together = said(policy, [1, 2])
    together.sum().backward()
    gradients = policy.rows.grads.clone()

    assert not gradients[0].any()
    for i, place in enumerate((1, 2)):
        policy.rows.grads.zero_()
        alone = said(policy, [place])
        alone.sum().backward()
        assert_close(together[i], alone[0], atol=1e-6, rtol=0)
        assert_close(gradients[place], policy.rows.grads[place], atol=1e-4, rtol=1e-4)


def test_before_a_step_the_distance_from_orthogonal_matrices_is_added() -> None:
    policy = stirred_policy(adapter="adalora", places=2)
    rows = policy.rows
    matrices = [rows[f"{name}.{part}"] for name in allocated(policy).layers for part in "AB"]
    distance = torch.zeros(())
    for matrix in matrices:
        tall = matrix[1] if matrix.shape[-1] == 6 else matrix[1].T
        distance = distance + (tall.T @ tall - torch.eye(6)).norm() / len(matrices)
    (0.5 * distance).backward()
    expected, rows.grads[:] = rows.grads.clone(), 0.0

    allocated(policy).before_step(1)

    assert expected[1].any()
    assert_close(rows.grads, expected, atol=1e-6, rtol=1e-4)


@PEFT_WARNS
def test_ranks_go_where_pefts_allocator_has_them_go() -> None:
    peft = pytest.importorskip("peft")
    policy = tiny_policy(adapter="adalora", lora_rank=2, n_layer=1)
    adapters, steps = allocated(policy), 20
    adapters.begin(0, steps)
    config = peft.AdaLoraConfig(
        task_type="CAUSAL_LM", init_r=3, target_r=2, tinit=2, tfinal=6, total_step=steps,
        target_modules=list(adapters.layers), fan_in_fan_out=True,
    )  # fmt: skip
    theirs: Any = peft.get_peft_model(tiny_model(n_layer=1), config)
    rng = generator("steps")
    counts = []

    for step in range(1, steps + 1):
        policy.rows.values.add_(torch.randn(policy.rows.values.shape, generator=rng))
        policy.rows.grads.copy_(torch.randn(policy.rows.grads.shape, generator=rng))
        for name, weight, gradient in _in_peft(policy, theirs):
            weight.data.copy_(name[0])
            weight.grad = gradient.clone()
        adapters.after_step(0)
        theirs.base_model.update_and_allocate(step)
        for name, weight, _ in _in_peft(policy, theirs):
            assert_close(weight.data, name[0], atol=0, rtol=0)
        counts.append(kept(policy))

    assert counts[:2] == [12, 12]  # four layers of rank 3
    assert counts == sorted(counts, reverse=True)
    assert counts[13:] == [8] * 7  # and of rank 2, on average, from the 14th step of 20


def _in_peft(policy: Policy, theirs: Any) -> list[tuple[tuple[Tensor], Any, Tensor]]:
    """What each tensor is here, its parameter there, and its gradient here."""
    values = allocated(policy).to_peft(0)
    kept_values = policy.rows.values.clone()
    policy.rows.values.copy_(policy.rows.grads)
    gradients = allocated(policy).to_peft(0)
    policy.rows.values.copy_(kept_values)
    there = dict(theirs.named_parameters())
    return [
        ((value,), there[f"base_model.model.{name}.default"], gradients[name])
        for name, value in values.items()
    ]


def test_a_trial_goes_on_from_a_checkpoint_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    config = small_config(episodes=48)  # 6 iterations of 4 steps: ranks fall from the third step to the 17th

    def trainer() -> PPOTrainer:
        policy = tiny_policy(adapter="adalora", lora_rank=2, n_layer=1)
        made = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), config)
        made.start(0, config, seed=1)
        return made

    whole, again = trainer(), trainer()
    for iteration in range(6):
        whole.step()
        if iteration in (1, 4):
            save_checkpoint(whole, 0, tmp_path / str(iteration))

    assert kept(whole.policy) == 8
    for iteration in (1, 4):
        again.drop(0)
        again.start(0, config, seed=1)
        load_checkpoint(again, 0, tmp_path / str(iteration))
        for _ in range(iteration + 1, 6):
            again.step()
        assert torch.equal(again.policy.rows.values, whole.policy.rows.values)


def test_a_trial_of_one_step_keeps_all_that_it_learned() -> None:
    config = small_config(episodes=8, batch_size=8, ppo_epochs=1)
    trainer = PPOTrainer(
        tiny_policy(adapter="adalora", lora_rank=2), make_toy_task(WordReward(LIKES)), config
    )
    trainer.start(0, config, seed=1)

    trainer.step()

    assert kept(trainer.policy) == 3 * len(allocated(trainer.policy).layers)
