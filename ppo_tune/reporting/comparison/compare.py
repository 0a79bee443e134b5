"""A page that compares studies: what differs, who got where how fast, and what each found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from ppo_tune.calling import argument, command, place_of
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.files import make_folder, write_text
from ppo_tune.reporting.comparison import beside, best_so_far, findings, standing
from ppo_tune.reporting.comparison.comparability import (
    Contender,
    differences_reading,
    differences_sentence,
    differences_table,
    groups,
    listed,
    obstacles,
    read_contender,
)
from ppo_tune.reporting.page import Page, page_html
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.wording import join
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import open_study, storage_url
from ppo_tune.versions import versions

T = TypeVar("T")

MAX_NAME = 200
"""Letters of a folder's name; file systems take 255 bytes."""


@dataclass(frozen=True)
class Comparison:
    """A comparison that was written.

    Attributes:
        page: The page.
        sentences: What it says: what differs, then who stands where.
    """

    page: Path
    sentences: tuple[str, ...]


def compare_studies(
    names: Sequence[str],
    *,
    storages: Sequence[str | None] = (None,),
    outs: Sequence[Path | str] = (".",),
    folder: Path | str | None = None,
) -> Comparison:
    """Write a page that compares studies: samplers, tasks, code versions.

    Args:
        names: Of two studies or more.
        storages: URL of an Optuna store, one for all studies or one each; None takes SQLite beside the trials.
        outs: Folder that holds `runs/<study>/`, one for all studies or one each.
        folder: Where the page goes; None takes `reports/<study>+<study>` in the first of `outs`.

    Returns:
        Where it is, and what it says.

    Raises:
        PPOTuneError: If there are fewer than two studies, one is given twice, or one cannot be opened.
    """
    places = [Path(out) for out in _each(outs, names, place_of("out", python="outs"))]
    storages = _each(storages, names, place_of("storage", python="storages"))
    stores = [
        url or storage_url(place, name) for name, url, place in zip(names, storages, places, strict=True)
    ]
    _check_different(names, stores)
    contenders = []
    for label, name, url, place in zip(_labels(names, places), names, storages, places, strict=True):
        study, config = open_study(name, storage=url, out=place)
        contenders.append(read_contender(study, config, StudyFolder.of(place, name).path, label))
    page = make_folder(Path(folder or places[0] / "reports" / _folder_name(names))) / "index.html"
    words = write_comparison(contenders, page)
    return Comparison(page, (differences_reading(contenders), *words))


def _each(given: Sequence[T], studies: Sequence[str], where: str) -> Sequence[T]:
    """One value per study: the only one for all, or one each."""
    if len(given) not in (1, len(studies)):
        rule = f"give it once for all studies or once for each of the {len(studies)}, but got it {len(given)} times"
        raise ConfigError([Problem(where, rule)])
    return list(given) * len(studies) if len(given) == 1 else given


def _check_different(studies: Sequence[str], stores: Sequence[str]) -> None:
    """Two studies or more, and none of them twice.

    Raises:
        ConfigError: If not.
    """
    if len(studies) < 2:
        only = (
            f"takes two studies or more, but got only {studies[0]!r}; {command('report')} shows a single one"
        )
        raise ConfigError([Problem("compare", only)])
    pairs = list(zip(studies, stores, strict=True))
    twice = dict.fromkeys(name for name, store in pairs if pairs.count((name, store)) > 1)
    out, storage = argument("out", python="outs"), argument("storage", python="storages")
    way_out = f"leave one out, or say with {out} or {storage} where another study of that name is"
    if twice:
        raise ConfigError([Problem("compare", f"study {name!r} is given twice; {way_out}") for name in twice])


def _labels(studies: Sequence[str], outs: Sequence[Path]) -> list[str]:
    """What each study is called: its name, with its folder or its place in the list where two share a name."""
    if len(set(studies)) == len(studies):
        return list(studies)
    placed = [f"{place.resolve().name}/{name}" for name, place in zip(studies, outs, strict=True)]
    return (
        placed if len(set(placed)) == len(placed) else [f"{name} ({i})" for i, name in enumerate(studies, 1)]
    )


def _folder_name(studies: Sequence[str]) -> str:
    """A folder's name that no study can have, at most as long as a file system takes."""
    joined = "+".join(studies)
    return joined if len(joined) <= MAX_NAME else f"{studies[0]}+{len(studies) - 1}-others"


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
    write_text(path, page_html(page))
    return words


def title(contenders: Sequence[Contender]) -> str:
    """Who is compared; studies that differ in nothing but the seed are one."""
    labels = list(groups(contenders))
    return " against ".join(labels) if len(labels) < 3 else listed(labels, most=3)


def kind(contenders: Sequence[Contender]) -> str:
    """What is compared, and what differs."""
    tasks = join(list(dict.fromkeys(f"“{contender.config.task.title}”" for contender in contenders)))
    return f"{len(contenders)} PPO-RLHF searches on the task {tasks}. {differences_sentence(contenders)}"


def chapters_of_comparison(contenders: Sequence[Contender], progress: pd.DataFrame) -> list[Chapter]:
    """The chapters that have something to say, in reading order: first what differs."""
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
