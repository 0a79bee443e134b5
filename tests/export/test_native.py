"""Our own format: what is exported is what is trained."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ppo_tune.config import PPOConfig, TrainConfig
from ppo_tune.export.native import render
from ppo_tune.study_file import load_training

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
rewards = st.one_of(
    st.none(),
    st.fixed_dictionaries({"name": st.just("rule"), "include": weights, "avoid": weights}),
    st.fixed_dictionaries({"name": st.just("preference"), "model": texts, "template": st.none() | texts}),
    st.just({"name": "rule", "length": {"low": 3, "high": 9, "weight": 0.5}}),
    st.just({"name": "python", "function": "my folder/reward.py:score"}),
    st.just({"name": "reference", "metric": "rougeL"}),
)


@law
@given(ppo_blocks, rewards, rewards, st.integers(0, 10**9))
def test_what_is_exported_is_what_is_trained(ppo, reward, gold, seed):
    exported = config(task={"name": "support", "reward": reward, "gold": gold}, ppo=ppo, seed=seed)

    assert reload(render(exported, {})) == exported


@law
@example("prompts.csv", "question", "next\x85line: {prompt}")
@given(texts, texts, texts)
def test_a_dataset_is_exported_whatever_its_columns_are_called(path, prompt, template):
    task = {
        "name": "dataset",
        "path": path,
        "prompt": prompt,
        "reference": None,
        "template": template,
        "chat": True,
        "drop_bad_rows": True,
        "heldout_prompts": 7,
        "reward": {"name": "reference"},
    }
    exported = config(task=task, model={"name": "my/model", "lora_rank": None, "dtype": "float32"})

    assert reload(render(exported, {})) == exported


def test_every_value_is_written_out():
    written = YAML(typ="safe").load(render(config(ppo={"gamma": 0.9}), {}))

    assert list(written) == ["task", "model", "ppo", "name", "seed", "kl_budget"]
    assert written["ppo"] == PPOConfig(gamma=0.9).model_dump()
    assert written["model"] == {"name": None, "lora_rank": 16, "lora_alpha": 16.0, "dtype": "auto"}
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
