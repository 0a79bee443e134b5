"""The loop of a fit: micro-batches change no gradient, memory decides their size, and every step is told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ppo_tune.config.fitting import RewardTrainingConfig, SFTConfig
from ppo_tune.errors import ModelError
from ppo_tune.fitting.loop import Loss, Step, add_gradients, measure
from ppo_tune.fitting.reward_model import fit_reward
from ppo_tune.fitting.sft import fit_sft
from ppo_tune.fitting.weights import FittedWeights
from tests.conftest import WORDS, save_tiny_model, tiny_model

PAIRS = [(f"{first} {second}", f"{second} {first} c") for first in WORDS[:6] for second in WORDS[6:11]]
PREFERENCES = [(f"{first} {second}", "a " + second, "c") for first in WORDS[3:8] for second in WORDS[8:]]


def squares(model: torch.nn.Module) -> Loss[int]:
    """Row i has i terms and the loss i · |w|², so that the mean loss is |w|² whatever the batch."""
    weight = next(model.parameters())
    return Loss(lambda rows: torch.stack([i * weight.square().sum() for i in rows]), lambda i: i)


def weights(**config: int | None) -> FittedWeights:
    return FittedWeights(tiny_model("gpt2"), SFTConfig(lora_rank=config.get("lora_rank")), torch.float32)


@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
def test_the_gradient_of_micro_batches_is_that_of_the_batch_weighted_by_terms(at_once: int) -> None:
    fitted = weights()
    weight = fitted.parameters[0]

    mean, fits = add_gradients(fitted, [3, 1, 4, 1, 5], squares(fitted.model), at_once)

    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, 2 * weight.detach())
    assert mean == pytest.approx(float(weight.detach().square().sum()))
    assert fits == at_once


def test_where_memory_is_short_a_batch_begins_again_with_smaller_micro_batches() -> None:
    fitted = weights()
    plain, asked = squares(fitted.model), list[int]()

    def of(rows: Sequence[int]) -> Tensor:
        asked.append(len(rows))
        if len(rows) > 2 or asked == [8, 4, 2, 2, 2]:
            raise torch.OutOfMemoryError("out of memory")
        return plain.of(list(rows))

    _, fits = add_gradients(fitted, [1] * 8, Loss(of, plain.terms), 32)

    assert fits == 1
    assert asked == [8, 4, 2, 2, 2] + [1] * 8  # what was added before memory ran out is forgotten
    torch.testing.assert_close(fitted.parameters[0].grad, 2 * fitted.parameters[0].detach())


def test_where_there_is_no_memory_for_one_row_the_ways_out_are_named() -> None:
    def of(rows: Sequence[int]) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(ModelError) as caught:
        add_gradients(weights(), [1, 2], Loss(of, lambda _: 1), 2)

    assert str(caught.value) == (
        "there is no memory for the gradient of a single row; fit low-rank adapters (lora_rank: 16), in "
        "dtype: bfloat16, or take shorter texts or a smaller model"
    )


def test_another_failure_is_none_of_memory() -> None:
    def of(rows: Sequence[int]) -> Tensor:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        add_gradients(weights(), [1], Loss(of, lambda _: 1), 1)


def test_what_is_measured_in_parts_is_what_is_measured_at_once() -> None:
    fitted = weights()

    found = [measure(fitted, range(7), lambda rows: torch.tensor(rows) * 2.0, n) for n in (1, 3, 7, 99)]

    assert [said.tolist() for said in found] == [[0, 2, 4, 6, 8, 10, 12]] * 4


@pytest.mark.parametrize("lora_rank", [None, 4])
def test_a_fit_in_micro_batches_says_what_the_fit_in_whole_batches_says(
    tmp_path: Path, lora_rank: int | None
) -> None:
    """Not weight by weight: of what shifts all scores alike the gradient is rounding, and Adam steps by it."""
    base = save_tiny_model(tmp_path / "base")
    nats, losses = [], []
    for size in (None, 3):
        shared: dict[str, Any] = {"batch_size": 8, "micro_batch_size": size, "lora_rank": lora_rank}
        sft = SFTConfig(**shared, learning_rate=0.01, epochs=4)
        reward = RewardTrainingConfig(**shared, learning_rate=0.01, base_samples=8, max_new_tokens=4)
        nats.append(fit_sft(PAIRS, tmp_path / f"sft {size}", sft, base=str(base)))
        losses.append(fit_reward(PREFERENCES, str(base), tmp_path / f"reward {size}", reward))

    assert nats[0].heldout_nats_per_token == pytest.approx(nats[1].heldout_nats_per_token, rel=1e-3)
    assert nats[0].heldout_nats_per_token < 0.9 * nats[0].nats_before
    assert losses[0].loss == pytest.approx(losses[1].loss, rel=1e-3)
    assert losses[0].loss < 0.6


def test_every_step_is_told_with_its_epoch_and_loss(tmp_path: Path) -> None:
    seen: list[Step] = []
    config = SFTConfig(
        layers=1, width=16, heads=2, tokens="words", epochs=2, batch_size=16, learning_rate=0.02
    )

    fit_sft(PAIRS, tmp_path, config, progress=seen.append)

    assert [(step.epoch, step.epochs, step.number, step.steps) for step in seen] == [
        (1, 2, 1, 4),
        (1, 2, 2, 4),
        (2, 2, 3, 4),
        (2, 2, 4, 4),
    ]
    assert [step.done for step in seen] == [0.25, 0.5, 0.75, 1.0]
    assert seen[0].loss > seen[-1].loss > 0
