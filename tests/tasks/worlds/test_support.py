# mypy: ignore-errors
"""The synthetic world of customer support: messages, replies, the judge and the annotators."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.tasks.recipe import prefers_first
from ppo_tune.tasks.worlds.support import (
    APOLOGIES,
    CALM,
    PRODUCTS,
    REMEDIES,
    SINCE,
    THANKS,
    UPSET,
    VAGUE,
    WORLD,
    Message,
    gold_score,
    write_message,
    write_reply,
)

PHRASES = (*REMEDIES.values(), *APOLOGIES, *THANKS, *VAGUE)
ANGRY = Message("my router is slow . i am upset .", product="router", problem="is slow", upset=True)
CALMLY = Message("my router is slow . what now ?", product="router", problem="is slow", upset=False)

seeds = st.integers(0, 2**32)


@pytest.mark.parametrize(
    ("message", "reply", "expected"),
    [
        pytest.param(CALMLY, "please restart it twice .", 1.5, id="right remedy"),
        pytest.param(CALMLY, "please clean the fan .", -1.0, id="wrong remedy"),
        pytest.param(CALMLY, "please restart it twice clean the fan .", 0.5, id="right and wrong remedy"),
        pytest.param(CALMLY, "for your router restart it twice .", 2.0, id="right product"),
        pytest.param(CALMLY, "for your kettle restart it twice .", 1.0, id="wrong product"),
        pytest.param(ANGRY, "so sorry . please restart it twice .", 2.0, id="apology to who is upset"),
        pytest.param(CALMLY, "so sorry . please restart it twice .", 1.0, id="apology to who is calm"),
        # a second apology costs 0.5; `sorry .` stands twice, which costs 0.15
        pytest.param(ANGRY, "so sorry . we are sorry . please restart it twice .", 1.35, id="two apologies"),
        pytest.param(CALMLY, "please restart it twice . thank you .", 1.8, id="thanks"),
        # 1.5 + 0.3 - 0.5, and three pairs stand twice: `. thank`, `thank you`, `you .`
        pytest.param(CALMLY, "please restart it twice . thank you . thank you .", 0.85, id="thanks twice"),
        pytest.param(CALMLY, "please tell us more .", -0.3, id="vague"),
        pytest.param(CALMLY, "please restart it twice", 1.0, id="no end"),
        pytest.param(CALMLY, "please restart it twice . a b c d e f g h i j .", 1.4, id="two words too long"),
        pytest.param(CALMLY, "", -0.5, id="nothing"),
        pytest.param(ANGRY, "so sorry . for your router restart it twice . thank you .", 2.8, id="the best"),
    ],
)
def test_the_judge_adds_up_by_hand(message, reply, expected):
    assert gold_score(message, reply) == pytest.approx(expected)


@pytest.mark.parametrize("message", [ANGRY, CALMLY])
@pytest.mark.parametrize("courtesy", [*APOLOGIES, *THANKS])
def test_annotators_like_courtesy_more_than_the_judge_does(message, courtesy):
    plain, polite = "please restart it twice .", f"{courtesy} please restart it twice ."

    liked_by_annotators = WORLD.opinion(message, polite) - WORLD.opinion(message, plain)
    liked_by_the_judge = gold_score(message, polite) - gold_score(message, plain)

    assert liked_by_annotators > liked_by_the_judge + 0.1


def test_annotators_like_length_more_than_the_judge_does():
    short, long = "please restart it twice .", "please restart it twice and then look at it again ."

    assert gold_score(CALMLY, long) == gold_score(CALMLY, short)
    assert WORLD.opinion(CALMLY, long) > WORLD.opinion(CALMLY, short)


def test_annotators_tire_of_courtesy():
    replies = [" ".join(["please restart it twice .", *["thank you ."] * n]) for n in range(12)]

    weakness = [WORLD.opinion(CALMLY, reply) - gold_score(CALMLY, reply) for reply in replies]

    assert weakness[0] < weakness[1] < weakness[2]
    assert weakness[8] == pytest.approx(weakness[11])


def test_annotators_see_the_remedy_too():
    right, wrong = "please restart it twice .", "please clean the fan ."

    assert WORLD.opinion(CALMLY, right) > WORLD.opinion(CALMLY, wrong) + 1


def share_of_first(first: str, second: str) -> float:
    """How often the annotators pick the first of two replies."""
    rng = random.Random(0)
    return sum(prefers_first(WORLD, CALMLY, first, second, rng) for _ in range(2000)) / 2000


def test_annotators_toss_a_coin_over_equal_replies():
    assert share_of_first("thank you .", "thank you .") == pytest.approx(0.5, abs=0.05)


def test_annotators_nearly_always_pick_what_is_clearly_better():
    assert share_of_first("please restart it twice .", "please clean the fan .") > 0.95


def test_annotators_do_not_care_which_reply_comes_first():
    one, other = "please restart it twice .", "please restart it twice . thank you ."

    assert share_of_first(one, other) + share_of_first(other, one) == pytest.approx(1, abs=0.06)


@given(seeds)
def test_the_same_seed_is_the_same_world(seed):
    one, other = random.Random(seed), random.Random(seed)

    assert [write_message(one) for _ in range(3)] == [write_message(other) for _ in range(3)]
    assert write_reply(ANGRY, one) == write_reply(ANGRY, other)


def test_other_seeds_are_other_worlds():
    worlds = {tuple(write_message(rng).text for _ in range(5)) for rng in map(random.Random, range(50))}

    assert len(worlds) == 50


@given(seeds)
def test_a_message_says_what_the_world_knows_of_it(seed):
    message = write_message(random.Random(seed))

    assert message.text.startswith(f"my {message.product} {message.problem} ")
    assert message.text.endswith(UPSET if message.upset else CALM)
    assert (message.product in PRODUCTS, message.remedy) == (True, REMEDIES[message.problem])


def test_every_kind_of_message_is_written():
    rng = random.Random(0)
    written = [write_message(rng) for _ in range(3000)]

    kinds = {(message.product, message.problem, message.upset) for message in written}

    assert len(kinds) == len(PRODUCTS) * len(REMEDIES) * 2
    assert sum(message.upset for message in written) / 3000 == pytest.approx(0.5, abs=0.04)


@given(seeds)
def test_a_reply_is_a_few_whole_sentences(seed):
    reply = write_reply(ANGRY, random.Random(seed))

    assert reply.endswith(" .")
    assert 2 <= len(reply.split()) <= 24


def test_hurried_agents_leave_room_for_improvement_in_both_directions():
    rng = random.Random(0)
    messages = [write_message(rng) for _ in range(500)]

    scores = [gold_score(message, write_reply(message, rng)) for message in messages]

    assert 0.2 < sum(scores) / 500 < 1.5
    assert min(scores) < -1 < 2 < max(scores)


def test_no_phrase_hides_in_another_so_the_judge_counts_each_once():
    hidden = [(inner, outer) for inner, outer in itertools.permutations(PHRASES, 2) if inner in outer]

    assert hidden == []


def test_every_word_stands_between_spaces_so_that_a_tokenizer_of_words_knows_it():
    letters = set("abcdefghijklmnopqrstuvwxyz")
    words = " ".join((*PRODUCTS, *REMEDIES, *PHRASES, *SINCE, *UPSET, *CALM)).split()

    assert {word for word in words if not set(word) <= letters} == {".", "?"}
