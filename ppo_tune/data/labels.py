"""What people said of responses, in the order of the rows: pairs of which one is better, ratings, classes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ppo_tune.errors import DataError

Kind = Literal["pairs", "ratings", "classes"]
"""What a label is: which of two responses was chosen, numbers, or a class by name."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Labels(ABC):
    """The labels of N rows.

    Attributes:
        raters: Who gave each, (N,); None where that is not known.
        comments: What was written of each response, which may be all that was said of it, (N,) texts; None where
            nothing was.
    """

    kind: ClassVar[Kind]
    n_responses: ClassVar[int] = 1

    raters: "NDArray[np.str_] | None"
    comments: "NDArray[np.object_] | None" = field(default=None, kw_only=True)

    @abstractmethod
    def __len__(self) -> int:
        """How many rows there are."""

    def at(self, rows: Sequence[int]) -> Self:
        """The labels of some of the rows."""
        chosen = np.asarray(rows, np.int64)
        parts = {name: value[chosen] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **parts)

    @abstractmethod
    def order(self) -> Numbers:
        """A number per row that is larger for a better response, NaN where that is not known, (N,)."""

    def known(self) -> NDArray[np.bool_]:
        """Whether a row has a label, and not a comment alone, (N,)."""
        return np.ones(len(self), bool)

    @abstractmethod
    def check(self) -> None:
        """Refuse labels that no model can learn from.

        Raises:
            DataError: If all are the same.
        """


@dataclass(frozen=True, eq=False)
class PairLabels(Labels):
    """Of each pair of responses the first was chosen, or neither.

    Attributes:
        margins: By how much it is better, in units of the score, 0 where that is not said, (N,).
        tied: Whether neither was chosen, (N,).
    """

    kind = "pairs"
    n_responses = 2

    margins: Numbers
    tied: NDArray[np.bool_]

    @classmethod
    def plain(cls, n: int) -> Self:
        """N pairs of which the first is chosen, of unknown raters."""
        return cls(None, np.zeros(n), np.zeros(n, bool))

    def __len__(self) -> int:
        return len(self.tied)

    def order(self) -> Numbers:
        """1 where the first is better than the second, 0 for a tie."""
        return np.where(self.tied, 0.0, 1.0)

    def check(self) -> None:
        """Refuse ties alone."""
        if self.tied.all():
            raise DataError("in every pair neither response was chosen, so no order can be learned")


@dataclass(frozen=True, eq=False)
class RatingLabels(Labels):
    """Numbers, larger for a better response.

    Attributes:
        attributes: What is rated: A names.
        ratings: Shape (N, A), NaN where one is missing.
    """

    kind = "ratings"

    attributes: tuple[str, ...]
    ratings: Numbers

    def __len__(self) -> int:
        return len(self.ratings)

    def order(self) -> Numbers:
        """The mean of what is rated, in units of each attribute's standard deviation; NaN where one is missing."""
        _, spread = mean_and_spread(self.ratings)
        found: Numbers = (self.ratings / spread).mean(-1)
        return found

    def known(self) -> NDArray[np.bool_]:
        """Whether any attribute of a row is rated."""
        return np.asarray(~np.isnan(self.ratings).all(-1))

    def check(self) -> None:
        """Refuse attributes that are not rated, or always with the same number."""
        for name, column in zip(self.attributes, self.ratings.T, strict=True):
            known = column[~np.isnan(column)]
            if not len(known):
                raise DataError(f"no row has a rating of {name!r}")
            if (known == known[0]).all():
                raise DataError(f"all ratings of {name!r} are {known[0]:g}, so nothing can be learned of it")


def mean_and_spread(ratings: Numbers) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation of each attribute, (N, A) -> (A,); 0 and 1 of one without ratings that differ."""
    known = ~np.isnan(ratings)
    n = np.maximum(known.sum(0), 1)
    mean = np.where(known, ratings, 0.0).sum(0) / n
    spread = np.sqrt(np.square(np.where(known, ratings - mean, 0.0)).sum(0) / n)
    return mean, np.where(spread > 0, spread, 1.0)


@dataclass(frozen=True, eq=False)
class ClassLabels(Labels):
    """Classes by name.

    Attributes:
        names: K classes, from worst to best where they are ordered.
        classes: The number of each row's class, -1 where it has none, (N,).
        good: The number of the class to be reached.
        ordered: Whether they have an order.
    """

    kind = "classes"

    names: tuple[str, ...]
    classes: NDArray[np.int64]
    good: int
    ordered: bool

    def __len__(self) -> int:
        return len(self.classes)

    def order(self) -> Numbers:
        """The number of the class, or 1 for the one to be reached and 0 for all others."""
        worth = self.classes if self.ordered else self.classes == self.good
        return np.where(self.known(), worth, np.nan)

    def known(self) -> NDArray[np.bool_]:
        """Whether a row has a class."""
        return np.asarray(self.classes >= 0)

    def check(self) -> None:
        """Refuse one class alone, and labels of which none is the class to be reached."""
        seen = np.unique(self.classes[self.known()])
        if not len(seen):
            raise DataError("no row has a class")
        if len(seen) == 1:
            raise DataError(f"all labels are {self.names[seen[0]]!r}, and one class alone says nothing")
        if not self.ordered and self.good not in seen:
            raise DataError(f"no label is {self.names[self.good]!r}, the class to be reached")
