"""The summary in Markdown says what the page says, and hostile texts stay texts; read back with a real parser."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from plotly import graph_objects as go
from ruamel.yaml import YAML

from ppo_tune.config.writing import yaml_text
from ppo_tune.export import TARGETS
from ppo_tune.reporting import write_report
from ppo_tune.reporting.chapters.results.confirmed import name_of
from ppo_tune.reporting.markdown import MAX_LINES, plain, prose, summary
from ppo_tune.reporting.page import Page, build_chapters, study_page
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.safe_text import symbols
from tests.reporting.conftest import HOSTILE, HandMade, confirm
from tests.reporting.nasty import NASTY_TEXTS

JOINER = "\u2060"
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
BEST = "# ppo-tune train THIS_FILE\ntask:\n  name: support\nppo:\n  learning_rate: 0.001\n  gamma: 1.0\nname: hand\n"


def page(*chapters: Chapter, headline: tuple[str, ...] = ("Trial 1 won.", "By a lot.")) -> Page:
    return Page("hand", "A study.", headline, False, chapters, "Made by hand.")


def results(table: pd.DataFrame) -> Chapter:
    return Chapter(
        "results",
        "Results",
        (Section("table", "Results", "Means.", table=table),),
        in_summary="tables",
        is_pictured=False,
    )


def kinds(text: str) -> set[str]:
    """Of all tokens, inner ones too."""
    tokens = READER.parse(text)
    return {inner.type for token in tokens for inner in (token, *(token.children or ()))}


def shown(text: str) -> str:
    """The letters that a reader sees."""
    tokens = [inner for token in READER.parse(text) for inner in token.children or ()]
    return "".join(token.content if token.type == "text" else " " for token in tokens)


def test_the_summary_holds_verdict_results_readings_pictures_config_and_commands() -> None:
    table = pd.DataFrame({"what": ["default", "winner"], "score": [0.5, 1.0]})
    figure = go.Figure().add_scatter(x=[1], y=[1])
    mattered = Chapter(
        "importance",
        "What mattered",
        (Section("bars", "", "gamma stands out.", figure, table),),
        in_summary="reading",
        is_pictured=True,
    )

    text = summary(page(results(table), mattered), BEST, {"bars": "figures/bars.png"})

    assert text.startswith("# hand\n\nA study.\n\n**Trial 1 won.**\nBy a lot.\n")
    assert "| what | score |\n| --- | ---: |\n| default | 0.500 |\n| winner | 1.000 |\n" in text
    assert "- **What mattered** gamma stands out.\n" in text
    assert "![What mattered](figures/bars.png)" in text
    assert "ppo-tune train reports/hand/best.yaml" in text
    assert f"```yaml\n{BEST}```\n" in text


def test_a_study_is_summed_up_in_few_lines(usual: HandMade) -> None:
    record = usual.record()
    made = study_page(record, build_chapters(record))

    text = summary(made, BEST, {})

    assert made.headline[0].split(",")[0] in shown(text)
    assert "default config" in shown(text)
    assert len(text.splitlines()) <= MAX_LINES
    assert {"table_open", "bullet_list_open", "fence"} <= kinds(text)


def test_the_scores_on_each_fresh_seed_stand_in_the_summary_of_a_confirmed_study(usual: HandMade) -> None:
    confirm(usual, {0: 0.4, 1: 0.9})
    record = usual.record()

    text = summary(study_page(record, build_chapters(record)), BEST, {})

    assert record.confirmation is not None
    seeds = range(record.confirmation.n_seeds)
    assert f"| config | {' | '.join(f'seed {i + 1}' for i in seeds)} |" in text
    for candidate in record.confirmation.candidates:
        scores = [f"{run.scores.mean():.3f}" for run in candidate.runs]
        assert f"| {name_of(candidate)} | {' | '.join(scores)} |" in text


def test_page_and_summary_hand_the_winner_to_every_target(
    usual: HandMade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "newcomer", TARGETS["trl"])

    page = write_report(usual.study, usual.config, usual.folder, tmp_path, markdown=True)
    text = page.with_name("summary.md").read_text(encoding="utf-8")

    assert "ppo-tune export hand --to openrlhf    # or verl, skyrl, trl, newcomer\n" in text
    assert (
        "# or with another trainer: openrlhf, verl, skyrl, trl, newcomer\n"
        "ppo-tune export hand --to openrlhf</pre>"
    ) in page.read_text(encoding="utf-8")


def test_a_study_without_a_winner_has_no_config_to_go_on_with(hand_made: HandMade) -> None:
    record = hand_made.record()

    text = summary(study_page(record, build_chapters(record)), None, {})

    assert "No trial has been completed" in text
    assert "best.yaml" not in text


def test_a_long_config_is_cut_to_its_hyperparameters() -> None:
    long = BEST.replace("task:\n", "task:\n" + "".join(f"  option_{i}: 1\n" for i in range(100)))

    text = summary(page(), long, {})

    assert len(text.splitlines()) <= MAX_LINES
    assert (
        "The hyperparameters of best.yaml:\n\n```yaml\nppo:\n  learning_rate: 0.001\n  gamma: 1.0\n```\n"
        in text
    )


def test_every_searched_hyperparameter_stands_in_the_summary_however_little_room_there_is() -> None:
    """Those of the model too, in a config that is cut to its hyperparameters, or to the searched of them."""
    others = {f"option_{i}": 1 for i in range(20)}
    model, ppo = {"name": "base", "lora_rank": 8}, {"gamma": 0.9, **others}
    long = yaml_text({"task": {f"option_{i}": 1 for i in range(100)}, "model": model, "ppo": ppo}, ())
    searched = ("gamma", "lora_rank")

    for told, kept in (
        (1, {"model": model, "ppo": ppo}),
        (40, {"model": {"lora_rank": 8}, "ppo": {"gamma": 0.9}}),
    ):
        headline = ("Trial 1 won.", "x")
        chapters = [
            Chapter(str(i), "a", (Section(str(i), "a", "b"),), in_summary="reading", is_pictured=False)
            for i in range(told)
        ]
        text = summary(replace(page(*chapters, headline=headline), searched=searched), long, {})

        (shown,) = (token.content for token in READER.parse(text) if token.info == "yaml")
        assert YAML(typ="safe").load(shown) == kept
        assert len(text.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("hostile", [HOSTILE, *NASTY_TEXTS])
def test_hostile_texts_stay_texts_wherever_they_stand(hostile: str) -> None:
    table = pd.DataFrame({"what": ["fine", hostile], "score": [0.5, 1.0]})
    told = Chapter(
        "health", hostile, (Section("health", hostile, hostile),), in_summary="reading", is_pictured=False
    )
    config = BEST.replace("support", hostile.replace("\n", "\n  "))

    text = summary(page(results(table), told, headline=(hostile, hostile)), config, {})

    tokens = READER.parse(text)
    assert not kinds(text) & {"html_block", "html_inline", "link_open", "image", "code_inline", "s_open"}
    assert sum(token.type == "fence" for token in tokens) == 2
    assert sum(token.type == "td_open" for token in tokens) == 4
    assert sum(token.type == "heading_open" for token in tokens) == 4
    assert "https://example" not in text.split("```sh")[0]  # an address alone would become a link
    assert "@someone" not in text.split("```sh")[0]  # a name would be called


@given(st.text())
def test_escaped_text_reads_as_it_was(text: str) -> None:
    line = f"x {plain(text)} x"

    assert kinds(line) <= {"paragraph_open", "inline", "text", "paragraph_close"}
    assert shown(line).replace(JOINER, "").split() == ["x", *symbols(text).replace(JOINER, "").split(), "x"]


@pytest.mark.parametrize(
    "start", ["# no heading", "- no item", "+ no item", "1. no item", "2) no item", "=== x"]
)
def test_a_line_that_begins_like_a_list_is_none(start: str) -> None:
    assert kinds(plain(start)) <= {"paragraph_open", "inline", "text", "paragraph_close"}
    assert shown(plain(start)) == start


def test_names_and_numbers_need_no_escapes() -> None:
    words = "learning_rate gained +0.25 (95 % interval -0.1 to 0.6), in 3 of 32 trials."

    assert plain(words) == words


def test_a_command_in_a_sentence_is_code_and_nothing_else_is() -> None:
    told = prose("Not *sure*: `ppo-tune confirm a_b_ --seeds 3` says more, `<b>` does not.")

    assert told == r"Not \*sure\*: `ppo-tune confirm a_b_ --seeds 3` says more, \`\<b\>\` does not."


@given(st.lists(st.sampled_from(["`", "ppo-tune ", "\\", "<img src=x>", "\n", "a_", "@b", "*"])).map("".join))
def test_a_command_lets_nothing_else_in(text: str) -> None:
    assert kinds(f"x {prose(text)} x") <= {
        "paragraph_open",
        "inline",
        "text",
        "paragraph_close",
        "code_inline",
    }


def test_a_fence_is_longer_than_any_in_its_text() -> None:
    text = summary(page(), BEST.replace("support", "```` x"), {})

    assert [token.info for token in READER.parse(text) if token.type == "fence"] == ["sh", "yaml"]
    assert "`````yaml" in text
