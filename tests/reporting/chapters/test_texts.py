"""Responses side by side: each model once, in the order of what they teach, safe and searchable."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page, sync_playwright

from ppo_tune.files import write_json
from ppo_tune.reporting.chapters.texts import chapter as texts
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.templates import environment
from tests.chromium import CHROMIUM, needs_chromium
from tests.reporting.conftest import HOSTILE, HandMade

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def sample(prompt: str, response: str, score: float = 0.0, gold: float | None = None) -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "score": score, "gold": gold}


def keep_base(hand_made: HandMade, samples: list[dict[str, Any]]) -> None:
    write_json(hand_made.folder / "base.json", {"heldout/score": 0.0, "n_prompts": 64, "samples": samples})


def samples_table(record: StudyRecord) -> pd.DataFrame:
    """What all writers of a study answered to the same prompts."""
    return texts.pair_samples(texts.find_writers(record))


def suspect(monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
    """Have the chapter on exploitation name this trial."""
    monkeypatch.setattr(
        texts, "worst_offender", lambda record: next((t for t in record.trials if t.number == number), None)
    )


@pytest.fixture
def judged(hand_made: HandMade, monkeypatch: pytest.MonkeyPatch) -> HandMade:
    """Three prompts, answered by the untrained model, the default, the winner and the worst offender."""
    keep_base(
        hand_made,
        [
            sample("p0", "so sorry .", 0.0, 1.0),
            sample("p1", "thanks .", 0.0, 1.0),
            sample("p2", "hm", 0.0, 1.0),
        ],
    )
    hand_made.add(
        "completed",
        [0.1] * 5,
        baseline=True,
        samples=[
            sample("p0", "so sorry .", 0.0, 1.0),
            sample("p1", "thanks !", 0.5, 1.5),
            sample("p2", "well", -1.0, 0.0),
        ],
    )
    hand_made.add(
        "completed",
        [0.9] * 5,
        samples=[
            sample("p0", "very sorry .", 1.0, 2.0),
            sample("p1", "many thanks .", 1.0, 0.5),
            sample("p2", "hm hm", 1.0, 1.0),
        ],
    )
    hand_made.add(
        "completed",
        [2.0] * 5,
        kl=9.0,
        samples=[
            sample("p0", "wow", 1.0, 1.0),
            sample("p1", "wow wow", 1.0, 2.0),
            sample("p2", "wow wow wow", 4.0, -2.0),
        ],
    )
    suspect(monkeypatch, 2)
    return hand_made


def test_responses_stand_side_by_side_for_the_same_prompt(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.1] * 5, baseline=True, samples=[sample("p0", "d0"), sample("p1", "d1")])
    hand_made.add("completed", [0.9] * 5, samples=[sample("p0", "w0"), sample("p1", "w1")])

    table = samples_table(hand_made.record())

    assert table["prompt"].tolist() == ["p0", "p1"]
    assert table["default_response"].tolist() == ["d0", "d1"]
    assert table["winner_response"].tolist() == ["w0", "w1"]
    assert "base_response" not in table.columns


def test_prompts_are_paired_by_their_text_and_turn(hand_made: HandMade) -> None:
    keep_base(hand_made, [sample("p1", "b1"), sample("p0", "first"), sample("p0", "second")])
    hand_made.add(
        "completed",
        [0.1] * 5,
        baseline=True,
        samples=[sample("p0", "1st"), sample("p2", "d2"), sample("p0", "2nd")],
    )

    table = samples_table(hand_made.record())

    assert table["base_response"].tolist() == ["first", "second"]
    assert table["winner_response"].tolist() == ["1st", "2nd"]


def test_the_four_models_have_a_column_each(judged: HandMade) -> None:
    writers = texts.find_writers(judged.record())

    assert [(writer.key, writer.label) for writer in writers] == [
        ("base", "untrained model"),
        ("default", "default config (trial 0)"),
        ("winner", "best so far (trial 1)"),
        ("worst", "worst offender (trial 2)"),
    ]


def test_a_winner_that_is_the_default_config_is_shown_once(judged: HandMade) -> None:
    record = judged.record()

    labels = [writer.label for writer in texts.find_writers(replace(record, winner=record.baseline))]

    assert labels == [
        "untrained model",
        "best so far (the default config, trial 0)",
        "worst offender (trial 2)",
    ]


def test_a_winner_that_is_the_worst_offender_is_shown_once(
    judged: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspect(monkeypatch, 1)

    labels = [writer.label for writer in texts.find_writers(judged.record())]

    assert labels == [
        "untrained model",
        "default config (trial 0)",
        "best so far (the worst offender, trial 1)",
    ]


def test_without_a_suspect_there_are_three_columns(judged: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    suspect(monkeypatch, None)

    assert [writer.key for writer in texts.find_writers(judged.record())] == ["base", "default", "winner"]


def test_prompts_come_first_where_the_worst_offenders_judges_part_most(judged: HandMade) -> None:
    table = samples_table(judged.record())

    # score rose by 1, 1, 4 (mean 2, spread √2), gold changed by 0, +1, -3 (mean -2/3, spread √(26/9))
    assert table["prompt"].tolist() == ["p2", "p0", "p1"]
    assert table["exploitation"].tolist() == pytest.approx(
        [2 / 2**0.5 + (7 / 3) / (26 / 9) ** 0.5, -1 / 2**0.5 - (2 / 3) / (26 / 9) ** 0.5,
         -1 / 2**0.5 - (5 / 3) / (26 / 9) ** 0.5]
    )  # fmt: skip


def test_without_gold_the_largest_change_of_score_comes_first(hand_made: HandMade) -> None:
    keep_base(hand_made, [sample("p0", "b", 1.0), sample("p1", "b", 1.0), sample("p2", "b", 1.0)])
    hand_made.add(
        "completed",
        [0.1] * 5,
        baseline=True,
        samples=[sample("p0", "d", 1.5), sample("p1", "d", -2.0), sample("p2", "d", 3.0)],
    )

    record = hand_made.record()
    table = samples_table(record)

    assert table["prompt"].tolist() == ["p1", "p2", "p0"]
    assert table["exploitation"].tolist() == [3.0, 2.0, 0.5]
    words = texts.samples_reading(table, texts.find_writers(record))
    assert words.endswith("First come the prompts where the winner's score changed most.")


def test_the_words_count_where_the_judges_part(judged: HandMade) -> None:
    record = judged.record()

    words = texts.samples_reading(samples_table(record), texts.find_writers(record))

    assert words == (
        "The same 3 held-out prompts, answered with the same random numbers. Marked is what the untrained model did "
        "not write; changes of score are against it. Score up while gold went down: default config 0, winner 1, "
        "worst offender 1 of 3. First come the prompts where the worst offender's score rose most beside its gold "
        "score."
    )


def test_the_words_say_whose_responses_are_missing(judged: HandMade) -> None:
    (judged.folder / "trials" / "0001" / "samples.json").unlink()
    record = judged.record()

    words = texts.samples_reading(samples_table(record), texts.find_writers(record))

    assert "The study's folder holds no responses of the best so far (trial 1)." in words
    assert "winner_response" not in samples_table(record)


def test_nothing_kept_is_said(hand_made: HandMade) -> None:
    (section,) = texts.chapter(hand_made.record()).sections

    assert section.reading == "No responses were kept yet."
    assert "find-text" not in rendered(section.data)


def test_a_card_has_marks_scores_and_what_changed(judged: HandMade) -> None:
    record = judged.record()
    table = samples_table(record)

    card = texts.make_cards(table, texts.find_writers(record))[2]

    base, default, winner, worst = card["answers"]
    assert card["prompt"].html == "p1"
    assert base["judged"] == [("score", "0.00", ""), ("gold", "1.00", "")]
    assert default["text"].html == "thanks <mark>!</mark>"
    assert winner["text"].html == "<mark>many</mark> thanks ."
    assert winner["judged"] == [("score", "1.00", "+1.00"), ("gold", "0.50", "-0.50")]
    assert [answer["fell"] for answer in (base, default, winner, worst)] == ["", "", "gold", ""]


def test_without_the_untrained_model_nothing_is_marked_or_compared(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.1] * 5, baseline=True, samples=[sample("p0", "d0", 1.0, -1.0)])
    record = hand_made.record()

    (card,) = texts.make_cards(samples_table(record), [texts.find_writers(record)[1]])

    (answer,) = card["answers"]
    assert answer["text"].html == "d0"
    assert answer["judged"] == [("score", "1.00", ""), ("gold", "-1.00", "")]
    assert answer["fell"] == ""


def test_every_judge_has_its_score_its_count_and_its_part_in_the_order(hand_made: HandMade) -> None:
    """Of p0 gold fell, of p1 safety, of p2 both, and of p3 none; by the score alone they are alike."""
    keep_base(hand_made, [{**sample(f"p{i}", "hm", 0.0, 1.0), "safety": 1.0} for i in range(4)])
    fell = {"p0": (0.5, 1.0), "p1": (1.0, 0.5), "p2": (0.5, 0.5), "p3": (1.0, 1.0)}
    said = [{**sample(prompt, "ha", 1.0, gold), "safety": safety} for prompt, (gold, safety) in fell.items()]
    hand_made.add("completed", [1.0] * 5, samples=said)
    record = hand_made.record()

    (section,) = texts.chapter(record).sections

    cards = {
        card["prompt"].html: card["answers"][-1] for card in [*section.data["open"], *section.data["folded"]]
    }
    assert {prompt: answer["fell"] for prompt, answer in cards.items()} == {
        "p0": "gold", "p1": "safety", "p2": "gold and safety", "p3": "",
    }  # fmt: skip
    assert cards["p1"]["judged"] == [
        ("score", "1.00", "+1.00"),
        ("gold", "1.00", "±0"),
        ("safety", "0.50", "-0.50"),
    ]
    assert next(iter(cards)) == "p2"
    assert (
        "Score up while gold went down: winner 2 of 4. Score up while safety went down: winner 2 of 4."
        in (section.reading)
    )
    assert "score rose most beside its gold and safety scores." in section.reading


def test_a_change_has_its_sign() -> None:
    assert [texts.signed(change) for change in (1.5, -0.25, 0.001, -0.001)] == ["+1.50", "-0.25", "±0", "±0"]


def rendered(data: Any) -> str:
    return environment(is_html=True).get_template("texts.html.jinja").render(data)


def test_all_prompts_are_on_the_page_and_the_first_are_open(hand_made: HandMade) -> None:
    hand_made.add(
        "completed", [0.1] * 5, baseline=True, samples=[sample(f"p{i:02}", "d", -i) for i in range(24)]
    )
    (section,) = texts.chapter(hand_made.record()).sections

    html = rendered(section.data)

    assert html.count('class="sample"') == 24
    assert html.index("p23") < html.index("20 more prompts") < html.index("p00")


def test_hostile_texts_stay_texts(hand_made: HandMade) -> None:
    hostile = HOSTILE + "\u202e\u200b</mark>"
    keep_base(hand_made, [sample(hostile, "so sorry")])
    hand_made.add("completed", [0.1] * 5, baseline=True, samples=[sample(hostile, hostile)])
    (section,) = texts.chapter(hand_made.record()).sections

    html = rendered(section.data)

    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;/script&gt;&lt;script&gt;") == 2
    assert "␛[31m‹U+202E›‹U+200B›&lt;/mark&gt;" in html
    assert html.count("<mark>") == html.count("</mark>") == 1


def test_a_long_response_says_how_much_is_left_out(hand_made: HandMade) -> None:
    hand_made.add("completed", [0.1] * 5, baseline=True, samples=[sample("p", "x" * 9000)])
    (section,) = texts.chapter(hand_made.record()).sections

    assert "… 5,000 more characters" in rendered(section.data)


@pytest.fixture
def page(hand_made: HandMade) -> Iterator[Page]:
    """The texts alone in a browser, with their script and style."""
    keep_base(hand_made, [sample(f"prompt {i}", "so sorry") for i in range(9)])
    hand_made.add(
        "completed",
        [0.1] * 5,
        baseline=True,
        samples=[
            sample(f"prompt {i}", f"Thanks a lot for number{i}" if i % 2 else "So what", -i) for i in range(9)
        ],
    )
    (section,) = texts.chapter(hand_made.record()).sections
    script, style = (
        environment(is_html=True).get_template(f"texts.{kind}.jinja").render() for kind in ("js", "css")
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 390, "height": 900})
        opened.set_content(
            f"<style>{style}</style><body>{rendered(section.data)}</body><script>{script}</script>"
        )
        yield opened
        browser.close()


@pytest.mark.browser
@needs_chromium
def test_the_search_shows_what_holds_every_word_and_puts_all_back(page: Page) -> None:
    box, cards = page.get_by_label("Find in prompts and responses"), page.locator(".sample:visible")
    assert cards.count() == texts.N_OPEN

    box.fill("THANKS lot")
    assert cards.count() == 4
    assert page.locator(".find output").inner_text() == "4 of 9 prompts"
    assert page.evaluate("CSS.highlights.get('found').size") == 8  # two words in each of four

    box.fill("number3 thanks")
    assert cards.count() == 1
    assert "number3" in cards.inner_text()

    box.fill("nowhere")
    assert cards.count() == 0

    box.fill("")
    assert cards.count() == texts.N_OPEN
    assert page.locator(".find output").inner_text() == ""
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
