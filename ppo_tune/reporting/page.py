"""One offline HTML page of a study: words, figures and their tables, with nothing loaded from elsewhere."""

import json
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from ppo_tune.config import Block, StudyConfig
from ppo_tune.files import write_text
from ppo_tune.reporting import figures, readings, tables
from ppo_tune.reporting.tables import StudyRecord
from ppo_tune.space import CategoricalParam
from ppo_tune.versions import versions

MAX_SAMPLES = 12
"""Prompts whose responses are shown."""

MAX_ROWS = 200
"""Rows of a table on the page; trials.csv has all."""


@dataclass(frozen=True)
class Section:
    """One question: its words, its figure and the table that the figure draws.

    Attributes:
        anchor: Name within the page.
        title: A noun.
        reading: What the figure says.
        figure: Or None where there is nothing to draw.
        table: The numbers behind it, or None.
        wide: Whether the figure needs to scroll sideways on a narrow screen.
    """

    anchor: str
    title: str
    reading: str
    figure: go.Figure | None = None
    table: pd.DataFrame | None = None
    wide: bool = False


def write_page(record: StudyRecord, path: Path) -> None:
    """Write the page of a study.

    Args:
        record: The study.
        path: The file to write.
    """
    trials, results = tables.trials_table(record), tables.results_table(record)
    environment = Environment(
        loader=PackageLoader("ppo_tune", "templates"), undefined=StrictUndefined, autoescape=True, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"cell": cell, "symbols": symbols, "figure_json": figure_json}
    sections = build_sections(record, trials)
    html = environment.get_template("report.html.jinja").render(
        config=record.config,
        headline=readings.headline(record, results),
        is_exploited=readings.is_exploited(record, results),
        results=results,
        record=record,
        trials=trials.head(MAX_ROWS),
        n_trials=len(trials),
        sections=sections,
        samples=tables.to_records(tables.samples_table(record).head(MAX_SAMPLES)),
        samples_reading=readings.samples(tables.samples_table(record).head(MAX_SAMPLES)),
        config_rows=tables.to_records(tables.config_table(record)),
        settings=settings(record.config),
        versions=versions(),
        plotly=Markup(get_plotlyjs()),  # noqa: S704 the library's own script
        nonce=secrets.token_urlsafe(16),
    )
    write_text(path, html)


def build_sections(record: StudyRecord, trials: pd.DataFrame) -> list[Section]:
    """The sections with figures, in reading order."""
    if trials.empty:
        return []
    config = record.config
    history, curves = tables.history_table(trials), tables.curves_table(record)
    importance, endings = tables.importance_table(record), tables.endings_table(trials)
    scored = trials[trials["score"].notna()]
    found = [
        Section(
            "history",
            "Optimisation history",
            readings.history(history),
            figures.history_figure(trials, history),
            history,
        ),
        Section(
            "curves",
            "Learning curves",
            readings.curves(curves),
            figures.curves_figure(curves, config.ppo.episodes) if len(curves) else None,
            curves,
        ),
        Section(
            "importance",
            "Importance",
            readings.importance(importance, len(trials)),
            figures.importance_figure(importance) if len(importance) else None,
            importance,
        ),
    ]
    if len(scored):
        found += _sections_of_scores(record, trials, scored)
    cost = Section(
        "cost", "Endings and cost", readings.endings(endings), figures.endings_figure(endings), endings
    )
    return [*found, cost]


def _sections_of_scores(record: StudyRecord, trials: pd.DataFrame, scored: pd.DataFrame) -> list[Section]:
    space, budget = record.config.space, record.config.search.kl_budget
    found = [
        Section(
            "slices",
            "Each hyperparameter by itself",
            readings.slices(at_edge(record)),
            figures.slices_figure(trials, space),
            scored[["number", "role", "ending", "score", *space]],
            wide=True,
        ),
        Section(
            "parallel",
            "All hyperparameters together",
            "A line is a trial; the better its score, the bolder it is.",
            figures.parallel_figure(trials, space),
            wide=True,
        ),
        Section(
            "kl",
            "Score against KL",
            readings.kl(trials, budget),
            figures.kl_figure(trials, budget),
            scored[["number", "role", "ending", "kl", "score"]],
        ),
    ]
    if scored["gold"].notna().any():
        table = scored[["number", "role", "score", "gold", "kl"]]
        found.append(Section("gold", "Two judges", readings.gold(trials), figures.gold_figure(trials), table))
    return found


def at_edge(record: StudyRecord) -> list[str]:
    """Names of the winner's values within 2 % of the end of their range, where the range could be wider."""
    if record.winner is None:
        return []
    found = []
    for name, distribution in record.config.space.distributions().items():
        if isinstance(record.config.space[name], CategoricalParam):
            continue
        value = distribution.to_internal_repr(record.winner.params[name])
        low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
        place = _share(value, low, high, is_log=distribution.log)  # type: ignore[attr-defined]
        is_natural = (value - low < high - value and low in (0, 1)) or (
            value - low > high - value and high in (0, 1)
        )
        if not 0.02 < place < 0.98 and not is_natural:
            found.append(name)
    return found


def _share(value: float, low: float, high: float, *, is_log: bool) -> float:
    if is_log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


def settings(config: StudyConfig) -> list[tuple[str, str, str]]:
    """The blocks besides ppo, as rows of place, value and meaning."""
    rows = []
    blocks: Sequence[tuple[str, Block]] = (
        ("task", config.task),
        ("model", config.model),
        ("search", config.search),
    )
    for block, model in blocks:
        for name, field in type(model).model_fields.items():
            value = getattr(model, name)
            shown = json.dumps(value.model_dump(mode="json")) if isinstance(value, Block) else value
            rows.append((f"{block}.{name}", cell(shown), field.description or ""))
    return rows


def figure_json(figure: go.Figure) -> Markup:
    """A figure as JSON that is safe inside a script element."""
    text = figure.to_json().replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704 the three characters that could end the element are escaped


DECIMALS = {
    "score": 3, "score_error": 3, "gold": 3, "best_so_far": 3, "kl": 2, "importance": 2, "noise": 2, "share": 2,
    "eos_rate": 2, "response_tokens": 1, "seconds": 1,
}  # fmt: skip
"""Digits after the point by the name of a column; other numbers get four that matter."""


def cell(value: Any, column: str = "") -> str:
    """A value as it stands in a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float) and column in DECIMALS:
        return f"{round(value, DECIMALS[column]) + 0.0:,.{DECIMALS[column]}f}"  # + 0.0 makes -0.0 a 0.0
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def symbols(text: str) -> str:
    """Text with its control characters as visible symbols."""
    return "".join(
        chr(0x2400 + ord(c)) if ord(c) < 32 and c != "\n" else "␡" if ord(c) == 127 else c for c in text
    )
