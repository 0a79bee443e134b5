"""From the tuned run to a larger one: what carries over, by which rule, and how sure that is.

The rules are of three kinds: laws (kl_coef against the scale of the score), what published runs agree on
(clip_range, ppo_epochs), and extrapolations (learning_rate against model size). Each says which it is. No
rule here is a promise: check the learning rate at a third and at three times its value.

    learning_rate   η' = η · (1/r)^0.375               r = parameters, as a multiple
    gae_lambda      λ' = 1 - (1 - λ) · L/L'            L = longest response, in tokens
    gamma           γ' = γ^(L/L')
"""

from dataclasses import dataclass, replace

from ppo_tune.calling import argument, place_of
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.export.base import Scale, Winner

SIZE_EXPONENT = 0.375
"""Half way between 0.25 and 0.5: what two published series of models, 1.3 to 175 billion parameters, bracket."""

SURE, LIKELY = "high confidence", "medium confidence"


@dataclass(frozen=True)
class Rule:
    """How one value carries over.

    Attributes:
        field: Our name for it.
        text: The rule.
        confidence: How sure, in words.
    """

    field: str
    text: str
    confidence: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text} ({self.confidence})"


def rules(winner: Winner) -> tuple[Rule, ...]:
    """How each value of a config carries over to a larger model, as far as anything is known."""
    config = winner.config
    deviation = "" if winner.score_std is None else f" (here {winner.score_std:.3g})"
    rescale = f"keep it for the same reward; for another multiply by σ'/σ, σ the scores' standard deviation{deviation}"
    return (
        _learning_rate(winner),
        Rule("batch_size, rollout_size", "keep their ratio; raise both towards the critical batch size, "
             "learning_rate by the square root of the same factor", LIKELY),
        Rule("clip_range, ppo_epochs", "keep", SURE),
        Rule("gamma", "1 stays 1", SURE) if config.ppo.gamma == 1
        else Rule("gamma", "γ^(L/L') for responses L'/L times as long", LIKELY),
        Rule("gae_lambda", "1 - (1 - λ)·L/L' for responses L'/L times as long", LIKELY),
        Rule("kl_coef", rescale, f"{SURE}: the optimum depends on score / β only"),
        *_where_used(config.ppo, rescale),
        Rule("temperature", "must be the one of the larger run's rollouts; tune again if that differs", SURE),
        Rule("adam_epsilon", "keep; it matters more where gradients are small", LIKELY),
        Rule("vf_coef", "means something only where policy and value share one model", SURE),
    )  # fmt: skip


def _learning_rate(winner: Winner) -> Rule:
    model = winner.config.model
    if model.lora_rank is None:
        adapters = "from full tuning to LoRA about 10 times as much"
    elif model.adapter == "ia3":
        adapters = "from IA³ to LoRA about a tenth, to full tuning about a hundredth"
    elif model.adapter == "prefix":
        adapters = "from a prefix to LoRA about a tenth, to full tuning about a hundredth"
    else:
        rank = "√lora_rank" if model.adapter == "rslora" else "lora_rank"
        adapters = f"from LoRA to full tuning about a tenth; keep lora_alpha / {rank}"
    return Rule(
        "learning_rate",
        f"η·(1/r)^0.25 to η·(1/r)^0.5 for r times the parameters, then try 1/3, 1 and 3 times it; {adapters}",
        "low to medium confidence",
    )


def _where_used(ppo: PPOConfig, rescale: str) -> tuple[Rule, ...]:
    """Rules of what is off by default, where it is on."""
    in_units = f"in units of the reward: {rescale}"
    by_length = "per sequence keep it for the same reward; per token it falls as 1 / length"
    whitened = "a kl_coef found with it means nothing without it; keep both or neither"
    found = (
        (ppo.kl_target is not None, Rule("kl_target", by_length, LIKELY)),
        (ppo.clip_range_value is not None, Rule("clip_range_value", in_units, SURE)),
        (ppo.missing_eos_penalty > 0, Rule("missing_eos_penalty", in_units, SURE)),
        (ppo.whiten_rewards, Rule("whiten_rewards", whitened, SURE)),
    )
    return tuple(rule for is_used, rule in found if is_used)


def wanted_context(winner: Winner, scale: Scale) -> str:
    """What a larger run's prompts and responses need, where the tuned model's context is shorter; else nothing."""
    tokens, response = winner.sources.tokens, scale.response_length
    if response is None or tokens.context is None or tokens.longest_prompt is None:
        return ""
    wanted = tokens.longest_prompt + response
    if wanted <= tokens.context:
        return ""
    sources = winner.sources
    folder = sources.enclosed(sources.model)
    model = sources.model if folder is None else folder.source.name
    return (
        f"prompts of up to {tokens.longest_prompt} tokens and responses of {response} need a context of {wanted}, but "
        f"that of {model} is {tokens.context}"
    )


def at_scale(winner: Winner, scale: Scale) -> Winner:
    """The winner with the values suggested for a larger run; the given one is left as it is.

    Raises:
        ConfigError: If the same model is to write longer responses than its context has room for.
    """
    if scale.params_ratio is None and (too_short := wanted_context(winner, scale)):
        what = f"{too_short}; shorten it, or say {argument('params_ratio')} for another model"
        raise ConfigError([Problem(place_of("response_length"), what)])
    ppo = winner.config.ppo
    changed: dict[str, float] = {}
    tokens = winner.response_tokens
    if scale.params_ratio is not None:
        changed["learning_rate"] = _rounded(ppo.learning_rate * scale.params_ratio**-SIZE_EXPONENT)
    if scale.response_length is not None:
        shorter = ppo.max_new_tokens / scale.response_length
        changed["gae_lambda"] = _rounded(max(0.0, 1 - (1 - ppo.gae_lambda) * shorter))
        changed["gamma"] = _rounded(ppo.gamma**shorter)
        changed["max_new_tokens"] = scale.response_length
        tokens = None if tokens is None else tokens / shorter
    config = winner.config.model_copy(update={"ppo": ppo.with_params(changed)})
    return replace(winner, config=config, response_tokens=tokens)


def _rounded(number: float) -> float:
    """Six digits: more would look like knowledge."""
    return float(f"{number:.6g}")
