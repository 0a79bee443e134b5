"""Ours in a throughput benchmark: some iterations of a pack of K trials for every line it is sent.

A line is a turn: `{"updates": 5, "compiles": false}`.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from shapes import SHAPES, Shape
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from ppo_tune import ModelConfig, PPOConfig, PPOTrainer, Task, load_policy
from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.rewards import make_reward
from ppo_tune.search.worker import keep_freed_memory
from ppo_tune.trainer.compiling import CompiledPass
from ppo_tune.trainer.loss import gradients

steps = 0


@register_flop_formula(torch.ops.mkldnn._linear_pointwise)
def count_product(x_shape: Sequence[int], weight_shape: Sequence[int], *_: object, **__: object) -> int:
    """The FLOPs of a product by oneDNN, which torch does not count."""
    return 2 * math.prod(x_shape) * weight_shape[0]


def count_step(*_: object) -> None:
    """One optimizer step was made."""
    global steps
    steps += 1


def make_trainer(
    shape: Shape,
    folder: Path,
    seeds: Sequence[int],
    *,
    full: bool = False,
    dtype: str = "float32",
    device: torch.device | None = None,
) -> PPOTrainer:
    """A trainer whose places all hold a trial, one per seed."""
    device = device or torch.device("cpu")
    model = ModelConfig(name=str(folder / "policy"), lora_rank=None if full else shape.lora_rank, dtype=dtype)
    policy = load_policy(model, places=len(seeds), device=device)
    policy.stop_ids = torch.tensor([-1], device=device)  # no response ends early, as none of the peer's does
    judge = PreferenceRewardConfig(
        name="preference", model=str(folder / "reward"), template="{prompt} {response}"
    )
    prompts = tuple(
        Prompt(line) for line in (folder / "prompts.txt").read_text(encoding="utf-8").splitlines()
    )
    reward = make_reward(judge, device)
    task = Task("benchmark", {"train": prompts, "heldout": (), "confirmation": ()}, reward, objective=reward)
    config = PPOConfig(
        rollout_size=shape.episodes, batch_size=shape.episodes // shape.mini_batches, ppo_epochs=shape.epochs,
        max_new_tokens=shape.response, episodes=shape.episodes * 100_000,
    )  # fmt: skip
    trainer = PPOTrainer(policy, task, config)
    for place, seed in enumerate(seeds):
        trainer.start(place, config, seed)
    return trainer


def main() -> None:
    """Answer every turn with its median seconds per update and the work that one trial did in the last."""
    global steps
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--places", type=int, default=1)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    shape, places = SHAPES[options.shape], options.places
    trainer = make_trainer(shape, options.folder, range(places), full=options.full, dtype=options.dtype)
    compiled = CompiledPass.of(trainer)
    register_optimizer_step_post_hook(count_step)
    with FlopCounterMode(display=False) as counter:
        trainer.step()
    print(json.dumps({"ready": True, "flops": counter.get_total_flops()}), flush=True)
    for line in sys.stdin:
        setting, seconds = json.loads(line), []
        trainer.learn = compiled if setting["compiles"] else gradients
        for _ in range(setting["updates"]):
            steps, started = 0, time.perf_counter()
            (metrics, *_) = trainer.step().values()
            seconds.append(time.perf_counter() - started)
        tokens = round(metrics["response/tokens_mean"] * shape.episodes)
        work = {**shape.work(), "response_tokens": tokens, "optimizer_steps": steps // places}
        print(json.dumps({"seconds": statistics.median(seconds), "work": work}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
