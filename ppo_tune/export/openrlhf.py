"""OpenRLHF: a command with dotted flags, read by argparse."""

import json
import math
import shlex
from collections.abc import Iterator
from functools import partial

from ppo_tune.data.chats import turns_of
from ppo_tune.data.prompts import Prompt
from ppo_tune.export.base import Beside, Conversion, Export, Literally, Remark, Scale, Setting, Winner
from ppo_tune.export.conversions import (
    BETAS,
    FRESH_HEAD,
    LINEAR,
    NEVER,
    alpha_note,
    end_texts,
    is_chat,
    kl_horizon,
    kl_target_per_token,
    lora_alpha,
    micro_batch,
    model_value,
    prompt_file,
    prompt_room,
    turns_column,
    with_own_critic,
)
from ppo_tune.export.rendering import columns_text, comment, prompt_lines
from ppo_tune.export.reward_file import model_source, python_file
from ppo_tune.export.shell import ShellTarget, beside

GPUS = Literally('"$gpus"')

SERVE_IT = "--reward.remote_url '' --reward.model_name_or_path {model}"

MACHINE = (
    *(Setting(f"--{role}.num_gpus_per_node", GPUS) for role in ("actor", "critic", "ref", "reward")),
    Setting("--vllm.num_engines", GPUS),
    Setting("--vllm.gpu_memory_utilization", 0.5),
    Setting("--train.colocate_all", True, note="all models and vLLM take turns on the same GPUs"),
    Setting("--vllm.enable_sleep", True),
    Setting("--ds.enable_sleep", True),
    Setting("--ckpt.output_dir", Beside("trained")),
    Setting("--ckpt.path", Beside("checkpoints")),
)


def convert(winner: Winner) -> Conversion:
    """A winner in OpenRLHF's flags."""
    settings = (*_sources(winner), *_algorithm(winner), *_optimizers(winner), *_batches(winner))
    return with_own_critic(
        winner, settings, clipped=("k2", "k3"), own=_own_remarks(winner), serve_it=SERVE_IT
    )


def _sources(winner: Winner) -> tuple[Setting, ...]:
    model = model_value(winner)
    return (
        Setting("--actor.model_name_or_path", model),
        Setting("--critic.model_name_or_path", model, note=FRESH_HEAD),
        Setting("--reward.remote_url", Beside("reward.py"), ("reward", "missing_eos_penalty")),
        Setting("--data.prompt_dataset", prompt_file(winner)),
        Setting("--data.input_key", "prompt"),
        Setting("--data.label_key", "label", note="what reward.py is told of a prompt"),
        *([Setting("--data.apply_chat_template", True)] if is_chat(winner) else []),
    )


def _algorithm(winner: Winner) -> tuple[Setting, ...]:
    ppo = winner.config.ppo
    return (
        Setting("--algo.advantage.estimator", "gae"),
        Setting("--algo.advantage.gamma", ppo.gamma, ("gamma",)),
        Setting("--algo.advantage.lambd", ppo.gae_lambda, ("gae_lambda",)),
        Setting("--actor.eps_clip", ppo.clip_range, ("clip_range",)),
        Setting("--actor.dual_clip", ppo.dual_clip, ("dual_clip",)),
        Setting("--critic.value_clip", ppo.clip_range_value or NEVER, ("clip_range_value",),
                "" if ppo.clip_range_value else "off"),
        Setting("--algo.kl.init_coef", ppo.kl_coef, ("kl_coef",), "in the reward, per token"),
        Setting("--algo.kl.estimator", ppo.kl_estimator, ("kl_estimator",)),
        Setting("--algo.kl.target", kl_target_per_token(winner), ("kl_target",), "nats per token"),
        Setting("--algo.kl.horizon", kl_horizon(winner), ("kl_horizon",)),
        Setting("--actor.entropy_coef", ppo.ent_coef or None, ("ent_coef",)),
        Setting("--reward.clip_range", [-NEVER, NEVER], note="ppo-tune clips no scores; it cannot be switched off"),
    )  # fmt: skip


def _optimizers(winner: Winner) -> tuple[Setting, ...]:
    ppo, model = winner.config.ppo, winner.config.model
    nets = (
        setting
        for net in ("actor", "critic")
        for setting in (
            Setting(f"--{net}.adam.lr", ppo.learning_rate, ("learning_rate",)),
            Setting(f"--{net}.adam.betas", BETAS),
            Setting(f"--{net}.adam.eps", ppo.adam_epsilon, ("adam_epsilon",)),
            Setting(f"--{net}.adam.weight_decay", 0.0),
            Setting(f"--{net}.lr_scheduler", ppo.lr_schedule, ("lr_schedule",)),
            Setting(f"--{net}.lr_warmup_ratio", 0.0),
            Setting(f"--{net}.max_norm", ppo.max_grad_norm, ("max_grad_norm",)),
        )
    )
    adapters = (
        Setting("--ds.lora.rank", model.lora_rank or 0, ("lora_rank",)),
        Setting("--ds.lora.alpha", lora_alpha(winner), ("lora_alpha", "adapter"), alpha_note(winner)),
        Setting("--ds.param_dtype", "bf16", ("dtype",)),
    )
    return (*nets, *adapters)


def _batches(winner: Winner) -> tuple[Setting, ...]:
    ppo = winner.config.ppo
    passes, prompts = _passes(winner)
    return (
        Setting("--rollout.batch_size", ppo.rollout_size, ("rollout_size",)),
        Setting("--rollout.n_samples_per_prompt", 1),
        Setting("--train.batch_size", ppo.batch_size, ("batch_size",), "over all GPUs"),
        Setting("--train.micro_batch_size", micro_batch(winner), ("micro_batch_size",), "memory only"),
        Setting("--rollout.micro_batch_size", micro_batch(winner), ("micro_batch_size",), "memory only"),
        Setting("--train.max_epochs", ppo.ppo_epochs, ("ppo_epochs",)),
        Setting("--train.num_episodes", passes, ("episodes",), "passes over the prompts"),
        Setting("--data.max_samples", prompts, ("episodes",), "prompts of a pass"),
        Setting("--rollout.max_new_tokens", ppo.max_new_tokens, ("max_new_tokens",)),
        Setting(
            "--data.max_len",
            prompt_room(winner) + ppo.max_new_tokens,
            ("max_new_tokens",),
            "longest prompt and response: the context of vLLM",
        ),
        Setting("--rollout.temperature", ppo.temperature, ("temperature",)),
        Setting("--rollout.top_p", 1.0),
        Setting("--train.seed", winner.config.seed, ("seed",)),
    )


def _passes(winner: Winner) -> tuple[int, int]:
    """Passes over the prompts, and prompts of a pass: whole rollouts, as close to `episodes` as they come."""
    ppo, prompts = winner.config.ppo, winner.sources.prompts
    rollouts_at_hand = ppo.iterations if prompts is None else max(1, len(prompts) // ppo.rollout_size)
    passes = math.ceil(ppo.iterations / rollouts_at_hand)
    return passes, math.ceil(ppo.iterations / passes) * ppo.rollout_size


def _own_remarks(winner: Winner) -> Iterator[Remark]:
    ppo = winner.config.ppo
    if winner.sources.prompts is None:
        yield Remark(("episodes",), f"{ppo.episodes} responses are one pass over as many prompts; with fewer prompts "
                     "raise --train.num_episodes")  # fmt: skip
    if ppo.kl_target is not None:
        yield Remark(("kl_target",), "a note in this release's source doubts its adaptive KL: watch it")
    if ppo.lr_schedule == "linear":
        yield LINEAR


def write(setting: Setting) -> str:
    """A flag and its value as shell words."""
    match setting.value:
        case True:
            return setting.name
        case Beside() as file:
            return f"{setting.name} {beside(file)}"
        case Literally(text):
            return f"{setting.name} {text}"
        case list(numbers):
            return " ".join([setting.name, *(f"{number:.15g}" for number in numbers)])
        case value:
            return f"{setting.name} {shlex.quote(str(value))}"


TARGET = ShellTarget(
    name="openrlhf",
    title="OpenRLHF",
    command="python3 -m openrlhf.cli.train_ppo_ray",
    machine=MACHINE,
    example="--actor.adam.lr 1e-6",
    convert=convert,
    write=write,
)


def export(winner: Winner, scale: Scale) -> Export:
    """A Bash script, its prompts, and its reward."""
    reward = python_file(
        "reward_openrlhf.py.jinja",
        winner,
        imports=(
            "import json",
            "import os",
            "import threading",
            "from pathlib import Path",
            "from transformers import AutoTokenizer",
        ),
        header=comment(f"The reward of {winner.config.name} as a function that OpenRLHF calls."),
        values={
            "model": model_source(winner),
            "penalty": repr(winner.config.ppo.missing_eos_penalty),
            "ends": repr(end_texts(winner)),
        },
    )
    before = winner.sources.tokens.before or ""
    prompts = prompt_lines(winner, partial(_row, before=before, has_turns=turns_column(winner) is not None))
    return TARGET.export(winner, scale, {"reward.py": reward, **prompts})


def _row(prompt: Prompt, before: str, *, has_turns: bool) -> dict[str, object]:
    """A line of the prompts: what the model reads, and as the label what the reward is told."""
    label = json.dumps({"prompt": prompt.text, "columns": json.loads(columns_text(prompt))})
    return {"prompt": turns_of(prompt.text) if has_turns else before + prompt.text, "label": label}
