# mypy: ignore-errors
"""The TRL script: refuses politely where it cannot run, and makes up for what TRL's PPO lacks."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ppo_tune.export import TARGETS, Scale
from tests.conftest import tiny_model
from tests.export.calls import write_files
from tests.export.winners import HOSTILE, PROMPTS, WINNERS, hostile, winner


def script(name: str = "loud", scale: Scale | None = None) -> str:
    """The exported script."""
    return TARGETS["trl"](WINNERS[name], scale or Scale()).files["train.py"]


def parts(source: str, *names: str) -> dict[str, Any]:
    """Functions, classes and constants of a script by name, run without the rest of it."""
    wanted = [
        node
        for node in ast.parse(source).body
        if getattr(node, "name", None) in names
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in names)
    ]
    scope: dict[str, Any] = {"os": os, "torch": torch, "json": json, "TrainerCallback": object}
    exec(compile(ast.Module(wanted, type_ignores=[]), "train.py", "exec"), scope)
    return scope


def start(tmp_path: Path, installed: str | None) -> subprocess.CompletedProcess[str]:
    """Start the script where some version of TRL is said to be installed."""
    folder = write_files(TARGETS["trl"](winner(), Scale()), tmp_path / "export")
    if installed is not None:
        (tmp_path / f"trl-{installed}.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: trl\nVersion: {installed}\n"
        (tmp_path / f"trl-{installed}.dist-info" / "METADATA").write_text(metadata, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-S", folder / "train.py"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("version", ["1.13.0", "1.16.0", "2.0.0", "0.9.6"])
def test_another_release_is_refused_by_its_version(tmp_path: Path, version: str) -> None:
    refused = start(tmp_path, version)

    assert refused.returncode == 1
    assert refused.stderr == (
        f"trl {version} is installed, but this script is for 1.12, the last with PPO; run: pip install trl==1.12.0\n"
    )


def test_without_trl_it_says_what_to_install(tmp_path: Path) -> None:
    refused = start(tmp_path, None)

    assert (refused.returncode, refused.stderr) == (1, "trl is not installed; run: pip install trl==1.12.0\n")


def test_a_hostile_name_is_only_a_text() -> None:
    found = parts(TARGETS["trl"](hostile(), Scale()).files["train.py"], "MODEL", "REWARD_MODEL")

    assert (found["MODEL"], found["REWARD_MODEL"]) == (HOSTILE, HOSTILE + "/reward")


def test_what_is_tuned_and_what_is_suggested_are_two_dicts() -> None:
    plain, beside = (
        parts(script(), "AS_TUNED", "SUGGESTED"),
        parts(script(scale=Scale(10, 512)), "AS_TUNED", "SUGGESTED"),
    )

    assert beside["AS_TUNED"] == plain["AS_TUNED"]
    assert plain["AS_TUNED"]["learning_rate"] == 0.004123
    assert plain["SUGGESTED"] == {}
    assert beside["SUGGESTED"]["response_length"] == 512
    assert set(beside["SUGGESTED"]) == {"learning_rate", "gamma", "lam", "response_length"}


def test_the_value_head_sits_on_the_policys_own_model_and_says_nothing_at_first() -> None:
    policy = tiny_model()
    value = parts(script(), "ValueOnPolicy")["ValueOnPolicy"](policy)
    hidden = torch.randn(2, 3, 16)

    assert getattr(value, value.base_model_prefix) is policy.base_model
    assert value.score(hidden).shape == (2, 3, 1)
    assert value.score(hidden).abs().max() == 0


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        (6.0, 1.0),
        (6.6, 1 + 0.1 * 64 / 5000.5),  # a tenth too far
        (60.0, 1 + 0.2 * 64 / 5000.5),  # never more than a fifth at once
        (0.0, 1 - 0.2 * 64 / 5000.5),
    ],
)
def test_the_kl_coefficient_adapts_by_zieglers_rule(kl: float, factor: float) -> None:
    found = parts(script(), "AdaptKL", "KL_TARGET", "KL_HORIZON")
    args = type("Args", (), {"kl_coef": 0.05, "batch_size": 64})()

    found["AdaptKL"]().on_log(args, None, None, logs={"objective/kl": kl})

    assert args.kl_coef == pytest.approx(0.05 * factor)


def test_without_a_target_the_kl_coefficient_stays() -> None:
    found = parts(script("quickstart"), "AdaptKL", "KL_TARGET", "KL_HORIZON")
    args = type("Args", (), {"kl_coef": 0.05, "batch_size": 64})()

    found["AdaptKL"]().on_log(args, None, None, logs={"objective/kl": 99.0})

    assert args.kl_coef == 0.05


def test_gradients_are_clipped_before_every_step() -> None:
    weights = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weights], lr=1.0)
    parts(script(), "clip_gradients")["clip_gradients"](optimizer, 0.5)
    weights.grad = torch.tensor([3.0, 4.0])  # of norm 5

    optimizer.step()

    assert weights.detach().tolist() == pytest.approx([-0.3, -0.4], rel=1e-5)


def test_scores_are_asked_of_texts_and_values_of_tokens() -> None:
    asked: list[Any] = []

    class Trainer:
        """Stands for TRL's module."""

        @staticmethod
        def get_reward(*_: Any) -> str:
            return "of tokens"

    class Words:
        """A tokenizer of numbers; 9 ends a text."""

        eos_token_id = 9

        def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
            return " ".join(str(i) for i in ids if i != 9)

    found = parts(script(), "score_texts", "response_text")
    found |= {"ppo_trainer": Trainer, "score": lambda **given: asked.append(given) or [1.0, 2.0]}
    exec(compile(ast.unparse(_function(script(), "score_texts")), "train.py", "exec"), found)
    judge = object()
    known = {
        (5, 6): {"prompt": "five six", "columns": {"number": 1}},
        (7,): {"prompt": "seven", "columns": {"number": 2}},
    }
    found["score_texts"](judge, Words(), known)
    queries = torch.tensor([[5, 6, 3, 9, 0], [0, 7, 4, 4, 4]])  # 0 pads

    nothing, scores, _ = Trainer.get_reward(judge, queries, 0, 2)

    assert Trainer.get_reward("value model", queries, 0, 2) == "of tokens"
    assert nothing is None
    assert scores.tolist() == [1.0, 2.0]
    assert asked == [{"prompts": ["five six", "seven"], "responses": [" 3", " 4 4 4"], "number": [1, 2]}]


def _function(source: str, name: str) -> ast.stmt:
    return next(node for node in ast.parse(source).body if getattr(node, "name", None) == name)


def test_rows_are_found_again_by_their_tokens(tmp_path: Path) -> None:
    files = TARGETS["trl"](winner(), Scale()).files
    (tmp_path / "prompts.jsonl").write_text(files["prompts.jsonl"], encoding="utf-8")

    class Letters:
        """A tokenizer that ends every text."""

        eos_token_id = -1

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [*map(ord, text), -1]}

    found = parts(files["train.py"], "read_prompts", "CHAT")
    found["PROMPTS"] = tmp_path / "prompts.jsonl"

    known = found["read_prompts"](Letters())

    assert len(known) == len(PROMPTS)
    assert known[tuple(map(ord, "say 7"))] == {
        "prompt": "say 7",
        "columns": {"number": 7, "references": ["yes"]},
    }
