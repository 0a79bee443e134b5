# mypy: ignore-errors
"""SkyRL 0.3.0's own code over our export: config, prompts, environment and generator, as our train.py sets them up.

Stubbed: the engine that samples, which needs a GPU, answers what it is told. Placement on GPUs is switched off. And
SkyRL wants Python 3.12, where pydantic takes its types; below that one name of `typing` is that of typing_extensions.
"""

import asyncio
import importlib.util
import sys
import typing
from functools import cache
from types import ModuleType
from typing import Any

import typing_extensions

if sys.version_info < (3, 12):
    typing.TypedDict = typing_extensions.TypedDict

import pytest
import skyrl_gym
from ray import cloudpickle
from skyrl.train.config import SkyRLTrainConfig
from skyrl.train.generators.base import GeneratorInput
from skyrl.train.utils import validate_cfg

from tests.export.calls import arguments
from tests.export.peers.cases import NAMES, facts, folder

names = pytest.mark.parametrize("name", NAMES)


def config_of(name: str, *more: str) -> SkyRLTrainConfig:
    """The config as our train.py reads it."""
    words = arguments(folder(name, "skyrl"), *more)
    assert words[0] == str(folder(name, "skyrl") / "train.py")
    return SkyRLTrainConfig.from_cli_overrides(words[1:])


def script_of(name: str) -> ModuleType:
    """Our train.py as a module."""
    spec = importlib.util.spec_from_file_location(f"train_{name}", folder(name, "skyrl") / "train.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@names
def test_the_config_is_one_that_skyrl_starts_with(name: str) -> None:
    config = config_of(name)

    validate_cfg(config)

    assert config.trainer.critic.model.path
    assert config.trainer.max_prompt_length + 6 <= facts(name)["context"]
    assert config.trainer.algorithm.kl_loss_coef == 0.1244


class Engine:
    """Stands for vLLM: answers with the next of the given responses, and keeps what it was asked."""

    def __init__(self, tokenizer: Any, answers: list[list[int]]) -> None:
        self.tokenizer, self.answers, self.asked = tokenizer, iter(answers), []

    async def generate(self, asked: dict[str, Any], model: str | None = None) -> dict[str, Any]:
        self.asked += [list(ids) for ids in asked["prompt_token_ids"]]  # SkyRL goes on writing into its own
        ids = list(next(self.answers))
        ended = ids[-1] == self.tokenizer.eos_token_id
        return {
            "responses": [self.tokenizer.decode(ids, skip_special_tokens=True)],
            "response_ids": [ids],
            "stop_reasons": ["stop" if ended else "length"],
            "response_logprobs": None,
        }

    async def finish_session(self, session_id: Any) -> None:
        """Nothing to do."""


@cache  # SkyRL filters prompts in eight processes, each of which imports torch
def training_of(name: str) -> tuple[Any, SkyRLTrainConfig]:
    """Our training up to where SkyRL wants GPUs: tokenizer, prompts."""
    config = config_of(name, "trainer.placement.colocate_all=false")
    return script_of(name).Training(config), config


@names
def test_prompts_reach_the_model_as_ppo_tune_gave_them(name: str) -> None:
    """PromptDataset filters in spawned processes, which get the tokenizer with our template."""
    training, config = training_of(name)
    known = facts(name)

    rows = [training.train_dataset[i] for i in range(len(training.train_dataset))]
    ids = [
        training.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        for messages, *_ in rows
    ]

    assert ids == known["prompt_ids"]
    assert max(map(len, ids)) == config.trainer.max_prompt_length
    assert {env for _, env, *_ in rows} == {config.environment.env_class}


@names
def test_its_generator_scores_as_ppo_tune_does(name: str) -> None:
    training, config = training_of(name)
    known = facts(name)
    script = sys.modules[type(training).__module__]
    if config.environment.env_class not in skyrl_gym.envs.registration.registry:
        skyrl_gym.register(id=config.environment.env_class, entry_point=script.OneResponse)
    engine = Engine(training.tokenizer, known["response_ids"])
    generator = training.get_generator(config, training.tokenizer, engine)
    messages, env_class, extras, _ = training.train_dataset[0]
    n = len(known["response_ids"])
    batch = GeneratorInput(
        prompts=[messages] * n,
        env_classes=[env_class] * n,
        env_extras=[dict(extras) for _ in range(n)],
        sampling_params=None,
        trajectory_ids=None,
        batch_metadata=None,
    )

    out = asyncio.run(generator.generate(batch, disable_tqdm=True))

    assert engine.asked == [known["prompt_ids"][0]] * n
    assert out["prompt_token_ids"] == [known["prompt_ids"][0]] * n
    expected = {tuple(ids): score for ids, score in zip(known["response_ids"], known["scores"], strict=True)}
    found = {
        tuple(ids): rewards[-1] for ids, rewards in zip(out["response_ids"], out["rewards"], strict=True)
    }
    assert found == pytest.approx(expected, abs=1e-5)  # in the order in which the episodes began
    assert all(not any(rewards[:-1]) for rewards in out["rewards"])
    assert all(all(mask) for mask in out["loss_masks"])


@names
def test_ray_can_carry_the_training_to_another_process(name: str) -> None:
    script = script_of(name)

    cloudpickle.dumps((script.train, script.Training, script.ScoringGenerator, script.OneResponse))
