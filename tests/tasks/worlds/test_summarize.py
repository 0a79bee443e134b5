"""The synthetic world of local news: reports, summaries, the judge and the annotators."""

import random
from itertools import chain, permutations
from statistics import mean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.config.rewards import ReferenceRewardConfig
from ppo_tune.rewards import make_reward
from ppo_tune.tasks.worlds.summarize import (
    ACTIONS,
    ACTORS,
    ASIDES,
    DAYS,
    EVENTS,
    MONTHS,
    PLACES,
    WORD_LIMIT,
    WORLD,
    Report,
    gold_score,
    read_summary,
    write_report,
    write_summary,
)

REPORT = Report(
    "a dog barked . on monday flames were seen at the harbour . in may there was a storm at the castle . then police "
    "closed the road .",
    event="fire",
    place="harbour",
    day="monday",
    actor="police",
    action="closed the road",
    unimportant=("a dog barked", "in may there was a storm at the castle"),
)
BEST = "fire at the harbour on monday . police closed the road ."
TOLD = tuple(chain.from_iterable(EVENTS.values()))

seeds = st.integers(0, 2**32)


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        pytest.param(BEST, 2.5, id="five facts"),
        pytest.param("flames were seen at the harbour on monday . police closed the road .", 2.5, id="as it is told"),
        pytest.param("fire .", 0.5, id="what"),
        pytest.param("fire at the harbour .", 1.0, id="and where"),
        pytest.param("fire at the castle .", 0.0, id="elsewhere"),
        pytest.param("storm at the harbour on monday .", 0.5, id="something else"),
        pytest.param("a roof burned . flames were seen .", 0.5, id="one fact in two ways"),
        pytest.param("trouble on monday . someone helped .", 0.5, id="vague"),
        pytest.param("fire . soldiers closed the road .", 0.5, id="somebody else"),
        pytest.param("fire . police made arrests .", 0.5, id="something else done"),
        pytest.param("fire . a dog barked .", 0.2, id="an aside of the report"),
        pytest.param("fire . children watched .", 0.0, id="an aside of no report"),
        # neither storm nor castle is a claim about today
        pytest.param("fire . in may there was a storm at the castle .", 0.2, id="what happened earlier"),
        pytest.param("fire . in may there was a flood at the castle .", -0.5, id="what never happened"),
        # 12 words and 4 of the aside: 0.3, and 0.1 for each of the two beyond 14
        pytest.param(f"{BEST} a dog barked .", 2.0, id="too long"),
        pytest.param(f"{BEST} {BEST}", 1.5, id="everything twice"),
        pytest.param("fire at the harbour on", 0.5, id="cut off"),
        pytest.param("fire at the station monday .", 0.0, id="half a word is none"),  # stati-on monday
        pytest.param("Fire at the harbour on Monday. Police closed the road.", 2.5, id="as people write"),
        pytest.param("", -0.5, id="nothing"),
    ],
)  # fmt: skip
def test_the_judge_adds_up_by_hand(summary: str, expected: float) -> None:
    assert gold_score(REPORT, summary) == pytest.approx(expected)


@pytest.mark.parametrize("sentence", REPORT.unimportant)
def test_annotators_like_what_is_copied_and_the_judge_does_not(sentence: str) -> None:
    longer = f"{BEST} {sentence} ."

    assert gold_score(REPORT, longer) < gold_score(REPORT, BEST) - 0.4
    assert WORLD.opinion(REPORT, longer) > WORLD.opinion(REPORT, BEST) + 0.4


def test_annotators_like_length_and_the_judge_does_not() -> None:
    longer = f"{BEST} and so on and on ."

    assert gold_score(REPORT, longer) < gold_score(REPORT, BEST)
    assert WORLD.opinion(REPORT, longer) > WORLD.opinion(REPORT, BEST)


def test_annotators_see_the_facts_too() -> None:
    texts = ["storm at the castle .", "trouble .", "fire .", "fire at the harbour .", BEST]

    opinions = [WORLD.opinion(REPORT, text) for text in texts]

    assert opinions == sorted(opinions)
    assert opinions[-1] > opinions[0] + 4


@given(seeds)
def test_the_same_seed_is_the_same_world(seed: int) -> None:
    one, other = random.Random(seed), random.Random(seed)

    assert [write_report(one) for _ in range(3)] == [write_report(other) for _ in range(3)]
    assert write_summary(REPORT, one) == write_summary(REPORT, other)


@given(seeds)
def test_a_report_says_what_the_world_knows_of_it(seed: int) -> None:
    report = write_report(random.Random(seed))
    sentences = report.text.removesuffix(" .").split(" . ")
    important = [sentence for sentence in sentences if sentence not in report.unimportant]
    first, second = important

    assert 3 <= len(sentences) <= 6
    assert len(sentences) == len({*sentences}) == 2 + len(report.unimportant)
    assert any(told in first for told in EVENTS[report.event])
    assert f"at the {report.place}" in first
    assert f"on {report.day}" in first
    assert second.endswith(f"{report.actor} {report.action}")


@given(seeds)
def test_the_reference_has_all_facts_and_nothing_else(seed: int) -> None:
    report = write_report(random.Random(seed))
    [good] = report.columns["references"]

    assert read_summary(report, good) == (5, 0, 0)
    assert len(good.split()) <= WORD_LIMIT


@given(seeds)
def test_what_happened_earlier_is_another_event_elsewhere(seed: int) -> None:
    report = write_report(random.Random(seed))
    earlier = [sentence for sentence in report.unimportant if sentence not in ASIDES]

    assert all(report.event not in one.split() and report.place not in one.split() for one in earlier)


@given(seeds)
def test_a_summary_is_a_few_whole_sentences(seed: int) -> None:
    rng = random.Random(seed)
    summary = write_summary(write_report(rng), rng)

    assert summary.endswith(" .")
    assert len(summary.split()) <= 48


def test_hurried_editors_leave_room_for_improvement_in_both_directions() -> None:
    rng = random.Random(0)
    reports = [write_report(rng) for _ in range(500)]

    scores = [gold_score(report, write_summary(report, rng)) for report in reports]

    assert 0.5 < mean(scores) < 1.5
    assert min(scores) < -0.5
    assert max(scores) == 2.5


def test_rouge_prefers_the_references_to_what_hurried_editors_write() -> None:
    reports, rng = WORLD.prompts(0)[:100], random.Random(0)
    texts = [report.text for report in reports]
    columns = {"references": [report.columns["references"] for report in reports]}
    rouge = make_reward(ReferenceRewardConfig(name="reference", metric="rougeL"), torch.device("cpu"))
    good = [report.columns["references"][0] for report in reports]
    usual = [write_summary(report, rng) for report in reports]

    assert rouge(texts, good, columns).tolist() == pytest.approx([100.0] * 100)
    assert rouge(texts, usual, columns).mean() < 80


def test_no_claim_hides_in_another_so_the_judge_counts_each_once() -> None:
    said = (*TOLD, *EVENTS, *(f"at the {place}" for place in PLACES), *(f"on {day}" for day in DAYS), *ACTORS, *ACTIONS,
            *ASIDES)  # fmt: skip

    assert [(inner, outer) for inner, outer in permutations(said, 2) if f" {inner} " in f" {outer} "] == []


def test_every_word_is_letters_between_spaces_and_stands_in_a_prompt_that_is_learned_from() -> None:
    known = {word for report in WORLD.prompts(0)[:2000] for word in report.text.split()}
    said = " ".join((*TOLD, *PLACES, *DAYS, *ACTORS, *ACTIONS, *MONTHS, *ASIDES)).split()

    assert {*said} <= known
    assert all(word.isascii() and word.isalpha() and word.islower() for word in said)
