"""The peer in a throughput benchmark: TRL 1.12.0's PPOTrainer, some updates for every line it is sent.

Runs in an environment of its own (see `make benchmark`); speaks JSON lines with `throughput.py`. A line is a turn:
`{"updates": 1, "threads": 1, "gc": true}`; one process serves all settings of a dtype, for five of the largest shape
would not fit into memory. Garbage is collected between turns, off the clock, so that no turn pays for what another
left behind.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import time
import types
from pathlib import Path

import torch
from datasets import Dataset
from shapes import SHAPES
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PrinterCallback,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

steps = 0


class Turns(TrainerCallback):
    """Times each update, tells the median of a turn, and waits for the next one."""

    def __init__(self, work: dict[str, int]) -> None:
        self.work = work
        self.started = 0.0
        self.remaining = 0
        self.seconds: list[float] = []

    def wait(self) -> None:
        """Block until told how to do the next updates; leave when nobody is there any more."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        setting = json.loads(line)
        torch.set_num_threads(setting["threads"])
        ppo_trainer.gc.collect = gc.collect if setting["gc"] else lambda: 0
        self.remaining, self.seconds = setting["updates"], []
        self.started = time.perf_counter()

    def on_train_begin(self, args, state, control, **kwargs):  # noqa: D102
        print(json.dumps({"ready": True}), file=answers, flush=True)
        self.wait()

    def on_step_end(self, args, state, control, **kwargs):  # noqa: D102
        global steps
        self.seconds.append(time.perf_counter() - self.started)
        done = {**self.work, "optimizer_steps": steps}
        steps = 0
        self.remaining -= 1
        if not self.remaining:
            gc.collect()
            print(
                json.dumps({"seconds": statistics.median(self.seconds), "work": done}),
                file=answers,
                flush=True,
            )
            self.wait()
        self.started = time.perf_counter()


def count_step(*_: object) -> None:
    """One optimizer step was made."""
    global steps
    steps += 1


def main() -> None:
    """Set the trainer up and let it run, turn by turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = SHAPES[options.shape]
    ppo_trainer.gc = types.SimpleNamespace(collect=gc.collect)
    register_optimizer_step_post_hook(count_step)
    tokenizer = AutoTokenizer.from_pretrained(options.folder / "policy", padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(options.folder / "policy") for _ in range(2))
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(options.folder / "reward", num_labels=1)
        for _ in range(2)
    )
    lines = (options.folder / "prompts.txt").read_text(encoding="utf-8").splitlines()
    ids = [tokenizer(line)["input_ids"] for line in lines]
    assert {len(row) for row in ids} == {shape.prompt}
    config = PPOConfig(
        output_dir=str(options.folder / "trl"), learning_rate=1e-4, lr_scheduler_type="constant",
        per_device_train_batch_size=shape.episodes, gradient_accumulation_steps=1,
        num_mini_batches=shape.mini_batches, num_ppo_epochs=shape.epochs, total_episodes=100_000 * shape.episodes,
        response_length=shape.response, stop_token=None, local_rollout_forward_batch_size=shape.episodes,
        temperature=1.0, kl_coef=0.05, num_sample_generations=0, report_to="none", save_strategy="no",
        eval_strategy="no", logging_strategy="no", disable_tqdm=True, bf16=options.dtype == "bfloat16",
        use_cpu=True, gradient_checkpointing=False, seed=0,
    )  # fmt: skip
    trainer = PPOTrainer(
        args=config, processing_class=tokenizer, model=policy, ref_model=reference, reward_model=reward,
        value_model=value, train_dataset=Dataset.from_dict({"input_ids": ids}), callbacks=[Turns(shape.work())],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    main()
