"""The key figures as PNG files, drawn by a Chromium of this machine; the extra `png` brings what drives it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from plotly import graph_objects as go

from ppo_tune.errors import MissingExtraError, PPOTuneError
from ppo_tune.files import make_folder
from ppo_tune.reporting.drawing import LIGHT, paint
from ppo_tune.reporting.section import Chapter

WIDTH, SCALE = 900, 1.5
"""Of a picture: its width on a page, and how many dots one of the page's pixels gets."""


def write_pictures(chapters: Sequence[Chapter], folder: Path) -> list[Path]:
    """Write the figures of the chapters that are pictured, each by the name of its section.

    Args:
        chapters: Of a report.
        folder: Where the pictures go; what it held of them before is replaced.

    Returns:
        The files.

    Raises:
        MissingExtraError: If kaleido is not installed.
        PPOTuneError: If there is no browser that could draw.
    """
    figures = {
        section.anchor: section.figure
        for chapter in chapters
        if chapter.is_pictured
        for section in chapter.sections
        if section.figure is not None
    }
    if not figures:
        return []
    images = asyncio.run(_draw(list(figures.values())))
    paths = [make_folder(folder) / f"{anchor}.png" for anchor in figures]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image)
    return paths


async def _draw(figures: Sequence[go.Figure]) -> list[bytes]:
    try:
        import kaleido
        from kaleido.errors import BrowserFailedError, ChromeNotFoundError
    except ImportError:
        raise MissingExtraError("kaleido", "png") from None
    try:
        async with kaleido.Kaleido(mathjax=False) as browser:  # with mathjax it would ask the network
            return [await _picture(browser, figure) for figure in figures]
    except (BrowserFailedError, ChromeNotFoundError):
        raise PPOTuneError(
            "pictures need Chromium or Chrome, and this machine has none that starts; Debian's package is `chromium`; "
            "one that lies elsewhere is named by BROWSER_PATH"
        ) from None


async def _picture(browser: object, figure: go.Figure) -> bytes:
    size = {"format": "png", "width": WIDTH, "height": figure.layout.height or 400, "scale": SCALE}
    image: bytes = await browser.calc_fig(paint(figure, LIGHT), opts=size)  # type: ignore[attr-defined]
    return image
