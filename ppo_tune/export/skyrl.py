"""SkyRL: a Python file that brings the reward as an environment, called with dotted overrides."""

import json
import re
from collections.abc import Iterator

from ppo_tune.data.chats import turns_of
from ppo_tune.data.prompts import Prompt
from ppo_tune.export.base import Beside, Conversion, Export, Literally, Remark, Scale, Setting, Winner
from ppo_tune.export.conversions import (
    BETAS,
    FRESH_HEAD,
    LINEAR,
    alpha_note,
    end_ids,
    is_chat,
    kl_horizon,
    kl_target_per_token,
    lora_alpha,
    micro_batch,
    model_value,
    plain_template,
    prompt_file,
    prompt_room,
    with_own_critic,
)
from ppo_tune.export.rendering import columns_text, comment, prompt_lines
from ppo_tune.export.reward_file import python_file
from ppo_tune.export.shell import ShellTarget, override

ALGORITHM, GENERATOR = "trainer.algorithm", "generator.sampling_params"
ENVIRONMENT = "ppo_tune_reward"
"""The name under which the reward is registered."""

GPUS = Literally('"$gpus"')

MACHINE = (
    *(Setting(f"trainer.placement.{role}_num_gpus_per_node", GPUS) for role in ("policy", "critic", "ref")),
    Setting("generator.inference_engine.num_engines", GPUS),
    Setting("generator.inference_engine.tensor_parallel_size", 1),
    Setting("generator.inference_engine.gpu_memory_utilization", 0.4),
    Setting("trainer.logger", "console"),
    Setting("trainer.eval_interval", -1),
    Setting("trainer.eval_before_train", False),
    Setting("trainer.resume_mode", "none"),
    Setting("trainer.ckpt_path", Beside("checkpoints")),
    Setting("trainer.export_path", Beside("trained")),
)


def convert(winner: Winner) -> Conversion:
    """A winner in SkyRL's overrides."""
    settings = (
        *_sources(winner),
        *_algorithm(winner),
        *_network(winner, "policy"),
        *_network(winner, "critic"),
        *_batches(winner),
    )
    torchs_own = Remark(
        ("adam_epsilon",),
        f"{winner.config.ppo.adam_epsilon:g}; the optimizer here is built with torch's 1e-08, which takes larger steps "
        "where gradients are small",
    )
    return with_own_critic(winner, settings, clipped=("k3",), own=_own_remarks(winner), lost=(torchs_own,))


def _sources(winner: Winner) -> tuple[Setting, ...]:
    model = model_value(winner)
    return (
        Setting("trainer.policy.model.path", model),
        Setting("trainer.critic.model.path", model, note=FRESH_HEAD),
        Setting("environment.env_class", ENVIRONMENT, ("reward", "missing_eos_penalty"), "in train.py"),
        Setting("data.train_data", prompt_file(winner)),
    )


def _algorithm(winner: Winner) -> tuple[Setting, ...]:
    ppo = winner.config.ppo
    return (
        Setting(f"{ALGORITHM}.advantage_estimator", "gae"),
        Setting(f"{ALGORITHM}.gamma", ppo.gamma, ("gamma",)),
        Setting(f"{ALGORITHM}.lambd", ppo.gae_lambda, ("gae_lambda",)),
        Setting(f"{ALGORITHM}.eps_clip_low", ppo.clip_range, ("clip_range",)),
        Setting(f"{ALGORITHM}.eps_clip_high", ppo.clip_range, ("clip_range",)),
        Setting(f"{ALGORITHM}.policy_loss_type", "dual_clip" if ppo.dual_clip else "regular", ("dual_clip",)),
        Setting(f"{ALGORITHM}.clip_ratio_c", ppo.dual_clip, ("dual_clip",)),
        Setting(f"{ALGORITHM}.loss_reduction", "token_mean"),
        Setting(f"{ALGORITHM}.value_clip", Literally("null") if ppo.clip_range_value is None else ppo.clip_range_value,
                ("clip_range_value",)),
        Setting(f"{ALGORITHM}.use_entropy_loss", bool(ppo.ent_coef), ("ent_coef",)),
        Setting(f"{ALGORITHM}.entropy_loss_coef", ppo.ent_coef or None, ("ent_coef",)),
        Setting(f"{ALGORITHM}.use_kl_in_reward", True, ("kl_coef",)),
        Setting(f"{ALGORITHM}.use_kl_loss", False),
        Setting(f"{ALGORITHM}.kl_loss_coef", ppo.kl_coef, ("kl_coef",), "in the reward, per token, for all its name"),
        Setting(f"{ALGORITHM}.kl_estimator_type", ppo.kl_estimator, ("kl_estimator",)),
        Setting(f"{ALGORITHM}.kl_ctrl.type", "adaptive" if ppo.kl_target else "fixed", ("kl_target",)),
        Setting(f"{ALGORITHM}.kl_ctrl.kl_target", kl_target_per_token(winner), ("kl_target",), "nats per token"),
        Setting(f"{ALGORITHM}.kl_ctrl.horizon", kl_horizon(winner), ("kl_horizon",)),
    )  # fmt: skip


def _network(winner: Winner, role: str) -> tuple[Setting, ...]:
    """Optimizer and adapters of one network."""
    ppo, model = winner.config.ppo, winner.config.model
    optimizer, lora = f"trainer.{role}.optimizer_config", f"trainer.{role}.model.lora"
    schedule = "constant_with_warmup" if ppo.lr_schedule == "constant" else "linear"
    return (
        Setting(f"{optimizer}.lr", ppo.learning_rate, ("learning_rate",)),
        Setting(f"{optimizer}.adam_betas", BETAS),
        Setting(f"{optimizer}.weight_decay", 0.0),
        Setting(f"{optimizer}.scheduler", schedule, ("lr_schedule",)),
        Setting(f"{optimizer}.num_warmup_steps", 0),
        Setting(f"{optimizer}.max_grad_norm", ppo.max_grad_norm, ("max_grad_norm",)),
        Setting(f"{lora}.rank", model.lora_rank or 0, ("lora_rank",)),
        Setting(f"{lora}.alpha", lora_alpha(winner), ("lora_alpha", "adapter"), alpha_note(winner)),
    )


def _batches(winner: Winner) -> tuple[Setting, ...]:
    ppo, micro = winner.config.ppo, micro_batch(winner)
    return (
        Setting("trainer.train_batch_size", ppo.rollout_size, ("rollout_size",)),
        Setting("generator.n_samples_per_prompt", 1),
        Setting("trainer.policy_mini_batch_size", ppo.batch_size, ("batch_size",), "over all GPUs"),
        Setting("trainer.critic_mini_batch_size", ppo.batch_size, ("batch_size",), "over all GPUs"),
        Setting("trainer.micro_train_batch_size_per_gpu", micro, ("micro_batch_size",), "memory only"),
        Setting("trainer.micro_forward_batch_size_per_gpu", micro, ("micro_batch_size",), "memory only"),
        Setting("trainer.update_epochs_per_batch", ppo.ppo_epochs, ("ppo_epochs",)),
        Setting("trainer.max_training_steps", ppo.iterations, ("episodes",), "rollouts"),
        Setting("trainer.epochs", ppo.iterations, note="more than enough; the steps above end it"),
        Setting("trainer.hf_save_interval", ppo.iterations, note="the model is saved at the end"),
        Setting(f"{GENERATOR}.max_generate_length", ppo.max_new_tokens, ("max_new_tokens",)),
        Setting("trainer.max_prompt_length", prompt_room(winner), note="the longest"),
        Setting(f"{GENERATOR}.temperature", ppo.temperature, ("temperature",)),
        Setting(f"{GENERATOR}.top_p", 1.0),
        Setting(f"{GENERATOR}.top_k", -1),
        Setting("trainer.seed", winner.config.seed, ("seed",)),
        Setting("trainer.bf16", True, ("dtype",)),
    )


def _own_remarks(winner: Winner) -> Iterator[Remark]:
    ppo = winner.config.ppo
    yield Remark((), "this release starts on Python 3.12 or later: on 3.11, which its package allows, pydantic refuses "
                 "one of its types")  # fmt: skip
    yield Remark(("batch_size",), "mini-batches are cut in the order of the rollout, the same in every epoch; "
                 "ppo-tune draws a new order for each")  # fmt: skip
    yield Remark(("gae_lambda", "gamma"), "advantages are not masked: a response shorter than the longest of its "
                 "rollout counts the critic's value after its last token as one more step")  # fmt: skip
    yield Remark(("vf_coef",), "the value loss is a mean over responses of means over tokens; ppo-tune's is over "
                 "tokens")  # fmt: skip
    if not is_chat(winner):
        yield Remark(("prompts",), "SkyRL wraps every prompt in the tokenizer's chat template; ours are plain, so "
                     "train.py sets one that adds nothing, and what is saved in trained/ has it too")  # fmt: skip
    if ppo.ent_coef:
        mean = "a mean of the micro-batches' means; ppo-tune's is over all tokens"
        yield Remark(("ent_coef",), mean)
    if ppo.lr_schedule == "linear":
        yield LINEAR


def yaml_text(text: str) -> str:
    """A text that OmegaConf's command line reads as it is: YAML in double quotes, interpolations escaped."""
    escaped = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
    quoted = json.dumps(escaped, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in quoted)


PLAIN = re.compile(r"(?!(?:true|false|yes|no|on|off)\Z)[a-z][a-z0-9_]*")
"""Texts that OmegaConf's command line reads as they stand."""


def write(setting: Setting) -> str:
    """An override as one shell word; the prompts are a list of files."""
    return override(setting, yaml_text, PLAIN, ("[", "]") if setting.name == "data.train_data" else ("", ""))


TARGET = ShellTarget(
    name="skyrl",
    title="SkyRL",
    command='python3 "$here"/train.py',
    machine=MACHINE,
    example="trainer.policy.optimizer_config.lr=1e-6",
    convert=convert,
    write=write,
)


def export(winner: Winner, scale: Scale) -> Export:
    """A Bash script, the Python file that it starts, and its prompts."""
    program = python_file(
        "train_skyrl.py.jinja",
        winner,
        imports=("import json", "import os", "import sys", "import ray", "import skyrl_gym"),
        header=comment(
            f"The reward of {winner.config.name} as an environment, and SkyRL's entry point with it; for train.sh."
        ),
        values={
            "environment": ENVIRONMENT,
            "penalty": repr(winner.config.ppo.missing_eos_penalty),
            "ends": repr(end_ids(winner)),
            "template": repr(None if is_chat(winner) else plain_template(winner)),
        },
    )
    return TARGET.export(winner, scale, {"train.py": program, **prompt_lines(winner, _row)})


def _row(prompt: Prompt) -> dict[str, object]:
    return {
        "prompt": turns_of(prompt.text),
        "env_class": ENVIRONMENT,
        "prompt_text": prompt.text,
        "columns": columns_text(prompt),
    }
