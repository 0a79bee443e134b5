# mypy: ignore-errors
"""The page in a real browser: it draws, it fits, it sorts, it asks for nothing, and hostile texts do nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ppo_tune.reporting import write_report
from tests.chromium import CHROMIUM, needs_chromium
from tests.reporting.nasty import build

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-quic",
]  # fmt: skip
WATCH = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (e) => refused.push(`${e.effectiveDirective} ${e.blockedURI}`));
"""

pytestmark = [pytest.mark.browser, needs_chromium]


@dataclass
class Watched:
    """A page, and what it did that nobody asked for."""

    page: Page
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study with every ending and hostile texts."""
    folder = tmp_path_factory.mktemp("page")
    study, config = build(folder, n_trials=81)
    return write_report(study, config, folder, folder)


def open_page(browser: Browser, path: Path, width: int, scheme: str) -> Watched:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce"
    )
    opened = Watched(context.new_page())
    opened.page.on("request", lambda sent: opened.requests.append(sent.url))
    opened.page.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.page.on("console", lambda message: opened.problems.append(message.text))
    opened.page.on("dialog", lambda dialog: (opened.problems.append(dialog.message), dialog.dismiss()))
    opened.page.add_init_script(WATCH)
    opened.page.goto(path.as_uri())
    return opened


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((1280, "light"), id="wide-light"),
        pytest.param((390, "dark"), id="narrow-dark"),
        pytest.param((1280, "dark"), id="wide-dark", marks=pytest.mark.guard),
        pytest.param((390, "light"), id="narrow-light", marks=pytest.mark.guard),
    ],
)
def watched(request: pytest.FixtureRequest, browser: Browser, path: Path) -> Iterator[Watched]:
    """Every width in every scheme, read from top to bottom."""
    opened = open_page(browser, path, *request.param)
    for box in opened.page.locator("[data-figure]").all():
        box.scroll_into_view_if_needed()
        box.locator(".main-svg").first.wait_for()
    yield opened
    opened.page.context.close()


@pytest.fixture(scope="module")
def used(browser: Browser, path: Path) -> Iterator[Watched]:
    """A wide page that one reader uses for many things."""
    opened = open_page(browser, path, 1280, "light")
    yield opened
    opened.page.context.close()


@pytest.fixture
def fresh(browser: Browser, path: Path) -> Iterator[Watched]:
    """A wide page that nobody has touched."""
    opened = open_page(browser, path, 1280, "light")
    yield opened
    opened.page.context.close()


def until(page: Page, condition: str) -> None:
    """Wait until JavaScript says so; playwright's own way of waiting evaluates a string, which the policy forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {condition}")


def test_figures_are_drawn_as_the_reader_comes_near(fresh: Watched) -> None:
    boxes, drawn = fresh.page.locator("[data-figure]"), fresh.page.locator("[data-figure]:has(.main-svg)")

    first = drawn.count()
    for box in boxes.all():
        box.scroll_into_view_if_needed()
        box.locator(".main-svg").first.wait_for()

    assert first < boxes.count() == drawn.count()


def test_nothing_is_asked_of_the_network_and_nothing_is_refused(watched: Watched) -> None:
    assert [url for url in watched.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert watched.page.evaluate("refused") == []
    assert watched.problems == []
    assert watched.page.locator(".modebar-btn").count() == 0


def test_the_policy_stops_what_is_not_of_the_page(fresh: Watched) -> None:
    fresh.page.evaluate(
        """() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'owned'";
        const image = document.createElement("img");
        image.src = "https://example.com/p.png";
        const box = document.createElement("div");
        box.innerHTML = "<p id='styled' style='position: fixed'>x</p>";
        document.body.append(script, image, box);
        }"""
    )
    until(fresh.page, "refused.length >= 3")

    assert fresh.page.title() == "nasty – ppo-tune"
    assert fresh.page.evaluate("getComputedStyle(document.getElementById('styled')).position") == "static"
    assert {line.split()[0] for line in fresh.page.evaluate("refused")} == {
        "script-src-elem", "img-src", "style-src-attr",
    }  # fmt: skip


def test_hostile_texts_do_nothing_and_can_be_read(watched: Watched) -> None:
    said = watched.page.locator("#texts").text_content() or ""

    assert watched.page.title() == "nasty – ppo-tune"
    assert "document.title='owned'" in said
    assert watched.page.locator("main img, main a[href^='http'], main svg[onload]").count() == 0
    assert not {"\u202e", "\x1b", "\x07"} & set(watched.page.locator("main").text_content() or "")


def test_the_page_is_no_wider_than_the_screen(watched: Watched) -> None:
    wide = watched.page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )

    assert wide <= 0


def test_colours_follow_the_readers_scheme(watched: Watched) -> None:
    background = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
    letters = watched.page.evaluate("document.querySelector('#progress .xtick text').style.fill")

    dark = watched.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert background == ("rgb(17, 22, 28)" if dark else "rgb(255, 255, 255)")
    assert letters == ("rgb(230, 235, 241)" if dark else "rgb(27, 36, 48)")


def test_no_legend_lies_over_the_data(watched: Watched) -> None:
    covered = watched.page.evaluate(
        """() => [...document.querySelectorAll("[data-figure]")].filter((box) => {
        const legend = box.querySelector(".legend")?.getBoundingClientRect();
        return legend && [...box.querySelectorAll(".nsewdrag")].map((plot) => plot.getBoundingClientRect()).some(
            (plot) => legend.bottom > plot.top + 4 && legend.top < plot.bottom - 4
                && legend.right > plot.left + 4 && legend.left < plot.right - 4);
        }).map((box) => box.dataset.figure)"""
    )

    assert covered == []


def test_every_figure_says_in_words_what_it_shows_and_has_its_numbers(watched: Watched) -> None:
    for part in watched.page.locator(".part:has([data-figure])").all():
        reading = part.locator(".reading").inner_text()
        said = part.locator("[role=img]").get_attribute("aria-label")

        assert said is not None
        assert reading.split() == said.split()[-len(reading.split()) :]
        assert part.locator("table tbody tr").count() > 0


def test_figures_change_with_the_scheme_and_with_the_width(fresh: Watched) -> None:
    page = fresh.page
    page.locator("#progress").scroll_into_view_if_needed()
    page.locator("#progress .main-svg").first.wait_for()

    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 700, "height": 900})

    until(page, "document.querySelector('#progress .xtick text').style.fill === 'rgb(230, 235, 241)'")
    until(page, "document.querySelector('#progress .main-svg').clientWidth < 700")


def test_a_table_sorts_by_click(used: Watched) -> None:
    table = used.page.locator("#trials table")
    heading = table.locator("th").filter(has_text="score").first

    heading.locator("button").click()
    scores = [cell.replace(",", "") for cell in column(table, heading)]
    known = [float(score) for score in scores if score != "–"]

    assert heading.get_attribute("aria-sort") == "descending"
    assert known == sorted(known, reverse=True)
    assert scores[: len(known)] == [score for score in scores if score != "–"]  # without a score: last

    heading.locator("button").click()

    assert heading.get_attribute("aria-sort") == "ascending"
    assert float(column(table, heading)[0].replace(",", "")) == min(known)


def test_a_table_sorts_by_keyboard(used: Watched) -> None:
    table = used.page.locator("#trials table")
    heading = table.locator("th").filter(has_text="ending")

    heading.locator("button").focus()
    used.page.keyboard.press("Enter")

    endings = column(table, heading)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert endings == sorted(endings)
    assert table.locator("th[aria-sort]").count() == 1


def column(table, heading) -> list[str]:
    index = heading.evaluate("heading => heading.cellIndex")
    return table.locator(f"tbody td:nth-child({index + 1})").all_inner_texts()


def test_the_trials_are_filtered_by_words(used: Watched) -> None:
    part = used.page.locator("#trials")

    part.locator("input[type=search]").fill("Reward_error valueerror")

    shown = part.locator("tbody tr:visible").all_inner_texts()
    assert 0 < len(shown) < 10
    assert all("reward_error" in row for row in shown)
    assert part.locator("output").inner_text() == f"{len(shown)} of {part.locator('tbody tr').count()}"

    part.locator("input[type=search]").fill("")

    assert part.locator("tbody tr:visible").count() == part.locator("tbody tr").count()


def test_wide_tables_scroll_in_their_own_box_by_keyboard(watched: Watched) -> None:
    box = watched.page.locator("#trials .scroll")

    box.focus()
    watched.page.keyboard.press("ArrowRight")

    until(watched.page, "document.querySelector('#trials .scroll').scrollLeft > 0")
    assert box.get_attribute("aria-label") == "All trials"


def test_the_contents_say_where_the_reader_is(watched: Watched) -> None:
    page = watched.page
    is_wide = page.evaluate("innerWidth") > 1200
    if not is_wide:
        page.locator(".jump summary").click()

    page.locator(".rail a" if is_wide else ".jump a", has_text="How the search went").click()

    place = "() => document.querySelector('.rail a[aria-current]')?.textContent === 'How the search went'"
    until(page, place)
    top = page.locator("#search h2").bounding_box()
    assert top is not None
    assert 0 <= top["y"] < 300
    page.evaluate("scrollTo(0, 0)")
    until(page, "() => !document.querySelector('.rail a[aria-current]')")
    assert page.locator(".jump[open]").count() == 0


def test_a_reader_without_a_mouse_can_skip_the_contents(fresh: Watched) -> None:
    fresh.page.keyboard.press("Tab")

    assert fresh.page.evaluate("document.activeElement.className") == "skip"
    assert fresh.page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0


def test_a_press_copies_the_commands_or_selects_them(used: Watched) -> None:
    page = used.page
    code = page.locator(".code", has_text="ppo-tune train").first
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    code.locator(".copy").click()

    until(page, "[...document.querySelectorAll('.copy')].some((button) => button.textContent === 'Copied')")
    assert page.evaluate("navigator.clipboard.readText()").strip() == code.locator("pre").inner_text().strip()

    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('closed')); }")
    code.locator(".copy").click()

    until(page, "getSelection().toString().includes('ppo-tune train')")


def test_on_paper_all_figures_are_drawn_in_light_colours_and_fit(browser: Browser, path: Path) -> None:
    opened = open_page(browser, path, 1280, "dark")
    opened.page.evaluate(
        """() => addEventListener("beforeprint", () => {
        const boxes = [...document.querySelectorAll("[data-figure]")];
        window.printed = boxes.map((box) => [
            box.querySelectorAll(".main-svg").length > 0,
            box.querySelector(".xtick text")?.style.fill ?? "rgb(27, 36, 48)",
            box.querySelector(".main-svg")?.clientWidth,
        ]);
        })"""
    )

    paper = opened.page.pdf(format="A4")
    printed = opened.page.evaluate("printed")

    assert paper.startswith(b"%PDF")
    assert len(printed) == opened.page.locator("[data-figure]").count()
    assert {tuple(figure) for figure in printed} == {(True, "rgb(27, 36, 48)", 680)}
    assert opened.page.locator("html.printing").count() == 0
    opened.page.context.close()
