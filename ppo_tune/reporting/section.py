"""The parts of a report: a chapter asks one question, a section of it is words, a figure and its table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from plotly import graph_objects as go

Summary = Literal["nothing", "reading", "tables"]
"""What of a chapter stands in summary.md: nothing, its first reading, or its tables that have no figure."""


@dataclass(frozen=True)
class Section:
    """One figure with its words and numbers.

    Attributes:
        anchor: Name within the page.
        title: A noun; "" where the chapter's says it all.
        reading: What it says, in one or two plain sentences.
        figure: Or None where there is nothing to draw.
        table: The numbers behind it, or None.
        wide: Whether the figure needs to scroll sideways on a narrow screen.
        template: A template of its own for what is neither figure nor table; rendered with `data`.
        data: What that template needs.
        max_rows: Rows of the table that stand on the page, the first ones.
        all_rows: The file beside the page that has all of them.
        summary: What stands in summary.md in its place; None where its own table does if it has no figure.
        decimals: Digits after the point by the table's columns, for those that `wording.DECIMALS` does not know.
    """

    anchor: str
    title: str
    reading: str
    figure: go.Figure | None = None
    table: pd.DataFrame | None = None
    wide: bool = False
    template: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    max_rows: int = 200
    all_rows: str = "trials.csv"
    summary: "Section | None" = None
    decimals: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Chapter:
    """One question that a reader has, and the sections that answer it; left out of the page if it has none.

    Attributes:
        anchor: Name within the page.
        title: The question, or what answers it.
        sections: In reading order.
        in_summary: What of it stands in summary.md.
        is_pictured: Whether its figures become pictures beside the page, where pictures are wanted.
    """

    anchor: str
    title: str
    sections: tuple[Section, ...]
    in_summary: Summary
    is_pictured: bool
