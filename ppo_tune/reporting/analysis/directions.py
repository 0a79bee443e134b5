"""Which values of a hyperparameter are the good ones, or the ones that fail, in words that the trials bear out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from ppo_tune.reporting.analysis.evidence import Sample
from ppo_tune.reporting.axes import Axis

LEVEL = 0.05
"""A rank correlation less likely than this by chance is a direction."""

MIN_TRIALS_OF_CHOICE = 3
"""A choice with fewer trials is not compared with the others."""


@dataclass(frozen=True)
class Wording:
    """How a target is spoken of.

    Attributes:
        rises: Where the target is higher with higher values.
        falls: Where it is lower with them.
        marked: The trials that are looked for.
        most: The choice with which the target is highest.
        typical: How the targets of one choice become one number.
        number: What that number is called.
    """

    rises: str
    falls: str
    marked: str
    most: str
    typical: Callable[[np.ndarray], np.floating]
    number: str


SCORING = Wording("higher is better", "lower is better", "the best quarter", "best with", np.median, "median")
FAILING = Wording(
    "fails more when high", "fails more when low", "the failed", "fails most with", np.mean, "share"
)


def direction(sample: Sample, name: str, wording: Wording) -> str:
    """Where the good values of one hyperparameter lie, or those that fail.

    Of a number, the sign of the rank correlation if there is one, and between which values half of the marked
    trials lie. Of a choice, the one with which the target is highest.
    """
    j = [axis.name for axis in sample.axes].index(name)
    axis, places = sample.axes[j], sample.places[:, j]
    if axis.choices:
        return _best_choice(axis, places, sample.target, wording)
    low, high = (axis.text_at(q) for q in np.quantile(places[sample.mark(sample.target)], [0.25, 0.75]))
    middle = f"half of {wording.marked} at {low}" + (f" to {high}" if high != low else "")
    correlation, chance = spearmanr(places, sample.target)
    if not chance < LEVEL:
        return middle
    return f"{wording.rises if correlation > 0 else wording.falls}, {middle}"


MIN_ENDS = 4
"""Fewer trials at the end have no best quarter to speak of."""


def good_range(ends: Sample, name: str) -> str:
    """Where the best trials stand that were completed within the KL budget; no direction, for others failed.

    Args:
        ends: Those trials with their scores at the end.
        name: Of the hyperparameter.
    """
    if len(ends.target) < MIN_ENDS:
        return "too few completed within the KL budget to say which values are good"
    j = [axis.name for axis in ends.axes].index(name)
    axis, best = ends.axes[j], ends.places[ends.mark(ends.target), j]
    if axis.choices:
        among = dict.fromkeys(axis.text_at(place) for place in sorted(best))
        return f"the best completed within the KL budget have {' or '.join(among)}"
    low, high = axis.text_at(float(best.min())), axis.text_at(float(best.max()))
    return f"the best completed within the KL budget at {low}" + (f" to {high}" if high != low else "")


def _best_choice(axis: Axis, places: np.ndarray, target: np.ndarray, wording: Wording) -> str:
    numbers = np.rint(places * (len(axis.choices) - 1))
    groups = [(target[numbers == i], str(choice)) for i, choice in enumerate(axis.choices)]
    typical = [
        (float(wording.typical(group)), len(group), choice)
        for group, choice in groups
        if len(group) >= MIN_TRIALS_OF_CHOICE
    ]
    if len(typical) < 2:
        return ""
    value, n, choice = max(typical)
    return f"{wording.most} {choice}, {wording.number} {value:.2f} of {n} trials"
