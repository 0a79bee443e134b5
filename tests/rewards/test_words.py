# mypy: ignore-errors
"""Words in every script: what is compared, what is counted, and where a phrase may stand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.tokenize import tokenize

from ppo_tune.config.rewards import LengthRule, ReferenceRewardConfig, RuleRewardConfig
from ppo_tune.rewards import make_reward
from ppo_tune.rewards.words import count_words, phrase_pattern, words

SENTENCES = {
    "English": ("the parcel is late today", "parcel", 5),
    "French": ("désolé, le colis est très en retard", "très", 7),
    "Russian": ("посылка опаздывает сегодня", "опаздывает", 3),
    "Greek": ("το δέμα άργησε πολύ", "δέμα", 4),
    "Arabic": ("الطرد متأخر اليوم", "متأخر", 3),
    "Hebrew": ("החבילה מתעכבת היום", "מתעכבת", 3),
    "Hindi": ("पार्सल आज देर से आएगा", "देर", 5),
    "Tamil": ("பார்சல் இன்று தாமதம்", "இன்று", 3),
    "Korean": ("택배가 오늘 늦어요", "오늘", 3),
    "Chinese": ("包裹迟到了,很抱歉。", "抱歉", 8),
    "Japanese": ("荷物が遅れています。", "遅れ", 9),
    "Thai": ("พัสดุมาช้า", "มา", 7),  # พั ส ดุ ม า ช้ า
    "Lao": ("ພັດສະດຸມາຊ້າ", "ມາ", 9),
    "Khmer": ("កញ្ចប់មកយឺត", "មក", 8),
    "Burmese": ("ပါဆယ်နောက်ကျတယ်", "နောက်", 8),  # ပါ ဆ ယ် နော က် ကျ တ ယ်
    "emoji": ("🙏 🚚 😀", "🚚", 3),
}
"""A sentence, a phrase in it, and its length."""

scripts = pytest.mark.parametrize("script", SENTENCES)


def rouge(metric: str, response: str, reference: str) -> float:
    reward = make_reward(ReferenceRewardConfig(name="reference", metric=metric), torch.device("cpu"))
    return reward(["p"], [response], {"references": [[reference]]}).item()


def rule(response: str, **rules) -> float:
    reward = make_reward(RuleRewardConfig(name="rule", **rules), torch.device("cpu"))
    return reward(["p"], [response], {}).item()


@scripts
@pytest.mark.parametrize("metric", ["rouge1", "rouge2", "rougeL"])
def test_identical_texts_score_100_and_those_of_another_script_0(script, metric):
    text, _, _ = SENTENCES[script]
    foreign, _, _ = SENTENCES["Chinese" if script == "Russian" else "Russian"]

    assert rouge(metric, text, text) == pytest.approx(100)
    assert rouge(metric, text, foreign) == 0


@scripts
def test_a_phrase_is_found_in_its_own_sentence(script):
    text, phrase, _ = SENTENCES[script]

    assert rule(text, include={phrase: 1.0}) == 1.0
    assert rule(text, avoid={phrase: 1.0}) == -1.0


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        pytest.param("the sorrysome parcel", "sorry", id="English"),
        pytest.param("посылками", "посылка", id="Russian"),
        pytest.param("की", "क", id="a Hindi letter without its mark"),
        pytest.param("ดุ", "ด", id="a Thai letter without its mark"),
        pytest.param("너무늦어요", "늦어", id="Korean"),
        pytest.param("snake_case", "case", id="an underscore goes on"),
    ],
)
def test_a_part_of_a_word_is_no_mention(text, phrase):
    assert not phrase_pattern(phrase).search(text)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        pytest.param("我的iPhone坏了", "iPhone", id="a Latin word between Chinese ones"),
        pytest.param("ขอบคุณที่ใช้iPhoneครับ", "iphone", id="between Thai ones, whatever the case"),
        pytest.param("thanks🙏a lot", "🙏", id="an emoji between letters"),
        pytest.param("de\u0301sole\u0301 !", "désolé", id="marks apart or not"),
    ],
)
def test_what_is_not_a_letter_of_the_script_ends_a_word(text, phrase):
    assert rule(text, include={phrase: 1.0}) == 1.0


@pytest.mark.parametrize(
    ("text", "length"),
    [
        pytest.param("it's late - so late.", 5, id="words between spaces"),
        pytest.param("包裹迟到了。", 5, id="letters of Chinese, without the full stop"),
        pytest.param("我的iPhone坏了", 5, id="a Latin word among them is one"),
        pytest.param("ดุ ที่", 2, id="a Thai letter with its marks is one"),
        pytest.param("देर से", 2, id="Hindi words, whatever their marks"),
        pytest.param("😀😀 ok", 2, id="emoji between spaces"),
        pytest.param("", 0, id="nothing"),
    ],
)
def test_a_length_is_of_words_where_there_are_spaces_and_of_letters_where_there_are_none(text, length):
    assert count_words(text) == length
    assert rule(text, length=LengthRule(low=length, high=max(length, 1))) == 1.0


@scripts
def test_a_sentence_has_its_length(script):
    text, _, length = SENTENCES[script]

    assert count_words(text) == length


@given(st.text(st.characters(codec="ascii"), max_size=60))
@settings(max_examples=300)
def test_words_of_ascii_are_those_of_the_rouge_score_package(text):
    expected = tokenize(text, None)

    assert words(text) == expected or not expected  # of signs alone we compare the signs


@given(st.text(max_size=30).filter(str.strip))
@settings(max_examples=200)
def test_every_text_that_shows_something_has_words(text):
    assert words(text)
    assert all(word.strip() for word in words(text))


def test_signs_alone_are_compared_as_signs():
    assert rouge("rouge1", "?!", "?!") == pytest.approx(100)
    assert rouge("rouge1", "...", "yes") == 0


def test_rouge_of_chinese_counts_letters():
    # response 迟到了, reference 包裹迟到了: precision 3/3, recall 3/5, so F = 3/4; pairs 2/2 and 2/4, so F = 2/3
    assert rouge("rouge1", "迟到了", "包裹迟到了") == pytest.approx(75)
    assert rouge("rouge2", "迟到了", "包裹迟到了") == pytest.approx(200 / 3)
