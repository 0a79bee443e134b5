"""Models fitted to conversations: what the assistant says is learned, and the judge reads all turns."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ppo_tune.config.fitting import PairColumns, RewardTrainingConfig, SFTConfig
from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.data.chats import Chat, has_turns
from ppo_tune.data.examples import read_pairs
from ppo_tune.data.labelled import read_labels
from ppo_tune.errors import ConfigError, ModelError
from ppo_tune.fitting.reward_model import fit_reward
from ppo_tune.fitting.sft import fit_sft
from ppo_tune.models.chat import learned_ids, prompt_ids, turn_end
from ppo_tune.rewards import make_reward
from ppo_tune.rewards.score_format import read_format
from tests.conftest import save_tiny_model
from tests.tokenizers_of import CHATML, KINDS

WORDS = ("red", "blue", "green", "gold", "grey", "pink", "teal", "plum")
TINY = SFTConfig(layers=1, width=32, heads=2, vocab_size=320, learning_rate=0.02, batch_size=8, epochs=12)


def talk(word: str, answer: str) -> list[dict[str, str]]:
    texts = (("user", "hi"), ("assistant", "hello"), ("user", f"say {word}"), ("assistant", answer))
    return [{"role": role, "content": text} for role, text in texts]


def file_of(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new model that answers by the word it is asked for."""
    folder = tmp_path_factory.mktemp("base")
    rows = [{"messages": talk(word, f"{word} it is")} for word in WORDS * 4]
    pairs = read_pairs(file_of(folder, *rows), PairColumns(prompt="messages"))
    fit_sft(pairs.rows, folder / "model", TINY)
    return folder / "model"


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_the_assistant_says_is_learned_and_nothing_else(kind: str) -> None:
    tokenizer = KINDS[kind]()
    tokenizer.chat_template = CHATML

    ids, learned = learned_ids(tokenizer, Chat(talk("ok", "")[:-1]), "sure please")

    runs: list[list[int]] = []
    before = False
    for token, is_learned in zip(ids, learned, strict=True):
        if is_learned and not before:
            runs.append([])
        if is_learned:
            runs[-1].append(token)
        before = is_learned
    ends = [tokenizer("<|im_end|>", add_special_tokens=False)["input_ids"][-1]] * 2
    assert [run[-1] for run in runs] == ends
    texts = [str(tokenizer.decode(run[:-1])).strip() for run in runs]
    if kind == "byte level":
        assert texts == ["hello", "sure please"]
    assert (
        ids[: len(prompt_ids(tokenizer, [Chat(talk("ok", "")[:-1])], chat=True)[0]) - 1]
        == (prompt_ids(tokenizer, [Chat(talk("ok", "")[:-1])], chat=True)[0][:-1])
    )


def test_a_template_that_asks_otherwise_than_it_answers_is_refused() -> None:
    tokenizer = KINDS["byte level"]()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}?{% endif %}"
    )

    with pytest.raises(ModelError, match="writes an answer otherwise than it asks for one"):
        learned_ids(tokenizer, "ok", "sure")


def test_a_new_model_says_what_it_was_shown_and_ends_its_turn(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    (ids,) = prompt_ids(tokenizer, [Chat(talk("gold", "")[:-1])], chat=True)

    said = model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[0, len(ids) :]

    assert tokenizer.decode(said) == "gold it is<|im_end|>"
    assert said[-1] == turn_end(tokenizer, asked_by="test") == tokenizer.eos_token_id


def test_a_base_without_a_template_is_told_in_one_sentence(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "plain")
    pairs = read_pairs(file_of(tmp_path, *({"messages": talk(word, word)} for word in WORDS)))

    with pytest.raises(ModelError) as refused:
        fit_sft(pairs.rows, tmp_path / "out", TINY, base=str(base))

    assert str(refused.value) == (
        f"sft: the tokenizer of {str(base)!r} has no chat template; name a base that has one (--base), such as "
        "ppo-tune sft makes of conversations without a base"
    )


def test_a_template_of_ones_own_is_for_texts(tmp_path: Path) -> None:
    columns = PairColumns(prompt="messages", template="Say: {prompt}")

    with pytest.raises(ConfigError, match="which the model's chat template writes; leave it out"):
        read_pairs(file_of(tmp_path, {"messages": talk("red", "red")}), columns)


PREFERENCES = [
    {"chosen": talk(word, f"{word} it is"), "rejected": talk(word, "no")} for word in WORDS for _ in range(6)
]


@pytest.fixture(scope="module")
def judge(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    found = read_labels(file_of(folder, *PREFERENCES))
    assert has_turns(prompt for prompt, _, _ in found.rows)
    config = RewardTrainingConfig(
        epochs=6, batch_size=8, base_samples=16, max_new_tokens=8, heldout_fraction=0.3
    )
    result = fit_reward(found.rows, str(base), folder / "model", config)
    assert result.accuracy == 1.0
    return folder / "model"


def test_a_reward_model_fitted_to_conversations_reads_them_so_and_says_so(judge: Path) -> None:
    reward: Any = make_reward(
        PreferenceRewardConfig(name="preference", model=str(judge)), torch.device("cpu")
    )
    prompt = Chat(talk("red", "")[:-1])

    good, bad = reward([prompt] * 2, ["red it is", "no"], {}).tolist()

    assert read_format(judge).chat
    assert good > bad + 1
    assert reward.reading.text(prompt, " red it is").endswith(
        "<|im_start|>user\nsay red<|im_end|>\n<|im_start|>assistant\nred it is<|im_end|>\n"
    )
    assert "hello" in reward.reading.text(prompt, "no")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(
            {"prompt": talk("red", "")[:-1], "chosen": talk("", "yes")[-1:], "rejected": talk("", "no")[-1:]},
            (Chat(talk("red", "")[:-1]), "yes", "no"), id="TRL, with a prompt",
        ),
        pytest.param(
            {"chosen": talk("red", "yes"), "rejected": talk("red", "no")},
            (Chat(talk("red", "")[:-1]), "yes", "no"), id="TRL, without one",
        ),
        pytest.param(
            {"prompt": "say red", "chosen": talk("red", "yes")[2:], "rejected": talk("red", "no")[2:], "score": 1},
            (Chat(talk("red", "")[2:-1]), "yes", "no"), id="UltraFeedback, binarized",
        ),
    ],
)  # fmt: skip
def test_preferences_between_conversations_are_read_in_each_shape(
    row: dict[str, Any], expected: tuple[Chat, str, str], tmp_path: Path
) -> None:
    [found] = read_labels(file_of(tmp_path, row)).rows

    assert found == expected
    assert found[0].turns == expected[0].turns


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": talk("red", "yes")}, (Chat(talk("red", "")[:-1]), "yes")),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, ("a", "b")),
        ({"prompt": "a", "completion": "b"}, ("a", "b")),
        (
            {"prompt": talk("red", "")[:-1], "completion": talk("", "yes")[-1:]},
            (Chat(talk("red", "")[:-1]), "yes"),
        ),
    ],
    ids=["messages", "ShareGPT", "completion", "completion in messages"],
)
def test_conversations_to_learn_from_are_read_in_each_shape(
    row: dict[str, Any], expected: tuple[str, str], tmp_path: Path
) -> None:
    assert read_pairs(file_of(tmp_path, row)).rows == [expected]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": talk("red", "yes")[:-1]}, "a conversation ends without an answer of the assistant"),
        (
            {"chosen": talk("red", "yes"), "rejected": talk("blue", "no")},
            "the conversations part before their last turn",
        ),
        ({"chosen": talk("red", "yes"), "rejected": talk("red", "yes")}, "both conversations are the same"),
    ],
)
def test_conversations_that_say_nothing_are_left_out(
    row: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    good = {"messages": talk("a", "b")} if "messages" in row else PREFERENCES[0]
    read: Any = read_pairs if "messages" in row else read_labels

    found = read(file_of(tmp_path, good, row))

    assert len(found.rows) == 1
    assert found.notes[-1].endswith(f"1 row was left out: {reason}")
