"""Foreign texts on the page: what is new is marked, what cannot be seen is shown, and nothing is ever markup."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from ppo_tune.reporting.chapters.texts.marking import MAX_CHARACTERS, MAX_WORDS, mark, shorten
from ppo_tune.safe_text import symbols

texts = st.lists(
    st.sampled_from(
        ["so", "sorry", ".", " ", "\n", "<b>", "&amp;", "</mark>", "\u202e", "\x1b", "漢字", "thanks"]
    )
).map("".join)


def plain(html: Markup) -> str:
    """The text that a browser shows."""
    return Markup(re.sub("</?mark>", "", html)).unescape()


def unmarked(html: Markup) -> list[str]:
    """The words outside marks; stops and ideographs by themselves."""
    outside = Markup(re.sub("<mark>.*?</mark>", " ", html, flags=re.DOTALL)).unescape()
    return re.findall(r"[.,;]|[漢字]|[^\s.,;漢字]+", outside)


@pytest.mark.parametrize(
    ("text", "before", "html"),
    [
        pytest.param("we are so sorry .", "we are sorry .", "we are <mark>so</mark> sorry .", id="insert"),
        pytest.param("check the fan .", "check the cable .", "check the <mark>fan</mark> .", id="replace"),
        pytest.param("sorry .", "so sorry .", "sorry .", id="delete"),
        pytest.param("sorry!", "sorry.", "sorry<mark>!</mark>", id="stop"),
        pytest.param("  so\n sorry", "so sorry", "  so\n sorry", id="white-space"),
        pytest.param("a new thing here", "", "<mark>a new thing here</mark>", id="all"),
        pytest.param("", "so sorry", "", id="nothing"),
        pytest.param("a < b", "a > b", "a <mark>&lt;</mark> b", id="escaped"),
        pytest.param("漢字", "漢学", "漢<mark>字</mark>", id="ideographs"),
    ],
)
def test_marked_is_what_the_other_text_lacks(text: str, before: str, html: str) -> None:
    assert mark(text, before).html == html


@given(texts, texts)
def test_marks_change_no_letter(text: str, before: str) -> None:
    assert plain(mark(text, before).html) == symbols(text)


@given(texts, texts)
def test_what_is_not_marked_stands_in_both_texts_in_that_order(text: str, before: str) -> None:
    rest = iter(re.findall(r"[.,;]|[漢字]|[^\s.,;漢字]+", symbols(before)))

    assert all(word in rest for word in unmarked(mark(text, before).html))


@given(texts)
def test_a_text_differs_in_nothing_from_itself(text: str) -> None:
    same = mark(text, text)

    assert "<mark>" not in same.html
    assert (same.missing, same.is_same) == (0, True)


@given(texts)
def test_without_another_text_nothing_is_marked(text: str) -> None:
    assert "<mark>" not in mark(text).html
    assert not mark(text).is_same


def test_missing_words_are_counted_without_stops() -> None:
    assert mark("sorry", "so sorry . thank you !").missing == 3


def test_hostile_texts_stay_texts() -> None:
    html = mark("<img src=x onerror=alert(1)>", "</mark><script>").html

    assert re.findall("<[^>]*>", html) == ["<mark>", "</mark>"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\x00b\x7f\nc\t", "a␀b␡\nc␉", id="controls"),
        pytest.param("a\x85b", "a‹U+0085›b", id="c1"),
        pytest.param("\u202eabc\u2066", "‹U+202E›abc‹U+2066›", id="direction"),
        pytest.param("a\u200bb\ufeff", "a‹U+200B›b‹U+FEFF›", id="no-width"),
        pytest.param("a\u200db", "a‹U+200D›b", id="joiner-in-ascii"),
        pytest.param("漢\u200d\u200c字", "漢‹U+200D›‹U+200C›字", id="joiners-that-spell-something"),
        pytest.param("می\u200cخواهم", "می\u200cخواهم", id="persian"),
        pytest.param("👩\u200d🚀", "👩\u200d🚀", id="picture"),
        pytest.param("a\U000e0041b", "a‹U+E0041›b", id="tag"),
        pytest.param("a\u3164b", "a‹U+3164›b", id="filler"),
        pytest.param("a\u2028b", "a‹U+2028›b", id="line-separator"),
        pytest.param("a\ud800b", "a‹U+D800›b", id="half-a-pair"),
        pytest.param("größer, naïve, 漢字, שלום", "größer, naïve, 漢字, שלום", id="letters"),
    ],
)
def test_what_cannot_be_seen_is_a_symbol(text: str, shown: str) -> None:
    assert symbols(text) == shown


@given(st.text(st.characters()))
def test_a_visible_text_hides_nothing_and_can_be_written(text: str) -> None:
    shown = symbols(text)
    hidden = {c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}

    assert hidden <= {"\n", "\u200c", "\u200d"}
    assert shown.encode().decode() == shown


@given(st.text(alphabet="ab \n", max_size=2 * MAX_CHARACTERS))
def test_what_is_left_out_is_counted(text: str) -> None:
    shown, cut = shorten(text)

    assert text.startswith(shown)
    assert len(shown) + cut == len(text)
    assert len(shown) <= MAX_CHARACTERS
    assert len(shown.split()) <= MAX_WORDS


def test_a_long_text_is_cut_after_a_word() -> None:
    marked = mark("so " * 500, "so " * 500)

    assert marked.html == "so " * MAX_WORDS
    assert marked.cut == 3 * (500 - MAX_WORDS)
