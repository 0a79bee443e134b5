"""A data frame as it stands on a page or in a text: headings, kinds of columns, and its first rows as words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ppo_tune.reporting.wording import DECIMALS, cell, cut, label
from ppo_tune.safe_text import symbols


@dataclass(frozen=True)
class TableView:
    """What a table shows.

    Attributes:
        names: Of the columns, as in the frame.
        headings: The same for readers.
        numeric: Which columns hold numbers: they stand to the right, and sort by size.
        rows: The first rows, every cell as text that can be seen.
        n_rows: How many the frame has.
    """

    names: Sequence[str]
    headings: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[str]]
    n_rows: int


def view(frame: pd.DataFrame, max_rows: int, decimals: Mapping[str, int]) -> TableView:
    """The first rows of a frame, in words; columns that are not in `decimals` have those of `DECIMALS`."""
    digits = {**DECIMALS, **decimals}
    names = [str(name) for name in frame.columns]
    columns = [frame.iloc[:, i] for i in range(len(names))]
    texts = [
        [symbols(cut(cell(value, name, digits))) for value in column.head(max_rows)]
        for name, column in zip(names, columns, strict=True)
    ]
    return TableView(
        names=names,
        headings=[label(name) for name in names],
        numeric=[is_numeric(column) for column in columns],
        rows=list(zip(*texts, strict=True)),
        n_rows=len(frame),
    )


def is_numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers and nothing else; yes and no are none."""
    if is_numeric_dtype(column):
        return not is_bool_dtype(column)
    known = column.dropna()
    return len(known) > 0 and all(type(value) in (int, float) for value in known)
