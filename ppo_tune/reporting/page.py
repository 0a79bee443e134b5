"""One offline HTML page of a study: words, figures and their tables, with nothing loaded from elsewhere."""

import secrets
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from ppo_tune.files import write_text
from ppo_tune.reporting import (
    front,
    hacking,
    health,
    history,
    importance,
    settings,
    texts,
    values,
    verdict,
)
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import cell, symbols
from ppo_tune.versions import versions

CHAPTERS = (verdict, importance, values, hacking, front, texts, history, health, settings)
"""In reading order: what won, why, whether to believe it, and how it was found."""


def write_page(record: StudyRecord, path: Path) -> None:
    """Write the page of a study.

    Args:
        record: The study.
        path: The file to write.
    """
    environment = Environment(
        loader=PackageLoader("ppo_tune", "templates"), undefined=StrictUndefined, autoescape=True, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"cell": cell, "symbols": symbols, "figure_json": figure_json}

    def render(section: Section) -> Markup:
        """What a section's own template makes of its data."""
        template = environment.get_template(str(section.template))
        return Markup(template.render(section.data))  # noqa: S704 the template escapes

    results = verdict.results_table(record)
    html = environment.get_template("report.html.jinja").render(
        record=record,
        config=record.config,
        headline=verdict.headline(record, results),
        is_exploited=verdict.is_exploited(record, results),
        render=render,
        chapters=build_chapters(record),
        versions=versions(),
        plotly=Markup(get_plotlyjs()),  # noqa: S704 the library's own script
        nonce=secrets.token_urlsafe(16),
    )
    write_text(path, html)


def build_chapters(record: StudyRecord) -> list[Chapter]:
    """The chapters that have something to say, in reading order."""
    chapters = [member.chapter(record) for member in CHAPTERS]
    return [chapter for chapter in chapters if chapter.sections]


def figure_json(figure: go.Figure) -> Markup:
    """A figure as JSON that is safe inside a script element."""
    text = figure.to_json().replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704 the three characters that could end the element are escaped
