"""Signs that a trial's training was unhealthy, each with the limit from which on it is told.

The limits are wide: they would rather miss a mild case than warn of a sound trial.
"""

import pandas as pd

from ppo_tune.config.ppo import PPOConfig

SMALL_CLIP = 0.001
"""A clip fraction below which clipping all but never acts: one token in a thousand."""

LARGE_CLIP = 0.5
"""A clip fraction beyond which most tokens of a step teach nothing, for their gradient is cut off."""

BAD_FIT = -0.05
"""An explained variance below which the value head is worse than a constant, which has 0; less than this may be
the noise of a few hundred responses."""

COLLAPSE = 0.2
"""The share of its start to which entropy or length may fall. Learning to be sure costs less than that; what is
left then answers nearly the same to every prompt, or nearly nothing."""

STEEP = 0.5
"""KL per quarter of a whole run, in KL budgets: at this pace a run uses up twice its budget."""

CUT_OFF = 0.05
"""The EOS rate below which nearly all responses are cut off at the length limit."""

LONG = 0.5
"""The share of the iterations in which clipping must be too strong before it is called so."""

NEARLY_ALWAYS = 0.95
"""The share of the iterations in which clipping must be idle: a healthy run may begin or end so."""

MIN_ITERATIONS = 8
"""Fewer say nothing about a course but how far it went."""


def signs_of_trouble(lines: pd.DataFrame, config: PPOConfig, kl_budget: float) -> list[str]:
    """What is unhealthy about one trial, in words with the values; see the limits above.

    Args:
        lines: One row per iteration, see `Course`.
        config: For the whole budget and the length limit.
        kl_budget: Nats per response.
    """
    if len(lines) < MIN_ITERATIONS:
        return [sign for sign in [_beyond(lines, kl_budget)] if sign]
    signs = (
        _of_kl(lines, kl_budget * STEEP * 4 / config.episodes) or _beyond(lines, kl_budget),
        _of_entropy(lines["policy/entropy_per_token"]),
        _of_clipping(lines["policy/clip_fraction"], lines["policy/optimizer_steps"]),
        _of_values(lines["value/explained_variance"]),
        _of_length(lines, config.max_new_tokens),
    )
    return [sign for sign in signs if sign]


def _of_kl(lines: pd.DataFrame, steep: float) -> str:
    """Whether KL rises faster than `steep`, in nats per episode, over the last quarter of what was trained."""
    kl, episodes = lines["objective/kl_per_sequence"], lines["episodes"]
    before = len(kl) - len(kl) // 4
    window = slice(max(before - _window(kl), 0), before)
    first, last = kl.iloc[window].mean(), end_of(kl)
    passed = episodes.tail(_window(kl)).mean() - episodes.iloc[window].mean()
    if not last - first > steep * passed:
        return ""
    return f"KL rose steeply, from {first:.1f} to {last:.1f} nats within the last {passed:,.0f} episodes"


def _beyond(lines: pd.DataFrame, kl_budget: float) -> str:
    """Whether KL ended beyond the budget."""
    last = end_of(lines["objective/kl_per_sequence"])
    return f"KL ended at {last:.2g} nats, beyond the budget of {kl_budget:g}" if last > kl_budget else ""


def _of_entropy(entropy: pd.Series) -> str:
    first, last = start_of(entropy), end_of(entropy)
    if not last < COLLAPSE * first:
        return ""
    return f"entropy fell from {first:.2f} to {last:.2f} nats per token, so it answers nearly the same every time"


def _of_clipping(clipped: pd.Series, steps: pd.Series) -> str:
    """Clipping that never acts is no sign where a rollout is one step, for the ratios are then all 1."""
    if (clipped > LARGE_CLIP).mean() > LONG:
        return f"clip fraction {clipped.mean():.2f} on average, so most of what a step could teach is cut off"
    if steps.median() > 1 and (clipped < SMALL_CLIP).mean() > NEARLY_ALWAYS:
        return f"clip fraction below {SMALL_CLIP:g} nearly throughout, so steps are too small for clipping to act"
    return ""


def _of_values(explained: pd.Series) -> str:
    last = end_of(explained)
    if not last < BAD_FIT:
        return ""
    return f"explained variance {last:.2f} at the end, so its value head is worse than a constant"


def _of_length(lines: pd.DataFrame, limit: int) -> str:
    ended, lengths = lines["response/eos_rate"], lines["response/tokens_mean"]
    if end_of(ended) < CUT_OFF:
        return (
            f"EOS rate {start_of(ended):.2f} at the start, {end_of(ended):.2f} at the end, so nearly all responses are "
            f"cut off at {limit} tokens"
        )
    first, last = start_of(lengths), end_of(lengths)
    return f"responses shrank from {first:.1f} to {last:.1f} tokens" if last < COLLAPSE * first else ""


def start_of(values: pd.Series) -> float:
    """The mean of the first tenth, three values at least."""
    return float(values.head(_window(values)).mean())


def end_of(values: pd.Series) -> float:
    """The mean of the last tenth, three values at least."""
    return float(values.tail(_window(values)).mean())


def _window(values: pd.Series) -> int:
    return max(3, len(values) // 10)
