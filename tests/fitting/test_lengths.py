"""Preferences beyond a model's context: refused with their place, dropped, or cut, and always counted."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.tasks import TooLong
from ppo_tune.data.chats import Chat
from ppo_tune.errors import DataError
from ppo_tune.fitting.lengths import (
    TextLengths,
    Texts,
    TextsWithin,
    texts_within,
)
from ppo_tune.fitting.reward_model import fit_reward
from tests.conftest import save_tiny_model, tiny_tokenizer
from tests.tokenizers_of import CHATML, KINDS

ROWS: list[Texts] = [
    ("a b c d e", "f g", "h"),  # 8 tokens with the end
    ("a b", "c", "d"),  # 4
    ("a", "b c d e f g h i", "b"),  # 10, of which the prompt is one
    ("k l m a b c", "d", "e f"),  # 9
    ("a", "b", "c"),  # 3
]
LIMIT = 6
PLACES = [f"a.jsonl:{line}" for line in range(1, 6)]


def within(
    too_long: TooLong = "refuse",
    rows: Sequence[Texts] = ROWS,
    *,
    limit: int | None = LIMIT,
    places: list[str] | None = None,
    max_new_tokens: int = 2,
    template: str = "{prompt} {response}",
) -> TextsWithin:
    config = RewardTrainingConfig(too_long=too_long, max_new_tokens=max_new_tokens, template=template)
    lengths = TextLengths(tiny_tokenizer(), config, chat=False)
    return texts_within(rows, lengths, limit, config, places or [])


@pytest.mark.parametrize("limit", [10, None])
def test_what_is_within_stays_as_it_is(limit: int | None) -> None:
    found = within(limit=limit)

    assert (found.prompts, found.rows, found.notes) == ([p for p, *_ in ROWS], ROWS, ())


def test_cut_the_prompt_loses_its_beginning_for_both_responses_and_no_response_loses_anything() -> None:
    found = within("cut")

    assert found.rows == [
        ("c d e", "f g", "h"),
        ROWS[1],
        ("a b c", "d", "e f"),
        ROWS[4],
    ]
    assert found.prompts == [ROWS[i][0] for i in (0, 1, 3, 4)]
    assert found.notes == (
        "3 of 5 rows have more than 6 tokens, the model's context: 2 lost the beginning of their prompt and 1 "
        "were dropped",
    )


def test_dropped_they_are_counted() -> None:
    found = within("drop")

    assert found.rows == [ROWS[1], ROWS[4]]
    assert found.notes == ("3 of 5 rows have more than 6 tokens, the model's context: 3 were dropped",)


def test_the_template_takes_its_part_of_the_context() -> None:
    found = within("cut", [ROWS[0], ROWS[1]], template="k {prompt} l {response}")

    assert found.rows == [("e", "f g", "h"), ROWS[1]]


def test_refused_the_first_is_named_by_its_place_with_the_ways_out() -> None:
    with pytest.raises(DataError) as caught:
        within(places=PLACES)

    assert str(caught.value) == (
        "a.jsonl:1: `tokens <= 6`, the model's context, must hold for a prompt with each of its responses, but got 8; "
        "3 of 5 rows are longer; take too_long: drop or cut (--too-long)"
    )


def test_without_places_the_first_is_named_by_how_it_begins() -> None:
    with pytest.raises(
        DataError, match=r"3 of 5 rows are longer, the first begins 'a b c d e'; take too_long"
    ):
        within()


def test_a_prompt_that_leaves_no_room_for_an_answer_of_the_base_is_too_long_too() -> None:
    rows = [("a b c", "d", "e"), *[("a", "b", "c")] * 2]

    with pytest.raises(DataError) as caught:
        within(rows=rows, places=PLACES, max_new_tokens=4)

    assert str(caught.value) == (
        "a.jsonl:1: `tokens <= 6`, the model's context, must hold for a prompt with an answer of the base, which has 4 "
        "max_new_tokens, but got 7; 1 of 3 rows are longer; take too_long: drop or cut (--too-long), or lower "
        "max_new_tokens (--max-new-tokens)"
    )
    assert within("cut", rows, max_new_tokens=4).rows == [("b c", "d", "e"), *rows[1:]]


def test_where_fewer_than_two_are_left_it_is_said_with_what_may_be_lowered() -> None:
    with pytest.raises(DataError) as caught:
        within("cut", [("a", "b", "c"), ("a b", "c", "d")], max_new_tokens=6)

    assert str(caught.value) == (
        "at least 2 rows within the model's context, 6 tokens, are needed, but got 0 of 2; take shorter ones or "
        "a model with a longer context, or lower max_new_tokens (--max-new-tokens)"
    )


def test_a_conversation_loses_its_first_turns_and_keeps_its_system_message() -> None:
    tokenizer = KINDS["byte level"]()
    tokenizer.chat_template = CHATML
    talk = [("system", "be kind"), ("user", "one " * 20), ("assistant", "two"), ("user", "three")]
    long = Chat([{"role": role, "content": text} for role, text in talk])
    short = Chat([{"role": "user", "content": "three"}])
    rows: list[Texts] = [(long, "four", "five"), (short, "four", "five"), (short, "four", "six " * 60)]
    config = RewardTrainingConfig(too_long="cut", max_new_tokens=2)
    lengths = TextLengths(tokenizer, config, chat=True)
    limit = lengths.needed(rows[:1])[0] - 5

    found = texts_within(rows, lengths, limit, config)

    assert found.rows == [(Chat([long.turns[0], long.turns[3]]), "four", "five"), rows[1]]
    assert max(lengths.needed(found.rows)) <= limit


@pytest.mark.parametrize(("too_long", "n"), [("drop", 24), ("cut", 25)])
def test_a_fit_learns_from_what_is_left_and_keeps_the_count(
    too_long: TooLong, n: int, tmp_path: Path
) -> None:
    base = save_tiny_model(tmp_path / "base")
    rows = [(f"{first} {second}", "a", "c") for first in "defgh" for second in "ijklm"][:24]
    config = RewardTrainingConfig(too_long=too_long, max_new_tokens=4, base_samples=8)

    result = fit_reward([*rows, (" ".join("d" * 40), "a", "c")], str(base), tmp_path / "out", config)

    (note,) = [text for text in result.notes if "context" in text]
    assert result.examples + result.heldout_examples == n
    assert note.startswith("1 of 25 rows have more than 32 tokens, the model's context: 1 ")
    assert json.loads((tmp_path / "out" / "fit.json").read_text(encoding="utf-8"))["notes"] == [note]


def test_too_long_preferences_are_refused_before_any_weight_is_read(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    (base / "model.safetensors").unlink()

    with pytest.raises(DataError, match=r"^a.jsonl:2: `tokens <= 32`"):
        fit_reward(
            [ROWS[0], (" ".join("a" * 40), "b", "c")],
            str(base),
            tmp_path / "out",
            RewardTrainingConfig(max_new_tokens=2),
            places=PLACES,
        )
