"""The page in a real browser: it draws, it fits, it asks for nothing, and hostile texts do nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ppo_tune.reporting import write_report
from tests.reporting.conftest import HOSTILE, HandMade, fill_usual

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on this machine; Debian's package is `chromium`"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study that holds hostile texts."""
    folder = tmp_path_factory.mktemp("page")
    usual = fill_usual(HandMade(folder))
    sample = {"prompt": HOSTILE, "response": HOSTILE, "score": 1.0, "gold": 0.5}
    usual.add("completed", [1.1] * 5, samples=[sample])
    return write_report(usual.study, usual.config, usual.folder, folder)


@pytest.fixture(scope="module", params=[(1280, "light"), (390, "dark")], ids=["wide-light", "narrow-dark"])
def page(request: pytest.FixtureRequest, browser: Browser, path: Path) -> Iterator[Page]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened = context.new_page()
    opened.requests = []  # type: ignore[attr-defined]
    opened.problems = []  # type: ignore[attr-defined]
    opened.on("request", lambda sent: opened.requests.append(sent.url))
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.goto(path.as_uri())
    opened.wait_for_selector("#cost .main-svg")
    yield opened
    context.close()


def test_every_figure_is_drawn(page: Page) -> None:
    boxes = page.locator("[data-figure]")

    assert boxes.count() == 7
    assert page.locator("[data-figure] .main-svg").count() >= 7
    assert page.problems == []


def test_nothing_is_asked_of_the_network(page: Page) -> None:
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.locator(".modebar-btn").count() == 0


def test_hostile_texts_do_nothing_and_can_be_read(page: Page) -> None:
    assert page.title() == "hand – ppo-tune"
    assert "document.title='owned'" in page.locator("#samples").inner_text()
    assert page.locator("#samples img").count() == 0


def test_the_page_is_no_wider_than_the_screen(page: Page) -> None:
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    assert wide <= 0


def test_colours_follow_the_readers_scheme(page: Page) -> None:
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    text = page.evaluate("document.querySelector('#progress .xtick text').style.fill")

    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert background == ("rgb(17, 22, 28)" if dark else "rgb(255, 255, 255)")
    assert text == ("rgb(230, 235, 241)" if dark else "rgb(27, 36, 48)")
