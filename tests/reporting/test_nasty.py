"""A study with everything that can go wrong in it, small and at full size."""

import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ppo_tune.reporting import write_files, write_report
from ppo_tune.reporting.markdown import MAX_LINES
from ppo_tune.reporting.page import build_chapters, figure_json
from ppo_tune.reporting.record import read_record
from ppo_tune.search.results import STATES, ending_of
from tests.reporting.nasty import NASTY_TEXTS, build


def test_it_holds_every_ending_hostile_texts_and_missing_files(tmp_path: Path) -> None:
    study, _ = build(tmp_path, n_trials=81)

    endings = Counter(ending_of(trial) for trial in study.trials)
    folders = [tmp_path / "trials" / f"{trial.number:04d}" for trial in study.trials]
    assert endings.keys() == {*STATES, "running", "waiting"}
    assert len(study.trials) == 81 + 1
    assert {folder.is_dir() for folder in folders} == {True, False}
    assert max(map(len, NASTY_TEXTS)) == 100_000
    assert {trial.params.get("kl_estimator", "k1") for trial in study.trials} == {"k1"}


def test_every_chapter_stands_with_its_figures_numbers_and_words(tmp_path: Path) -> None:
    study, config = build(tmp_path, n_trials=81)

    chapters = build_chapters(read_record(study, config, tmp_path))

    drawn = [section for chapter in chapters for section in chapter.sections if section.figure is not None]
    assert [s.anchor for s in drawn if s.table is None or s.table.empty or not s.reading] == []
    assert [
        s.anchor for s in drawn if "Infinity" in figure_json(s.figure) or "NaN" in figure_json(s.figure)
    ] == []


def test_its_summary_is_short(tmp_path: Path) -> None:
    study, config = build(tmp_path, n_trials=81)

    write_files(read_record(study, config, tmp_path), tmp_path, markdown=True)

    assert len((tmp_path / "summary.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.slow
def test_a_thousand_trials_of_ten_hyperparameters_stay_below_eight_megabytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, config = build(tmp_path)
    assert len(config.space) == 10

    began = time.perf_counter()
    page = write_report(study, config, tmp_path, tmp_path)
    seconds = time.perf_counter() - began

    size = page.stat().st_size
    with capsys.disabled():
        sys.stdout.write(f"\n1,000 trials of 10 hyperparameters: {size / 1e6:.2f} MB in {seconds:.1f} s\n")
    assert size < 8_000_000
