"""What all results of a search together say of any config: its score and its KL at full length, with uncertainty.

Two Gaussian processes over the searched hyperparameters, one of the final score and one of log KL (Rasmussen and
Williams, Gaussian Processes for Machine Learning, 2006), fitted by Optuna's own. One score of a trial is partly luck,
and its neighbours in the space know more of it. Every trial counts: a pruned one, or one under way, by its last
milestone and what others rose from there; one that passed the KL limit by that.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from optuna._gp.gp import GPRegressor, fit_kernel_params
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from ppo_tune.config.blocks import StudyConfig
from ppo_tune.search.cube import Cube, Numbers
from ppo_tune.search.facts import Expectation, StudyFacts, TrialFacts
from ppo_tune.search.results import ending_of, is_feasible, was_lost

MIN_RESULTS = 6
"""With fewer results than this a model would be its prior."""

HALF = 0.5
"""How much of the usual rise of completed trials a pruned one is given: it was pruned for being behind."""

KL_SCALE = 8
"""log(1 + KL_SCALE·KL/budget) is linear well within the budget and logarithmic around it."""

LOWEST = 2.0
"""A score so many times farther below the median than the best is above it counts as that: collapse has no depth."""

MOST_RESULTS = 300
"""A process is fitted to no more: the time grows with their cube, and one fit may take a second."""

KEPT = 50
"""So many trials of a ranking are kept: those that somebody may ask for."""

MINIMUM_NOISE = 1e-4
"""Of the standardised results."""


@dataclass(frozen=True)
class Prediction:
    """What is expected of N configs at full length.

    Attributes:
        score: Mean of the expected score, shape (N,), on the search's prompts and any seed.
        score_error: Its standard deviation: what is not known of the expected score, shape (N,).
        kl: Median of the KL, in nats per response, shape (N,); NaN where no trial told one.
        within: Probability that the expected log KL is within the budget's, shape (N,); 1 where no trial told one.
    """

    score: Numbers
    score_error: Numbers
    kl: Numbers
    within: Numbers


class Surrogate:
    """The results of a search as a function of its hyperparameters.

    Args:
        config: The study.
        trials: Its trials, over or under way, in any order; at least `MIN_RESULTS` of them with a score.
    """

    def __init__(self, config: StudyConfig, trials: Sequence[FrozenTrial]) -> None:
        self.cube = Cube(config.space.distributions())
        self.budget = config.search.kl_budget
        trials = sorted(trials, key=lambda trial: trial.number)
        scored = final_scores(trials, len(config.milestone_episodes()))
        scored = thinned(scored, lambda score: -score)
        kls = thinned(final_kls(trials, self.budget), lambda kl: abs(kl - self.budget))
        assert len(scored) >= MIN_RESULTS, "ask has_results first"
        values = np.array(list(scored.values()))
        middle = float(np.median(values))
        values = np.maximum(values, middle - LOWEST * (float(values.max()) - middle))
        params = {trial.number: trial.params for trial in trials}
        self._score = _Process(self.cube, self.cube.points([params[n] for n in scored]), values)
        known = self.cube.points([params[n] for n in kls])
        self._kl = _Process(self.cube, known, self._log(list(kls.values()))) if kls else None

    def predict(self, configs: Sequence[Mapping[str, Any]]) -> Prediction:
        """What is expected of some configs."""
        return self.predict_at(self.cube.points(configs))

    def predict_at(self, points: Numbers) -> Prediction:
        """What is expected at some points of the cube, shape (N, D)."""
        score, score_error = self._score(points)
        if self._kl is None:
            return Prediction(score, score_error, np.full(len(points), np.nan), np.ones(len(points)))
        log_kl, log_error = self._kl(points)
        within = np.asarray(stats.norm.cdf(self._log([self.budget])[0], log_kl, np.maximum(log_error, 1e-9)))
        return Prediction(score, score_error, np.expm1(log_kl) * self.budget / KL_SCALE, within)

    @property
    def noise(self) -> float:
        """Standard deviation of a trial's score around what is expected of its config: the luck of its seed."""
        return self._score.noise

    def believe(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Take what is expected of some configs for results (kriging believer): nothing is to be learned there."""
        for process in (self._score, self._kl):
            if configs and process is not None:
                process.believe(self.cube.points(configs))

    def gain(self, config: Mapping[str, Any], rival: Mapping[str, Any]) -> tuple[float, float]:
        """How much more a config is expected to score than a rival, and the standard deviation of that."""
        return self._score.difference(self.cube.points([config, rival]))

    def _log(self, kl: Sequence[float]) -> Numbers:
        return np.log1p(KL_SCALE * np.maximum(kl, 0.0) / self.budget)


def rank(study: Study, config: StudyConfig) -> None:
    """Keep in the study what all results expect of the best of its trials, for all who read it without a model.

    Where no model can be fitted, the last ranking stays.
    """
    trials = [t for t in study.get_trials(deepcopy=False) if not was_lost(t)]
    with contextlib.suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        StudyFacts(study).ranking = ranking(trials, config)


def ranking(trials: Sequence[FrozenTrial], config: StudyConfig) -> dict[int, Expectation]:
    """The completed trials within the KL budget by number, best first, and what is expected of each.

    Best is the largest expected gain over the default config times the probability to be within the budget. Empty with
    too few results for a model.
    """
    found = [t for t in trials if ending_of(t) == "completed" and is_feasible(t)]
    if not found or not has_results(trials, config):
        return {}
    model = Surrogate(config, trials)
    within = model.predict([t.params for t in found]).within
    expected = {
        t.number: Expectation(*model.gain(t.params, config.baseline), float(probability))
        for t, probability in zip(found, within, strict=True)
    }
    best = sorted(expected.items(), key=lambda item: (-_worth(item[1]), item[0]))
    return dict(best[:KEPT])


def _worth(seen: Expectation) -> float:
    return seen.gain * seen.within if seen.gain > 0 else seen.gain


def has_results(trials: Sequence[FrozenTrial], config: StudyConfig) -> bool:
    """Whether there are enough results for a model."""
    return len(final_scores(trials, len(config.milestone_episodes()))) >= MIN_RESULTS


def final_scores(trials: Sequence[FrozenTrial], n_milestones: int) -> dict[int, float]:
    """The score at full length of every trial that was not ended by a limit, by number; expected where it is not known.

    Of a trial that did not reach the end: its last score, and half of what completed trials rose from there, by the
    median, if they rose.
    """
    curves = {t.number: [point.score for point in TrialFacts(t).curve] for t in trials}
    done = [curves[t.number] for t in trials if t.state is TrialState.COMPLETE]
    whole = np.array([curve for curve in done if len(curve) == n_milestones])
    scores = {}
    for trial in trials:
        curve = curves[trial.number]
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            scores[trial.number] = trial.value
        elif curve and ending_of(trial) in ("completed", "pruned", "running"):
            rise = float(np.median(whole[:, -1] - whole[:, len(curve) - 1])) if len(whole) >= 4 else 0.0
            scores[trial.number] = curve[-1] + HALF * max(0.0, rise)
    return scores


def final_kls(trials: Sequence[FrozenTrial], budget: float) -> dict[int, float]:
    """The KL of every trial that reached its end or passed the limit, in nats per response, by number."""
    ended = [t for t in trials if t.state is TrialState.COMPLETE or ending_of(t) in ("kl_limit", "diverged")]
    told = {t.number: t.constraints.get("kl_per_sequence") for t in ended}
    return {number: excess + budget for number, excess in told.items() if excess is not None}


def thinned(results: Mapping[int, float], far: Callable[[float], float]) -> dict[int, float]:
    """At most `MOST_RESULTS` of the results by number: the half of them that is least far, and others evenly."""
    if len(results) <= MOST_RESULTS:
        return dict(results)
    order = sorted(results, key=lambda number: (far(results[number]), number))
    near, rest = order[: MOST_RESULTS // 2], order[MOST_RESULTS // 2 :]
    others = np.linspace(0, len(rest) - 1, MOST_RESULTS - len(near)).astype(int)
    return {number: results[number] for number in sorted([*near, *(rest[i] for i in others)])}


class _Process:
    """A Gaussian process of one result.

    Args:
        cube: The space.
        points: Where the results stand, shape (N, D).
        results: Shape (N,).
    """

    def __init__(self, cube: Cube, points: Numbers, results: Numbers) -> None:
        self.mean, self.scale = float(results.mean()), float(results.std()) or 1.0
        standard = (results - self.mean) / self.scale
        self.regressor = fit_kernel_params(points, standard, cube.unordered, log_prior, MINIMUM_NOISE, False)

    def __call__(self, points: Numbers) -> tuple[Numbers, Numbers]:
        """Mean and standard deviation of what is expected at some points, shape (M,) each."""
        mean, variance = self.regressor.posterior(torch.from_numpy(points))
        return mean.numpy() * self.scale + self.mean, variance.sqrt().numpy() * self.scale

    @property
    def noise(self) -> float:
        """Standard deviation of a result around what is expected."""
        return float(self.regressor.noise_var.sqrt()) * self.scale

    def believe(self, points: Numbers) -> None:
        """Take the means at some points for results."""
        where = torch.from_numpy(points)
        self.regressor.append_running_data(where, self.regressor.posterior(where)[0])

    def difference(self, points: Numbers) -> tuple[float, float]:
        """Mean and standard deviation of the difference of two points, shape (2, D)."""
        mean, covariance = self.regressor.posterior(torch.from_numpy(points), joint=True)
        variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        return float(mean[0] - mean[1]) * self.scale, max(variance, 0.0) ** 0.5 * self.scale


def log_prior(regressor: GPRegressor) -> torch.Tensor:
    """Log density of length scales around 0.8, noise around a tenth of the variance, and a signal around 1.

    In the unit cube and standardised results; log-normal, with standard deviations of 0.8, 1 and 1.
    """
    scales = -0.5 * regressor.inverse_squared_lengthscales.log()
    noise, signal = regressor.noise_var.log(), regressor.kernel_scale.log()
    unlikely: torch.Tensor = ((scales - np.log(0.8)) / 0.8).square().sum() + (noise - np.log(0.1)).square()
    return torch.add(unlikely, signal.square()).mul(-0.5)
