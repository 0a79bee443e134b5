# mypy: ignore-errors
"""The tokenized prompts of a split, and those that do not fit the model."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from ppo_tune.config.rewards import RuleRewardConfig
from ppo_tune.config.tasks import DatasetTaskConfig, EmbeddedTaskConfig
from ppo_tune.data.chats import Chat, turns_of
from ppo_tune.data.prompts import split_of
from ppo_tune.errors import DataError
from ppo_tune.models.chat import prompt_ids, shortened
from ppo_tune.tasks import Prompt, PromptSet, Task, make_task
from tests.tokenizers_of import CHATML, KINDS

CHAT = "{% for m in messages %}b {{ m.content }} {% endfor %}{% if add_generation_prompt %}c{% endif %}"


def task(*prompts: Prompt, **settings: Any) -> Task:
    """A task with these prompts to train on."""
    return Task(
        "toy", {"train": prompts, "heldout": (), "confirmation": ()}, reward=None, objective=None, **settings
    )


LONG = task(Prompt("a b", where="a.jsonl:1"), Prompt("a b c d", where="a.jsonl:7"))


def test_prompts_are_padded_on_the_left(tokenizer):
    prompts = PromptSet(task(Prompt("a b c"), Prompt("d")), "train", tokenizer, None)

    batch = prompts.batch([0, 1])

    assert batch.mask.tolist() == [[True, True, True], [False, False, True]]
    assert batch.ids[batch.mask].tolist() == tokenizer.convert_tokens_to_ids(["a", "b", "c", "d"])


def test_a_batch_holds_the_rows_that_are_asked_for_in_their_order(tokenizer):
    prompts = PromptSet(task(Prompt("a"), Prompt("b"), Prompt("c")), "train", tokenizer, None)

    batch = prompts.batch([2, 0, 2])

    assert batch.ids[:, 0].tolist() == tokenizer.convert_tokens_to_ids(["c", "a", "c"])


def test_a_split_holds_its_own_prompts(tokenizer):
    splits = {"train": (Prompt("a"),), "heldout": (Prompt("b"), Prompt("c")), "confirmation": (Prompt("d"),)}
    toy = Task("toy", splits, reward=None, objective=None)

    texts = [[p.text for p in PromptSet(toy, split, tokenizer, None).prompts] for split in splits]

    assert texts == [["a"], ["b", "c"], ["d"]]


def test_a_reward_is_told_texts_and_columns_row_by_row(tokenizer):
    rows = (Prompt("a", {"n": 1, "references": ["x"]}), Prompt("b", {"n": 2, "references": []}))

    texts, columns = PromptSet(task(*rows), "train", tokenizer, None).texts([1, 0, 1])

    assert texts == ["b", "a", "b"]
    assert columns == {"n": [2, 1, 2], "references": [[], ["x"], []]}


def test_rows_of_no_prompts_have_no_columns(tokenizer):
    assert PromptSet(task(Prompt("a", {"n": 1})), "train", tokenizer, None).texts([]) == ([], {})


def test_a_column_that_only_some_rows_of_a_file_have_is_none_for_the_others(tokenizer, tmp_path):
    trained = [f"prompt {i}" for i in range(100) if split_of(f"prompt {i}") == "train"]
    rows = [{"prompt": f"prompt {i}"} for i in range(100)]
    rows[int(trained[0].split()[1])]["n"] = 1
    rows[int(trained[1].split()[1])]["m"] = 2
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reward = RuleRewardConfig(name="rule", include={"a": 1.0})
    config = DatasetTaskConfig(name="dataset", path=str(file), reward=reward)

    prompts = PromptSet(make_task(config, torch.device("cpu")), "train", tokenizer, None)
    _, columns = prompts.texts([0, 1, 2])

    assert (columns["n"], columns["m"]) == ([1, None, None], [None, 2, None])


def test_a_prompt_longer_than_the_context_allows_is_refused_with_its_line(tokenizer):
    with pytest.raises(DataError) as caught:
        PromptSet(LONG, "train", tokenizer, 3)

    assert str(caught.value) == (
        "a.jsonl:7: `tokens <= 3`, the model's context less max_new_tokens, must hold for a prompt, "
        "but got 4; shorten it, lower max_new_tokens, or take too_long: drop or cut"
    )


@pytest.mark.parametrize("limit", [4, None])
def test_a_prompt_as_long_as_the_context_allows_is_kept(tokenizer, limit):
    assert len(PromptSet(LONG, "train", tokenizer, limit)) == 2


def test_a_prompt_that_is_too_long_is_dropped_and_counted_when_asked(tokenizer):
    dropping = task(*LONG.prompts["train"], too_long="drop")

    prompts = PromptSet(dropping, "train", tokenizer, 3)

    assert [p.text for p in prompts.prompts] == ["a b"]
    assert prompts.batch([0]).ids.tolist() == [tokenizer.convert_tokens_to_ids(["a", "b"])]
    assert prompts.told == (
        "1 of 2 train prompts have more than 3 tokens, the model's context less max_new_tokens: 1 were dropped"
    )
    assert PromptSet(dropping, "train", tokenizer, 4).told == ""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "refuse"),
        ({"drop_bad_rows": True}, "drop"),
        ({"drop_bad_rows": True, "too_long": "cut"}, "cut"),
        ({"drop_bad_rows": True, "too_long": "refuse"}, "refuse"),
    ],
)
def test_what_becomes_of_long_prompts_follows_from_what_becomes_of_bad_rows_unless_it_is_said(
    settings, expected, tmp_path
):
    file = tmp_path / "a.csv"
    file.write_text("\n".join(["prompt", *(f"prompt {i}" for i in range(100))]))
    reward = RuleRewardConfig(name="rule", include={"a": 1.0})
    config = DatasetTaskConfig(name="dataset", path=str(file), reward=reward, **settings)

    assert make_task(config, torch.device("cpu")).too_long == expected


def test_a_prompt_that_is_too_long_loses_its_beginning_when_asked_and_the_judge_reads_what_is_left(tokenizer):
    prompts = PromptSet(task(*LONG.prompts["train"], too_long="cut"), "train", tokenizer, 3)

    assert prompts.texts([0, 1])[0] == ["a b", "b c d"]
    assert prompts.ids[1] == tokenizer.convert_tokens_to_ids(["b", "c", "d"])
    assert prompts.told.endswith("max_new_tokens: 1 lost their beginning")


def test_what_begins_every_text_is_not_cut():
    tokenizer = KINDS["metaspace"]()

    text, ids = shortened(tokenizer, "where is my order ? sorry", 4, chat=False)

    assert len(ids) == 4
    assert ids[0] == tokenizer.bos_token_id
    assert "where is my order ? sorry".endswith(text)
    assert shortened(tokenizer, "where is my order", 1, chat=False) is None


TURNS = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "where is my order"},
    {"role": "assistant", "content": "sorry"},
    {"role": "user", "content": "ok"},
]


def test_a_conversation_loses_its_first_turns_and_keeps_what_the_system_says():
    tokenizer = KINDS["byte level"]()
    tokenizer.chat_template = CHATML
    whole, last = (
        prompt_ids(tokenizer, [Chat(turns)], chat=True)[0] for turns in (TURNS, [TURNS[0], TURNS[3]])
    )

    text, ids = shortened(tokenizer, Chat(TURNS), len(whole) - 1, chat=True)

    assert turns_of(text) == [TURNS[0], TURNS[3]]
    assert ids == last
    assert shortened(tokenizer, Chat(TURNS), len(last) - 1, chat=True) is None


def test_a_reward_and_an_export_are_told_the_turns_that_are_left():
    tokenizer = KINDS["byte level"]()
    tokenizer.chat_template = CHATML
    prompt = Prompt(Chat(TURNS), {"messages": TURNS, "n": 1})
    room = len(prompt_ids(tokenizer, [Chat(TURNS)], chat=True)[0]) - 1

    prompts = PromptSet(task(prompt, chat=True, too_long="cut"), "train", tokenizer, room)
    texts, columns = prompts.texts([0])

    assert turns_of(texts[0]) == columns["messages"][0] == [TURNS[0], TURNS[3]]
    assert columns["n"] == [1]
    assert prompt.columns["messages"] == TURNS


def test_a_conversation_of_which_nothing_fits_is_dropped_and_counted():
    tokenizer = KINDS["byte level"]()
    tokenizer.chat_template = CHATML
    long, short = Prompt(Chat([{"role": "user", "content": "where is my order " * 9}])), Prompt("ok")
    room = len(prompt_ids(tokenizer, ["ok"], chat=True)[0])

    prompts = PromptSet(task(long, short, chat=True, too_long="cut"), "train", tokenizer, room)

    assert [prompt.text for prompt in prompts.prompts] == ["ok"]
    assert prompts.told.endswith(": 1 were dropped")


def test_dropping_every_prompt_is_refused(tokenizer):
    dropping = task(*LONG.prompts["train"], too_long="drop")

    with pytest.raises(DataError) as caught:
        PromptSet(dropping, "train", tokenizer, 1)

    assert str(caught.value) == "task toy: no prompt is left for train; more rows are needed"


@pytest.mark.parametrize("limit", [8, None])
def test_a_prompt_without_a_token_is_refused_as_empty(tokenizer, limit):
    with pytest.raises(DataError) as caught:
        PromptSet(task(Prompt(" ", where="a.jsonl:3")), "train", tokenizer, limit)

    assert str(caught.value).startswith("a.jsonl:3: ")
    assert "<= 8" not in str(caught.value)


def test_a_chat_template_is_wrapped_around_the_text_and_not_tokenized_twice(tokenizer):
    tokenizer.chat_template = CHAT
    prompts = PromptSet(task(Prompt("a a"), chat=True), "train", tokenizer, None)

    assert prompts.ids == [tokenizer.convert_tokens_to_ids(["b", "a", "a", "c"])]
    assert prompts.texts([0])[0] == ["a a"]


def test_a_chat_template_counts_against_the_context(tokenizer):
    tokenizer.chat_template = CHAT

    with pytest.raises(DataError, match="but got 4"):
        PromptSet(task(Prompt("a a"), chat=True), "train", tokenizer, 3)


def test_a_shipped_task_names_its_prompts_without_a_line(tokenizer):
    with pytest.raises(DataError, match=r"^task toy: `tokens <= 1`"):
        PromptSet(task(Prompt("a b")), "train", tokenizer, 1)


def test_advice_for_prompts_that_are_not_the_users_can_be_followed_there(tokenizer):
    def told(text, limit, **settings):
        embedded = task(Prompt(text), advice=EmbeddedTaskConfig.advice)
        with pytest.raises(DataError) as caught:
            PromptSet(embedded, "train", tokenizer, limit, **settings)
        return str(caught.value)

    assert told("a b", 1) == (
        "task toy: `tokens <= 1`, the model's context less max_new_tokens, must hold for a prompt, but got 2; lower "
        "max_new_tokens, or name a model that reads more"
    )
    assert told("a b", 1, closed=True) == (
        "task toy: `tokens <= 1`, what the encoder can read, must hold for a prompt, but got 2; name a model that "
        "reads more"
    )
    assert told(" ", None) == (
        "task toy: `tokens >= 1` must hold for a prompt, but the tokenizer makes none of it; name a model whose "
        "tokenizer reads it"
    )
    with pytest.raises(DataError, match=r"but got 1 training prompt and rollout_size 2; lower it$"):
        PromptSet(
            task(Prompt("a"), advice=EmbeddedTaskConfig.advice), "train", tokenizer, None
        ).check_rollout(2)


def test_advice_names_no_key_that_a_task_has_not():
    foreign = (
        {*DatasetTaskConfig.model_fields} - {*EmbeddedTaskConfig.model_fields} - {"template"}
    )  # of a chat
    words = " ".join(vars(EmbeddedTaskConfig.advice).values())

    assert {"too_long", "drop_bad_rows", "chat", "stop"} <= foreign
    assert foreign.isdisjoint(re.findall(r"\w+", words))


def test_a_file_is_named_by_the_line_of_its_long_prompt(tokenizer, tmp_path):
    rows = [f"prompt {i}" for i in range(100)]
    first = next(i for i, text in enumerate(rows) if split_of(text) == "heldout")
    Path(tmp_path, "a.csv").write_text("\n".join(["prompt", *rows]))
    reward = RuleRewardConfig(name="rule", include={"a": 1.0})
    config = DatasetTaskConfig(name="dataset", path=str(tmp_path / "a.csv"), reward=reward)

    with pytest.raises(DataError) as caught:
        PromptSet(make_task(config, torch.device("cpu")), "heldout", tokenizer, 1)

    assert str(caught.value).startswith(f"{tmp_path / 'a.csv'}:{first + 2}: `tokens <= 1`")
