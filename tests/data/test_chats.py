"""Conversations as data sets hold them: to turns, to a text, and through a task to model, judge and export."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.config.tasks import DatasetTaskConfig
from ppo_tune.data.chats import ROLES, Chat, read_chat, turns_of
from ppo_tune.data.prompts import Prompt, read_prompts
from ppo_tune.errors import ConfigError, DataError, RewardError
from ppo_tune.export import TARGETS, Scale, Sources
from ppo_tune.models.chat import prompt_ids
from ppo_tune.rewards import make_reward
from tests.conftest import save_tiny_model
from tests.export.winners import winner
from tests.rewards.reward_models import CHAT, save_chat_reward
from tests.tokenizers_of import CHATML, KINDS

SYSTEM = {"role": "system", "content": "Be kind."}
HI = {"role": "user", "content": "Hi."}
HELLO = {"role": "assistant", "content": "Hello!"}
RAIN = {"role": "user", "content": "Rain?"}
UMBRELLA = {"role": "assistant", "content": "Take an umbrella."}
TALK = [SYSTEM, HI, HELLO, RAIN]
SHAREGPT = [
    {"from": "system", "value": "Be kind."},
    {"from": "human", "value": "Hi."},
    {"from": "gpt", "value": "Hello!"},
    {"from": "human", "value": "Rain?"},
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def task(*rows: dict[str, Any], **settings: Any) -> DatasetTaskConfig:
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    usual = {"prompt": "messages", "chat": True, "reward": {"name": "reference"}}
    return DatasetTaskConfig.model_validate({"name": "dataset", "path": "a.jsonl", **usual, **settings})


@pytest.mark.parametrize("messages", [TALK, SHAREGPT], ids=["role and content", "from and value"])
def test_a_conversation_is_its_turns_and_a_text(messages: list[dict[str, str]]) -> None:
    chat, answers = read_chat(messages)

    assert turns_of(chat) == TALK
    assert chat == "System: Be kind.\n\nUser: Hi.\n\nAssistant: Hello!\n\nUser: Rain?"
    assert answers == []


def test_a_single_message_is_its_own_text_and_a_text_a_single_message() -> None:
    assert read_chat([RAIN])[0] == "Rain?"
    assert turns_of("Rain?") == turns_of(read_chat([RAIN])[0]) == [RAIN]


def test_what_the_assistant_says_last_is_no_part_of_the_prompt() -> None:
    assert read_chat([*TALK, UMBRELLA]) == (Chat(TALK), ["Take an umbrella."])


def test_a_text_in_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "Ra"}, {"type": "text", "text": "in?"}]

    assert read_chat([{"role": "user", "content": parts}])[0] == "Rain?"


def test_a_conversation_goes_to_another_process_with_its_turns() -> None:
    copied = pickle.loads(pickle.dumps(Chat(TALK)))

    assert copied == Chat(TALK)
    assert turns_of(copied) == TALK


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        pytest.param([], "must hold a message of the user that the assistant has to answer", id="none"),
        pytest.param([SYSTEM], "must hold a message of the user that the assistant has to answer", id="no user"),
        pytest.param(["Hi."], "must hold messages, but message 1 is 'Hi.'", id="texts"),
        pytest.param(
            [HI, {"text": "Hi."}], "must hold messages with role and content, but message 2 has text", id="keys"
        ),
        pytest.param(
            [{"role": "tool", "content": "1"}],
            f"must name {', '.join(ROLES)} as roles, but message 1 has 'tool'", id="role",
        ),
        pytest.param(
            [{"role": "user", "content": " "}], "must hold text in every message, but message 1 has ' '", id="empty"
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "image", "url": "x"}]}],
            "must hold text in every message, but message 1 has [{'type': 'image', 'url': 'x'}]", id="a picture",
        ),
        pytest.param(
            [{"role": "user", "content": "a\x00"}],
            "must hold text, but a message holds what is no character", id="NUL",
        ),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_refused_or_dropped_with_its_place(
    messages: list[Any], problem: str
) -> None:
    rows = ({"messages": [RAIN]}, {"messages": messages})

    with pytest.raises(DataError) as refused:
        read_prompts(task(*rows))
    kept = read_prompts(task(*rows, drop_bad_rows=True))

    told = f"a.jsonl:2: column 'messages' {problem}"
    assert str(refused.value) == f"{told}; mend the row, or drop such rows with drop_bad_rows: true"
    assert [prompt.text for prompt in kept.prompts] == ["Rain?"]
    assert kept.notes == (f"a.jsonl: 1 rows were dropped, the first because {told}",)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"chat": False},
            "task.chat: a.jsonl:1: column 'messages' holds messages, which a chat template writes; set chat: true",
        ),
        (
            {"template": "Say: {prompt}"},
            "task.template: a.jsonl:1: column 'messages' holds messages, for which there is no template; leave it out",
        ),
    ],
)
def test_conversations_want_a_chat_template_and_no_other(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_prompts(task({"messages": TALK}, **settings))

    assert str(refused.value) == expected


def test_a_task_knows_turns_and_takes_what_stands_at_the_end_as_a_reference() -> None:
    rows = [
        {"messages": [*TALK, UMBRELLA], "n": 1},
        {"messages": [*TALK, {**UMBRELLA, "content": "Run."}], "n": 1},
    ]

    [prompt] = read_prompts(task(*rows)).prompts

    assert turns_of(prompt.text) == TALK
    assert prompt.columns == {"messages": TALK, "n": 1, "references": ["Take an umbrella.", "Run."]}


def test_texts_and_conversations_may_stand_in_one_column() -> None:
    found = read_prompts(task({"messages": "Sun?"}, {"messages": TALK})).prompts

    assert [turns_of(prompt.text) for prompt in found] == [[{"role": "user", "content": "Sun?"}], TALK]


def test_a_model_reads_all_turns_up_to_where_the_assistant_begins() -> None:
    tokenizer = KINDS["byte level"]()
    tokenizer.chat_template = CHATML

    ids, plain = prompt_ids(tokenizer, [Chat(TALK), "Rain?"], chat=True)

    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nHello!"
        "<|im_end|>\n<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(plain) == "<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n"


A_TALK = [
    {"role": role, "content": text} for role, text in (("user", "a b"), ("assistant", "c"), ("user", "d e"))
]


def test_a_judge_that_reads_chats_reads_all_turns_and_another_one_the_text(tmp_path: Path) -> None:
    save_chat_reward(tmp_path / "judge", CHAT)
    config = PreferenceRewardConfig(name="preference", model=str(tmp_path / "judge"))
    judge: Any = make_reward(config, torch.device("cpu"))
    plain: Any = make_reward(
        config.model_copy(update={"template": "{prompt} {response}"}), torch.device("cpu")
    )
    written = judge.tokenizer.apply_chat_template(
        [*A_TALK, {"role": "assistant", "content": "f"}], tokenize=False
    )

    assert judge.reading.text(Chat(A_TALK), " f") == written
    assert plain.reading.text(Chat(A_TALK), " f") == "User: a b\n\nAssistant: c\n\nUser: d e f"


def test_a_turn_that_is_a_chat_already_is_refused_by_such_a_judge(tmp_path: Path) -> None:
    save_chat_reward(tmp_path / "judge", CHAT)
    judge = make_reward(
        PreferenceRewardConfig(name="preference", model=str(tmp_path / "judge")), torch.device("cpu")
    )

    with pytest.raises(RewardError, match=r"in .* already"):
        judge([Chat([{"role": "user", "content": "<t> a"}, *A_TALK])], [" f"], {})


@pytest.mark.parametrize("target", ["openrlhf", "verl", "skyrl", "trl"])
def test_every_target_is_given_the_turns_and_its_judge_reads_them(tmp_path: Path, target: str) -> None:
    save_chat_reward(tmp_path / "judge", CHAT)
    save_tiny_model(tmp_path / "model")
    reward = PreferenceRewardConfig(name="preference", model=str(tmp_path / "judge"))
    prompts = (Prompt(Chat(A_TALK), {"messages": A_TALK}), Prompt("b", {"messages": "b"}))
    config = task({"messages": A_TALK}).model_copy(update={"reward": reward})
    given = winner(task=config.model_dump(), sources=Sources(str(tmp_path / "model"), reward, prompts))

    files = TARGETS[target](given, Scale()).files

    rows = [json.loads(line) for line in files["prompts.jsonl"].splitlines()]
    assert rows[0]["turns" if target == "trl" else "prompt"] == A_TALK
    assert rows[1].get("turns", rows[1]["prompt"]) in ([{"role": "user", "content": "b"}], "b")
    program = next(text for name, text in files.items() if name.endswith(".py"))
    assert "TURNS = 'messages'" in program
    body = program[program.index("REWARD_MODEL =") : program.index("\n\n\n", program.index("def score("))]
    scope: dict[str, Any] = {}
    modules = ("pathlib", "transformers", "transformers.utils")
    needed = ["import json, torch", *(f"from {name} import *" for name in modules)]
    exec("\n".join((*needed, body)), scope)
    expected = make_reward(reward, torch.device("cpu"))([Chat(A_TALK), "b"], [" f", " g"], {})
    found = scope["score"]([Chat(A_TALK), "b"], [" f", " g"], messages=[A_TALK, "b"])
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
