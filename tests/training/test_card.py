"""The card of a trained model: what was trained, what the judges say of it, and code that runs as it stands."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppo_tune import train
from ppo_tune.config.run import TrainConfig
from ppo_tune.files import read_json
from tests.conftest import save_tiny_model
from tests.training.conftest import shortened


def test_the_card_tells_what_was_trained_and_what_the_judges_say(config: TrainConfig, tmp_path: Path) -> None:
    result = train(shortened(config, 32), out=tmp_path / "red")

    card = (result.model / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "# red" in card
    before, after = result.before.judges["gold"], result.after.judges["gold"]
    assert f"| score (what PPO maximized) | {result.before.score:.3f} ±" in card
    assert (
        f"| gold score (never used in training) | {before.mean:.3f} ± {before.standard_error:.3f} "
        f"| {after.mean:.3f} ± {after.standard_error:.3f} |" in card
    )
    assert (
        "Measured on 8 prompts that no milestone answers (the confirmation split), with random numbers that chose "
        "nothing." in card
    )
    assert "| `learning_rate` | 0.02 |" in card
    assert "| `dual_clip` | off |" in card
    assert "| `lora_rank` | 4 |\n| `lora_alpha` | 16.0 |" in card


def test_the_card_tells_that_adapters_are_rank_stabilized(config: TrainConfig, tmp_path: Path) -> None:
    stabilized = config.model.model_copy(update={"adapter": "rslora"})

    result = train(shortened(config, 16).model_copy(update={"model": stabilized}), out=tmp_path / "red")

    card = (result.model / "README.md").read_text(encoding="utf-8")
    assert "| `adapter` | rslora |" in card
    assert read_json(tmp_path / "red" / "adapter" / "adapter_config.json")["use_rslora"] is True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "model", "head"),
    [
        ("gpt2", {}, "library_name: transformers\npipeline_tag: text-generation\n"),
        ("bart", {"adapter": "prefix", "prefix_length": 2}, "library_name: peft\ntags:\n"),
        pytest.param("t5", {}, "library_name: transformers\ntags:\n", marks=pytest.mark.guard),
        pytest.param(
            "gpt2",
            {"adapter": "prefix"},
            "library_name: peft\npipeline_tag: text-generation\n",
            marks=pytest.mark.guard,
        ),
    ],
    ids=["decoder", "encoder-decoder behind a prefix", "encoder-decoder", "decoder behind a prefix"],
)
def test_the_code_of_a_card_runs_as_it_stands(
    family: str, model: dict[str, Any], head: str, config: TrainConfig, tmp_path: Path
) -> None:
    base = save_tiny_model(tmp_path / "base", family)
    changed = shortened(config, 16).model_dump() | {"model": {"name": str(base), **model}}
    result = train(TrainConfig.model_validate(changed), out=tmp_path / "red")

    card = (result.model / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"---\n{head}")
    assert "max_new_tokens=4" in card  # its library's default goes past the end of a short context
    code = (
        card.partition("```python\n")[2].partition("```")[0].replace("path/to/this/folder", str(result.model))
    )
    done = subprocess.run(
        [sys.executable, "-c", code.replace("your prompt", "a red thing")],
        capture_output=True, text=True, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "not supported" not in done.stderr
    assert done.stdout.endswith("\n")
    assert ("beside the base" in card) is bool(model)
