"""The grammar of the sentences and of their translations, the judge, and what the reward overlooks."""

import ast
import random
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.data.recipes import definitions_of
from ppo_tune.data.user_functions import load_function
from ppo_tune.tasks.worlds.chrf import score
from ppo_tune.tasks.worlds.translate import (
    BANK,
    LIGHT,
    SYNONYMS,
    THINGS,
    WORLD,
    Noun,
    Sentence,
    Slips,
    german,
    gold_score,
    hurried,
    reworded,
    translated,
    write_sentence,
)

FISHING = translated(
    Sentence("", subject=Noun("woman"), verb="find", thing=Noun("fish", "small"), place=BANK)
)
TODAY = translated(Sentence("", subject=Noun("man", "big"), adverb="today"))
ASLEEP = translated(
    Sentence("", subject=Noun("man", plural=True), because=Noun("child", definite=False), state="sleep")
)

seeds = st.integers(0, 2**32)


@pytest.mark.parametrize(
    ("sentence", "english", "reference"),
    [
        pytest.param(
            FISHING,
            "the woman finds the small fish at the bank .",
            "die Frau findet den kleinen Fisch am Ufer .",
            id="accusative and a river's bank",
        ),
        pytest.param(
            TODAY,
            "today the big man sees the key .",
            "heute sieht der große Mann den Schlüssel .",
            id="verb second",
        ),
        pytest.param(
            ASLEEP,
            "the men see the key , because a child sleeps .",
            "die Männer sehen den Schlüssel , weil ein Kind schläft .",
            id="plural and verb last",
        ),
    ],
)
def test_a_sentence_and_its_translation(sentence: Sentence, english: str, reference: str) -> None:
    assert sentence.text == english
    assert sentence.columns == {"references": [reference]}


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (Noun("stone", "green"), "den grünen Stein"),
        (Noun("stone", "green", definite=False), "einen grünen Stein"),
        (Noun("door", "green"), "die grüne Tür"),
        (Noun("door", "green", definite=False), "eine grüne Tür"),
        (Noun("book", "small"), "das kleine Buch"),
        (Noun("book", "big", definite=False), "ein großes Buch"),
        (Noun("room", LIGHT), "das helle Zimmer"),
        (Noun("kitchen", LIGHT, definite=False), "eine helle Küche"),
        (Noun("bag", LIGHT), "die leichte Tasche"),
        (Noun("stone", LIGHT, definite=False), "einen leichten Stein"),
    ],
)
def test_what_is_acted_on_agrees_and_light_means_what_it_means_there(thing: Noun, expected: str) -> None:
    assert german(Sentence("", thing=thing)) == f"der Mann sieht {expected} ."


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (Noun("man", "green"), "der grüne Mann sieht"),
        (Noun("man", "green", definite=False), "ein grüner Mann sieht"),
        (Noun("girl", "beautiful", definite=False), "ein schönes Mädchen sieht"),
        (Noun("girl", "beautiful", plural=True), "die schönen Mädchen sehen"),
        (Noun("daughter", plural=True), "die Töchter sehen"),
    ],
)
def test_what_acts_agrees_and_the_verb_with_it(subject: Noun, expected: str) -> None:
    assert german(Sentence("", subject=subject)) == f"{expected} den Schlüssel ."


@pytest.mark.parametrize(
    ("thing", "where"),
    [("fish", "am Ufer"), ("duck", "am Ufer"), ("bill", "in der Bank"), ("money", "in der Bank")],
)
def test_what_a_bank_is_depends_on_what_is_there(thing: str, where: str) -> None:
    assert german(Sentence("", thing=Noun(thing), place=BANK)).endswith(f"{THINGS[thing].name} {where} .")


@pytest.mark.parametrize(
    ("sentence", "slips", "expected"),
    [
        (FISHING, Slips(nominative=True), "die Frau findet der kleine Fisch am Ufer ."),
        (FISHING, Slips(gender="n"), "das Frau findet das kleine Fisch am Ufer ."),
        (FISHING, Slips(usual=True), "die Frau findet den kleinen Fisch in der Bank ."),
        (TODAY, Slips(order=True), "heute der große Mann sieht den Schlüssel ."),
        (ASLEEP, Slips(order=True), "die Männer sehen den Schlüssel , weil schläft ein Kind ."),
    ],
)
def test_slips_are_those_of_learners(sentence: Sentence, slips: Slips, expected: str) -> None:
    assert german(sentence, slips) == expected


RIGHT = "die Frau findet den kleinen Fisch am Ufer ."


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        # 5 words of content: Frau, findet, klein, Fisch, Ufer; 10 pairs with both ends
        pytest.param(RIGHT, 4.0, id="right"),
        pytest.param("die Dame entdeckt den winzigen Fisch am Ufer .", 4.0, id="synonyms"),
        pytest.param("", 0.0, id="nothing"),
        # one pair (the end), 9 words beyond, all of them English
        pytest.param("the woman finds the small fish at the bank .", 0.2 - 9 * 0.5, id="the source"),
        # two pairs fewer, one word beyond
        pytest.param("die Frau findet den kleine Fisch am Ufer .", 2 + 1.6 - 0.3, id="an ending"),
        pytest.param("die Frau findet der kleine Fisch am Ufer .", 2 + 1.4 - 0.6, id="a case"),
        pytest.param("die Frau findet den kleinen Fisch in der Bank .", 1.6 + 1.4 - 0.9, id="the other bank"),
        pytest.param(
            "die Frau findet den kleinen Fisch am Ufer in der Bank .", 2 + 1.8 - 0.9, id="both banks"
        ),
        pytest.param("die Frau findet den Fisch am Ufer .", 1.6 + 1.6, id="a word left out"),
        pytest.param("die Frau findet den small Fisch am Ufer .", 1.6 + 1.6 - 0.5, id="a word in English"),
        # nothing is missing; the stroke and the second word are beyond
        pytest.param("die Frau / Dame findet den kleinen Fisch am Ufer .", 4 - 0.6, id="two synonyms"),
        pytest.param(f"{RIGHT} / {RIGHT}", 4 - 10 * 0.3, id="said twice"),
        # all words are there; of the pairs only the end
        pytest.param("Fisch Frau am den die findet Ufer kleinen .", 2 + 0.2, id="a list of words"),
    ],
)
def test_the_judge_adds_up_by_hand(response: str, expected: float) -> None:
    assert gold_score(FISHING, response) == pytest.approx(expected)


def test_synonyms_agree_alike_so_that_one_can_stand_for_the_other() -> None:
    assert reworded("ein kleines Zimmer", lambda _, rare: rare) == "ein winziges Gemach"
    assert (
        reworded("die Frau sieht", lambda usual, rare: f"{usual} / {rare}")
        == "die Frau / Dame sieht / erblickt"
    )
    assert SYNONYMS.keys().isdisjoint(SYNONYMS.values())


@given(seeds)
def test_nothing_is_better_than_the_right_translation(seed: int) -> None:
    rng = random.Random(seed)
    sentence = write_sentence(rng)

    assert gold_score(sentence, sentence.columns["references"][0]) == 4
    assert gold_score(sentence, WORLD.respond(sentence, rng)) <= 4


@given(seeds)
def test_the_same_seed_is_the_same_world(seed: int) -> None:
    one, other = random.Random(seed), random.Random(seed)

    assert [write_sentence(one) for _ in range(3)] == [write_sentence(other) for _ in range(3)]
    assert WORLD.respond(FISHING, one) == WORLD.respond(FISHING, other)


Translator = Callable[[Sentence, random.Random], str]


def judged(translator: Translator) -> tuple[float, float]:
    """What reward and judge think of many translations on the mean."""
    rng = random.Random(0)
    pairs = [(sentence, translator(sentence, rng)) for sentence in WORLD.prompts(0)[:300]]
    scores = score(
        [s.text for s, _ in pairs], [text for _, text in pairs], [s.columns["references"] for s, _ in pairs]
    )
    return mean(scores), mean(gold_score(*pair) for pair in pairs)


def test_nobody_can_know_which_of_two_synonyms_the_reference_has() -> None:
    similar, gold = judged(lambda sentence, _: german(sentence))

    assert gold == 4
    assert similar < 0.85


def test_the_reward_likes_both_synonyms_and_the_judge_does_not() -> None:
    similar, gold = judged(lambda sentence, _: german(sentence))
    similar_both, gold_both = judged(
        lambda sentence, _: reworded(german(sentence), lambda *pair: " / ".join(pair))
    )

    assert similar_both > similar + 0.04
    assert gold_both < gold - 1


def test_neither_likes_the_source_or_nothing() -> None:
    similar, gold = judged(lambda sentence, _: sentence.text)

    assert similar < 0.2
    assert gold < -3
    assert judged(lambda *_: "") == (0, 0)


def test_hurried_translators_leave_room_for_improvement() -> None:
    similar, gold = judged(hurried)

    assert similar < judged(lambda sentence, _: german(sentence))[0] - 0.1
    assert 1.5 < gold < 2.5


def test_every_word_stands_between_spaces_so_that_a_tokenizer_of_words_knows_it() -> None:
    rng = random.Random(0)
    written = [
        text for s in WORLD.prompts(0) for text in (s.text, *s.columns["references"], WORLD.respond(s, rng))
    ]
    words = {word for text in written for word in text.split()}

    assert {word for word in words if not word.isalpha()} == {".", ",", "/"}
    assert {letter for word in words for letter in word if letter > "z"} == set("äöüß")


def test_held_out_prompts_combine_words_that_others_have() -> None:
    """Their texts are new, their words are not: 3,000 of many more sentences."""
    sentences = WORLD.prompts(0)
    known = {word for s in sentences[:300] for word in s.text.split()}

    assert len({s.text for s in sentences}) == len(sentences)
    assert {word for s in sentences for word in s.text.split()} == known


def test_the_models_and_the_reward_that_a_study_knows_them_by_are_one_recipe() -> None:
    assert ("tasks.worlds.chrf", "score") in definitions_of("translate")
    assert ("tasks.worlds.chrf", "BETA") in definitions_of("translate")


def test_the_reward_stands_in_a_file_that_an_export_can_take_along() -> None:
    """It imports nothing of ours, which would have to go along too."""
    [named] = WORLD.reward.names()
    tree = ast.parse(Path(named.path).read_text(encoding="utf-8"))
    origins = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert load_function(named.value)(["p"], ["für"], references=[["für"]]) == [1.0]
    assert origins <= sys.stdlib_module_names | {"collections.abc"}
