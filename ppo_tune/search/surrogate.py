"""What all results of a search together say of any config: its score and its KL at full length, with uncertainty.

Two Gaussian processes over the searched hyperparameters, one of the final score and one of log KL (Rasmussen and
Williams, Gaussian Processes for Machine Learning, 2006), fitted by Optuna's own. One score of a trial is partly luck,
and its neighbours in the space know more of it. Every trial counts: a pruned one, or one under way, by its last
milestone and what others rose from there; one that passed the KL limit by that.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from optuna._gp.gp import GPRegressor, fit_kernel_params
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy import stats

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.certainty import log_kl
from ppo_tune.search.cube import Cube, Numbers
from ppo_tune.search.facts import Expectation, StudyFacts
from ppo_tune.search.forecasts import final_log_kls, final_scores, has_score, known_log_kls
from ppo_tune.search.results import ending_of, is_feasible, was_lost

MIN_RESULTS = 6
"""With fewer results than this a model would be its prior."""

LOWEST = 2.0
"""A score so many times farther below the median than the best is above it counts as that: collapse has no depth."""

MOST_RESULTS = 300
"""A process has no more: the time grows with their cube."""

MOST_FITTED = 100
"""Its kernel is fitted to so many of them, which takes many times the time of a prediction."""

SAFE = 0.95
"""Of the KL budget. The best configs lie at the budget, where half of the runs are beyond it."""

KEPT = 50
"""So many trials of a ranking are kept: those that somebody may ask for."""

MINIMUM_NOISE = 1e-4
"""Of the standardised results."""

JITTER = 1e-6
"""What is added to the variances of drawn functions, as a share, so that the draw can be computed."""


@dataclass(frozen=True)
class Prediction:
    """What is expected of N configs at full length.

    Attributes:
        score: Mean of the expected score, shape (N,), on the search's prompts and any seed.
        score_error: Its standard deviation: what is not known of the expected score, shape (N,).
        within: Probability that the expected log KL is within the budget's, shape (N,); 1 where no trial told one.
        safe: The same of `SAFE` of the budget: by this configs are proposed and ranked.
        log_kl: Mean of the expected log KL, see `ppo_tune.search.certainty.log_kl`; None where no trial told one.
        log_kl_error: Its standard deviation, shape (N,).
        log_kl_noise: Standard deviation of the log KL of one run of a config.
    """

    score: Numbers
    score_error: Numbers
    within: Numbers
    safe: Numbers
    log_kl: Numbers | None = None
    log_kl_error: Numbers | None = None
    log_kl_noise: float = 0.0

    def expectation(self, index: int, gain: float, error: float) -> Expectation:
        """What is expected of one of them that gains so much over the default."""
        within = float(self.within[index])
        if self.log_kl is None or self.log_kl_error is None:
            return Expectation(gain, error, within)
        kl, kl_error = float(self.log_kl[index]), float(self.log_kl_error[index])
        return Expectation(gain, error, within, kl, kl_error, self.log_kl_noise)


class Surrogate:
    """The results of a search as a function of its hyperparameters.

    Args:
        config: The study.
        trials: Its trials, over or under way, in any order; at least `MIN_RESULTS` of them with a score.
        most: So many results of each kind are fitted at most.
        every_kl: Whether the KLs of trials that did not reach the end count too, as they are expected to end. They
            say what the KL depends on; proposals and rankings by them named no better config.

    Attributes:
        lowest: The lowest score, as far as it counts.
        limit: The budget on the scale of `log_kl`.
        score: The process of the score.
        kl: That of log KL; None where no trial told one.
    """

    def __init__(
        self,
        config: StudyConfig,
        trials: Sequence[FrozenTrial],
        *,
        most: int = MOST_RESULTS,
        every_kl: bool = False,
    ) -> None:
        self.cube = Cube(config.space)
        self.budget, n_milestones = config.search.kl_budget, len(config.milestone_episodes())
        self.limit = log_kl(self.budget, self.budget)
        trials = sorted(trials, key=lambda trial: trial.number)
        scored = thinned(final_scores(trials, n_milestones), lambda score: -score, most)
        kls = (
            final_log_kls(trials, n_milestones, self.budget)
            if every_kl
            else known_log_kls(trials, self.budget)
        )
        kls = thinned(kls, lambda kl: abs(kl - self.limit), most)
        assert len(scored) >= MIN_RESULTS, "ask has_results first"
        values = np.array(list(scored.values()))
        middle, best = float(np.median(values)), float(values.max())
        if best > middle:  # where half of them are the best there is, the others are what there is to learn
            values = np.maximum(values, middle - LOWEST * (best - middle))
        self.lowest = float(values.min())
        params = {trial.number: trial.params for trial in trials}
        self.score = Process(self.cube, self.cube.points([params[n] for n in scored]), values)
        known = self.cube.points([params[n] for n in kls])
        self.kl = Process(self.cube, known, np.array(list(kls.values()))) if kls else None

    def predict(self, configs: Sequence[Mapping[str, Any]]) -> Prediction:
        """What is expected of some configs."""
        return self.predict_at(self.cube.points(configs))

    def predict_at(self, points: Numbers) -> Prediction:
        """What is expected at some points of the cube, shape (N, D)."""
        score, score_error = self.score(points)
        if self.kl is None:
            return Prediction(score, score_error, np.ones(len(points)), np.ones(len(points)))
        mean, error = self.kl(points)
        within, safe = (
            np.asarray(stats.norm.cdf(limit, mean, np.maximum(error, 1e-9)))
            for limit in (self.limit, log_kl(SAFE * self.budget, self.budget))
        )
        return Prediction(score, score_error, within, safe, mean, error, self.kl.noise)

    def believe(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Take what is expected of some configs for results (kriging believer): nothing is to be learned there."""
        for process in (self.score, self.kl):
            if configs and process is not None:
                process.believe(self.cube.points(configs))

    def gains(
        self, configs: Sequence[Mapping[str, Any]], rival: Mapping[str, Any]
    ) -> list[tuple[float, float]]:
        """How much more each config is expected to score than a rival, and the standard deviation of that."""
        means, errors = self.score.differences(self.cube.points([*configs, rival]))
        return list(zip(means.tolist(), errors.tolist(), strict=True))


def rank(study: Study, config: StudyConfig) -> None:
    """Keep in the study what all results expect of the best of its trials, for all who read it without a model.

    Where no model can be fitted, the last ranking stays.
    """
    trials = [t for t in study.get_trials(deepcopy=False) if not was_lost(t)]
    with contextlib.suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        StudyFacts(study).ranking = ranking(trials, config)


def ranking(trials: Sequence[FrozenTrial], config: StudyConfig) -> dict[int, Expectation]:
    """The completed trials within the KL budget by number, best first, and what is expected of each.

    Best is the largest expected gain over the default config times the probability to be safely within the budget.
    Empty with too few results for a model.
    """
    found = [t for t in trials if ending_of(t) == "completed" and is_feasible(t)]
    if not found or not has_results(trials):
        return {}
    model = Surrogate(config, trials)
    configs = [t.params for t in found]
    predicted, gains = model.predict(configs), model.gains(configs, config.baseline)
    expected = {
        t.number: predicted.expectation(index, *gain)
        for index, (t, gain) in enumerate(zip(found, gains, strict=True))
    }
    worth = {
        number: seen.gain * float(safe) if seen.gain > 0 else seen.gain
        for (number, seen), safe in zip(expected.items(), predicted.safe, strict=True)
    }
    return {number: expected[number] for number in sorted(worth, key=lambda n: (-worth[n], n))[:KEPT]}


def has_results(trials: Sequence[FrozenTrial]) -> bool:
    """Whether there are enough results for a model."""
    return len(list(islice(filter(has_score, trials), MIN_RESULTS))) == MIN_RESULTS


def thinned(results: Mapping[int, float], far: Callable[[float], float], most: int) -> dict[int, float]:
    """At most so many of the results by number: the half of them that is least far, and others evenly."""
    if len(results) <= most:
        return dict(results)
    order = sorted(results, key=lambda number: (far(results[number]), number))
    near, rest = order[: most // 2], order[most // 2 :]
    others = np.linspace(0, len(rest) - 1, most - len(near)).astype(int)
    return {number: results[number] for number in sorted([*near, *(rest[i] for i in others)])}


class Process:
    """A Gaussian process of one result.

    Args:
        cube: The space.
        points: Where the results stand, shape (N, D).
        results: Shape (N,).
    """

    def __init__(self, cube: Cube, points: Numbers, results: Numbers) -> None:
        self.mean, self.scale = float(results.mean()), float(results.std()) or 1.0
        self.points, self.standard, self.unordered = (
            points,
            (results - self.mean) / self.scale,
            cube.unordered,
        )
        self.regressor = self._fitted(np.arange(points.shape[1]))

    @property
    def noise(self) -> float:
        """Standard deviation of one result around what is expected."""
        noise: float = self.regressor.noise_var.sqrt().item()
        return noise * self.scale

    def _fitted(self, sides: NDArray[np.intp]) -> GPRegressor:
        points, unordered = self.points[:, sides], self.unordered[sides]
        few = np.linspace(0, len(points) - 1, min(len(points), MOST_FITTED)).astype(int)
        kernel = _kernel(unordered.tobytes(), points[few].tobytes(), self.standard[few].tobytes())
        apart, x, y = (torch.from_numpy(array) for array in (unordered, points, self.standard))
        regressor = GPRegressor(apart, x, y, *kernel)
        regressor._cache_matrix()
        return regressor

    def __call__(self, points: Numbers) -> tuple[Numbers, Numbers]:
        """Mean and standard deviation of what is expected at some points, shape (M,) each."""
        mean, variance = self.regressor.posterior(torch.from_numpy(points))
        return mean.numpy() * self.scale + self.mean, variance.sqrt().numpy() * self.scale

    def believe(self, points: Numbers) -> None:
        """Take the means at some points for results."""
        where = torch.from_numpy(points)
        self.regressor.append_running_data(where, self.regressor.posterior(where)[0])

    def evidence(self) -> Numbers:
        """For each side, shape (D,), two or more: log of how many times likelier the results are with it than without.

        A Bayes factor; what a process is fitted by, its kernel's numbers, are fitted again without the side.
        """
        sides = np.arange(self.points.shape[1])
        whole = self.regressor.marginal_log_likelihood()
        without = [self._fitted(np.delete(sides, side)).marginal_log_likelihood() for side in sides]
        return np.array([float(whole - likelihood) for likelihood in without])

    def draws(self, points: Numbers, luck: Numbers) -> Numbers:
        """Functions that the results allow, at some points; shape (draws, M), from standard normals of that shape."""
        mean, covariance = self.regressor.posterior(torch.from_numpy(points), joint=True)
        covariance.diagonal().add_(JITTER * float(self.regressor.kernel_scale))
        root = torch.linalg.cholesky(covariance).numpy()
        return np.asarray((luck @ root.T + mean.numpy()) * self.scale + self.mean)

    def differences(self, points: Numbers) -> tuple[Numbers, Numbers]:
        """Mean and standard deviation of what the points before the last are more than it, shape (N + 1, D)."""
        mean, covariance = self.regressor.posterior(torch.from_numpy(points), joint=True)
        variance = covariance.diagonal()
        apart = (variance + variance[-1] - 2 * covariance[-1]).clamp_min(0.0).sqrt()
        return (mean - mean[-1]).numpy()[:-1] * self.scale, apart.numpy()[:-1] * self.scale


@lru_cache(maxsize=8)
def _kernel(
    unordered: bytes, points: bytes, results: bytes
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inverse squared length scales, scale and noise of a process: those that its results make the most likely.

    Whoever asks again of the same results does not wait for them.
    """
    sides, values = np.frombuffer(unordered, dtype=np.bool_).copy(), np.frombuffer(results).copy()
    where = np.frombuffer(points).reshape(len(values), len(sides)).copy()
    fitted = fit_kernel_params(where, values, sides, log_prior, MINIMUM_NOISE, False)
    return fitted.inverse_squared_lengthscales, fitted.kernel_scale, fitted.noise_var


def log_prior(regressor: GPRegressor) -> torch.Tensor:
    """Log density of length scales around 0.8, noise around a tenth of the variance, and a signal around 1.

    In the unit cube and standardised results; log-normal, with standard deviations of 0.8, 1 and 1.
    """
    scales = -0.5 * regressor.inverse_squared_lengthscales.log()
    noise, signal = regressor.noise_var.log(), regressor.kernel_scale.log()
    unlikely: torch.Tensor = ((scales - np.log(0.8)) / 0.8).square().sum() + (noise - np.log(0.1)).square()
    return torch.add(unlikely, signal.square()).mul(-0.5)
