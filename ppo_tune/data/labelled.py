"""A file of judged responses: in pairs, by ratings or by classes, which its columns tell; loads no model."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from ppo_tune.calling import place_of
from ppo_tune.config.fitting import KIND_OF, LabelColumns
from ppo_tune.config.source import Source
from ppo_tune.data.chats import read_chat
from ppo_tune.data.examples import Examples, text_file
from ppo_tune.data.formats import Row, records
from ppo_tune.data.labels import ClassLabels, Kind, Labels, PairLabels, RatingLabels
from ppo_tune.data.row_file import View
from ppo_tune.data.tables import Remarks, checked_rows
from ppo_tune.errors import ConfigError, DataError, Problem
from ppo_tune.plurals import counted

L = TypeVar("L", bound=Labels, covariant=True)

SCALES = (
    ("bad", "fair", "good"), ("差", "中", "好"), ("false", "true"), ("no", "yes"), ("0", "1"), ("down", "up"),
)  # fmt: skip
"""Classes that need no name, from worst to best."""

CHOICES: Mapping[str, int] = {
    "a": 0, "first": 0, "left": 0, "b": 1, "second": 1, "right": 1, "tie": 2, "draw": 2, "equal": 2, "same": 2,
}  # fmt: skip
"""What a column of choices says: the first of two, the second, or neither."""


@dataclass(frozen=True)
class Labelled(Examples[tuple[str, ...]]):
    """What a file of judged responses holds: of each row the prompt with its responses.

    Attributes:
        labels: What was said of them.
    """

    labels: Labels = field(kw_only=True)


def read_labels(path: str | Path, columns: LabelColumns | None = None) -> Labelled:
    """Prompts with judged responses, for `fit_reward`.

    Args:
        path: A file of one of the `ppo_tune.data.formats.FORMATS`, with these columns or in one of the
            `ppo_tune.data.shapes.SHAPES` as published.
        columns: What its columns are called.

    Raises:
        DataError: If the file or one of its rows cannot be used, or all labels are the same.
        ConfigError: If the columns do not say what is to be learned.
    """
    columns = columns or LabelColumns()
    first = _first_row(Path(path), columns)
    kind = _kind(first, columns, path) if columns.kind in (None, "comments") else columns.kind
    assert kind is not None and kind != "comments"
    reader = READERS[kind](columns, first, path)
    rows, remarks, left_out = text_file(), Remarks(), Counter[str]()
    for row in checked_rows(
        path,
        [*reader.texts],
        chat=reader.chat,
        source=Source.of(columns),
        published=reader.texts,
        options={name: place_of(option) for name, option in reader.texts.items()},
        remarks=remarks,
    ):
        try:
            texts = reader.read(row)
        except LeftOut as error:
            left_out[str(error)] += 1
        else:
            rows.append((*texts, row.where))
    if not rows:
        why, _ = left_out.most_common(1)[0]
        raise DataError(f"{path}: at least one row that says something is needed, but in every row {why}")
    labels = reader.labels()
    try:
        labels.check()
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    left = (f"{path}: {counted(n, 'row', 'were')} left out: {why}" for why, n in left_out.items())
    notes = (*remarks.notes, *left, *reader.notes)
    return Labelled(View(rows, itemgetter(slice(-1))), notes, View(rows, itemgetter(-1)), labels=labels)


class LeftOut(Exception):
    """A row says nothing; holds why, as the end of a sentence."""


class Reader(ABC, Generic[L]):
    """Reads rows of one kind of label.

    Args:
        columns: What the file's columns are called.
        first: The first row's columns.
        path: The file, for messages.

    Attributes:
        texts: The columns that hold texts, by the options that name them and that publishers call them by.
        chat: The one among them that may hold lists of messages.
        notes: What may surprise whoever wrote the file.
    """

    texts: Mapping[str, str]
    chat = ""

    def __init__(self, columns: LabelColumns, first: Mapping[str, Any], path: str | Path) -> None:
        self.columns, self.path = columns, path
        self.notes: list[str] = []
        self.comments: list[str] | None = None
        self._rater = self.optional(columns.rater, "rater", first)
        self._raters: list[str] = []

    def read(self, row: Row) -> tuple[str, ...]:
        """A row's prompt and responses, its label being noted.

        Raises:
            LeftOut: If it says nothing.
            DataError: If it cannot be used.
        """
        texts = self.note(row)
        if self._rater:
            self._raters.append(str(row.columns.get(self._rater)))
        return texts

    @abstractmethod
    def note(self, row: Row) -> tuple[str, ...]:
        """The same but for who judged the row."""

    @abstractmethod
    def labels(self) -> L:
        """The labels of all rows that were read."""

    def written(self) -> Any:
        """The comments; None where no column holds any."""
        return None if self.comments is None else np.array(self.comments, object)

    def raters(self) -> Any:
        """Who judged each row; None where no column says so."""
        if not self._rater:
            return None
        if len({*self._raters}) == 1:
            self.notes.append(f"{self.path}: one rater, {self._raters[0]!r}, judged all rows")
        return np.array(self._raters)

    def optional(self, named: str | None, usual: str, first: Mapping[str, Any]) -> str | None:
        """A column that is named, or one of the usual name if there is one.

        Raises:
            DataError: If it is named and not there.
        """
        if named is None:
            return usual if usual in first else None
        self.need([named], usual, first)
        return named

    def need(self, names: Sequence[str], option: str, first: Mapping[str, Any]) -> None:
        """Refuse columns that the first row has not.

        Raises:
            DataError: If one of them is not there.
        """
        for name in names:
            if name not in first:
                raise DataError(
                    f"{self.path}: there is no column {name!r} for {place_of(option)}; the first row has "
                    f"{', '.join(map(str, first))}"
                )


class PairReader(Reader[PairLabels]):
    """Pairs, either as chosen and rejected, or as a and b with a column that says which was chosen."""

    def __init__(self, columns: LabelColumns, first: Mapping[str, Any], path: str | Path) -> None:
        super().__init__(columns, first, path)
        self._by_choice = {"a", "b", columns.choice} <= {*first} and columns.chosen not in first
        pair = (
            {"a": "a", "b": "b"}
            if self._by_choice
            else {columns.chosen: "chosen", columns.rejected: "rejected"}
        )
        self.texts = {columns.prompt: "prompt", **pair}
        self._margin = self.optional(columns.margin, "margin", first)
        if self._margin and columns.margin is None:
            self.notes.append(f"{path}: column 'margin' says by how much a response is better")
        self._margins, self._tied = list[float](), list[bool]()

    def note(self, row: Row) -> tuple[str, ...]:
        """A row's prompt with the better response first; its margin, and whether neither is better, are noted."""
        prompt, first, second = (row.columns[name] for name in self.texts)
        if first == second:
            raise LeftOut("both responses are the same")
        choice = self._choice(row) if self._by_choice else 0
        margin = number(row, self._margin) if self._margin else 0.0
        if margin < 0:
            raise DataError(
                f"{row.where}: column {self._margin!r} must be 0 or more, but got {margin:g}; mend the row"
            )
        self._margins.append(0.0 if math.isnan(margin) else margin)
        self._tied.append(choice == 2)
        return (prompt, second, first) if choice == 1 else (prompt, first, second)

    def _choice(self, row: Row) -> int:
        said = word(row.columns[self.columns.choice]) if self.columns.choice in row.columns else ""
        if said.replace(" ", "").startswith(("bothbad", "tie(bothbad)", "neither")):
            raise LeftOut("both responses were called bad, which is no tie")
        if said not in CHOICES:
            raise DataError(
                f"{row.where}: column {self.columns.choice!r} must say one of {', '.join(CHOICES)}, but got "
                f"{row.columns.get(self.columns.choice)!r}; mend the row"
            )
        return CHOICES[said]

    def labels(self) -> PairLabels:
        """Those of all rows that were read."""
        return PairLabels(self.raters(), np.array(self._margins), np.array(self._tied, bool))


class _OneResponse(Reader[L]):
    """Rows of one response each."""

    def __init__(self, columns: LabelColumns, first: Mapping[str, Any], path: str | Path) -> None:
        super().__init__(columns, first, path)
        self.texts = {columns.prompt: "prompt", columns.response: "response"}
        self.chat = columns.prompt
        self._comment = self.optional(columns.comment, "comment", first)
        if columns.kind == "comments" and self._comment is None:
            self.need(["comment"], "comment", first)
        if self._comment is not None:
            self.comments = []
            self.notes.append(
                f"{path}: column {self._comment!r} says in words what was thought of a response; a teacher learns to "
                "read it, and the reward model learns from the teacher"
            )

    def judged(self, row: Row, why: str, *, missing: bool) -> tuple[str, ...]:
        """A row's prompt, a conversation where it holds messages, and response; its comment is noted.

        Raises:
            LeftOut: If it has neither a label nor a comment.
        """
        comment = str(row.columns.get(self._comment) or "").strip() if self._comment else ""
        if missing and not comment:
            raise LeftOut(why)
        if self.comments is not None:
            self.comments.append(comment)
        prompt, response = (row.columns[name] for name in self.texts)
        return (read_chat(prompt)[0] if isinstance(prompt, list) else prompt, response)


class RatingReader(_OneResponse[RatingLabels]):
    """Ratings of one attribute or of several, of which a row need not have all."""

    def __init__(self, columns: LabelColumns, first: Mapping[str, Any], path: str | Path) -> None:
        super().__init__(columns, first, path)
        self._attributes = tuple(split_names(columns.rating or KIND_COLUMN["ratings"]))
        self.need(self._attributes, "rating", first)
        self._ratings: list[list[float]] = []

    def note(self, row: Row) -> tuple[str, ...]:
        """A row's prompt and response; its ratings are noted."""
        ratings = [number(row, name) for name in self._attributes]
        texts = self.judged(row, "no rating is given", missing=all(map(math.isnan, ratings)))
        self._ratings.append(ratings)
        return texts

    def labels(self) -> RatingLabels:
        """Those of all rows that were read."""
        direction = 1.0 if self.columns.best == "high" else -1.0
        ratings = direction * np.array(self._ratings)
        return RatingLabels(self.raters(), self._attributes, ratings, comments=self.written())


class ClassReader(_OneResponse[ClassLabels]):
    """Classes by name."""

    def __init__(self, columns: LabelColumns, first: Mapping[str, Any], path: str | Path) -> None:
        super().__init__(columns, first, path)
        self._column = columns.label or KIND_COLUMN["classes"]
        self.need([self._column], "label", first)
        self._names, self._known = classes_of(columns.classes) if columns.classes else ((), {})
        self._labels: list[str] = []

    def note(self, row: Row) -> tuple[str, ...]:
        """A row's prompt and response; its class is noted."""
        value = row.columns.get(self._column)
        if isinstance(value, list | dict):
            raise DataError(
                f"{row.where}: column {self._column!r} must hold a class, but got {value!r}; mend the row"
            )
        said = word(value)
        if said and self._names and said not in self._known:
            raise DataError(
                f"{row.where}: column {self._column!r} must hold one of {', '.join(self._known)}, but got {said!r}; "
                f"add it to {place_of('classes')}, or mend the row"
            )
        texts = self.judged(row, "no class is given", missing=not said)
        self._labels.append(said)
        return texts

    def labels(self) -> ClassLabels:
        """Those of all rows that were read."""
        names, known = (self._names, self._known) if self._names else self._usual()
        ordered = self.columns.order == "ordered" or len(names) == 2
        good = len(names) - 1
        if self.columns.good is not None:
            if (said := word(self.columns.good)) not in known:
                raise ConfigError(
                    [Problem(place_of("good"), f"must be one of {', '.join(known)}, but got {said!r}")]
                )
            good = known[said]
        if ordered and good != len(names) - 1:
            if len(names) > 2:
                what = "of ordered classes the last is to be reached; give them in that order, or order: unordered"
                raise ConfigError([Problem(place_of("good"), what)])
            names, known, good = names[::-1], {said: 1 - n for said, n in known.items()}, 1
        classes = np.array([known[said] if said else -1 for said in self._labels], np.int64)
        return ClassLabels(self.raters(), names, classes, good, ordered, comments=self.written())

    def _usual(self) -> tuple[tuple[str, ...], Mapping[str, int]]:
        """The usual classes that all labels are of.

        Raises:
            ConfigError: If there are none.
        """
        found = [*dict.fromkeys(said for said in self._labels if said)]
        for scale in SCALES:
            if {*found} <= {*scale}:
                return scale, {name: n for n, name in enumerate(scale)}
        raise ConfigError(
            [
                Problem(
                    place_of("classes"),
                    f"must name the classes from worst to best, for column {self._column!r} of {self.path} holds "
                    f"{', '.join(found[:6])}{', …' if len(found) > 6 else ''}{self._numbers(found)}",
                )
            ]
        )

    def _numbers(self, found: Sequence[str]) -> str:
        """The other way to read labels that are all numbers."""
        if not all(said.replace(".", "", 1).lstrip("-").isdecimal() for said in found):
            return ""
        return f"; to read them as numbers, name it by {place_of('rating')}"


READERS: Mapping[Kind, type[Reader[Labels]]] = {
    "pairs": PairReader,
    "ratings": RatingReader,
    "classes": ClassReader,
}
"""Of every kind."""

KIND_COLUMN: Mapping[str, str] = {kind: column for column, kind in KIND_OF.items()}
"""The usual column of a kind's labels."""


def _first_row(path: Path, columns: LabelColumns) -> Mapping[str, Any]:
    """The columns of the first row that can be read; none where there is no such row."""
    named = (columns.prompt, columns.response, columns.chosen, columns.rejected, columns.choice)
    wanted = [*named, *filter(None, (columns.rating, columns.label)), *KIND_OF]
    found = records(path, wanted, [], Source.of(columns))
    return next((row.columns for row in found if isinstance(row, Row)), {})


def _kind(first: Mapping[str, Any], columns: LabelColumns, path: str | Path) -> Kind:
    """What a file with such a row holds, by its columns or those that are named.

    Raises:
        ConfigError: If it may be more than one.
    """
    if columns.rating or columns.label:
        return "ratings" if columns.rating else "classes"
    are_pairs = {columns.chosen, columns.rejected} <= {*first} or {"a", "b", columns.choice} <= {*first}
    if are_pairs and columns.kind is None:
        return "pairs"
    found: list[Kind] = [kind for kind in ("ratings", "classes") if KIND_COLUMN[kind] in first]
    if len(found) > 1:
        of_both = f"must be named, for {path} has a column 'rating' and a column 'label'"
        place = place_of("kind") if columns.kind is None else f"{place_of('rating')} or {place_of('label')}"
        raise ConfigError([Problem(place, of_both)])
    if not found and (columns.kind or {columns.response, "completion"} & {*first}):
        raise DataError(
            f"{path}: which column says how good a response is? name it by {place_of('rating')} (numbers) or "
            f"{place_of('label')} (classes); the first row has {', '.join(map(str, first))}"
        )
    return found[0] if found else "pairs"


def classes_of(written: str) -> tuple[tuple[str, ...], Mapping[str, int]]:
    """Classes from worst to best, and the number of each word for one.

    Args:
        written: Such as bad=poor=差,fair=中,good=好.

    Raises:
        ConfigError: If there are fewer than two, or a word is of two of them.
    """
    groups = [
        [word(one) for one in group.split("=") if one.strip()]
        for group in written.split(",")
        if group.strip()
    ]
    known: dict[str, int] = {}
    for n, group in enumerate(groups):
        for said in group:
            if said in known:
                raise ConfigError(
                    [Problem(place_of("classes"), f"must name each word once, but {said!r} is there twice")]
                )
            known[said] = n
    if len(groups) < 2:
        what = f"must name two classes or more, from worst to best with commas between, but got {written!r}"
        raise ConfigError([Problem(place_of("classes"), what)])
    return tuple(group[0] for group in groups), known


def split_names(written: str) -> list[str]:
    """Names with commas between."""
    return [name.strip() for name in written.split(",") if name.strip()]


def word(value: Any) -> str:
    """A label as a word: 1, 1.0 and True are what files of different formats have for the same thing as text."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).casefold()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def number(row: Row, column: str) -> float:
    """A number of a row; NaN where there is none.

    Raises:
        DataError: If something else stands there.
    """
    value = row.columns.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(value)
    except (TypeError, ValueError):
        found = math.inf
    if math.isinf(found):
        raise DataError(
            f"{row.where}: column {column!r} must hold a number, but got {value!r}; mend the row"
        ) from None
    return found
