"""A page that compares studies: what differs, who got where how fast, and what each found."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ppo_tune.files import write_text
from ppo_tune.reporting.comparison import beside, best_so_far, findings, standing
from ppo_tune.reporting.comparison.comparability import (
    Contender,
    differences_reading,
    differences_sentence,
    differences_table,
    groups,
    listed,
    obstacles,
)
from ppo_tune.reporting.page import Page, write_page
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import join
from ppo_tune.versions import versions


def write_comparison(contenders: Sequence[Contender], path: Path) -> list[str]:
    """Write the page, and progress.csv beside it.

    Args:
        contenders: Two studies or more.
        path: The page.

    Returns:
        What it says, in sentences.
    """
    progress = best_so_far.progress_table(contenders)
    words = headline(contenders, progress)
    page = Page(
        title=title(contenders),
        kind=kind(contenders),
        headline=words,
        is_warning=bool(obstacles(contenders)),
        chapters=chapters_of_comparison(contenders, progress),
        colophon=f"Written with ppo-tune {versions()['ppo-tune']}.",
    )
    write_text(path.with_name(best_so_far.ALL_ROWS), progress.to_csv(index=False))
    write_page(page, path)
    return words


def title(contenders: Sequence[Contender]) -> str:
    """Who is compared; studies that differ in nothing but the seed are one."""
    labels = list(groups(contenders))
    return " against ".join(labels) if len(labels) < 3 else listed(labels, most=3)


def kind(contenders: Sequence[Contender]) -> str:
    """What is compared, and what differs."""
    tasks = join(list(dict.fromkeys(f"“{contender.config.task.name}”" for contender in contenders)))
    return f"{len(contenders)} PPO-RLHF searches on the task {tasks}. {differences_sentence(contenders)}"


def chapters_of_comparison(
    contenders: Sequence[Contender], progress: pd.DataFrame | None = None
) -> list[Chapter]:
    """The chapters that have something to say, in reading order: first what differs.

    Args:
        contenders: Two studies or more.
        progress: See `best_so_far.progress_table`; made anew without it.
    """
    progress = best_so_far.progress_table(contenders) if progress is None else progress
    chapters: Sequence[tuple[str, str, Sequence[Section | None]]] = (
        ("differences", "What differs", [differences(contenders)]),
        ("results", "Results", [beside.summary(contenders, progress)]),
        ("progress", "Best so far", best_so_far.sections(contenders, progress)),
        ("mattered", "What mattered", [findings.importances(contenders)]),
        ("values", "Good values", [findings.best_values(contenders, progress)]),
        ("spend", "Endings and spend", [beside.endings(contenders)]),
    )
    return [
        Chapter(anchor, title, tuple(filter(None, sections)), in_summary="nothing", is_pictured=False)
        for anchor, title, sections in chapters
        if any(sections)
    ]


def differences(contenders: Sequence[Contender]) -> Section:
    """What was not set alike, and whether scores compare."""
    return Section("settings", "", differences_reading(contenders), table=differences_table(contenders))


def headline(contenders: Sequence[Contender], progress: pd.DataFrame) -> list[str]:
    """What the comparison says: who stands where at equal spend, or why nobody can be ranked."""
    found = obstacles(contenders)
    if found:
        gains = [f"{label} {gain:+.3f}" for label, gain in final_gains(contenders, progress).items()]
        own = [f"Each is shown by its gain over its own default config: {join(gains)}."] if gains else []
        return ["The scores of these studies cannot be compared.", *found, *own]
    levels = standing.reach_table(progress)
    sentences = [
        standing.at_equal_spend(contenders, progress),
        standing.reach_reading(levels) if len(levels) else "",
        standing.certainty(contenders, progress),
    ]
    return [sentence for sentence in sentences if sentence]


def final_gains(contenders: Sequence[Contender], progress: pd.DataFrame) -> dict[str, float]:
    """By how much the best of each study beats its own default, where that is known."""
    found = {c.label: beside.gain_of(c, beside.best_of(c, progress)) for c in contenders}
    return {label: gain for label, gain in found.items() if gain is not None}
