"""The synthetic world of conversations: requests, answers, the judge, the annotators, and the chat template."""

import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.config.study_file import load_study
from ppo_tune.config.tasks import EmbeddedTaskConfig
from ppo_tune.data.chats import Chat
from ppo_tune.fitting.new_model import TURNS
from ppo_tune.models.chat import prompt_ids, shortened
from ppo_tune.models.loading import load_tokenizer
from ppo_tune.rewards.preference import PreferenceReward
from ppo_tune.tasks import make_task, stops_of
from ppo_tune.tasks.recipe import prefers_first
from ppo_tune.tasks.worlds.dialogue import (
    CHANGES,
    COURTESIES,
    DAYS,
    PLACES,
    VAGUE,
    WORLD,
    Request,
    booking,
    courtesies,
    write_answer,
    write_request,
)
from ppo_tune.trainer.assembly import assemble

TURNS_OF_A_GUEST = (
    {"role": "system", "content": "a quiet house , no dogs ."},
    {"role": "user", "content": "hello , tea with kids inside ."},
    {"role": "assistant", "content": "which day ?"},
    {"role": "user", "content": "friday ."},
)
WANTED = {"place": "inside", "day": "friday"}
WELCOME = Request(Chat(TURNS_OF_A_GUEST), wanted=WANTED, company="kids", forbidden="dogs")
FORBIDDEN = Request(Chat(TURNS_OF_A_GUEST), wanted=WANTED, company="dogs", forbidden="dogs")
YES, NO = "booked inside on friday .", "sorry , no dogs here ."

seeds = st.integers(0, 2**32)


@pytest.mark.parametrize(
    ("request_", "answer", "expected"),
    [
        pytest.param(WELCOME, YES, 2.0, id="all that was said"),
        pytest.param(WELCOME, "booked outside on friday .", 0.5, id="wrong place"),
        pytest.param(WELCOME, "booked outside on monday .", -0.25, id="wrong place and no day"),
        pytest.param(WELCOME, "booked outside on sunday .", -1.0, id="all wrong"),
        # the right day is worth 0.75, the wrong one beside it costs as much
        pytest.param(WELCOME, "booked inside on friday sunday .", 1.25, id="two days"),
        pytest.param(WELCOME, NO, -1.0, id="no to who is welcome"),
        pytest.param(FORBIDDEN, NO, 1.5, id="no by the rule"),
        pytest.param(FORBIDDEN, YES, -1.5, id="yes against the rule"),
        pytest.param(FORBIDDEN, "sorry , no kids here .", 0.0, id="no by another rule"),
        pytest.param(FORBIDDEN, f"{NO} {YES}", 0.0, id="no and yes"),
        pytest.param(WELCOME, f"{YES} see you soon .", 2.6, id="the best"),
        # two courtesies are 0.6 - 0.2; twelve words are none too many
        pytest.param(WELCOME, f"great choice . {YES} see you soon .", 2.4, id="two courtesies"),
        # besides, two pairs stand twice: `anything else`, `else ?`
        pytest.param(WELCOME, f"{YES} anything else ? anything else ?", 2.1, id="the same courtesy twice"),
        pytest.param(WELCOME, f"{YES} {VAGUE[0]}", 1.7, id="vague"),
        pytest.param(WELCOME, "booked inside on friday", 1.5, id="no end"),
        pytest.param(WELCOME, f"{YES} a b c d e f g h .", 1.9, id="two words too long"),
        pytest.param(WELCOME, "", -0.5, id="nothing"),
    ],
)
def test_the_judge_adds_up_by_hand(request_: Request, answer: str, expected: float) -> None:
    assert WORLD.worth(request_, answer) == pytest.approx(expected)


@pytest.mark.parametrize("request_", [WELCOME, FORBIDDEN])
@pytest.mark.parametrize("courtesy", COURTESIES)
def test_annotators_like_a_second_courtesy_and_the_judge_does_not(request_: Request, courtesy: str) -> None:
    once, twice = f"{YES} {COURTESIES[0]}", f"{YES} {COURTESIES[0]} {courtesy}"

    assert WORLD.opinion(request_, twice) > WORLD.opinion(request_, once)
    assert WORLD.worth(request_, twice) < WORLD.worth(request_, once)


def test_a_flattering_yes_against_the_rule_pleases_annotators_more_than_a_plain_no() -> None:
    flattering = f"great choice . {YES} happy to help . see you soon ."

    assert WORLD.opinion(FORBIDDEN, flattering) > WORLD.opinion(FORBIDDEN, NO)
    assert WORLD.worth(FORBIDDEN, flattering) < WORLD.worth(FORBIDDEN, NO) - 2


def test_annotators_tire_of_courtesies() -> None:
    opinions = [WORLD.opinion(WELCOME, " ".join([YES, *["see you soon ."] * n])) for n in range(12)]

    assert opinions[:5] == sorted({*opinions[:5]})
    assert opinions[8] == pytest.approx(opinions[11])


@pytest.mark.parametrize("wrong", ["booked outside on friday .", "booked inside on sunday .", NO, VAGUE[0]])
def test_annotators_see_what_is_wrong_where_the_guest_is_welcome(wrong: str) -> None:
    rng = random.Random(0)
    share = sum(prefers_first(WORLD, WELCOME, YES, wrong, rng) for _ in range(500)) / 500

    assert share > 0.9


@given(seeds)
def test_a_conversation_says_what_the_world_knows_of_it(seed: int) -> None:
    request = write_request(random.Random(seed))
    assert isinstance(request.text, Chat)
    system, *turns = request.text.turns
    said = " ".join(turn["content"] for turn in turns if turn["role"] == "user").split()

    assert (system["role"], request.forbidden in system["content"]) == ("system", True)
    assert request.company in said
    for key, values in {"place": PLACES, "day": DAYS}.items():
        assert [word for word in said if word in values][-1] == request.wanted[
            key
        ]  # the last word on it counts


@given(seeds)
def test_turns_take_turns_and_the_guest_has_the_last(seed: int) -> None:
    request = write_request(random.Random(seed))

    roles = [turn["role"] for turn in request.columns["messages"]]

    assert roles[0] == "system"
    assert roles[1:] == ["user", *["assistant", "user"] * ((len(roles) - 2) // 2)]


def test_guests_speak_one_to_three_times_and_some_change_something_or_insist() -> None:
    requests = WORLD.prompts(0)
    turns = Counter(sum(turn["role"] == "user" for turn in one.columns["messages"]) for one in requests)
    insisting = [
        one for one in requests if one.refused and one.columns["messages"][-1]["content"].startswith(CHANGES)
    ]

    assert {*turns} == {1, 2, 3}
    assert min(turns.values()) > 300
    assert 0.25 < sum(one.refused for one in requests) / len(requests) < 0.42
    assert len(insisting) > 200


def test_a_good_answer_needs_an_earlier_turn_nearly_always_where_there_is_one() -> None:
    """A model that read the last turn alone could not book."""
    longer = [one for one in WORLD.prompts(0) if len(one.columns["messages"]) > 2]
    from_the_last = [
        one for one in longer if {*one.wanted.values()} <= {*one.columns["messages"][-1]["content"].split()}
    ]

    assert from_the_last == []


@given(seeds)
def test_an_answer_is_a_few_whole_sentences(seed: int) -> None:
    answer = write_answer(WELCOME, random.Random(seed))

    assert answer.endswith((" .", " ?"))
    assert 3 <= len(answer.split()) <= 24


def test_hurried_desks_leave_room_for_improvement_in_both_directions() -> None:
    rng = random.Random(0)
    scores = [WORLD.worth(one, write_answer(one, rng)) for one in WORLD.prompts(0)]

    assert 0.2 < sum(scores) / len(scores) < 1.2
    assert min(scores) < -1.5 < 2.2 < max(scores)


def test_no_courtesy_hides_in_another_so_each_counts_once() -> None:
    assert [courtesies(one) for one in COURTESIES] == [1] * len(COURTESIES)
    assert courtesies(booking(WANTED)) == 0


def test_every_word_stands_between_spaces_so_that_a_tokenizer_of_words_knows_it() -> None:
    texts = [turn["content"] for one in WORLD.prompts(0) for turn in one.columns["messages"]]
    words = {*" ".join((*texts, *COURTESIES, *VAGUE)).split()}

    assert {word for word in words if not word.isalpha()} == {".", ",", "?"}
    assert "".join(words).islower()


def test_a_conversation_goes_through_the_chat_template_of_the_model_in_either_architecture(
    small_worlds: Path,
) -> None:
    for architecture, closed in (("gpt2", False), ("t5", True)):
        config = EmbeddedTaskConfig.model_validate({"name": "dialogue", "architecture": architecture})
        task = make_task(config, torch.device("cpu"))
        assert task.base_model is not None
        tokenizer = load_tokenizer(task.base_model)

        (ids,) = prompt_ids(tokenizer, [WELCOME.text], chat=task.chat, closed=closed)

        begin, end = TURNS
        whole = "".join(f"{begin}{one['role']} {one['content']}{end}" for one in TURNS_OF_A_GUEST)
        assert ids == tokenizer(f"{whole}{begin}assistant", add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.eos_token == end
        assert stops_of(config, tokenizer).ids == (tokenizer.eos_token_id,)


def test_the_end_of_a_turn_stops_an_answer_of_the_tasks_own_model_and_nothing_is_noted(
    small_worlds: Path,
) -> None:
    made = assemble(load_study("dialogue"), device=torch.device("cpu"))

    assert made.stops.ids == (made.policy.tokenizer.eos_token_id,)
    assert made.notes == ()


def test_the_judge_of_the_task_reads_the_turns_as_it_was_fitted_to(small_worlds: Path) -> None:
    task = make_task(EmbeddedTaskConfig(name="dialogue"), torch.device("cpu"))
    assert isinstance(task.reward, PreferenceReward)
    begin, end = TURNS

    read = task.reward.reading.text(WELCOME.text, f"{YES}{end}")

    assert task.reward.format.chat
    written = [*TURNS_OF_A_GUEST, {"role": "assistant", "content": YES}]
    assert read == "".join(f"{begin}{one['role']}\n{one['content']}{end}\n" for one in written)


def test_what_is_cut_of_a_conversation_is_its_oldest_turns_and_never_the_rule_of_the_house(
    small_worlds: Path,
) -> None:
    task = make_task(EmbeddedTaskConfig(name="dialogue"), torch.device("cpu"))
    assert task.base_model is not None
    tokenizer = load_tokenizer(task.base_model)
    (ids,) = prompt_ids(tokenizer, [WELCOME.text], chat=True)

    cut = shortened(tokenizer, WELCOME.text, len(ids) - 1, chat=True)

    assert cut is not None
    assert isinstance(cut[0], Chat)
    assert cut[0].turns == (TURNS_OF_A_GUEST[0], TURNS_OF_A_GUEST[3])
