"""Whether scores taken early say anything of those at the end."""

import numpy as np
import pandas as pd

from ppo_tune.reporting.record import StudyRecord
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.results import ending_of
from ppo_tune.seeding import derive_seed

MIN_TRIALS = 8
"""Below this many trials at the end, the interval holds the truth less often than it claims."""

RESAMPLES = 500
"""Studies drawn from the trials, with replacement, for the interval."""

CONFIDENCE = 0.95

COLUMNS = ("episodes", "share", "trials", "tau", "low", "high", "same_order", "best_stood")


def fidelity_table(record: StudyRecord) -> pd.DataFrame:
    """How far the trials' order at each milestone agrees with their order at the end.

    Only trials that reached the end can be counted. Where a pruner chose them by their early scores, they are
    more alike than all trials were, which lowers the agreement.

    Columns: episodes, share (of the budget), trials, tau (Kendall's tau-b, from -1 to 1), low and high (the
    bootstrap's 95 % interval over trials; missing where all trials stand in one order, for then every resample
    does), same_order (of two trials, how often the one ahead is ahead at the end), best_stood (the rank of the
    end's best). Empty when too few trials reached the end or there is only one milestone.
    """
    marks = record.config.milestone_episodes()
    curves = [TrialFacts(t).curve for t in record.trials if ending_of(t) == "completed"]
    scores = np.array([[p.score for p in curve] for curve in curves if len(curve) == len(marks)], dtype=float)
    if len(scores) < MIN_TRIALS or len(marks) < 2:
        return pd.DataFrame(columns=list(COLUMNS), dtype=float)
    n, end = len(scores), scores[:, -1]
    rng = np.random.default_rng(derive_seed(record.config.search.seed, "fidelity"))
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)])
    rows = []
    for episodes, early in zip(marks[:-1], scores.T[:-1], strict=True):
        taus = rank_agreements(early, end, weights)
        tau, known = taus[0], taus[1:][np.isfinite(taus[1:])]
        has_interval = abs(tau) < 1 and len(known) > 0
        low, high = (
            np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
            if has_interval
            else (np.nan,) * 2
        )
        best_stood = 1 + int((early > early[end.argmax()]).sum())
        rows.append((episodes, episodes / marks[-1], n, tau, low, high, (1 + tau) / 2, best_stood))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def rank_agreements(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of x and y, once for each way of weighting their members.

    A bootstrap's resample is a weighting by whole numbers, so all of them cost three products of matrices.

    Args:
        x: Numbers, of shape (members,).
        y: Numbers, of the same shape.
        weights: How often each member counts, of shape (ways, members).

    Returns:
        From -1 to 1, of shape (ways,); NaN where all of x or all of y are equal.
    """
    signs_x, signs_y = np.sign(x[:, None] - x), np.sign(y[:, None] - y)

    def pairs(matrix: np.ndarray) -> np.ndarray:
        return np.asarray(np.einsum("wm,wm->w", weights @ matrix, weights))

    with np.errstate(invalid="ignore"):
        untied = np.sqrt(pairs(abs(signs_x)) * pairs(abs(signs_y)))
        taus = pairs(signs_x * signs_y) / untied
    return np.asarray(np.round(taus, 12))  # a perfect order is exactly 1
