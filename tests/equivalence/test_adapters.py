"""Trials with adapters of different ranks and scales share a pack, and learn what each learns alone without padding."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from ppo_tune.config.model import RANKLESS, AdapterKind, ModelConfig
from ppo_tune.errors import TrialError
from ppo_tune.models import Policy, save_adapter, save_merged
from ppo_tune.models.lora import Bottleneck, LowRank
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    LIKES,
    WordReward,
    adapters_of,
    make_toy_task,
    small_config,
    tiny_model,
    tiny_tokenizer,
)

OWN = (Bottleneck(1, 8.0), Bottleneck(4, 8.0), Bottleneck(2, 1.0, stabilized=True))
"""What the adapters of three trials are like."""

families = pytest.mark.parametrize("family", ["gpt2", "llama"])


def trained(family: str, widest: Bottleneck, trials: dict[int, int], *, varies: bool) -> Policy:
    """A policy whose places were trained for two iterations, each as the trial of its number."""
    policy = Policy(
        tiny_model(family),
        tiny_tokenizer(),
        ModelConfig(
            lora_rank=widest.rank, lora_alpha=widest.alpha, adapter="rslora" if widest.stabilized else "lora"
        ),
        places=max(trials) + 1,
        adapters_vary=varies,
    )
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config())
    for place, number in trials.items():
        trainer.start(place, small_config(), seed=number, adapters=OWN[number])
    for _ in range(2):
        assert not any(isinstance(result, TrialError) for result in trainer.step().values())
    return policy


@cache
def together(family: str) -> Policy:
    """All three in one pack."""
    return trained(family, Bottleneck(4, 16.0), {0: 0, 1: 1, 2: 2}, varies=True)


@cache
def alone(family: str, number: int) -> Policy:
    """One by itself, in a policy of its own rank."""
    return trained(family, OWN[number], {0: number}, varies=False)


@families
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_trial_learns_in_a_pack_of_larger_ranks_what_it_learns_alone(family: str, number: int) -> None:
    packed, single, rank = together(family).rows, alone(family, number).rows, OWN[number].rank

    for name, view in packed.views.items():
        found = view.detach()[number]
        if name.endswith(".A"):
            assert not found[:, rank:].any()  # what pads stays zero, exactly
            found = found[:, :rank]
        elif name.endswith(".B"):
            assert not found[rank:].any()
            found = found[:rank]
        assert_close(found, single[name].detach()[0], rtol=2e-3, atol=2e-5)


def test_ranks_that_move_go_in_a_pack_of_larger_ones_where_they_go_alone() -> None:
    small = Bottleneck(2, 8.0, spares=True)
    values = []
    for widest, varies in ((Bottleneck(4, 16.0, spares=True), True), (small, False)):
        policy = Policy(
            tiny_model(),
            tiny_tokenizer(),
            ModelConfig(lora_rank=widest.rank, lora_alpha=widest.alpha, adapter="adalora"),
            places=1 + varies,
            adapters_vary=varies,
        )
        config = small_config(episodes=32)
        trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), config)
        trainer.start(policy.places - 1, config, seed=1, adapters=small)
        if varies:
            trainer.start(0, config, seed=2)
        for _ in range(4):
            assert not any(isinstance(result, TrialError) for result in trainer.step().values())
        assert isinstance(policy.adapters, LowRank)
        values.append(policy.adapters.to_peft(policy.places - 1))

    packed, alone = values
    for name, tensor in packed.items():
        assert_close(tensor, alone[name], rtol=2e-3, atol=2e-5)
    factors = torch.cat([tensor for name, tensor in packed.items() if name.endswith("lora_E")])
    assert int(factors.count_nonzero()) == len(factors) * 2 // 3


@families
def test_the_ranks_learn_different_things(family: str) -> None:
    deltas = [
        torch.cat([together(family).adapters.delta(name, place).flatten() for name in layers])  # type: ignore[union-attr]
        for place in range(3)
        for layers in [list(together(family).adapters.layers)]  # type: ignore[union-attr]
    ]

    assert all(delta.any() for delta in deltas)
    assert not torch.allclose(deltas[0], deltas[1])


@families
@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_adapter_is_saved_with_its_own_rank_and_scale(family: str, number: int, tmp_path: Path) -> None:
    save_adapter(together(family), number, tmp_path)

    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"]) == (OWN[number].rank, OWN[number].alpha)
    assert config["use_rslora"] is (number == 2)


@families
def test_a_merged_model_says_what_its_place_says(family: str, tmp_path: Path) -> None:
    policy = together(family)
    ids = torch.tensor([[5, 6, 7, 8]])
    for place in range(3):
        save_merged(policy, place, tmp_path / str(place))
        merged = type(policy.model).from_pretrained(tmp_path / str(place))
        with torch.no_grad(), policy._at_work([place]):
            said = policy.model(input_ids=ids).logits

        assert_close(merged.eval()(input_ids=ids).logits, said, rtol=1e-4, atol=1e-5)


def test_a_place_that_is_used_again_forgets_the_rank_before() -> None:
    policy = trained("gpt2", Bottleneck(4, 16.0), {0: 1}, varies=True)

    policy.reset(0, torch.Generator().manual_seed(0), Bottleneck(1, 2.0))
    fresh = policy.rows.values[0].clone()
    policy.reset(0, torch.Generator().manual_seed(0))

    assert isinstance(policy.adapters, LowRank)
    assert policy.adapters.of(0) == Bottleneck(4, 16.0)
    assert int((fresh != 0).sum()) * 4 == int((policy.rows.values[0] != 0).sum())


@pytest.mark.parametrize(
    ("family", "adapter"),
    [
        ("gpt2", "ia3"),
        ("llama", "ia3"),
        ("t5", "ia3"),
        ("bart", "ia3"),
        ("gpt2", "prefix"),
        ("llama", "prefix"),
        ("t5", "prefix"),
        ("bart", "prefix"),
        ("gpt2", "adalora"),
        ("gpt2", "dora"),
        ("t5", "dora"),
    ],
)
def test_a_trial_of_another_kind_learns_in_a_pack_what_it_learns_alone(
    family: str, adapter: AdapterKind
) -> None:
    configs = [
        small_config(learning_rate=rate, batch_size=size) for rate, size in ((0.01, 4), (0.003, 2), (0.02, 4))
    ]
    trained: list[list[torch.Tensor]] = []
    for numbers in ([0, 1, 2], [0], [1], [2]):
        policy = Policy(
            tiny_model(family),
            tiny_tokenizer(),
            adapters_of(adapter, lora_rank=2),
            places=len(numbers),
        )
        start = policy.rows.values.clone()
        trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config())
        for place, number in enumerate(numbers):
            trainer.start(place, configs[number], seed=number)
        for _ in range(2):
            assert not any(isinstance(result, TrialError) for result in trainer.step().values())
        trained.append(list(policy.rows.values))
        moved = (policy.rows.values - start)[:, :-17]  # 16 and 1 are of the value head
        assert adapter not in RANKLESS or moved.abs().amax(1).min() > 0.005

    (together, *alone) = trained
    for packed, (single,) in zip(together, alone, strict=True):
        assert_close(packed, single, rtol=2e-3, atol=2e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)
