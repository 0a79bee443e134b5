"""verl: a command with Hydra overrides."""

import re
from collections.abc import Iterator

from ppo_tune.data.chats import turns_of
from ppo_tune.data.prompts import Prompt
from ppo_tune.export.base import Beside, Conversion, Export, Literally, Remark, Scale, Setting, Winner
from ppo_tune.export.conversions import (
    BETAS,
    FRESH_HEAD,
    NEVER,
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

ACTOR, ROLLOUT, REF = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.ref"
MODEL = "actor_rollout_ref.model"
KL_NAMES = {"k1": "kl", "k2": "mse", "k3": "low_var_kl"}
SHARDS = (
    "what is saved in trained/ are shards; `python3 -m verl.model_merger merge --backend fsdp --local_dir "
    "trained/global_step_N/actor --target_dir trained/model` makes a model's folder of them"
)
SERVE_IT = (
    "verl's own server of a reward model (reward.reward_manager.source=register reward.reward_manager.name=naive "
    "reward.reward_model.enable=true reward.reward_model.model_path={model}, and a chat template in its tokenizer)"
)

MACHINE = (
    Setting("trainer.n_gpus_per_node", Literally('"$gpus"')),
    Setting("trainer.nnodes", 1),
    Setting("trainer.logger", Literally("'[console]'")),
    Setting("trainer.default_local_dir", Beside("trained")),
    Setting("trainer.val_before_train", False),
    Setting("trainer.test_freq", -1),
    Setting("trainer.resume_mode", "disable", note="or a second run would go on where the first has ended"),
    Setting("reward.num_workers", 2, note="each loads the reward"),
    Setting(f"{ROLLOUT}.name", "vllm"),
    Setting(f"{ROLLOUT}.tensor_model_parallel_size", 1),
    Setting(f"{ROLLOUT}.gpu_memory_utilization", 0.4),
)


def convert(winner: Winner) -> Conversion:
    """A winner in verl's overrides."""
    settings = (
        *_sources(winner),
        *_algorithm(winner),
        *_network(winner, ACTOR, MODEL),
        *_network(winner, "critic", "critic.model"),
        *_batches(winner),
    )
    return with_own_critic(winner, settings, clipped=("k3",), own=_own_remarks(winner), serve_it=SERVE_IT)


def _sources(winner: Winner) -> tuple[Setting, ...]:
    model, prompts = model_value(winner), prompt_file(winner)
    plain = Setting(
        f"{MODEL}.custom_chat_template",
        plain_template(winner),
        note="verl wraps prompts; ours are plain",
    )
    return (
        Setting(f"{MODEL}.path", model),
        Setting("critic.model.path", model, note=FRESH_HEAD),
        *([] if is_chat(winner) else [plain]),
        Setting("reward.reward_manager.source", "importlib"),
        Setting("reward.reward_manager.module.path", Beside("reward.py"), ("reward", "missing_eos_penalty")),
        Setting("reward.reward_manager.name", "PPOTuneReward"),
        Setting("data.train_files", prompts),
        Setting("data.val_files", prompts, note="verl wants some; they are not used"),
        Setting("data.prompt_key", "prompt"),
    )


def _algorithm(winner: Winner) -> tuple[Setting, ...]:
    ppo = winner.config.ppo
    return (
        Setting("algorithm.adv_estimator", "gae"),
        Setting("algorithm.gamma", ppo.gamma, ("gamma",)),
        Setting("algorithm.lam", ppo.gae_lambda, ("gae_lambda",)),
        Setting(f"{ACTOR}.clip_ratio", ppo.clip_range, ("clip_range",)),
        Setting(f"{ACTOR}.clip_ratio_low", ppo.clip_range, ("clip_range",), "what the loss reads"),
        Setting(f"{ACTOR}.clip_ratio_high", ppo.clip_range, ("clip_range",), "it too"),
        Setting(f"{ACTOR}.clip_ratio_c", ppo.dual_clip or NEVER, ("dual_clip",), "" if ppo.dual_clip else "off"),
        Setting(f"{ACTOR}.loss_agg_mode", "token-mean"),
        Setting(f"{ACTOR}.entropy_coeff", ppo.ent_coef, ("ent_coef",)),
        Setting("critic.cliprange_value", ppo.clip_range_value or NEVER, ("clip_range_value",),
                "" if ppo.clip_range_value else "off"),
        Setting("algorithm.use_kl_in_reward", True, ("kl_coef",)),
        Setting(f"{ACTOR}.use_kl_loss", False),
        Setting("algorithm.kl_ctrl.kl_coef", ppo.kl_coef, ("kl_coef",), "in the reward, per token"),
        Setting("algorithm.kl_penalty", KL_NAMES[ppo.kl_estimator], ("kl_estimator",)),
        Setting("algorithm.kl_ctrl.type", "adaptive" if ppo.kl_target else "fixed", ("kl_target",)),
        Setting("algorithm.kl_ctrl.target_kl", kl_target_per_token(winner), ("kl_target",), "nats per token"),
        Setting("algorithm.kl_ctrl.horizon", kl_horizon(winner), ("kl_horizon",)),
    )  # fmt: skip


def _network(winner: Winner, place: str, model: str) -> tuple[Setting, ...]:
    """Optimizer and adapters of one network."""
    ppo, micro = winner.config.ppo, micro_batch(winner)
    optim = f"{place}.optim"
    schedule = "constant" if ppo.lr_schedule == "constant" else "cosine"
    return (
        Setting(f"{optim}.lr", ppo.learning_rate, ("learning_rate",)),
        Setting(f"{optim}.betas", BETAS),
        Setting(f"{optim}.weight_decay", 0.0),
        Setting(f"+{optim}.override_optimizer_config.eps", ppo.adam_epsilon, ("adam_epsilon",)),
        Setting(f"{optim}.lr_scheduler_type", schedule, ("lr_schedule",)),
        Setting(f"{optim}.lr_warmup_steps_ratio", 0.0),
        Setting(f"{optim}.clip_grad", ppo.max_grad_norm, ("max_grad_norm",), "what the engine reads"),
        Setting(f"{place}.grad_clip", ppo.max_grad_norm, ("max_grad_norm",)),
        Setting(f"{model}.lora_rank", winner.config.model.lora_rank or 0, ("lora_rank",)),
        Setting(f"{model}.lora_alpha", lora_alpha(winner), ("lora_alpha", "adapter"), alpha_note(winner)),
        Setting(f"{place}.data_loader_seed", winner.config.seed, ("seed",)),
        Setting(f"{place}.ppo_micro_batch_size_per_gpu", micro, ("micro_batch_size",), "memory only"),
    )


def _batches(winner: Winner) -> tuple[Setting, ...]:
    ppo, micro = winner.config.ppo, micro_batch(winner)
    return (
        Setting("data.train_batch_size", ppo.rollout_size, ("rollout_size",), "a multiple of the GPUs"),
        Setting(f"{ROLLOUT}.n", 1),
        Setting(f"{ACTOR}.ppo_mini_batch_size", ppo.batch_size, ("batch_size",), "the critic follows"),
        Setting(f"{ACTOR}.ppo_epochs", ppo.ppo_epochs, ("ppo_epochs",), "the critic follows"),
        Setting(f"{ACTOR}.shuffle", True, note="a new order in every epoch, as in ppo-tune; the critic follows"),
        Setting(f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu", micro, ("micro_batch_size",), "memory only"),
        Setting(f"{REF}.log_prob_micro_batch_size_per_gpu", micro, ("micro_batch_size",), "memory only"),
        Setting("trainer.total_training_steps", ppo.iterations, ("episodes",), "rollouts"),
        Setting("trainer.total_epochs", ppo.iterations, note="more than enough; the steps above end it"),
        Setting("trainer.save_freq", ppo.iterations, note="the model is saved at the end, or else never"),
        Setting("data.max_response_length", ppo.max_new_tokens, ("max_new_tokens",)),
        Setting("data.max_prompt_length", prompt_room(winner), note="the longest"),
        Setting(f"{ROLLOUT}.temperature", ppo.temperature, ("temperature",)),
        Setting(f"{ROLLOUT}.top_p", 1),
        Setting(f"{ROLLOUT}.top_k", -1),
        Setting(f"{ROLLOUT}.seed", winner.config.seed, ("seed",)),
        Setting("data.seed", winner.config.seed, ("seed",)),
        Setting(f"{ROLLOUT}.dtype", "bfloat16", ("dtype",)),
        *([Setting(f"{ROLLOUT}.load_format", "safetensors", note="adapters are sent, so vLLM loads the model")]
          if winner.config.model.lora_rank else []),
    )  # fmt: skip


def _own_remarks(winner: Winner) -> Iterator[Remark]:
    ppo = winner.config.ppo
    yield Remark((), SHARDS)
    if ppo.lr_schedule == "linear":
        yield Remark(("lr_schedule",), "verl has no linear schedule: here it falls as a cosine to 0")
    if ppo.dual_clip is None:
        yield Remark(("dual_clip",), f"cannot be switched off: its bound is {NEVER:g} times the advantage")
    if ppo.clip_range_value is None:
        yield Remark(("clip_range_value",), f"cannot be switched off: it is {NEVER:g}")


def hydra_text(text: str) -> str:
    """A text that Hydra and OmegaConf read as it is.

    Interpolations are escaped for OmegaConf; then backslashes before a quote, and quotes, for Hydra.
    """
    escaped = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
    quoted = re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + (r"\"" if found[2] else ""), escaped)
    return f'"{quoted}"'


PLAIN = re.compile(r"(?!(?:true|false|null|nan|inf)\Z)[a-z][a-z0-9_-]*")
"""Texts that Hydra reads as they stand."""


def write(setting: Setting) -> str:
    """An override as one shell word."""
    return override(setting, hydra_text, PLAIN)


TARGET = ShellTarget(
    name="verl",
    title="verl",
    command="python3 -m verl.trainer.main_ppo",
    machine=MACHINE,
    example=f"{ACTOR}.optim.lr=1e-6",
    convert=convert,
    write=write,
)


def export(winner: Winner, scale: Scale) -> Export:
    """A Bash script, its prompts, and its reward."""
    reward = python_file(
        "reward_verl.py.jinja",
        winner,
        imports=("import json", "import os", "import threading"),
        header=comment(f"The reward of {winner.config.name} as a reward manager that verl calls."),
        values={"penalty": repr(winner.config.ppo.missing_eos_penalty), "ends": repr(end_ids(winner))},
    )
    return TARGET.export(winner, scale, {"reward.py": reward, **prompt_lines(winner, _row)})


def _row(prompt: Prompt) -> dict[str, object]:
    return {
        "data_source": "ppo-tune",
        "prompt": turns_of(prompt.text),
        "reward_model": {"style": "rule", "ground_truth": ""},
        "extra_info": {"prompt": prompt.text, "columns": columns_text(prompt)},
    }
