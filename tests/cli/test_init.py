"""The command that writes a study file to start from."""

import json
import re
from pathlib import Path

import pytest

from ppo_tune.config.study_file import load_study
from tests.cli.conftest import Cli
from tests.conftest import save_tiny_model


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model, and a file of two columns that may be prompts."""
    monkeypatch.chdir(tmp_path)
    save_tiny_model(Path("model"))
    rows = ({"question": f"a b {i}", "answer": "c d"} for i in range(200))
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_a_study_file_is_written_and_no_file_is_replaced(cli: Cli) -> None:
    first, again = (cli("init", "data.jsonl", "--model", "model") for _ in range(2))

    assert (
        "responses are scored by their likeness to column 'answer' (chrF), so no reward to change was written; for one "
        "of your own see `reward` in the file\n" in first.out
    )
    assert re.search(r"the model has \d?\d,\d{3} parameters", first.out)
    assert first.out.endswith(
        "wrote data.yaml\ngo on with ppo-tune check data.yaml, then ppo-tune search data.yaml\n"
    )
    assert (again.code, again.err) == (
        2,
        "error: data.yaml is there already; name the study otherwise by --name\n",
    )
    assert cli("check", "data.yaml").out.startswith("data.yaml is a valid study.")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my data.jsonl", "my-data"),
        ("Données (v2.1).jsonl", "Donnees-v2-1"),
        ("2024.jsonl", "2024"),
        ("-x_y-.jsonl", "x_y"),
        ("a.b.jsonl", "a-b"),
        ("данные.jsonl", "study"),
        (f"{'a' * 120}.jsonl", "a" * 100),
    ],
)
def test_a_study_is_named_by_its_data_whatever_that_is_called(cli: Cli, file: str, name: str) -> None:
    Path("data.jsonl").rename(file)

    written = cli("init", f"./{file}", "--model", "model")

    assert (written.code, written.err) == (0, "")
    assert f"wrote {name}.yaml\n" in written.out
    assert cli("check", f"{name}.yaml").code == 0


def test_a_name_that_cannot_be_is_refused_with_its_flag(cli: Cli) -> None:
    refused = cli("init", "data.jsonl", "--model", "model", "--name", "a b")

    assert refused.err.endswith("but got 'a b'; give another --name\n")


@pytest.mark.parametrize("setting", ["ppo.rollout_size=8", "ppo={rollout_size: 8, max_new_tokens: 8}"])
def test_a_smaller_rollout_of_a_study_that_was_written_is_refused_with_a_way_out_that_works(
    cli: Cli, setting: str
) -> None:
    cli("init", "data.jsonl", "--model", "model")

    refused = cli("check", "data.yaml", "--set", setting)
    way_out = re.search(r"take --set '(.*)' too", refused.err)

    assert refused.code == 2
    assert refused.err == (
        "error: data.yaml: space.batch_size: `batch_size` must divide rollout_size 8, but got 16, 32, 64; "
        "take --set 'space.batch_size={type: categorical, choices: [1, 2, 4, 8]}' too\n"
    ).replace("data.yaml:", f"data.yaml:{line_of('batch_size')}:")
    assert way_out is not None
    assert cli("check", "data.yaml", "--set", setting, "--set", way_out[1]).code == 0


def line_of(key: str) -> int:
    lines = Path("data.yaml").read_text(encoding="utf-8").splitlines()
    return next(i for i, line in enumerate(lines, start=1) if line.strip().startswith(f"{key}:"))


def test_columns_and_name_may_be_given(cli: Cli) -> None:
    flags = ("--model", "model", "--name", "other", "--prompt", "answer", "--reference", "question")

    assert cli("init", "data.jsonl", *flags).code == 0

    assert load_study("other.yaml").task.prompt == "answer"


def test_a_reward_to_change_is_written_where_nothing_says_what_is_good(cli: Cli) -> None:
    Path("data.jsonl").write_text(
        "".join(json.dumps({"prompt": f"a {i}"}) + "\n" for i in range(200)), encoding="utf-8"
    )

    told = cli("init", "data.jsonl", "--model", "model").out

    assert "wrote data.yaml\nwrote data_reward.py\nchange data_reward.py to what you want\n" in told
    assert cli("check", "data.yaml").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "DATA: must be given, for nobody can be asked: your file of prompts"),
        (("data.jsonl",), "--model: must be given, for nobody can be asked: model folder or hub name"),
        (("data.csv", "--model", "model"), "data.csv: no such file"),
        (("data.jsonl", "--model", "model", "--name", "a/b"), "name"),
    ],
)
def test_what_is_missing_is_told_where_nobody_can_be_asked(
    cli: Cli, words: tuple[str, ...], message: str
) -> None:
    refused = cli("init", *words)

    assert refused.code == 2
    assert message in refused.err
    assert not list(Path().glob("*.yaml"))


def test_what_is_missing_is_asked_for_on_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data.jsonl").write_text(
        "".join(json.dumps({"foo": f"a {i}", "bar": "b"}) + "\n" for i in range(200)), encoding="utf-8"
    )
    answers = {
        "Your file of prompts": "data.jsonl",
        "Model folder or hub name": "model",
        "Column of the prompts (foo, bar)": "foo",
    }
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda question, **_: answers.pop(question))

    assert cli("init").code == 0

    assert answers == {}
    assert load_study("data.yaml").task.prompt == "foo"
