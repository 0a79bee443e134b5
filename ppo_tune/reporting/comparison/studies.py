"""Studies that are compared, by their names: where each is, what it is called, where their page goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ppo_tune.errors import ConfigError, Problem
from ppo_tune.files import make_folder
from ppo_tune.reporting.comparison.comparability import differences_reading, read_contender
from ppo_tune.reporting.comparison.compare import write_comparison
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import open_study, storage_url

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
    places = [Path(out) for out in _each(outs, names, "--out")]
    storages = _each(storages, names, "--storage")
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


def _each(given: Sequence[T], studies: Sequence[str], flag: str) -> Sequence[T]:
    """One value per study: the only one for all, or one each."""
    if len(given) not in (1, len(studies)):
        rule = f"give it once for all studies or once for each of the {len(studies)}, but got it {len(given)} times"
        raise ConfigError([Problem(flag, rule)])
    return list(given) * len(studies) if len(given) == 1 else given


def _check_different(studies: Sequence[str], stores: Sequence[str]) -> None:
    """Two studies or more, and none of them twice.

    Raises:
        ConfigError: If not.
    """
    if len(studies) < 2:
        only = f"takes two studies or more, but got only {studies[0]!r}; `ppo-tune report` shows a single one"
        raise ConfigError([Problem("compare", only)])
    pairs = list(zip(studies, stores, strict=True))
    twice = dict.fromkeys(name for name, store in pairs if pairs.count((name, store)) > 1)
    way_out = "leave one out, or say with --out or --storage where another study of that name is"
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
