"""The page is one offline file, safe against what models and users write."""

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from ppo_tune.config.methods import NoPrunerConfig, RandomSamplerConfig
from ppo_tune.reporting import write_report
from ppo_tune.reporting.page import Page, build_chapters, page_html, study_page
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.search.facts import StudyFacts, WarmStart
from tests.reporting.conftest import HOSTILE, HandMade


@pytest.fixture
def page(usual: HandMade, tmp_path: Path) -> str:
    return written(usual, tmp_path)


def written(study: HandMade, folder: Path) -> str:
    return write_report(study.study, study.config, study.folder, folder).read_text(encoding="utf-8")


def page_of(*sections: Section) -> str:
    chapter = Chapter("chapter", "A chapter", sections, in_summary="nothing", is_pictured=False)
    return page_html(Page("hand", "A study.", ["Nothing won."], True, [chapter], "Made by hand."))


class Elements(HTMLParser):
    """All elements of a page, and the texts of its scripts and style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.lasttag in ("script", "style") and data.strip():
            self.texts.append((self.lasttag, data))


def test_the_page_holds_every_chapter_and_is_small_enough(page: str) -> None:
    ids = {attributes.get("id") for _, attributes in Elements(page).found}

    assert ids >= {"results", "values", "hacking", "front", "texts", "search", "health", "settings"}
    assert ids >= {"progress", "curves", "hyperparameters", "trials"}
    assert len(page) < 6_000_000


def test_the_page_asks_for_nothing_from_elsewhere(page: str) -> None:
    addresses = [
        attributes[name]
        for _, attributes in Elements(page).found
        for name in ("src", "href", "srcset", "action", "data", "poster")
        if name in attributes
    ]

    assert addresses
    assert all(str(address).startswith("#") for address in addresses)


def test_the_policy_names_the_pages_own_scripts_and_styles_and_nothing_else(page: str) -> None:
    elements = Elements(page)
    policy = next(
        a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"
    )
    parts = {name: values for name, *values in (part.split() for part in str(policy).split(";"))}

    inline = {"script": [], "style": [""]}  # plotly fills empty style elements through the object model
    for tag, text in elements.texts:
        if tag == "style" or not text.lstrip().startswith('{"data"'):
            inline[tag].append(text)

    assert parts["default-src"] == ["'none'"]
    assert set(parts["script-src"]) == {digest(text) for text in inline["script"]}
    assert set(parts["style-src"]) == {digest(text) for text in inline["style"]}
    assert parts["img-src"] == ["data:"]
    assert parts["base-uri"] == parts["form-action"] == ["'none'"]
    assert "unsafe" not in str(policy)


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_no_element_has_a_style_or_a_handler_of_its_own_which_the_policy_would_refuse(page: str) -> None:
    names = {name for _, attributes in Elements(page).found for name in attributes}

    assert "style" not in names
    assert not {name for name in names if name.startswith("on")}


def test_every_anchor_is_unique_and_every_link_leads_somewhere(page: str) -> None:
    found = Elements(page).found
    ids = Counter(str(attributes["id"]) for _, attributes in found if "id" in attributes)
    links = [str(attributes["href"]) for tag, attributes in found if tag == "a"]

    assert {name for name, count in ids.items() if count > 1} == set()
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_the_same_study_gives_the_same_page(usual: HandMade, tmp_path: Path) -> None:
    assert written(usual, tmp_path) == written(usual, tmp_path)


def test_every_figure_is_json_the_page_can_read(page: str) -> None:
    figures = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)

    assert len(figures) == page.count("data-figure=")
    assert len(figures) >= 5
    assert all(json.loads(figure)["data"] for figure in figures)


def test_every_figure_has_its_numbers_and_its_words(usual: HandMade) -> None:
    sections = [section for chapter in build_chapters(usual.record()) for section in chapter.sections]
    drawn = [section for section in sections if section.figure is not None]

    assert drawn
    assert [s.anchor for s in drawn if s.table is None or s.table.empty] == []
    assert [s.anchor for s in sections if not s.reading.strip().endswith((".", "!", "?"))] == []


def test_no_button_uploads_anything(page: str) -> None:
    assert "displayModeBar: false" in page


def test_hostile_texts_stay_texts(hand_made: HandMade, tmp_path: Path) -> None:
    sample = {"prompt": HOSTILE, "response": HOSTILE, "score": 1.0, "gold": None}
    hand_made.add("completed", [1.0] * 5, baseline=True, samples=[sample])

    html = written(hand_made, tmp_path)

    assert "<img src=x" not in html
    assert "</script><script>document" not in html
    assert "&lt;/script&gt;&lt;script&gt;" in html
    assert "\x1b" not in html
    assert "␛[31m" in html


def test_hostile_words_stay_words_wherever_a_chapter_puts_them() -> None:
    figure = go.Figure(layout={"title": {"text": HOSTILE}}).add_scatter(x=[1], y=[1], name=HOSTILE)
    table = pd.DataFrame({HOSTILE: [HOSTILE]})

    html = page_of(Section("one", HOSTILE, HOSTILE, figure, table, wide=True, all_rows=HOSTILE))

    elements = Elements(html.replace(get_plotlyjs(), ""))
    assert not [tag for tag, _ in elements.found if tag == "img"]
    assert sum(tag == "script" for tag, _ in elements.found) == 3  # the figure, plotly and the page's own
    labels = [str(attributes["aria-label"]) for _, attributes in elements.found if "aria-label" in attributes]
    of_whom = [label for label in labels if "onerror" in label]  # as letters
    assert len(of_whom) == 3  # the figure, its box and its table


def test_half_a_pair_of_surrogates_does_not_stop_the_page(tmp_path: Path) -> None:
    html = page_of(Section("one", "One", "A half \ud83d of a pair."))

    assert "A half ? of a pair." in html


def test_a_long_table_says_where_all_its_rows_are() -> None:
    table = pd.DataFrame({"number": range(1234)})

    html = page_of(Section("one", "One", "Many.", table=table, max_rows=10, all_rows="curves.csv"))

    assert html.count("<td") == 10
    assert "The first 10 of 1,234 rows; all are in curves.csv, beside this page." in html


def test_a_command_in_the_verdict_is_code_and_foreign_words_in_it_are_words() -> None:
    told = ["Go: `ppo-tune extend hand`.", "Or `<img src=x>`.", "`ppo-tune <img src=x>`"]

    html = page_html(Page("hand", "A study.", told, True, [], "Made by hand.", told[1]))

    assert "<p>Go: <code>ppo-tune extend hand</code>.</p>" in html
    assert "<strong>Or `&lt;img src=x&gt;`.</strong>" in html
    assert "<code>ppo-tune &lt;img src=x&gt;</code>" in html


def test_a_page_without_chapters_still_stands() -> None:
    html = page_html(Page("hand", "A study.", ["Nothing yet."], True, [], "Made by hand."))

    assert "Nothing yet." in html


def test_an_empty_study_still_has_a_page(hand_made: HandMade, tmp_path: Path) -> None:
    assert "No trial has been completed within the KL budget of 3 nats yet." in written(hand_made, tmp_path)


def test_the_page_says_what_was_searched_and_how(hand_made: HandMade) -> None:
    record = hand_made.record()
    methods = {"sampler": RandomSamplerConfig(name="random"), "pruner": NoPrunerConfig(name="none")}
    config = record.config.model_copy(update={"search": record.config.search.model_copy(update=methods)})

    tuned, drawn = (study_page(one, []).kind for one in (record, replace(record, config=config)))

    assert tuned.endswith("0 of 8 trials so far, by GP, pruned by successive halving, 640 episodes each.")
    assert drawn.endswith("0 of 8 trials so far, by random search, not pruned, 640 episodes each.")


def test_the_page_says_what_ended_a_search_besides_its_total(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0] * 5)
    record = hand_made.record()
    limits = {"n_trials": None, "max_episodes": 640}
    config = record.config.model_copy(update={"search": record.config.search.model_copy(update=limits)})

    running, over = (study_page(replace(record, config=config, ended=why), []).kind for why in ("", "so"))

    assert ": not over, 1 trials so far, by GP," in running
    assert ": 1 trial by GP, pruned by successive halving, 640 episodes each. so." in over


def test_the_page_says_what_was_taken_of_an_earlier_study(hand_made: HandMade) -> None:
    StudyFacts(hand_made.study).warm_start = WarmStart([], "warm_start took 3 configs")

    assert study_page(hand_made.record(), []).kind.endswith("640 episodes each. warm_start took 3 configs.")


def test_the_page_says_how_many_prompts_were_too_long(hand_made: HandMade) -> None:
    StudyFacts(hand_made.study).prompts = ["3 of 9 train prompts: dropped", "1 of 2 heldout prompts: dropped"]

    assert study_page(hand_made.record(), []).kind.endswith(
        "640 episodes each. 3 of 9 train prompts: dropped. 1 of 2 heldout prompts: dropped."
    )


def test_the_page_names_the_world_of_the_embedded_task(hand_made: HandMade) -> None:
    record = hand_made.record()
    task = record.config.task.model_copy(update={"seed": 3})
    config = record.config.model_copy(update={"task": task})

    usual, other = (study_page(one, []).kind for one in (record, replace(record, config=config)))

    assert "on the task “support”: " in usual
    assert "on the task “support (seed 3)”: " in other


def test_all_trials_and_all_milestones_are_in_files_beside_the_page(usual: HandMade, tmp_path: Path) -> None:
    write_report(usual.study, usual.config, usual.folder, tmp_path)

    trials = (tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()
    curves = (tmp_path / "curves.csv").read_text(encoding="utf-8").splitlines()

    assert len(trials) == 1 + 7
    assert trials[0].startswith("number,role,ending,score,gold,kl,feasible,episodes,tokens,seconds")
    assert trials[0].endswith("learning_rate,batch_size,ppo_epochs")
    assert len(curves) == 1 + 5 + 5 + 5 + 2 + 1 + 0 + 1
    assert curves[0] == "number,role,ending,feasible,episodes,score,gold,kl"
