"""What of a model is fitted: adapters are merged into an ordinary folder, and formats of products change no law."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from ppo_tune.config.fitting import RewardTrainingConfig, SFTConfig
from ppo_tune.config.model import ModelConfig
from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.errors import ModelError
from ppo_tune.fitting.reward_model import fit_reward
from ppo_tune.fitting.sft import fit_sft
from ppo_tune.fitting.weights import FittedWeights
from ppo_tune.models import load_policy
from ppo_tune.models.fast.linear import is_linear
from ppo_tune.rewards import make_reward
from tests.conftest import WORDS, save_tiny_model, tiny_model

PAIRS = [(f"{opening} {word}", f"{word} b") for word in WORDS[2:8] for opening in "abijklm"]
PREFERENCES = [
    (f"{first} {second}", f"a {word}", f"c {word}")
    for first in WORDS[3:8]
    for second in WORDS[8:]
    for word in "jk"
]
REWARD: dict[str, Any] = {
    "learning_rate": 0.02, "epochs": 6, "batch_size": 8, "base_samples": 16, "max_new_tokens": 4,
    "template": "{prompt} {response}", "heldout_fraction": 0.2,
}  # fmt: skip
FAMILIES = pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])


def changed(before: torch.nn.Module, after: torch.nn.Module) -> set[str]:
    """Names of the weights that both have and that differ."""
    old, new = before.state_dict(), after.state_dict()
    return {name for name in old if name in new and not torch.equal(old[name], new[name])}


def linear_weights(model: torch.nn.Module) -> set[str]:
    return {f"{name}.weight" for name, module in model.named_modules() if is_linear(module)}


@FAMILIES
def test_adapters_of_sft_are_merged_and_touch_the_linear_layers_alone(family: str, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", family)

    result = fit_sft(
        PAIRS, tmp_path / "out", SFTConfig(lora_rank=4, epochs=16, learning_rate=0.02), base=str(base)
    )

    models = [AutoModelForCausalLM.from_pretrained(folder) for folder in (base, tmp_path / "out")]
    assert changed(*models) == linear_weights(models[0]) - {"lm_head.weight", "embed_out.weight"}
    assert result.heldout_nats_per_token < result.nats_before / 2
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    assert load_policy(ModelConfig(name=str(tmp_path / "out"), lora_rank=2)).places == 1


@FAMILIES
def test_a_reward_model_of_adapters_is_an_ordinary_judge(family: str, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", family)

    result = fit_reward(
        PREFERENCES, str(base), tmp_path / "judge", RewardTrainingConfig(**REWARD, lora_rank=4)
    )

    judge = make_reward(
        PreferenceRewardConfig(name="preference", model=str(tmp_path / "judge")), torch.device("cpu")
    )
    scores = judge(["d i", "d i"], ["a k", "c k"], {}).tolist()
    models = [
        AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        for folder in (base, tmp_path / "judge")
    ]
    assert result.accuracy > 0.9
    assert scores[0] > scores[1] + 1
    assert changed(*models) == linear_weights(models[0])  # the head among them


def test_the_same_seed_gives_the_same_adapters(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        fit_sft(PAIRS, tmp_path / name, SFTConfig(lora_rank=4, epochs=1, seed=seed), base=str(base))

    a, b, c = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in "abc")
    assert changed(a, b) == set() != changed(a, c)


@pytest.mark.parametrize("lora_rank", [None, 4])
def test_products_in_bfloat16_fit_nearly_the_same_and_float32_is_written(
    lora_rank: int | None, tmp_path: Path
) -> None:
    base = save_tiny_model(tmp_path / "base")
    losses, accuracies = [], []
    for dtype in ("float32", "bfloat16"):
        sft = SFTConfig(lora_rank=lora_rank, dtype=dtype, epochs=8, learning_rate=0.01)
        losses.append(fit_sft(PAIRS, tmp_path / dtype, sft, base=str(base)).heldout_nats_per_token)
        reward = RewardTrainingConfig(**REWARD, lora_rank=lora_rank, dtype=dtype)
        accuracies.append(fit_reward(PREFERENCES, str(base), tmp_path / f"r {dtype}", reward).accuracy)

    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    assert min(accuracies) > 0.9
    for folder in (tmp_path / "bfloat16", tmp_path / "r bfloat16"):
        assert AutoConfig.from_pretrained(folder).dtype == torch.float32


def test_of_a_frozen_base_in_bfloat16_the_head_stays_float32() -> None:
    model: Any = AutoModelForSequenceClassification.from_config(
        tiny_model("llama").config, dtype=torch.bfloat16
    )

    weights = FittedWeights(model, SFTConfig(lora_rank=2), torch.bfloat16, head=model.score)

    assert {parameter.dtype for parameter in weights.parameters} == {torch.float32}
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16
    assert any(parameter is model.score.weight for parameter in weights.parameters)


def test_adapters_of_a_new_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        fit_sft(PAIRS, tmp_path / "out", SFTConfig(lora_rank=4))

    assert str(caught.value) == (
        "lora_rank: adapters are of a model that exists, and a new one is fitted; name one as base, or leave "
        "lora_rank out"
    )
    assert not (tmp_path / "out").exists()
