# mypy: ignore-errors
"""Our own format: what is exported is what is trained."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.training_file import load_training
from ppo_tune.export import TARGETS, Scale
from ppo_tune.export.native import render
from tests.export.winners import WINNERS

law = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def config(**settings: Any) -> TrainConfig:
    """A training of the support task."""
    return TrainConfig.model_validate({"name": "winner", "task": {"name": "support"}, **settings})


def reload(text: str) -> TrainConfig:
    """What `ppo-tune train` reads from a file of this text."""
    Path("best.yaml").write_text(text, encoding="utf-8")
    return load_training("best.yaml")


numbers = st.floats(1e-12, 1e12)
texts = st.text(min_size=1) | st.sampled_from(
    [
        "no",
        "null",
        "~",
        "1e-5",
        "0x10",
        "2020-01-01",
        "a: b",
        "- a",
        "# a",
        "'",
        "{prompt}",
        " a ",
        "a\nb",
        "\u2028",
    ]
)
ppo_blocks = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": numbers,
        "gamma": st.floats(0, 1),
        "kl_coef": numbers,
        "kl_target": st.none() | numbers,
        "kl_estimator": st.sampled_from(["k1", "k2", "k3"]),
        "clip_range_value": st.none() | numbers,
        "whiten_rewards": st.booleans(),
        "ppo_epochs": st.integers(1, 9),
        "temperature": numbers,
    },
)
weights = st.dictionaries(texts, st.floats(-1e6, 1e6), min_size=1, max_size=3)
judged = texts.map(lambda text: text.replace("{", "{{").replace("}", "}}") + "{response}")
rewards = st.one_of(
    st.none(),
    st.fixed_dictionaries({"name": st.just("rule"), "include": weights, "avoid": weights}),
    st.fixed_dictionaries({"name": st.just("preference"), "model": texts, "template": st.none() | judged}),
    st.just({"name": "rule", "length": {"low": 3, "high": 9, "weight": 0.5}}),
    st.just({"name": "python", "function": "my folder/reward.py:score"}),
)


@law
@given(ppo_blocks, rewards, rewards, st.integers(0, 10**9), st.none() | numbers, st.integers(0, 3))
def test_what_is_exported_is_what_is_trained(ppo, reward, gold, seed, score_std, world):
    task = {"name": "support", "seed": world, "reward": reward, "gold": gold}
    exported = config(task=task, ppo=ppo, seed=seed, score_std=score_std)

    assert reload(render(exported, {})) == exported


@law
@example("prompts.csv", "question", "next\x85line: {prompt}")
@given(texts, texts, texts)
def test_a_dataset_is_exported_whatever_its_columns_are_called(path, prompt, template):
    assume(
        not re.match(r"~|.*\$[A-Za-z_{]", path, re.DOTALL)
    )  # no file is called so, and then it means another
    task = {
        "name": "dataset",
        "path": path,
        "prompt": prompt,
        "reference": None,
        "template": template,
        "chat": True,
        "drop_bad_rows": True,
        "heldout_prompts": 7,
        "reward": {"name": "reference", "metric": "rougeL"},
    }
    exported = config(task=task, model={"name": "my/model", "lora_rank": None, "dtype": "float32"})

    assert reload(render(exported, {})) == exported


def test_every_value_is_written_out():
    written = YAML(typ="safe").load(render(config(ppo={"gamma": 0.9}), {}))

    assert list(written) == ["task", "model", "ppo", "name", "seed", "kl_budget", "score_std", "log"]
    assert written["ppo"] == PPOConfig(gamma=0.9).model_dump()
    assert written["model"] == ModelConfig().model_dump()
    assert (written["name"], written["seed"]) == ("winner", 0)


def test_the_file_begins_with_its_command_and_where_it_comes_from():
    text = render(config(), {"study": "quickstart", "trial": "17", "score": "1.25"})

    assert text.splitlines()[:5] == [
        "# ppo-tune train THIS_FILE",
        "# study: quickstart",
        "# trial: 17",
        "# score: 1.25",
        "task:",
    ]


def test_a_fact_with_line_breaks_stays_a_comment():
    text = render(config(), {"study": "a\nseed: 7\u2028x\x1b[31m"})

    assert text.splitlines()[1] == "# study: a seed: 7 x\ufffd[31m"
    assert reload(text).seed == 0


def test_the_export_is_a_config_a_card_and_its_record():
    made = TARGETS["native"](WINNERS["loud"], Scale())

    assert made.main == "best.yaml"
    assert set(made.files) == {"best.yaml", "README.md", "metrics.json", "provenance.json"}
    assert made.conversion.unsupported == made.conversion.approximated == ()
    assert reload(made.files["best.yaml"]) == WINNERS["loud"].config
    metrics, record = json.loads(made.files["metrics.json"]), json.loads(made.files["provenance.json"])
    assert metrics["score"]["interval"] == [0.97, 1.37]
    assert record["seed"] == 3
    assert record["command"] == "ppo-tune train best.yaml --seed 3"
    assert record["torch"] == torch.__version__
    assert record["from"] == "study quickstart, trial 7"


def test_the_card_says_what_was_measured_tuned_and_how_to_run_it_again():
    card = TARGETS["native"](WINNERS["loud"], Scale()).files["README.md"]

    assert card.startswith("# quickstart: hyperparameters for PPO-RLHF\n")
    assert "| score | 1.17 (0.97 to 1.37), 95 % |\n| gold | 1.2 |" in card
    assert "| `learning_rate` (searched) | 0.004123 | 0.0001 |\n" in card
    assert "| `vf_coef` | 0.2 | 0.1 |\n" in card
    assert "ppo-tune train best.yaml --seed 3" in card
    assert re.search(r"pip install ppo-tune==\S+ torch==[0-9.]+ transformers==[0-9.]+\n", card)
    assert "- `gae_lambda`: 1 - (1 - λ)·L/L' for responses L'/L times as long *(medium confidence)*" in card
    assert "suggested" not in card


def test_the_card_names_the_world_of_the_embedded_task():
    made = TARGETS["native"](
        replace(WINNERS["quickstart"], config=config(task={"name": "support", "seed": 3})), Scale()
    )

    assert "on the task `support (seed 3)`" in made.files["README.md"]


def test_a_larger_run_gets_a_file_of_its_own_that_says_it_was_not_tuned():
    made = TARGETS["native"](WINNERS["loud"], Scale(10, 512))
    suggested = made.files["suggested.yaml"]

    assert (
        "# not tuned: suggested for a model of 10 times the parameters and responses of up to 512 tokens"
        in suggested
    )
    assert reload(suggested).ppo.max_new_tokens == 512
    assert reload(made.files["best.yaml"]) == WINNERS["loud"].config
    assert "| `learning_rate` (searched) | 0.004123 | 0.0001 | 0.001739 |\n" in made.files["README.md"]
    assert "| `vf_coef` | 0.2 | 0.1 |  |\n" in made.files["README.md"]


def test_a_fact_cannot_break_the_cards_table():
    given = replace(
        WINNERS["quickstart"], provenance={"from | to": "a | b\n| c |"}, metrics={"x|y": float("nan")}
    )
    made = TARGETS["native"](given, Scale())

    assert "| from \\| to | a \\| b \\| c \\| |\n" in made.files["README.md"]
    assert json.loads(made.files["metrics.json"]) == {"x|y": None}


def test_without_metrics_the_card_says_so():
    assert (
        "## Measured\n\nNothing yet.\n"
        in TARGETS["native"](WINNERS["nothing known"], Scale()).files["README.md"]
    )
