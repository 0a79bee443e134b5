"""Winners of several shapes, for every exporter; hostile names among them."""

from pathlib import Path
from typing import Any

from ppo_tune.config.rewards import PreferenceRewardConfig, PythonRewardConfig, RuleRewardConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.export import Sources, Winner
from ppo_tune.export.base import TokenFacts

HOSTILE = 'it\'s "$HOME" `id` $(touch pwned) \\ ${oc.env:HOME} {x} [1,2] a=b, # — 語'
"""A folder's name that a shell, Hydra, YAML, a template and a comment would each read in a way of its own."""

QUICKSTART: dict[str, Any] = {
    "learning_rate": 0.004123,
    "gamma": 0.9876,
    "gae_lambda": 0.93,
    "clip_range": 0.31,
    "kl_coef": 0.0123,
    "batch_size": 16,
    "rollout_size": 64,
    "ppo_epochs": 2,
    "episodes": 10240,
    "max_new_tokens": 14,
}
"""The shape of the quickstart's winner."""

SEARCHED = ("learning_rate", "gamma", "gae_lambda", "clip_range", "kl_coef", "batch_size")

LOUD: dict[str, Any] = {
    **QUICKSTART,
    "lr_schedule": "linear",
    "adam_epsilon": 3e-6,
    "max_grad_norm": 0.7,
    "dual_clip": 3.5,
    "clip_range_value": 0.25,
    "vf_coef": 0.2,
    "ent_coef": 0.01,
    "kl_estimator": "k3",
    "kl_target": 6.0,
    "kl_horizon": 5000.5,
    "whiten_rewards": True,
    "missing_eos_penalty": 1.5,
    "micro_batch_size": 8,
    "temperature": 0.7,
}
"""Everything that can be switched on is on, and no value is anybody's default."""

PROMPTS = tuple(Prompt(f"say {i}", {"number": i, "references": ["yes"]}) for i in range(100))

TOKENS = TokenFacts(longest_prompt=9, context=8192, before="")

RULE = RuleRewardConfig(name="rule", include={"red": 1.0})


def winner(ppo: dict[str, Any] | None = None, **changes: Any) -> Winner:
    """A winner of the embedded task; `model`, `task` and the fields of `Winner` may be given."""
    config = TrainConfig.model_validate(
        {
            "name": "quickstart",
            "task": changes.pop("task", {"name": "support"}),
            "model": changes.pop("model", {"lora_rank": 16}),
            "ppo": QUICKSTART if ppo is None else ppo,
            "seed": 3,
            "kl_budget": 2.0,
        }
    )
    given: dict[str, Any] = {
        "searched": SEARCHED,
        "provenance": {"from": "study quickstart, trial 7", "held-out score": "1.17"},
        "metrics": {"score": {"mean": 1.17, "interval": [0.97, 1.37], "over": "95 %"}, "gold": 1.2},
        "response_tokens": 7.5,
        "score_std": 0.8,
        "sources": reward_model_sources(),
    }
    return Winner(config=config, **{**given, **changes})


def reward_model_sources(gain: float | None = 0.69, tokens: TokenFacts = TOKENS) -> Sources:
    """A reward model that reads its raw output as gain times it."""
    reward = PreferenceRewardConfig(name="preference", model="models/reward")
    return Sources("models/base", reward, PROMPTS, tokens=tokens, gain=gain)


def hostile() -> Winner:
    """Names that nobody should choose, and a fact with a line break."""
    reward = PreferenceRewardConfig(name="preference", model=HOSTILE + "/reward")
    return winner(
        LOUD, sources=Sources(HOSTILE, reward, None, f"no such file\n{HOSTILE}", TokenFacts(before=HOSTILE)),
        provenance={"from": f"somewhere\nrm -rf x\u2028exit\r\x1b[31m {HOSTILE}"},
    )  # fmt: skip


def python_reward(file: Path | str = "reward.py", **changes: Any) -> Winner:
    """A winner whose reward is a function."""
    reward = PythonRewardConfig(name="python", function=f"{file}:score")
    return winner(sources=Sources("models/base", reward, PROMPTS, tokens=TOKENS), **changes)


CHAT_TASK = {
    "name": "dataset",
    "path": "prompts.csv",
    "chat": True,
    "reward": {"name": "rule", "include": {"red": 1.0}},
}

WINNERS: dict[str, Winner] = {
    "quickstart": winner(),
    "loud": winner(LOUD),
    "loud, fixed": winner({**LOUD, "kl_target": None, "kl_estimator": "k2", "dual_clip": None}),
    "all weights": winner(model={"lora_rank": None, "dtype": "float32"}),
    "rank-stabilized": winner(model={"lora_rank": 4, "lora_alpha": 6.0, "adapter": "rslora"}),
    "python reward": python_reward(),
    "rule, chat": winner(task=CHAT_TASK, sources=Sources("hub/model", RULE, PROMPTS)),
    "nothing known": winner(LOUD, sources=Sources(), response_tokens=None, score_std=None, metrics={}),
    "hostile": hostile(),
}
