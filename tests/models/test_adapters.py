"""What holds for adapters of every kind: how little of a mixture they reach is told, and no quantised base."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from ppo_tune.config.model import AdapterKind, ModelConfig
from ppo_tune.errors import ModelError
from ppo_tune.files import read_json, write_json
from ppo_tune.models import load_policy
from tests.conftest import FAMILIES, save_tiny_model, tiny_policy

every_kind = pytest.mark.parametrize("adapter", get_args(AdapterKind))


@pytest.mark.parametrize("adapter", [kind for kind in get_args(AdapterKind) if kind != "prefix"])
def test_the_share_of_a_mixture_that_is_reached_is_told(adapter: AdapterKind) -> None:
    place = "model.adapter" if adapter == "ia3" else "model.lora_rank"

    assert tiny_policy("mixtral", **FAMILIES["llama"], num_local_experts=4, adapter=adapter).remark == (
        f"{place}: the adapters are on linear layers, which hold 14 % of this model's weights (embeddings and "
        "output layer aside); the others, as a mixture's experts, stay as they are; lora_rank: null trains all"
    )


@every_kind
def test_a_quantised_base_is_refused_by_name(adapter: AdapterKind, tmp_path: Path) -> None:
    config = save_tiny_model(tmp_path / "base") / "config.json"
    write_json(config, {**read_json(config), "quantization_config": {"quant_method": "awq"}})

    with pytest.raises(ModelError) as refused:
        load_policy(ModelConfig(name=str(tmp_path / "base"), adapter=adapter), device=torch.device("cpu"))

    assert str(refused.value) == (
        f"model folder '{tmp_path / 'base'}' holds quantised weights (quantization_config in its config.json, by awq), "
        "which are neither trained nor merged; name the model that they were made from"
    )
