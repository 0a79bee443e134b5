"""Which trials are compared at which milestone, and whether scores taken there say anything of the end."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.wording import percent
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.pruners import first_look
from ppo_tune.search.results import ending_of
from ppo_tune.seeding import derive_seed

MIN_TRIALS = 8
"""Below this many trials at the end, the interval holds the truth less often than it claims."""

RESAMPLES = 500
"""Studies drawn from the trials, with replacement, for the interval."""

CONFIDENCE = 0.95

COLUMNS = ("episodes", "share", "trials", "tau", "low", "high", "same_order", "best_stood")


def compared(record: StudyRecord) -> tuple[int, list[FrozenTrial]]:
    """At which milestone trials are compared, and all that have a score there, pruned ones too.

    It is the last one that all of them reached that got as far as the pruner's first look, running ones left aside.
    """
    look = first_look(len(record.config.milestone_episodes()))
    trials = [trial for trial in record.trials if _reached(record, trial, look)]
    look = min((len(TrialFacts(trial).curve) for trial in trials if trial.state.is_finished()), default=look)
    return look, [trial for trial in trials if _reached(record, trial, look)]


def _reached(record: StudyRecord, trial: FrozenTrial, milestone: int) -> bool:
    """Whether a trial has all values of the space and a score at a milestone."""
    curve = TrialFacts(trial).curve
    has_values = set(record.config.space) <= set(trial.params)
    return has_values and len(curve) >= milestone and bool(np.isfinite(curve[milestone - 1].score))


@dataclass(frozen=True)
class Foresight:
    """What the scores by which trials are compared say of the end.

    Attributes:
        episodes: When they were taken.
        share: Of a trial's budget.
        tells: Whether they are those of the end, or agree with it beyond chance.
        words: How they agree with it, as a sentence; empty where they are those of the end.
    """

    episodes: int
    share: float
    tells: bool
    words: str


def foresight(record: StudyRecord) -> Foresight:
    """Whether early scores can be taken for those of the end; not unless that can be told from chance."""
    marks, (look, _) = record.config.milestone_episodes(), compared(record)
    episodes = marks[look - 1]
    share = episodes / marks[-1]
    if look == len(marks):
        return Foresight(episodes, share, True, "")
    rows = [row for row in to_records(fidelity_table(record)) if row["episodes"] == episodes]
    if not rows or rows[0]["tau"] is None:
        return Foresight(
            episodes, share, False, "Too few trials reached the end to say whether such scores foretell it."
        )
    tau, low, high = (rows[0][name] for name in ("tau", "low", "high"))
    tells = (tau if low is None else low) > 0
    interval = "" if low is None else f", 95 % interval {low:+.2f} to {high:+.2f}"
    how = "agree with those of the end" if tells else "cannot be told from chance as a forecast of the end"
    return Foresight(episodes, share, tells, f"Such scores {how} (rank agreement τ {tau:+.2f}{interval}).")


def when_scored(record: StudyRecord) -> str:
    """When the scores were taken by which trials are compared: at the end, or after so many episodes."""
    seen = foresight(record)
    return "at the end" if seen.share == 1 else f"after {seen.episodes:,} episodes ({percent(seen.share)})"


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
