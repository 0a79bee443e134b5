# mypy: ignore-errors
"""Exports for the tests beside this file: tiny models, every target, and what ppo-tune itself says of the rewards.

python -m tests.export.peers.make FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from ppo_tune.config.rewards import PreferenceRewardConfig, PythonRewardConfig, RewardConfig
from ppo_tune.config.tasks import DatasetTaskConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.export import TARGETS, Scale, Sources, Winner
from ppo_tune.export.sources import read_tokens
from ppo_tune.models.text import tokenize
from ppo_tune.rewards import make_reward
from ppo_tune.rewards.score_format import ScoreFormat
from tests.conftest import save_tiny_model, tiny_tokenizer
from tests.export.calls import write_files
from tests.export.derive import PACKAGES
from tests.export.peers.cases import NAMES
from tests.export.winners import winner
from tests.rewards.reward_models import save_reward

PPO = {
    "learning_rate": 1e-3, "gamma": 0.99, "gae_lambda": 0.9, "clip_range": 0.3, "kl_coef": 0.1244, "rollout_size": 8,
    "batch_size": 4, "ppo_epochs": 2, "episodes": 24, "max_new_tokens": 6, "missing_eos_penalty": 0.5,
}  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}k {{ m['content'] }} l {% endfor %}{% if add_generation_prompt %}m {% endif %}"
)
TEXTS = tuple(f"{first} {second}{third}" for first in "abcd" for second in "efg" for third in ("", " h"))
RESPONSES = ("c d", "c d <eos>", "d d d d d d", "<eos>")
FUNCTION = (
    "def score(prompts, responses, number):\n"
    "    return [len(r.split()) + len(p) / 10 + n for p, r, n in zip(prompts, responses, number)]\n"
)


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a case."""
    tokenizer = tiny_tokenizer()
    if name == "chat":
        tokenizer.chat_template = TEMPLATE
    if name == "begins":
        tokenizer.bos_token = "k"
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="k $A", special_tokens=[("k", tokenizer.convert_tokens_to_ids("k"))]
        )
    return tokenizer


def make(name: str, folder: Path) -> None:
    """The exports of one case, and its facts."""
    save_tiny_model(folder / "model")
    tokenizer = tokenizer_of(name)
    tokenizer.save_pretrained(folder / "model")
    prompts = tuple(Prompt(text, {"number": i}) for i, text in enumerate(TEXTS))
    reward = _reward(name, folder)
    given = _winner(name, folder, reward, prompts)
    for target in PACKAGES:
        write_files(TARGETS[target](given, Scale()), folder / target)
    facts = _facts(name, folder, tokenizer, reward, prompts)
    (folder / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _reward(name: str, folder: Path) -> RewardConfig:
    if name == "function":
        (folder / "reward.py").write_text(FUNCTION, encoding="utf-8")
        return PythonRewardConfig(name="python", function=f"{folder / 'reward.py'}:score")
    save_reward(folder / "reward")
    ScoreFormat("{prompt} {response}", append_eos=True, gain=0.69, bias=0.5).write(folder / "reward")
    return PreferenceRewardConfig(name="preference", model=str(folder / "reward"))


def _winner(name: str, folder: Path, reward: RewardConfig, prompts: tuple[Prompt, ...]) -> Winner:
    model, chat = str(folder / "model"), name == "chat"
    judge = reward.model_dump(mode="json")
    task = {"name": "dataset", "path": "prompts.jsonl", "chat": chat, "reward": judge}
    tokens, kept = read_tokens(
        model, prompts, DatasetTaskConfig.model_validate(task), response_tokens=PPO["max_new_tokens"]
    )
    gain = 0.69 if isinstance(reward, PreferenceRewardConfig) else None
    sources = Sources(model, reward, kept, tokens=tokens, gain=gain)
    return winner(PPO, task=task, model={"name": model, "lora_rank": 4}, sources=sources)


def _facts(
    name: str, folder: Path, tokenizer: Any, reward: RewardConfig, prompts: tuple[Prompt, ...]
) -> dict[str, Any]:
    """What ppo-tune says of `RESPONSES` to the first prompt, and how it reads every prompt."""
    judge = make_reward(reward, torch.device("cpu"))
    first, texts = prompts[0], [prompt.text for prompt in prompts]
    scores = []
    for response in RESPONSES:
        text = response.removesuffix("<eos>").rstrip()
        spoken = f" {text}" if text else ""  # in its place behind the prompt
        columns = {key: [value] for key, value in first.columns.items()}
        penalty = 0.0 if response.endswith("<eos>") else PPO["missing_eos_penalty"]
        scores.append(judge([first.text], [spoken], columns).item() - penalty)
    written = [f"k {text} l m" for text in texts] if name == "chat" else texts
    return {
        "model": str(folder / "model"),
        "context": 32,
        "prompts": texts,
        "prompt_ids": tokenize(tokenizer, written) if name != "chat" else tokenizer(written)["input_ids"],
        "responses": RESPONSES,
        "response_ids": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in RESPONSES],
        "scores": scores,
    }


if __name__ == "__main__":
    for case in NAMES:
        make(case, Path(sys.argv[1]).resolve() / case)
