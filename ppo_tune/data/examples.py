"""Rows that a model is fitted to, and prompts with good responses; loads no model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

from ppo_tune.calling import place_of
from ppo_tune.config.fitting import PairColumns
from ppo_tune.config.source import Source
from ppo_tune.data.chats import Chat
from ppo_tune.data.formats import Row
from ppo_tune.data.prompts import named_columns, problem_of_column, template_columns
from ppo_tune.data.row_file import RowFile, View
from ppo_tune.data.shapes import CONVERSATIONS
from ppo_tune.data.tables import Remarks, checked_rows
from ppo_tune.errors import ConfigError, DataError, Problem

Texts = TypeVar("Texts", bound=tuple[str, ...])


@dataclass(frozen=True)
class Examples(Generic[Texts]):
    """What a file holds to fit a model to.

    Attributes:
        rows: Texts of one example each, in a temporary file; to be read like a list.
        notes: What may surprise whoever wrote the file; one sentence each.
        places: File and line of each row.
    """

    rows: Sequence[Texts]
    notes: tuple[str, ...]
    places: Sequence[str] = ()


def read_pairs(path: str | Path, columns: PairColumns | None = None) -> Examples[tuple[str, str]]:
    """Texts given to the model with good responses, for `fit_sft`; of preferences as published the chosen ones.

    Args:
        path: A file of one of the `ppo_tune.data.formats.FORMATS`.
        columns: What its columns are called.

    Raises:
        DataError: If the file or one of its rows cannot be used.
        ConfigError: If the template is not one, or names a column that no row has.
    """
    columns = columns or PairColumns()
    if columns.prompt in CONVERSATIONS:  # which hold the response, too
        columns = columns.model_copy(update={"prompt": "prompt"})
    published = {columns.prompt: "prompt", columns.reference: "response"}
    options = {columns.prompt: place_of("prompt"), columns.reference: place_of("reference")}
    template = _Template(columns)
    rows, remarks = text_file(), Remarks()
    for row in checked_rows(
        path, [*published], source=Source.of(columns), published=published, options=options, remarks=remarks
    ):
        prompt = template.fill(row)
        if prompt is not None:
            rows.append((prompt, row.columns[columns.reference], row.where))
    template.check()
    return _examples(rows, remarks.notes)


class _Template:
    """What the model is given of rows, whose columns are all known when the last of them is read.

    Args:
        columns: What they are called, and the template.

    Raises:
        ConfigError: If it is not one.
    """

    def __init__(self, columns: PairColumns) -> None:
        self._place = place_of("template")
        self._text, self._prompt = columns.template, columns.prompt
        self._named = named_columns(columns.template, self._place)
        self._columns: dict[str, None] = {}
        self._problem: str | None = None
        self._chat: str | None = None

    def fill(self, row: Row) -> str | None:
        """What the model is given of a row; None if there is something wrong, which `check` says."""
        self._columns.update(dict.fromkeys(row.columns))
        problems = (problem_of_column(row, name, self._place) for name in self._named)
        self._problem = self._problem or next(filter(None, problems), None)
        prompt: str = row.columns[self._prompt]
        if isinstance(prompt, Chat):
            if self._text != "{prompt}":
                self._chat = self._chat or row.where
            return prompt
        return None if self._problem else self._text.format(**{**row.columns, "prompt": prompt})

    def check(self) -> None:
        """Say what was wrong with the template or with a row.

        Raises:
            ConfigError: If it names a column that no row has, or a row is a conversation.
            DataError: If a row has nothing to write for one.
        """
        template_columns(self._text, self._columns, self._place)
        if self._problem:
            raise DataError(f"{self._problem}; mend the row")
        if self._chat:
            what = f"{self._chat} holds messages, which the model's chat template writes; leave it out"
            raise ConfigError([Problem(self._place, what)])


def _examples(rows: RowFile[Any], notes: Sequence[str]) -> Examples[Any]:
    """Rows of texts with their places."""
    return Examples(View(rows, itemgetter(slice(-1))), tuple(notes), View(rows, itemgetter(-1)))


def text_file() -> RowFile[Any]:
    """A file of rows of texts, conversations among them."""
    return RowFile(_pack, _unpack)


def _pack(texts: Sequence[str]) -> bytes:
    plain = [[*text.turns] if isinstance(text, Chat) else text for text in texts]
    return json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _unpack(packed: bytes) -> tuple[str, ...]:
    texts = json.loads(packed.decode("utf-8", "surrogatepass"))
    return tuple(Chat(text) if isinstance(text, list) else text for text in texts)
