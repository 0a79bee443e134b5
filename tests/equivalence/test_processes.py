# mypy: ignore-errors
"""Two processes train what one process trains; they talk over gloo, as `accelerate launch` would start them."""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.trainer.processes import AcceleratedProcesses, ProcessGroup
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import LIKES, FailingReward, WordReward, make_toy_task, small_config, tiny_policy

pytestmark = pytest.mark.slow

PACK = [
    small_config(kl_target=0.5, kl_horizon=50.0),
    small_config(batch_size=2, ppo_epochs=3, learning_rate=0.003, ent_coef=0.02, whiten_rewards=True),
]
ALL_WEIGHTS = [small_config(learning_rate=0.003)]
PARTS = [small_config(micro_batch_size=2)]


@dataclass(frozen=True)
class Record:
    """What a training ended with.

    Attributes:
        numbers: The trainable numbers of all places.
        history: Metrics of each place, or the name of its error, one list per iteration.
        answered: How many responses this process scored in each call.
    """

    numbers: Tensor
    history: list[list]
    answered: list[int]


def train(
    processes: ProcessGroup,
    configs,
    iterations: int = 1,
    *,
    lora_rank: int | None = 4,
    reward: WordReward | None = None,
) -> Record:
    """So many iterations of a pack in this process."""
    reward = reward or WordReward(LIKES)
    policy = tiny_policy(places=len(configs), lora_rank=lora_rank)
    trainer = PPOTrainer(policy, make_toy_task(reward), configs[0], processes)
    for place, config in enumerate(configs):
        trainer.start(place, config, seed=place)
    history = []
    for _ in range(iterations):
        results = trainer.step()
        history.append([describe(results.get(place)) for place in range(len(configs))])
        for place in [place for place, result in results.items() if not isinstance(result, dict)]:
            trainer.drop(place)
    return Record(policy.rows.values, history, [len(responses) for responses in reward.responses])


def describe(result):
    """Metrics without times, the ending of an error, or None."""
    if isinstance(result, dict):
        return {name: value for name, value in result.items() if not name.startswith("time/")}
    return getattr(result, "ending", None)


def scenarios(processes: ProcessGroup) -> dict[str, Record]:
    """Everything that the two processes are to do, and the one."""
    return {
        "pack": train(processes, PACK, 3),
        "all weights": train(processes, ALL_WEIGHTS, lora_rank=None),
        "micro-batches": train(processes, PARTS),
        "failure": train(
            processes, PACK, 3, reward=FailingReward(LIKES, raises=[2] if processes.rank == 1 else [])
        ),
    }


def process(rank: int, port: int, folder: Path) -> None:
    """One of the two processes; writes what it ended with."""
    from accelerate import Accelerator

    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "RANK": rank}
    os.environ.update({name: str(value) for name, value in {**address, "LOCAL_RANK": rank}.items()})
    processes = AcceleratedProcesses(Accelerator(cpu=True))
    for name, record in scenarios(processes).items():
        save_file({"numbers": record.numbers}, folder / f"{name}-{rank}.safetensors")
        facts = {"history": record.history, "answered": record.answered, "size": processes.size}
        (folder / f"{name}-{rank}.json").write_text(json.dumps(facts), encoding="utf-8")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the two processes wrote."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(process, (port, folder), nprocs=2, start_method="forkserver")
    return folder


@pytest.fixture(scope="module")
def alone() -> dict[str, Record]:
    """What one process does."""
    return scenarios(ProcessGroup())


def read(folder: Path, name: str, rank: int) -> Record:
    facts = json.loads((folder / f"{name}-{rank}.json").read_text(encoding="utf-8"))
    assert facts["size"] == 2
    numbers = load_file(folder / f"{name}-{rank}.safetensors")["numbers"]
    return Record(numbers, facts["history"], facts["answered"])


@pytest.mark.parametrize("name", ["pack", "all weights", "micro-batches"])
def test_two_processes_train_what_one_trains(name, folder, alone):
    first = read(folder, name, 0)

    assert_close(first.numbers, alone[name].numbers, atol=2e-5, rtol=0)
    for metrics, expected in zip(first.history, alone[name].history, strict=True):
        for one, other in zip(metrics, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", ["pack", "all weights", "micro-batches", "failure"])
def test_both_processes_end_with_the_very_same_numbers(name, folder):
    first, second = read(folder, name, 0), read(folder, name, 1)

    assert torch.equal(first.numbers, second.numbers)
    assert first.history == second.history


def test_each_process_scores_its_own_half_of_the_responses(folder, alone):
    first, second = read(folder, "pack", 0), read(folder, "pack", 1)

    assert first.answered == second.answered == [4] * 6
    assert alone["pack"].answered == [8] * 6


def test_a_reward_that_fails_in_one_process_ends_its_trial_in_all_and_no_other(folder):
    history = read(folder, "failure", 0).history

    failed = {i: results[0] for i, results in enumerate(history) if not isinstance(results[0], dict)}
    assert failed == {1: "reward_error", 2: None}
    assert all(isinstance(results[1], dict) for results in history)
