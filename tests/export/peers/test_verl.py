# mypy: ignore-errors
"""verl 0.9.1's own code over our export: config, prompts, the agent loop's tokens, reward workers, what is saved.

Nothing of verl is stubbed but what needs a GPU: the engine that samples answers what it is told, and a step of the
trainer's loop does nothing.
"""

import asyncio
import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker, migrate_legacy_reward_impl
from verl.trainer.ppo.utils import create_rl_dataset, need_critic, need_reference_policy
from verl.trainer.ppo.v1 import PPOTrainer, get_trainer_cls
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.workers.rollout.replica import TokenOutput

from tests.export.calls import arguments
from tests.export.peers.cases import NAMES, facts, folder

EPISODES, ROLLOUT, LONGEST_RESPONSE = 24, 8, 6

names = pytest.mark.parametrize("name", NAMES)


def config_of(name: str) -> DictConfig:
    """The whole config, as verl's entry point has it before it starts."""
    words = arguments(folder(name, "verl"))
    assert words[:2] == ["-m", "verl.trainer.main_ppo"]
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=words[2:])
    return migrate_legacy_reward_impl(config)


@names
def test_the_config_is_one_that_verl_starts_with(name: str) -> None:
    config = config_of(name)

    without_adapters = copy.deepcopy(config)
    without_adapters.actor_rollout_ref.model.lora_rank = 0  # their rank is vLLM's to check
    validate_config(without_adapters, need_reference_policy(config), need_critic(config))

    assert need_reference_policy(config) and need_critic(config)
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    assert rollout.prompt_length + rollout.response_length <= facts(name)["context"]
    assert config.algorithm.kl_ctrl.kl_coef == 0.1244
    for block in (
        config.actor_rollout_ref.actor,
        config.critic,
        config.algorithm,
    ):
        omega_conf_to_dataclass(block)  # their own checks


class Engine:
    """Stands for vLLM: answers every prompt with the same tokens, and keeps what it was asked."""

    def __init__(self, answer: list[int]) -> None:
        self.answer, self.asked = answer, []

    async def generate(self, *, prompt_ids: list[int], **_: Any) -> TokenOutput:
        self.asked.append(list(prompt_ids))
        return TokenOutput(token_ids=self.answer)


def agent_loop(config: DictConfig, engine: Engine) -> tuple[Any, Any]:
    """verl's loop of one turn, and its prompts, as its worker makes them."""
    model = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    prompts = create_rl_dataset(config.data.train_files, config.data, model.tokenizer, model.processor)
    loop = SingleTurnAgentLoop(
        DictConfigWrap(config),
        engine,
        model.tokenizer,
        model.processor,
        type(prompts),
        DictConfigWrap(config.data),
    )
    return loop, prompts


@names
def test_the_model_reads_the_very_tokens_that_ppo_tune_gave_it(name: str) -> None:
    config, known = config_of(name), facts(name)
    engine = Engine(known["response_ids"][2])
    loop, prompts = agent_loop(config, engine)

    outputs = [loop.loop.run_until_complete(loop.run({}, **prompts[i])) for i in range(len(prompts))]

    assert engine.asked == known["prompt_ids"]
    assert [output.prompt_ids for output in outputs] == known["prompt_ids"]
    assert all(output.response_ids == known["response_ids"][2] for output in outputs)
    assert max(map(len, engine.asked)) == config.data.max_prompt_length


def sequence(row: dict[str, Any], prompt: list[int], response: list[int]) -> DataProto:
    """One sequence as verl's agent loop hands it to a reward worker."""
    ids = torch.tensor([[*prompt, *response]])
    batch = {
        "prompts": torch.tensor([prompt]),
        "responses": torch.tensor([response]),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
    }
    others = {name: np.array([value], dtype=object) for name, value in row.items()}
    return DataProto(batch=TensorDict(batch, batch_size=1), non_tensor_batch=others)


@names
def test_its_reward_worker_scores_as_ppo_tune_does(name: str) -> None:
    config, known = config_of(name), facts(name)
    _, prompts = agent_loop(config, Engine([]))
    worker = RewardLoopWorker(config)
    row = prompts[0]

    async def ask() -> list[dict[str, Any]]:
        sequences = [sequence(row, known["prompt_ids"][0], ids) for ids in known["response_ids"]]
        return await asyncio.gather(
            *[worker.compute_score(item) for item in sequences * 4]
        )  # threads at once

    found = [answer["reward_score"] for answer in worker.loop.run_until_complete(ask())]

    assert found == pytest.approx(known["scores"] * 4, abs=1e-5)


@names
def test_a_batch_padded_on_both_sides_scores_the_same(name: str) -> None:
    config, known = config_of(name), facts(name)
    _, prompts = agent_loop(config, Engine([]))
    worker = RewardLoopWorker(config)
    prompt, response = known["prompt_ids"][0], known["response_ids"][0]
    pad, rows = [1, 1], prompts[0]
    item = sequence(rows, [*pad, *prompt], [*response, *pad])
    item.batch["attention_mask"] = torch.tensor([[0] * 2 + [1] * len([*prompt, *response]) + [0] * 2])

    scores = worker.reward_manager.score_one(item[0])
    assembled = type(worker.reward_manager).assemble_rm_scores(item, [scores["reward_score"]])

    assert scores["reward_score"] == pytest.approx(known["scores"][0], abs=1e-5)
    assert assembled[0].nonzero().flatten().tolist() == [len(response) - 1]  # the last real token is paid


class Steps(PPOTrainer):
    """verl's own training loop, of which a step does nothing and a checkpoint is a line in a list."""

    def __init__(self, config: DictConfig, steps_per_epoch: int) -> None:
        self.config, self.global_steps, self.saved = config, 0, []
        self.steps_per_epoch = steps_per_epoch
        self.total_training_steps = config.trainer.total_training_steps
        self.replay_buffer = SimpleNamespace()

    def step(self, *_: Any) -> Any:
        return SimpleNamespace(keys=[], partition_id="train", tags=[])

    def _save_checkpoint(self) -> None:
        self.saved.append(self.global_steps)

    def _nothing(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    on_train_begin = on_train_end = on_step_begin = on_step_end = _nothing
    _start_profiling = _stop_profiling = _consume_sync_metrics = _compute_metrics = _nothing
    _reissue_inflight_prompts = _shutdown_dump_executor = prepare_step = on_sample_begin = on_sample_end = (
        _nothing
    )


def test_the_trained_model_is_saved_at_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("plain")
    monkeypatch.setattr("transfer_queue.kv_clear", lambda **_: None)  # the queue is another process
    trainer = Steps(config, steps_per_epoch=3)

    trainer.fit(agent_loop_manager=None)

    steps = EPISODES // ROLLOUT
    assert trainer.saved == [steps]
    assert Path(config.trainer.default_local_dir) == folder("plain", "verl") / "trained"
    assert issubclass(get_trainer_cls(config.trainer.v1.trainer_mode), PPOTrainer)
    assert OmegaConf.select(config, "trainer.resume_mode") == "disable"
