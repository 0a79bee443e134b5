"""Conversions and remarks that several targets share."""

import json
import math
from collections.abc import Collection, Iterable, Iterator

from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.data.chats import has_turns
from ppo_tune.export.base import (
    MODEL_PLACEHOLDER,
    PROMPTS_PLACEHOLDER,
    REWARD_PLACEHOLDER,
    Beside,
    Conversion,
    Remark,
    Setting,
    Value,
    Winner,
)

NEVER = 1e6
"""A bound so wide that nothing meets it, where a target has no word for off."""

PROMPT_TOKENS = 512
"""Room for a prompt where the prompts or their tokenizer could not be read: no target does without a number."""

BETAS = [0.9, 0.999]
"""Of AdamW, in every training of ppo-tune; its weight decay is 0."""

FRESH_HEAD = "with a fresh head; ours was a head on the policy's model"
"""What to say of a critic's model."""

LINEAR = Remark(("lr_schedule",), "falls at every optimizer step; in ppo-tune at every rollout")
"""Of a trainer whose linear schedule counts optimizer steps."""


def with_own_critic(
    winner: Winner,
    settings: Iterable[Setting],
    *,
    clipped: Collection[str],
    own: Iterable[Remark],
    lost: Iterable[Remark] = (),
    serve_it: str = "",
) -> Conversion:
    """The conversion of a trainer whose critic is a model of its own, and whose adaptive KL counts per token.

    Args:
        winner: What is exported.
        settings: The trainer's options.
        clipped: Estimators of the KL of which it clips each token's estimate.
        own: What else it does differently.
        lost: What else it cannot do.
        serve_it: How it is made to serve a reward model by itself, in its words and as the subject of a sentence, with
            {model}; empty if it cannot.
    """
    ppo = winner.config.ppo
    weight = Remark(
        ("vf_coef",),
        f"{ppo.vf_coef:g} weighed the value loss against the policy's in one shared model; the critic here is a model "
        "of its own with an optimizer of its own, so there is nothing to weigh",
    )
    same_steps = Remark(
        ("learning_rate", "max_grad_norm"),
        "the critic gets the policy's; ppo-tune clips the gradient of both together. "
        "1 to 10 times the policy's learning rate is usual for a critic: worth a try of its own",
    )
    ten = Remark(("kl_estimator",), "each token's estimate is clipped to ±10 nats")
    return Conversion(
        settings=tuple(settings),
        unsupported=(weight, *off_in_target(winner, "whiten_rewards", "kl_budget", "dtype"), *lost),
        approximated=(
            same_steps,
            *function_remarks(winner),
            *revision_remarks(winner),
            *_reward_model_remarks(winner, serve_it),
            *_kl_target_remarks(winner),
            *own,
            *([ten] if ppo.kl_estimator in clipped else []),
            *_whole_remarks(winner),
            *_plain_prompt_remarks(winner),
            *prompt_remarks(winner),
            *_prompt_room_remarks(winner),
            *_stop_remarks(winner),
            *stop_text_remarks(winner),
        ),
    )


def model_name(winner: Winner) -> str:
    """The policy's model, or a placeholder."""
    return winner.sources.model or MODEL_PLACEHOLDER


def model_value(winner: Winner) -> Value:
    """The policy's model as an option's value."""
    name = model_name(winner)
    folder = winner.sources.enclosed(name)
    return name if folder is None else Beside(name, folder.variable)


def prompt_file(winner: Winner) -> Value:
    """The file with the prompts, or a placeholder."""
    return PROMPTS_PLACEHOLDER if winner.sources.prompts is None else Beside("prompts.jsonl")


def prompt_room(winner: Winner) -> int:
    """Tokens of the longest prompt; where that is not known, room for one in what the context leaves."""
    tokens = winner.sources.tokens
    if tokens.longest_prompt is not None:
        return tokens.longest_prompt
    if tokens.context is not None:
        return max(1, min(PROMPT_TOKENS, tokens.context - winner.config.ppo.max_new_tokens))
    return PROMPT_TOKENS


def _prompt_room_remarks(winner: Winner) -> Iterator[Remark]:
    """What is guessed where the longest prompt is not known."""
    if winner.sources.tokens.longest_prompt is None:
        yield Remark(
            ("prompts",),
            f"how long they are is not known, for they or the model's tokenizer could not be read: there is room for "
            f"{prompt_room(winner)} tokens; write your longest in its place",
        )


def is_chat(winner: Winner) -> bool:
    """Whether prompts are wrapped in the tokenizer's chat template."""
    return winner.config.task.chat


def micro_batch(winner: Winner) -> int:
    """Episodes per forward pass of a larger model: the tuned run's where it had one, else as few as possible."""
    return winner.config.ppo.micro_batch_size or 1


def kl_target_per_token(winner: Winner) -> float | None:
    """The adaptive KL target in nats per token, as these targets count: per sequence / mean length."""
    ppo = winner.config.ppo
    if ppo.kl_target is None:
        return None
    return ppo.kl_target / (winner.response_tokens or ppo.max_new_tokens)


def _kl_target_remarks(winner: Winner) -> Iterator[Remark]:
    """What is inexact in the adaptive KL target of a target that counts per token."""
    ppo = winner.config.ppo
    if ppo.kl_target is None:
        return
    length = f"max_new_tokens = {ppo.max_new_tokens}, for the mean length is not known"
    if winner.response_tokens:
        length = f"the mean of {winner.response_tokens:.1f} tokens"
    yield Remark(
        ("kl_target",),
        f"ours is {ppo.kl_target:g} nats per sequence; here it is per token: divided by {length}. "
        "Divide again when responses grow longer",
    )
    if ppo.kl_estimator != "k1":
        yield Remark(("kl_target", "kl_estimator"), f"measured here by {ppo.kl_estimator}; by k1 in ppo-tune")


def _whole(number: float) -> int:
    """The nearest whole number, at least 1, for an option that takes no other."""
    return max(1, round(number))


def kl_horizon(winner: Winner) -> int | None:
    """The horizon of the adaptive KL in episodes, a whole number; None where kl_coef is fixed."""
    ppo = winner.config.ppo
    return None if ppo.kl_target is None else _whole(ppo.kl_horizon_episodes)


def plain_alpha(winner: Winner) -> float:
    """The alpha that scales by alpha / rank as the adapters are scaled, which are rank-stabilized perhaps."""
    model = winner.config.model
    is_stabilized = model.adapter == "rslora" and model.lora_rank is not None
    return (
        float(f"{model.lora_alpha * math.sqrt(model.lora_rank or 1):.6g}")
        if is_stabilized
        else model.lora_alpha
    )


def lora_alpha(winner: Winner) -> int | None:
    """The adapters' alpha in alpha / rank, a whole number; None where all weights are trained."""
    return None if winner.config.model.lora_rank is None else _whole(plain_alpha(winner))


def alpha_note(winner: Winner) -> str:
    """How the alpha of rank-stabilized adapters became one in alpha / rank; empty for others."""
    model = winner.config.model
    return f"rslora: {model.lora_alpha:g} · √{model.lora_rank}" if model.adapter == "rslora" else ""


def _whole_remarks(winner: Winner) -> Iterator[Remark]:
    """What was rounded by `_whole`."""
    rounded = (
        ("kl_horizon", winner.config.ppo.kl_horizon_episodes, kl_horizon(winner)),
        ("lora_alpha", plain_alpha(winner), lora_alpha(winner)),
    )
    for name, number, whole in rounded:
        if whole not in (None, number):
            yield Remark((name,), f"{number:g} is rounded to {whole}: the option takes whole numbers")


def off_in_target(winner: Winner, *names: str) -> tuple[Remark, ...]:
    """Unsupported features among these, where the config uses them."""
    ppo, config = winner.config.ppo, winner.config
    remarks = {
        "whiten_rewards": (
            ppo.whiten_rewards,
            "token rewards are not scaled here, and a kl_coef found with it means nothing without it: tune again "
            "with whiten_rewards: false",
        ),
        "dual_clip": (
            ppo.dual_clip is not None,
            f"the loss of tokens with negative advantage was bounded by {ppo.dual_clip} times it; here it is not",
        ),
        "ent_coef": (bool(ppo.ent_coef), f"there is no entropy bonus here; {ppo.ent_coef:g} is lost"),
        "kl_budget": (
            config.kl_budget is not None,
            f"`ppo-tune train` keeps the best model within {config.kl_budget} nats per sequence; here the last is "
            "kept: watch its KL and stop in time",
        ),
        "dtype": (
            config.model.dtype == "float32",
            "matrix products were float32; here they are bfloat16",
        ),
    }
    return tuple(Remark((name,), remarks[name][1]) for name in names if remarks[name][0])


def function_remarks(winner: Winner) -> Iterator[Remark]:
    """What of a user's own function goes along."""
    reward = winner.sources.reward
    for named in reward.names() if reward is not None else ():
        if named.kind == "function":
            yield Remark(
                ("reward",),
                f"your function is a copy, {named.path}, with the modules of yours that it imports; put beside it what "
                "else it reads, and install what else it imports",
            )


def revision_remarks(winner: Winner) -> Iterator[Remark]:
    """What differs where a model was read at a revision, which a target has no word for."""
    for name in winner.sources.revisions:
        repo, _, revision = name.partition("@")
        yield Remark(
            (),
            f"{repo} was tuned at revision {revision}, and here the hub's newest is read: where that is another, run "
            f"`hf download {repo} --revision {revision} --local-dir FOLDER` and name FOLDER in its place",
        )


def _reward_model_remarks(winner: Winner, serve_it: str) -> Iterator[Remark]:
    """What differs, and what must change, where a target is made to serve the reward model by itself."""
    reward = winner.sources.reward
    if serve_it and (reward is None or isinstance(reward, PreferenceRewardConfig)):
        served = serve_it.format(model=REWARD_PLACEHOLDER if reward is None else reward.model)
        yield Remark(
            ("reward",),
            "reward.py scores texts as ppo-tune does, gain · output + bias of the reward model at the last token, "
            f"beside the rollouts and one response at a time. {served} is faster with a large reward model, but "
            f"takes the raw output, and at another token{_in_raw_units(winner)}",
        )


def _in_raw_units(winner: Winner) -> str:
    """What values in the unit of the reward become where a reward model's output is read without its gain."""
    ppo, gain = winner.config.ppo, winner.sources.gain
    named = (("kl_coef", ppo.kl_coef), ("clip_range_value", ppo.clip_range_value))
    values = [(name, value) for name, value in named if value]
    if not values or gain == 1:
        return ""
    if gain is None:
        return f": then divide {' and '.join(name for name, _ in values)} by the gain in its reward.json"
    told = " and ".join(
        f"{name} is {value / gain:.4g}, for {value:.4g} / {gain:.4g}" for name, value in values
    )
    return f": then {told}, its gain"


def turns_column(winner: Winner) -> str | None:
    """The column that holds the turns of prompts that are conversations; None where none is one."""
    prompts = winner.sources.prompts or ()
    return winner.config.task.prompt if has_turns(prompt.text for prompt in prompts) else None


def _plain_prompt_remarks(winner: Winner) -> Iterator[Remark]:
    """What differs where a target tokenizes plain prompts without the tokenizer's own special tokens."""
    if not is_chat(winner) and winner.sources.tokens.before is None:
        yield Remark(
            ("prompts",),
            "tokenized here without the beginning-of-sequence token that some tokenizers add, and ppo-tune with them; "
            "the tokenizer could not be read, or adds what cannot be written into a prompt",
        )


def plain_template(winner: Winner) -> str:
    """A chat template that leaves a prompt plain, for a target that wraps every prompt in one."""
    before = winner.sources.tokens.before
    printed = f"{{{{ {json.dumps(before, ensure_ascii=False)} }}}}" if before else ""
    return printed + "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def end_ids(winner: Winner) -> list[int] | None:
    """Ids of the tokens that end a response; None where only the trainer's tokenizer says so."""
    ends = winner.sources.tokens.ends
    return None if ends is None else sorted(ends)


def end_texts(winner: Winner) -> list[str] | None:
    """Texts of the tokens that end a response, for a target that gives a text alone; None as for the ids."""
    ends = winner.sources.tokens.ends
    return None if ends is None else [text for text in ends.values() if text]


def stop_text_remarks(winner: Winner) -> Iterator[Remark]:
    """What is lost where a target ends responses at single tokens only, as all of them do."""
    if texts := winner.sources.tokens.stop_texts:
        names = " and ".join(map(repr, texts))
        yield Remark(
            ("stop",),
            f"ppo-tune ends a response at the text {names} too and does not let a judge read it; here a response goes "
            "on, and the reward reads all of it",
        )


def _stop_remarks(winner: Winner) -> Iterator[Remark]:
    """What is lost where a target ends responses at the tokens of the model's own authors only."""
    tokens = winner.sources.tokens
    if tokens.stops:
        names = " and ".join(f"{(tokens.ends or {})[i]!r} (id {i})" for i in tokens.stops)
        yield Remark(
            ("stop",),
            f"ppo-tune ends a response at {names} too; the sampler here reads eos_token_id in the model's "
            "generation_config.json: write the id into that list, or responses go on",
        )


def prompt_remarks(winner: Winner) -> Iterator[Remark]:
    """What is missing where the prompts could not be read."""
    if winner.sources.prompts is None:
        yield Remark(
            ("prompts",),
            f"they could not be read{winner.sources.unread and f' ({winner.sources.unread})'}: name your file in place "
            f"of {PROMPTS_PLACEHOLDER}, without the rows that ppo-tune held out",
        )
