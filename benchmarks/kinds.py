"""Seconds of a PPO iteration of an encoder–decoder beside those of a decoder-only model of equal multiply–adds.

    python benchmarks/kinds.py                  # two minutes on one core
    python benchmarks/kinds.py --width 256 --blocks 6 --pack 8

Both models are random, read prompts and write responses of so many tokens each, and train packs of trials with
adapters on all linear layers. A decoder-only model reads both through its blocks; an encoder–decoder of as many blocks
at each end reads each through half of them, and pays for cross-attention besides. Iterations take turns in this process
on one thread; the ratio is that of processor seconds, turn by turn. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.data.prompts import Prompt, Split
from ppo_tune.models import Policy
from ppo_tune.models.fast.kernels import settle
from ppo_tune.rewards.base import Columns, Reward
from ppo_tune.tasks import Task
from ppo_tune.trainer.trainer import PPOTrainer

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()

WORDS = [f"w{i}" for i in range(500)]
START, HEADS, ROLLOUT = 0, 4, 32


class Length(Reward):
    """Letters of a response."""

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One number a response."""
        return [float(len(response)) for response in responses]


def decoder_only(width: int, blocks: int, tokens: int) -> GPT2LMHeadModel:
    """A random GPT-2."""
    config = GPT2Config(
        vocab_size=len(WORDS) + 1, n_embd=width, n_layer=blocks, n_head=HEADS, n_positions=2 * tokens,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def encoder_decoder(width: int, blocks: int, tokens: int) -> T5ForConditionalGeneration:
    """A random T5."""
    sizes: dict[str, Any] = {
        "vocab_size": len(WORDS) + 1, "d_model": width, "d_kv": width // HEADS, "d_ff": 4 * width, "num_heads": HEADS,
        "num_layers": blocks, "num_decoder_layers": blocks, "pad_token_id": START, "eos_token_id": None,
        "decoder_start_token_id": START,
    }  # fmt: skip
    return T5ForConditionalGeneration(T5Config(**sizes))


def trainer_of(model: transformers.PreTrainedModel, tokens: int, pack: int) -> PPOTrainer:
    """A full pack on it."""
    vocabulary = {"<start>": START, **{word: i + 1 for i, word in enumerate(WORDS)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=WORDS[0]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token=WORDS[0])
    prompts = tuple(
        Prompt(" ".join(WORDS[(i * 7 + j) % len(WORDS)] for j in range(tokens))) for i in range(3 * ROLLOUT)
    )
    reward = Length()
    splits: dict[Split, tuple[Prompt, ...]] = {
        "train": prompts[:-2],
        "heldout": prompts[-2:-1],
        "confirmation": prompts[-1:],
    }
    config = PPOConfig(
        rollout_size=ROLLOUT, batch_size=ROLLOUT // 2, episodes=100 * ROLLOUT, max_new_tokens=tokens
    )
    policy = Policy(settle(model, torch.device("cpu")), tokenizer, places=pack)
    trainer = PPOTrainer(policy, Task("length", splits, reward=reward, objective=reward), config)
    for place in range(pack):
        trainer.start(place, config, seed=place)
    trainer.step()
    return trainer


def main() -> None:
    """Let them take turns, and say what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, usual in {"width": 128, "blocks": 4, "tokens": 24, "pack": 4, "turns": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=usual, help=f"default {usual}")
    told = parser.parse_args()
    torch.manual_seed(0)
    kinds = {"decoder-only": decoder_only, "encoder–decoder": encoder_decoder}
    sizes = told.width, told.blocks, told.tokens
    trainers = {name: trainer_of(make(*sizes), told.tokens, told.pack) for name, make in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(told.turns):
        for name, trainer in trainers.items():
            begin = time.process_time()
            trainer.step()
            seconds[name].append(time.process_time() - begin)
    ratios = sorted(b / a for a, b in zip(*seconds.values(), strict=True))
    found = {
        **vars(told),
        "seconds": {name: round(median(each), 3) for name, each in seconds.items()},
        "ratio": round(median(ratios), 2),
        "from_to": [round(ratios[0], 2), round(ratios[-1], 2)],
    }
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
