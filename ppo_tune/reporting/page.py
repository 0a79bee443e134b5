"""One offline HTML page: words, figures and their tables, with nothing loaded from elsewhere.

The page's own policy lets a browser run the page's two scripts and use its own style sheet, each known by its
hash, and nothing else: no other script, no style attribute, no address. It needs no random number, so the same
study gives the same page.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from ppo_tune.plurals import counted
from ppo_tune.reporting.chapters import front, settings, values
from ppo_tune.reporting.chapters.hacking import chapter as hacking
from ppo_tune.reporting.chapters.health import chapter as health
from ppo_tune.reporting.chapters.health import dynamics
from ppo_tune.reporting.chapters.history import chapter as history
from ppo_tune.reporting.chapters.importance import chapter as importance
from ppo_tune.reporting.chapters.results import verdict
from ppo_tune.reporting.chapters.texts import chapter as texts
from ppo_tune.reporting.drawing import DARK, LIGHT
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.tables import view
from ppo_tune.reporting.wording import cell
from ppo_tune.safe_text import symbols, writable
from ppo_tune.search.results import repeated_cells, repeats_reading
from ppo_tune.templates import environment
from ppo_tune.versions import versions

CHAPTERS = (verdict, importance, values, hacking, front, texts, history, health, dynamics, settings)
"""In reading order: what won, why, whether to believe it, and how it was found."""

SECURE = "img-src data:; base-uri 'none'; form-action 'none'"
"""Of the policy, besides the hashes; plotly keeps small pictures such as heat maps in data addresses."""

STYLE_IDS = r'getElementById\("([0-9a-f]{64})"\)'
"""How plotly's script looks for a style element that it would otherwise add, against the policy."""


@dataclass(frozen=True)
class Page:
    """What stands on a page.

    Attributes:
        title: Whose page it is.
        kind: What it is about, in one sentence.
        headline: The verdict: the sentence that decides, then what it rests on.
        is_warning: Whether the verdict is one to be careful with.
        chapters: In reading order.
        colophon: How it was made.
        advice: What to do instead of going on with what was found; empty where one can.
    """

    title: str
    kind: str
    headline: Sequence[str]
    is_warning: bool
    chapters: Sequence[Chapter]
    colophon: str
    advice: str = ""


def study_page(record: StudyRecord, chapters: Sequence[Chapter]) -> Page:
    """The page of a study."""
    search = record.config.search
    made_with = ", ".join(f"{name} {version}" for name, version in versions().items())
    return Page(
        title=record.config.name,
        kind=f"PPO-RLHF search on the task “{record.config.task.title}”: {_trials(record)} by "
        f"{search.sampler.title}, {search.pruner.title}, "
        f"{record.config.ppo.episodes:,} episodes each.{_repeats(record)}"
        + "".join(f" {told}." for told in (record.warm_start, *record.prompts, record.ended) if told),
        headline=verdict.headline(record),
        is_warning=record.verdict.is_warning,
        chapters=chapters,
        colophon=f"Made with {made_with}. Seed {search.seed}.",
        advice=record.verdict.advice,
    )


def _trials(record: StudyRecord) -> str:
    """How many trials there are, and what is still to come of a study that is not over."""
    total, ended = record.config.n_trials, sum(t.state.is_finished() for t in record.trials)
    running = len(record.trials) - ended
    if not running and (record.ended or (total is not None and ended >= total)):
        return counted(ended, "trial")
    under_way = f", {running:,} still running" if running else ""
    of = "" if total is None else f" of {max(total, len(record.trials)):,}"
    return f"not over, {ended:,}{of} trials so far{under_way},"


def _repeats(record: StudyRecord) -> str:
    repeats = repeated_cells(record.config, record.trials)
    return f" {repeats_reading(repeats)}." if repeats else ""


def build_chapters(record: StudyRecord) -> list[Chapter]:
    """The chapters that have something to say, in reading order."""
    chapters = [member.chapter(record) for member in CHAPTERS]
    return [chapter for chapter in chapters if chapter.sections]


def page_html(page: Page) -> str:
    """The whole file: head, style, figures, tables and the scripts that draw and sort them."""
    html = environment(is_html=True)
    html.filters |= {
        "cell": cell,
        "symbols": symbols,
        "prose": prose,
        "figure_json": figure_json,
        "table_view": view,
    }

    def render(section: Section) -> Markup:
        """What a section's own template makes of its data."""
        return Markup(html.get_template(str(section.template)).render(section.data))  # noqa: S704 escaped there

    plotly = get_plotlyjs()
    style = html.get_template("report.css.jinja").render(light=LIGHT, dark=DARK)
    script = html.get_template("report.js.jinja").render()
    text = html.get_template("report.html.jinja").render(
        page=page,
        render=render,
        policy=policy(scripts=(plotly, script), styles=(style, "")),
        style=Markup(style),  # noqa: S704 our own, like the script
        style_ids=["plotly.js-style-global", *re.findall(STYLE_IDS, plotly)],
        plotly=Markup(plotly),  # noqa: S704 the library's own script
        script=Markup(script),  # noqa: S704
    )
    return writable(text)


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """The content security policy under which only these scripts run and only these style sheets count."""
    return f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; {SECURE}"


def _hashes(texts: Sequence[str]) -> str:
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def prose(text: str) -> Markup:
    """A sentence of ours, with commands between backticks as code."""
    return Markup(re.sub("`(ppo-tune [^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 escaped first


def figure_json(figure: go.Figure) -> Markup:
    """A figure as JSON that is safe inside a script element."""
    text = figure.to_json().replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704 the three characters that could end the element are escaped
