"""What a reward model's head learns from each kind of label: its outputs, their loss, and how they are read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.data.labels import ClassLabels, Kind, Labels, Numbers, PairLabels, RatingLabels, mean_and_spread
from ppo_tune.fitting.label_losses import class_loss, pair_log_probs, pair_loss, rating_loss
from ppo_tune.fitting.raters import without_offsets
from ppo_tune.rewards.links import Link, ordered_log_probs

L = TypeVar("L", bound=Labels)


class Head(ABC, Generic[L]):
    """How the outputs of a model are fitted to labels.

    Args:
        labels: Of all rows.
        train: The rows that are learned from.
        config: How to fit.
        keys: What each row's responses are, by a text that two rows share which have the same.

    Attributes:
        parameters: What is learned beside the model: scalars and vectors, float32.
    """

    parameters: Sequence[nn.Parameter] = ()

    def __init__(
        self, labels: L, train: Sequence[int], config: RewardTrainingConfig, keys: Sequence[Any]
    ) -> None:
        self.labels, self.config = labels, config
        self.device = torch.device("cpu")

    @property
    @abstractmethod
    def link(self) -> Link:
        """From the H outputs to one number, by what is learned so far."""

    @abstractmethod
    def loss(self, said: Tensor, rows: Sequence[int]) -> Tensor:
        """The loss of some rows, by their numbers, (N, R, H) -> (N,); differentiable."""

    def lesson(self, said: Tensor) -> Tensor:
        """What a teacher's outputs, (N, 1, H), say of N rows, for `imitate`: (N, ...)."""
        raise NotImplementedError(f"nobody comments on {self.labels.kind}")

    def imitate(self, lesson: Tensor, rows: Sequence[int]) -> None:
        """Learn of some rows, from now on, what a teacher says of them, and no more their labels."""
        raise NotImplementedError(f"nobody comments on {self.labels.kind}")

    def order(self, rows: Sequence[int]) -> Numbers:
        """A number per row that is larger for a better response, NaN where that is not known, (N,)."""
        return self.labels.at(rows).order()

    @abstractmethod
    def calibration(self, said: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Of some rows, (N, R, H), what the model expects and what was: each (N,)."""

    def to(self, device: torch.device) -> None:
        """Have all on a device; before anything is learned."""
        self.device = device
        self.parameters = [nn.Parameter(one.detach().to(device)) for one in self.parameters]

    def _column(self, values: Any, rows: Sequence[int]) -> Tensor:
        """Some rows of an array, where the model is."""
        return torch.as_tensor(values[np.asarray(rows, np.int64)]).to(self.device)


class PairHead(Head[PairLabels]):
    """One score; a pair's loss is that of Bradley and Terry, or of a model that knows ties.

    References:
        Stiennon et al., 2020, "Learning to summarize from human feedback", arXiv:2009.01325, 3.4; Touvron et al.,
        2023, "Llama 2", arXiv:2307.09288, 3.2.2 (margins); Wang et al., 2024, arXiv:2410.01257 (scaled).
    """

    def __init__(
        self, labels: PairLabels, train: Sequence[int], config: RewardTrainingConfig, keys: Sequence[Any]
    ) -> None:
        super().__init__(labels, train, config, keys)
        self._knows_ties = config.ties != "half" and bool(labels.tied.any())
        if self._knows_ties:
            self.parameters = [nn.Parameter(torch.zeros(()))]

    @property
    def link(self) -> Link:
        """One score."""
        return Link()

    def _log_probs(self, lead: Tensor) -> Tensor:
        if not self._knows_ties:
            return pair_log_probs(lead, "half")
        (free,) = self.parameters
        parameter = functional.softplus(free) if self.config.ties == "rao_kupper" else free
        return pair_log_probs(lead, self.config.ties, parameter.to(lead))

    def loss(self, said: Tensor, rows: Sequence[int]) -> Tensor:
        """-log p of what was chosen, by the lead of the first response."""
        lead = said[:, 0, 0] - said[:, 1, 0]
        tied = self._column(self.labels.tied, rows)
        margins = self._column(self.labels.margins, rows).to(lead.dtype)
        if self.config.margins == "scale":
            scale = torch.where(margins > 0, margins, 1.0)
            return scale * pair_loss(self._log_probs(lead), tied, self.config.label_noise)
        return pair_loss(self._log_probs(lead - margins), tied, self.config.label_noise)

    def calibration(self, said: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The probability of the response with the higher score, and whether it was chosen; a tie counts half."""
        lead = (said[:, 0, 0] - said[:, 1, 0]).double()
        right = torch.where(lead > 0, 1.0, torch.where(lead < 0, 0.0, 0.5)).double()
        right[torch.as_tensor(self.labels.tied[np.asarray(rows, np.int64)])] = 0.5
        return lead.abs().sigmoid(), right


class RatingHead(Head[RatingLabels]):
    """A number per attribute in units of its standard deviation, by regression, less each rater's own offset."""

    def __init__(
        self, labels: RatingLabels, train: Sequence[int], config: RewardTrainingConfig, keys: Sequence[Any]
    ) -> None:
        super().__init__(labels, train, config, keys)
        chosen = np.asarray(train, np.int64)
        ratings = self._ratings = without_offsets(labels.ratings, labels.raters, keys, chosen)
        mean, spread = mean_and_spread(ratings[chosen])
        self._targets = (ratings - mean) / spread
        self._learned = self._targets

    @property
    def link(self) -> Link:
        """A score of each attribute."""
        return Link(attributes=self.labels.attributes)

    def loss(self, said: Tensor, rows: Sequence[int]) -> Tensor:
        """The error of each attribute that was rated."""
        targets = self._column(self._learned, rows).to(said.dtype)
        return rating_loss(said[:, 0], targets, huber=self.config.huber)

    def lesson(self, said: Tensor) -> Tensor:
        """Ratings, (N, A)."""
        return said[:, 0]

    def imitate(self, lesson: Tensor, rows: Sequence[int]) -> None:
        """Learn the teacher's ratings."""
        self._learned = self._targets.copy()
        self._learned[np.asarray(rows, np.int64)] = lesson.numpy()

    def order(self, rows: Sequence[int]) -> Numbers:
        """The mean of all attributes in units of their standard deviation, less offsets; NaN where one is missing."""
        return replace(self.labels, ratings=self._in_steps()).at(rows).order()

    def order_by(self, attribute: int, rows: Sequence[int]) -> Numbers:
        """The ratings of one attribute, less offsets."""
        found: Numbers = self._in_steps()[np.asarray(rows, np.int64), attribute]
        return found

    def _in_steps(self) -> Numbers:
        """The ratings without offsets in the steps of each scale, so that what two raters call equal is so."""
        found = self._ratings.copy()
        for raw, column in zip(self.labels.ratings.T, found.T, strict=True):
            known = np.unique(raw[~np.isnan(raw)])
            step = np.diff(known).min() if len(known) > 1 else 1.0
            column[:] = np.round(column / step) * step
        return found

    def calibration(self, said: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The mean over the attributes that were rated, of what the model says and of the ratings."""
        targets = torch.as_tensor(self._targets[np.asarray(rows, np.int64)])
        known = ~targets.isnan()
        n = known.sum(-1)
        return (said[:, 0].double() * known).sum(-1) / n, targets.nan_to_num().sum(-1) / n


class ClassHead(Head[ClassLabels]):
    """Ordered classes by one latent score and thresholds, two by one logit, unordered ones by an output for each."""

    def __init__(
        self, labels: ClassLabels, train: Sequence[int], config: RewardTrainingConfig, keys: Sequence[Any]
    ) -> None:
        super().__init__(labels, train, config, keys)
        self._latent = labels.ordered
        self._taught: Tensor | None = None
        if labels.ordered and len(labels.names) > 2:
            self.parameters = [nn.Parameter(_free(_first_thresholds(labels, train)))]

    def _thresholds(self) -> Tensor:
        """θ, ascending; of two classes it is 0, for the logit has a bias of its own in the mean over base samples."""
        if not self.parameters:
            return torch.zeros(1, device=self.device)
        (free,) = self.parameters
        return torch.cat([free[:1], free[:1] + functional.softplus(free[1:]).cumsum(0)])

    @property
    def link(self) -> Link:
        """The classes, with the thresholds that are learned so far."""
        labels = self.labels
        thresholds = tuple(self._thresholds().tolist()) if self._latent else ()
        return Link(labels.names, thresholds, labels.good)

    def _log_probs(self, said: Tensor) -> Tensor:
        if self._latent:
            return ordered_log_probs(said[:, 0, 0], self._thresholds().to(said))
        return functional.log_softmax(said[:, 0], -1)

    def loss(self, said: Tensor, rows: Sequence[int]) -> Tensor:
        """-log p of the class, or its mean over the classes that a teacher expects."""
        if self._taught is None:
            return class_loss(self._log_probs(said), self._column(self.labels.classes, rows))
        expected = self._taught[torch.as_tensor(rows)].to(said)
        return -(expected * self._log_probs(said)).sum(-1)

    @torch.no_grad()
    def lesson(self, said: Tensor) -> Tensor:
        """Probabilities, (N, K)."""
        return self._log_probs(said.to(self.device)).exp().cpu()

    def imitate(self, lesson: Tensor, rows: Sequence[int]) -> None:
        """Learn the teacher's probabilities: the surer it is, the more a row teaches."""
        known = torch.as_tensor(self.labels.classes).clamp(min=0)
        self._taught = functional.one_hot(known, len(self.labels.names)).float()
        self._taught[torch.as_tensor(rows)] = lesson.float()

    @torch.no_grad()
    def calibration(self, said: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The probability of the likeliest class, and whether it was the row's."""
        sure, likeliest = self._log_probs(said.to(self.device)).double().exp().cpu().max(-1)
        return sure, (likeliest == torch.as_tensor(self.labels.classes[np.asarray(rows, np.int64)])).double()


def _first_thresholds(labels: ClassLabels, train: Sequence[int]) -> Tensor:
    """Thresholds by which each class is as likely as it is frequent, where nothing is known of a response."""
    k = len(labels.names)
    classes = labels.classes[np.asarray(train, np.int64)]
    counts = np.bincount(classes[classes >= 0], minlength=k) + 0.5
    below = counts.cumsum()[:-1] / counts.sum()
    return torch.tensor(np.log(below / (1 - below)), dtype=torch.float32)


def _free(thresholds: Tensor) -> Tensor:
    """θ_1 and the x of θ_(k+1) - θ_k = softplus(x)."""
    gaps = (thresholds[1:] - thresholds[:-1]).clamp(min=1e-3)
    return torch.cat([thresholds[:1], torch.log(torch.expm1(gaps))])


HEADS: Mapping[Kind, type[Head[Any]]] = {"pairs": PairHead, "ratings": RatingHead, "classes": ClassHead}
"""Of every kind of label."""
