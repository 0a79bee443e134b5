"""A study file to start from: valid as it is, with lengths and ranges that follow from data and model."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.config.source import Source
from ppo_tune.config.study_file import load_study
from ppo_tune.data.columns import text_columns
from ppo_tune.data.user_files import check_user_files
from ppo_tune.drafting import Draft, draft_study
from ppo_tune.errors import ConfigError, DataError, ModelError
from tests.conftest import save_tiny_model
from tests.data.published import HH, POST, SHP, UF
from tests.tokenizers_of import CHATML


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_model(Path("model"))


def rows_of(*rows: dict[str, Any], name: str = "data.jsonl") -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    Path(name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return Path(name)


def plain(n: int = 200, **columns: str) -> Path:
    return rows_of(*({"question": f"a b {i}", **columns} for i in range(n)))


def drafted(path: Path, **choices: Any) -> tuple[Draft, dict[str, Any]]:
    """A draft, which is a valid study whose files can be used, and its file as plain data."""
    draft = draft_study(path, "model", name="mine", **choices)
    Path("mine.yaml").write_text(draft.study, encoding="utf-8")
    if draft.stub:
        Path("mine_reward.py").write_text(draft.stub, encoding="utf-8")
    config = load_study("mine.yaml")
    check_user_files(config)
    return draft, config.model_dump(mode="json", exclude_unset=True)


def test_prompts_alone_get_a_reward_to_change() -> None:
    draft, study = drafted(plain())

    assert study["task"] == {
        "name": "dataset", "path": "data.jsonl", "prompt": "question",
        "reward": {"name": "python", "function": "mine_reward.py:score"},
    }  # fmt: skip
    assert study["ppo"]["rollout_size"] == 64
    assert study["ppo"]["max_new_tokens"] == 16  # half of a context of 32
    scope: dict[str, Any] = {}
    exec(draft.stub, scope)
    assert scope["score"](["p"] * 3, ["Yes.", "yes", "no " * 50]) == pytest.approx([1.0, 0.0, -0.2])


def test_good_responses_are_the_reward_and_give_the_length() -> None:
    _, study = drafted(plain(answer="c d e f"))

    assert study["task"]["reference"] == "answer"
    assert study["task"]["reward"] == {"name": "reference", "metric": "chrf"}
    assert study["ppo"]["max_new_tokens"] == 8
    assert study["search"]["kl_budget"] == 2.0


def test_few_prompts_make_small_rollouts_and_are_told() -> None:
    draft, study = drafted(plain(40))

    assert study["ppo"]["rollout_size"] == 32
    assert study["ppo"]["episodes"] == 1024
    assert study["space"]["batch_size"]["choices"] == [4, 8, 16, 32]
    assert draft.seen[-1].startswith("these are few prompts")


def test_prompts_without_room_are_counted_and_cut() -> None:
    rows = [{"prompt": f"a {i}"} for i in range(90)] + [{"prompt": "b " * 30 + str(i)} for i in range(10)]

    draft, study = drafted(rows_of(*rows))

    assert study["task"]["too_long"] == "cut"
    assert any(
        told.startswith("so long that no room is left for a response: 10 prompts;") for told in draft.seen
    )


def test_an_encoder_decoder_reads_and_writes_with_two_contexts() -> None:
    save_tiny_model(Path("model"), "bart")
    rows = [{"prompt": f"a {i}"} for i in range(90)] + [{"prompt": "b " * 31 + str(i)} for i in range(9)]
    rows += [{"prompt": "b " * 32 + "a"}]

    draft, study = drafted(rows_of(*rows))

    assert study["ppo"]["max_new_tokens"] == 32  # the whole decoder, and not half of what a prompt shares
    assert any(
        told.endswith("room for 32 tokens of a prompt and 32 tokens of a response") for told in draft.seen
    )
    assert "longer than the encoder can read: 1 prompt; too_long: cut takes their beginning" in draft.seen
    assert study["task"]["too_long"] == "cut"


def test_a_t5_has_no_limit_of_context() -> None:
    save_tiny_model(Path("model"), "t5")

    draft, study = drafted(plain())

    assert study["ppo"]["max_new_tokens"] == 48
    assert draft.seen[0].endswith("and no limit of context")


def test_a_prompt_that_the_model_cannot_read_is_refused_here_already() -> None:
    save_tiny_model(Path("model"), vocab_size=8)

    with pytest.raises(
        ModelError, match=r"a text holds 'm', which its tokenizer knows as number 14, but its"
    ):
        draft_study(rows_of({"prompt": "a m"}), "model", name="mine")


def test_conversations_are_a_chat() -> None:
    Path("model", "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b c"}]
    rows = [{"messages": [{"role": "user", "content": f"a {i}"}, *talk[1:]]} for i in range(100)]

    _, study = drafted(rows_of(*rows))

    assert (study["task"]["prompt"], study["task"]["chat"]) == ("prompt", True)
    assert study["task"]["reference"] == "response"
    assert study["ppo"]["max_new_tokens"] == 8


@pytest.mark.parametrize("row", [HH, POST, SHP, UF], ids=["HH", "TL;DR", "SHP", "UltraFeedback"])
def test_preferences_as_published_are_prompts_with_good_responses(row: dict[str, Any]) -> None:
    asked = next((name for name in ("instruction", "history") if name in row), None)
    rows = [row if asked is None else {**row, asked: f"a b {i}", "post_id": i} for i in range(30)]

    draft, study = drafted(rows_of(*rows, name="p.jsonl.gz"))

    assert (study["task"]["prompt"], study["task"]["reference"]) == ("prompt", "response")
    assert study["task"].get("stop") == (["\n\nHuman:"] if row is HH else None)
    assert 'ppo-tune reward "p.jsonl.gz" --base "model" --out judge' in draft.study


@pytest.mark.parametrize(
    ("path", "choices", "message"),
    [
        (lambda: plain(x="y"), {"prompt": "qestion"}, "prompt: unknown column 'qestion'; did you mean 'question'?"),
        (lambda: plain(x="y"), {"reference": "z"}, "reference: unknown column 'z'; choose one of question, x"),
        (
            lambda: rows_of({"foo": "a", "bar": "b"}), {},
            "prompt: name the column that holds the prompts: foo or bar",
        ),
    ],
)  # fmt: skip
def test_a_column_that_nobody_can_know_is_asked_for(path: Any, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        draft_study(path(), "model", name="mine", **choices)

    assert str(refused.value) == message


def test_a_file_without_text_is_refused() -> None:
    with pytest.raises(DataError, match="no column holds text in every row; the first row has n, t"):
        text_columns(rows_of({"n": 1, "t": "a"}, {"n": 2, "t": ""}))
    with pytest.raises(DataError, match="at least one row is needed, but it has none"):
        text_columns(rows_of())


def test_a_file_in_another_encoding_is_refused_with_what_it_would_say(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("Frage;Antwort\r\nWo ist Köln?;Am Rhein\r\n".encode("cp1252"))

    with pytest.raises(
        DataError, match=r"the first cannot be read: .*not UTF-8; in encoding cp1252 it would read"
    ):
        text_columns(file)
    assert text_columns(file, Source(encoding="cp1252")) == ["Frage", "Antwort"]
