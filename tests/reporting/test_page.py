"""The page is one offline file, safe against what models and users write."""

import json
import re
from pathlib import Path

import pytest

from ppo_tune.reporting import write_report
from ppo_tune.reporting.wording import cell, symbols
from tests.reporting.conftest import HOSTILE, HandMade


@pytest.fixture
def page(usual: HandMade, tmp_path: Path) -> str:
    return write_report(usual.study, usual.config, usual.folder, tmp_path).read_text(encoding="utf-8")


def test_the_page_holds_every_section_and_is_small_enough(page: str) -> None:
    for anchor in (
        "results",
        "search",
        "curves",
        "slices",
        "parallel",
        "front",
        "gold",
        "cost",
        "samples",
        "settings",
    ):
        assert f'id="{anchor}"' in page
    assert len(page) < 8_000_000


def test_the_page_asks_for_nothing_from_elsewhere(page: str) -> None:
    own = page.replace(_plotly(), "")

    assert not re.findall(r"(?:src|href)=[\"'](?!#)[^\"']+", own)
    assert "default-src 'none'" in own


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def test_every_figure_is_json_the_page_can_read(page: str) -> None:
    figures = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)

    assert len(figures) == 7  # importance needs more trials than these
    assert all(json.loads(figure)["data"] for figure in figures)


def test_no_button_uploads_anything(page: str) -> None:
    assert "displayModeBar: false" in page


def test_hostile_texts_stay_texts(hand_made: HandMade, tmp_path: Path) -> None:
    sample = {"prompt": HOSTILE, "response": HOSTILE, "score": 1.0, "gold": None}
    hand_made.add("completed", [1.0] * 5, baseline=True, samples=[sample])

    html = write_report(hand_made.study, hand_made.config, hand_made.folder, tmp_path).read_text(
        encoding="utf-8"
    )

    assert "<img src=x" not in html
    assert "</script><script>document" not in html
    assert "&lt;/script&gt;&lt;script&gt;" in html
    assert "\x1b" not in html
    assert "␛[31m" in html


def test_an_empty_study_still_has_a_page(hand_made: HandMade, tmp_path: Path) -> None:
    html = write_report(hand_made.study, hand_made.config, hand_made.folder, tmp_path).read_text(
        encoding="utf-8"
    )

    assert "No trial has been completed within the KL budget of 3 nats yet." in html


def test_all_trials_are_in_the_csv(usual: HandMade, tmp_path: Path) -> None:
    write_report(usual.study, usual.config, usual.folder, tmp_path)

    lines = (tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()

    assert len(lines) == 8
    assert lines[0].startswith("number,role,ending,score,gold,kl,feasible,episodes,tokens,seconds")
    assert lines[0].endswith("learning_rate,batch_size,ppo_epochs")


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        pytest.param(None, "", "–", id="none"),
        pytest.param(float("nan"), "score", "–", id="nan"),
        pytest.param(True, "", "yes", id="bool"),
        pytest.param(-3e-7, "kl", "0.00", id="no-minus-zero"),
        pytest.param(1.23456, "score", "1.235", id="score"),
        pytest.param(0.000123456, "", "0.0001235", id="four-digits"),
        pytest.param(10_000.0, "", "10,000", id="whole"),
        pytest.param(12_345, "", "12,345", id="int"),
    ],
)
def test_cells_are_written_for_people(value: object, column: str, text: str) -> None:
    assert cell(value, column) == text


def test_control_characters_become_symbols() -> None:
    assert symbols("a\x00b\x7f\nc") == "a␀b␡\nc"
