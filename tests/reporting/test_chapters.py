"""What every chapter of the report brings, so that a new one is one file and one line of `CHAPTERS`."""

import pkgutil
from collections import Counter
from importlib import import_module
from types import ModuleType

import pytest

from ppo_tune.reporting import chapters, write_files
from ppo_tune.reporting.page import CHAPTERS
from ppo_tune.reporting.record import StudyRecord, read_record
from ppo_tune.reporting.section import Chapter
from ppo_tune.reporting.wording import DECIMALS
from tests.reporting.nasty import build

members = pytest.mark.parametrize("member", CHAPTERS, ids=lambda member: member.__name__.split(".", 3)[3])


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    """A study that has something to say in every chapter."""
    folder = tmp_path_factory.mktemp("nasty")
    return read_record(*build(folder, n_trials=81), folder)


@pytest.fixture(scope="module")
def built(record: StudyRecord) -> dict[ModuleType, Chapter]:
    return {member: member.chapter(record) for member in CHAPTERS}


@pytest.fixture(scope="module")
def files(record: StudyRecord, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of what lies beside the page."""
    report = write_files(record, tmp_path_factory.mktemp("report"))
    return {path.name for path in report.page.parent.iterdir()}


def test_every_chapter_that_there_is_stands_on_the_page_once() -> None:
    names = [found.name for found in pkgutil.walk_packages(chapters.__path__, f"{chapters.__name__}.")]
    modules = [module for module in map(import_module, names) if hasattr(module, "chapter")]
    own = [module for module in modules if callable(module.chapter)]  # a folder has its file of that name

    assert Counter(module.__name__ for module in own) == Counter(member.__name__ for member in CHAPTERS)


def test_no_two_anchors_are_the_same(built: dict[ModuleType, Chapter]) -> None:
    anchors = [anchor for c in built.values() for anchor in (c.anchor, *(s.anchor for s in c.sections))]

    assert [anchor for anchor, count in Counter(anchors).items() if count > 1] == []


@members
def test_a_figure_comes_with_its_numbers_and_a_section_with_whole_sentences(
    member: ModuleType, built: dict[ModuleType, Chapter]
) -> None:
    sections = built[member].sections

    assert sections
    assert [s.anchor for s in sections if s.figure is not None and (s.table is None or s.table.empty)] == []
    assert [s.anchor for s in sections if not s.reading.strip().endswith((".", "!", "?"))] == []


@members
def test_what_summary_and_pictures_take_from_a_chapter_is_there(
    member: ModuleType, built: dict[ModuleType, Chapter]
) -> None:
    chapter = built[member]
    bare = [section for section in chapter.sections if section.table is not None and section.figure is None]

    assert chapter.in_summary != "tables" or bare
    assert not chapter.is_pictured or [s for s in chapter.sections if s.figure is not None]


@members
def test_decimals_are_those_of_columns_that_no_other_table_shares(
    member: ModuleType, built: dict[ModuleType, Chapter]
) -> None:
    tables = [(section.decimals.keys(), section.table) for section in built[member].sections]
    unknown = [names - set(table.columns) for names, table in tables if table is not None]

    assert set().union(*unknown) == set()
    assert {name for names, _ in tables for name in names} & DECIMALS.keys() == set()


@members
def test_a_table_that_is_cut_names_a_file_that_is_written(
    member: ModuleType, built: dict[ModuleType, Chapter], files: set[str]
) -> None:
    assert {section.all_rows for section in built[member].sections} <= files
