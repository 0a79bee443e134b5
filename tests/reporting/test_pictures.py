"""Pictures of the key figures, and what is said where they cannot be drawn."""

import struct
import sys
from pathlib import Path

import pytest
from plotly import graph_objects as go

from ppo_tune.errors import MissingExtraError, PPOTuneError
from ppo_tune.reporting.pictures import SCALE, WIDTH, write_pictures
from ppo_tune.reporting.section import Chapter, Section
from tests.chromium import needs_chromium

FIGURE = go.Figure().add_scatter(x=[1, 2], y=[1, 2]).update_layout(height=200)
DRAWN = (Section("one", "One", "Drawn.", FIGURE), Section("two", "Two", "Only words."))
LEFT_OUT = (Section("three", "Three", "Not a key figure.", FIGURE),)
CHAPTERS = (
    Chapter("search", "Search", DRAWN, in_summary="nothing", is_pictured=True),
    Chapter("health", "Health", LEFT_OUT, in_summary="nothing", is_pictured=False),
)


@pytest.mark.browser
@needs_chromium
def test_only_figures_of_key_chapters_become_pictures(tmp_path: Path) -> None:
    pytest.importorskip("kaleido", reason="kaleido is not installed; the extra `png` brings it")

    (path,) = write_pictures(CHAPTERS, tmp_path / "figures")

    head = path.read_bytes()[:24]
    assert path == tmp_path / "figures" / "one.png"
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:24]) == (WIDTH * SCALE, 200 * SCALE)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)

    with pytest.raises(
        MissingExtraError, match=r"kaleido is not installed; run: pip install 'ppo-tune\[png\]'"
    ):
        write_pictures(CHAPTERS, tmp_path)


def test_a_missing_browser_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kaleido", reason="kaleido is not installed; the extra `png` brings it")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))

    with pytest.raises(PPOTuneError, match=r"Debian's package is `chromium`.* BROWSER_PATH"):
        write_pictures(CHAPTERS, tmp_path)


def test_a_report_without_key_figures_needs_no_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)

    assert write_pictures(CHAPTERS[1:], tmp_path) == []
