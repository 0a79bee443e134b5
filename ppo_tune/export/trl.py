"""TRL 1.12.0, the last release with PPO: a Python script that runs by itself.

TRL's PPO misses some of what ppo-tune does. The script makes up for what can be made up from outside: one
model under policy and value (so that vf_coef means what it meant), clipped gradients, an adaptive KL
coefficient, and scores of texts instead of tokens.
"""

from collections.abc import Iterator

from ppo_tune.data.chats import Chat, turns_of
from ppo_tune.data.prompts import Prompt
from ppo_tune.export.base import PROMPTS_PLACEHOLDER, Conversion, Export, Remark, Scale, Setting, Winner
from ppo_tune.export.conversions import (
    BETAS,
    NEVER,
    alpha_note,
    function_remarks,
    is_chat,
    off_in_target,
    plain_alpha,
    prompt_remarks,
    revision_remarks,
    stop_text_remarks,
)
from ppo_tune.export.rendering import (
    PROMPTS,
    README,
    advice,
    assignments,
    header,
    prompt_lines,
    readme,
    suggestions,
)
from ppo_tune.export.reward_file import model_source, python_file
from ppo_tune.export.transfer import at_scale

NAME, MAIN = "trl", "train.py"

LEAST_TO_WHITEN = 8
"""Episodes of an optimizer step that TRL wants before it whitens rewards."""

IMPORTS = (
    "import importlib.metadata",
    "import json",
    "import os",
    "import sys",
    "from pathlib import Path",
    "import torch",
    "from datasets import Dataset",
    "from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed",
)


def convert(winner: Winner) -> Conversion:
    """A winner in the fields of TRL's PPOConfig."""
    return Conversion(
        settings=(*_algorithm(winner), *_optimizer(winner), *_batches(winner)),
        constants=_constants(winner),
        unsupported=(*off_in_target(winner, "dual_clip", "ent_coef", "kl_budget"), *_lost(winner)),
        approximated=(
            *_altered(winner),
            *function_remarks(winner),
            *revision_remarks(winner),
            *_stops(winner),
            *stop_text_remarks(winner),
            *prompt_remarks(winner),
        ),
    )


def _whitens(winner: Winner) -> bool:
    return winner.config.ppo.whiten_rewards and winner.config.ppo.batch_size >= LEAST_TO_WHITEN


def _algorithm(winner: Winner) -> tuple[Setting, ...]:
    ppo = winner.config.ppo
    return (
        Setting("gamma", ppo.gamma, ("gamma",)),
        Setting("lam", ppo.gae_lambda, ("gae_lambda",)),
        Setting("cliprange", ppo.clip_range, ("clip_range",)),
        Setting("cliprange_value", ppo.clip_range_value or NEVER, ("clip_range_value",),
                "" if ppo.clip_range_value else "off"),
        _value_loss(winner),
        Setting("kl_coef", ppo.kl_coef, ("kl_coef",), "in the reward, per token"),
        Setting("kl_estimator", "k3" if ppo.kl_estimator == "k3" else "k1", ("kl_estimator",)),
        Setting("whiten_rewards", _whitens(winner), ("whiten_rewards",)),
        Setting("missing_eos_penalty", ppo.missing_eos_penalty or None, ("missing_eos_penalty",)),
        Setting("response_length", ppo.max_new_tokens, ("max_new_tokens",)),
        Setting("stop_token", "eos", note="or every response runs to its full length"),
        Setting("temperature", ppo.temperature, ("temperature",)),
    )  # fmt: skip


def _value_loss(winner: Winner) -> Setting:
    """The value loss's weight: ours is of a loss in units of score_std², TRL's of one in the reward's unit."""
    weight, std = winner.config.ppo.vf_coef, winner.config.score_std
    if std is None:
        told = "ours is of values in units of score_std, which is not known here: divide by its square"
        return Setting("vf_coef", weight, ("vf_coef",), told)
    if std == 1:
        return Setting("vf_coef", weight, ("vf_coef",))
    told = f"ours is of values in units of score_std: {weight:.6g} / {std:.6g}²"
    return Setting("vf_coef", float(f"{weight / std**2:.6g}"), ("vf_coef",), told)


def _optimizer(winner: Winner) -> tuple[Setting, ...]:
    ppo = winner.config.ppo
    return (
        Setting("learning_rate", ppo.learning_rate, ("learning_rate",)),
        Setting("lr_scheduler_type", ppo.lr_schedule, ("lr_schedule",)),
        Setting("adam_beta1", BETAS[0]),
        Setting("adam_beta2", BETAS[1]),
        Setting("adam_epsilon", ppo.adam_epsilon, ("adam_epsilon",)),
        Setting("weight_decay", 0.0),
        Setting("max_grad_norm", ppo.max_grad_norm, ("max_grad_norm",), "TRL ignores it; the script clips"),
    )


def _batches(winner: Winner) -> tuple[Setting, ...]:
    ppo = winner.config.ppo
    return (
        Setting("per_device_train_batch_size", ppo.rollout_size, ("rollout_size",), "shared out over the processes"),
        Setting("gradient_accumulation_steps", 1, note="with more, TRL takes fewer steps than num_mini_batches says"),
        Setting("num_mini_batches", ppo.rollout_size // ppo.batch_size, ("batch_size",), "rollout_size / batch_size"),
        Setting("num_ppo_epochs", ppo.ppo_epochs, ("ppo_epochs",)),
        Setting("total_episodes", ppo.episodes, ("episodes",)),
        Setting("local_rollout_forward_batch_size", ppo.micro_batch_size or ppo.rollout_size, ("micro_batch_size",),
                "memory only"),
        Setting("gradient_checkpointing", False, note="memory only"),
        Setting("seed", winner.config.seed, ("seed",)),
        Setting("num_sample_generations", 0),
        Setting("logging_steps", 1),
        Setting("save_strategy", "no"),
        Setting("report_to", "none"),
    )  # fmt: skip


def _constants(winner: Winner) -> tuple[Setting, ...]:
    ppo, model = winner.config.ppo, winner.config.model
    alpha = plain_alpha(winner)
    alpha = int(alpha) if alpha == int(alpha) else alpha
    return (
        Setting("LORA_RANK", model.lora_rank or 0, ("lora_rank",), "0 trains all weights"),
        Setting("LORA_ALPHA", alpha, ("lora_alpha", "adapter"), alpha_note(winner)),
        Setting(
            "USE_DORA", model.adapter == "dora", ("adapter",), "the length of each row of a weight apart"
        ),
        Setting("BFLOAT16", model.dtype != "float32", ("dtype",), "on a GPU; a CPU computes in float32"),
        Setting(
            "KL_TARGET", ppo.kl_target or 0.0, ("kl_target",), "nats per sequence; 0 keeps kl_coef fixed"
        ),
        Setting("KL_HORIZON", ppo.kl_horizon_episodes, ("kl_horizon",), "episodes"),
        Setting(
            "STOP_TOKEN", _stop_token(winner), ("stop",), "ends a response; empty is the tokenizer's own"
        ),
    )


def _stop_token(winner: Winner) -> str:
    """The token that ends a response by the task, where that is another than the tokenizer's own."""
    tokens = winner.sources.tokens
    return (tokens.ends or {})[tokens.stops[0]] if tokens.stops else ""


def _stops(winner: Winner) -> Iterator[Remark]:
    """What is lost where TRL ends responses at one token only."""
    tokens = winner.sources.tokens
    others = [repr(text) for text in (tokens.ends or {}).values() if text != _stop_token(winner)]
    if tokens.stops and others:
        ended = f"{' and '.join(others)} ended one in ppo-tune too, and does not here"
        yield Remark(("stop",), f"TRL ends a response at one token; {ended}")


def _lost(winner: Winner) -> Iterator[Remark]:
    ppo = winner.config.ppo
    if ppo.kl_estimator == "k2":
        yield Remark(("kl_estimator",), "TRL knows k1 and k3, not k2; k1 is used")
    if ppo.whiten_rewards and not _whitens(winner):
        yield Remark(("whiten_rewards",), f"TRL wants a batch_size of {LEAST_TO_WHITEN} or more for it; it is off, and "
                     "a kl_coef found with it means nothing without it")  # fmt: skip


def _altered(winner: Winner) -> Iterator[Remark]:
    yield Remark(
        ("gae_lambda", "gamma"),
        "TRL puts the score one position after the end-of-sequence token: a response that ends by itself "
        "discounts it once more",
    )
    yield Remark(
        ("micro_batch_size",),
        f"each mini-batch of {winner.config.ppo.batch_size} responses goes through the model in one pass: with "
        "several mini-batches TRL cannot accumulate. Where memory ends, use more GPUs or gradient_checkpointing",
    )


def write(setting: Setting) -> str:
    """A keyword argument."""
    return f"{setting.name}={setting.value!r},"


def export(winner: Winner, scale: Scale) -> Export:
    """A Python script with the reward in it, and its prompts."""
    conversion = convert(winner)
    larger = convert(at_scale(winner, scale))
    how = {
        "run it": f"python {MAIN}",
        "on 8 GPUs": f"accelerate launch --num_processes 8 {MAIN}",
        **({"with suggested values": f"SUGGESTED=1 python {MAIN}"} if scale else {}),
        "needs": "pip install trl==1.12.0" + (" peft" if winner.config.model.lora_rank else ""),
    }
    script = python_file(
        "train_trl.py.jinja",
        winner,
        imports=IMPORTS,
        header=header(winner, conversion, NAME, "TRL", how),
        values={
            "model": model_source(winner),
            "models": [(folder, repr(folder.absence)) for folder in winner.sources.models],
            "prompts": repr(PROMPTS_PLACEHOLDER if winner.sources.prompts is None else PROMPTS),
            "chat": is_chat(winner),
            "constants": assignments(conversion.constants, _constant, winner, NAME),
            "as_tuned": assignments(conversion.settings, write, winner, NAME),
            "suggested": suggestions(conversion, larger, write),
            "advice": advice(winner, scale),
        },
    )
    files = {MAIN: script, **prompt_lines(winner, _row)}
    files[README] = readme(winner, conversion, NAME, "TRL", how, [*files])
    return Export(MAIN, files, conversion, sources=winner.sources)


def _constant(setting: Setting) -> str:
    return f"{setting.name} = {setting.value!r}"


def _row(prompt: Prompt) -> dict[str, object]:
    turns = {"turns": turns_of(prompt.text)} if isinstance(prompt.text, Chat) else {}
    return {"prompt": prompt.text, **turns, "columns": dict(prompt.columns)}
