# mypy: ignore-errors
"""A user's own prompts: from a file to splits of prompts."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.rewards import RuleRewardConfig
from ppo_tune.config.run import RunConfig
from ppo_tune.config.tasks import DatasetTaskConfig
from ppo_tune.data.prompts import read_prompts, split_of
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import ConfigError, DataError
from ppo_tune.tasks import Task, make_task

RULE = RuleRewardConfig(name="rule", include={"fan": 1.0})


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, so that messages name short paths; every hub's model was fetched before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ppo_tune.data.model_folders.problem_of_hub_name", lambda *_: "")


def config(rows: Sequence[dict[str, Any]], **settings: Any) -> DatasetTaskConfig:
    """The dataset task of a file of these rows."""
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DatasetTaskConfig(name="dataset", path="a.jsonl", **{"reward": RULE, **settings})


def prompts(rows: Sequence[dict[str, Any]], **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """Texts and columns of the prompts of a file of these rows."""
    return [(prompt.text, dict(prompt.columns)) for prompt in read_prompts(config(rows, **settings))[0]]


def refusal(rows: Sequence[dict[str, Any]], **settings: Any) -> str:
    """The message with which a file or a template is refused."""
    with pytest.raises((ConfigError, DataError)) as caught:
        read_prompts(config(rows, **settings))
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "way_out"),
    [
        (
            {"prompt": "frage"},
            "there is no column 'frage'; the row has Frage, Antwort; did you mean task.prompt='Frage'?",
        ),
        (
            {"prompt": "Frage", "reference": "ref"},
            "there is no column 'ref'; the row has Frage, Antwort; name the column by task.reference, "
            "or drop such rows with drop_bad_rows: true",
        ),
    ],
)
def test_a_column_that_the_file_calls_otherwise_is_told_with_the_key_that_names_it(settings, way_out):
    assert refusal([{"Frage": "Wer?", "Antwort": "Ich."}], **settings) == f"a.jsonl:1: {way_out}"


def task(n_prompts: int, **settings: Any) -> Task:
    """The dataset task of so many prompts."""
    return make_task(
        config([{"prompt": f"prompt {i}"} for i in range(n_prompts)], **settings), torch.device("cpu")
    )


def test_rows_of_one_prompt_are_one_prompt_with_several_references():
    rows = [{"q": "a", "r": "x"}, {"q": "b", "r": "y"}, {"q": "a", "r": "z"}]

    found = prompts(rows, prompt="q", reference="r")

    assert found == [
        ("a", {"q": "a", "references": ["x", "z"]}),
        ("b", {"q": "b", "references": ["y"]}),
    ]


def notes(rows: Sequence[dict[str, Any]], **settings: Any) -> tuple[str, ...]:
    """What is noted of a file of these rows."""
    return read_prompts(config(rows, **settings)).notes


def test_rows_of_one_prompt_are_one_prompt_whatever_their_numbers_are():
    rows = [{"id": i, "prompt": "a", "r": text} for i, text in enumerate("xyz")]

    assert prompts(rows, reference="r") == [("a", {"id": 0, "prompt": "a", "references": ["x", "y", "z"]})]
    assert notes(rows, reference="r") == (
        "a.jsonl: rows of one prompt differ in id; they are one prompt with all their references, and the columns of "
        "its first row",
    )


def test_no_held_out_prompt_counts_twice_where_no_judge_reads_what_differs():
    rows = [{"id": i, "prompt": f"prompt {i % 100}"} for i in range(300)]

    assert len(prompts(rows)) == 100


def test_lists_of_references_of_one_prompt_are_put_together():
    rows = [
        {"id": 1, "prompt": "a", "references": ["x", "y"]},
        {"id": 2, "prompt": "a", "references": ["y", "z"]},
    ]

    assert prompts(rows)[0][1]["references"] == ["x", "y", "z"]


@pytest.mark.parametrize("judge", ["reward", "gold"])
def test_rows_that_a_function_may_tell_apart_are_two_prompts_with_a_note(judge):
    rows = [{"prompt": "a", "answer": 1}, {"prompt": "a", "answer": 2}, {"prompt": "b", "answer": 3}]
    judges = {judge: {"name": "python", "function": "r.py:score"}}

    assert [columns["answer"] for _, columns in prompts(rows, **judges)] == [1, 2, 3]
    assert notes(rows, **judges) == (
        "a.jsonl: 1 prompt repeats the text of another, with another value in a column that the reward function may "
        "read; each counts as a prompt of its own",
    )


def test_a_file_without_surprises_has_no_notes():
    assert (
        notes(
            [{"prompt": "a", "r": "x"}, {"prompt": "a", "r": "y"}, {"prompt": "b", "r": "z"}], reference="r"
        )
        == ()
    )


def test_dropped_rows_are_noted_with_the_first_reason():
    rows = [{"prompt": "a", "lang": "de"}, {"prompt": "b", "lang": None}, {"prompt": ""}]

    assert notes(rows, template="[{lang}] {prompt}", drop_bad_rows=True) == (
        "a.jsonl: 2 rows were dropped, the first because a.jsonl:3: column 'prompt' must hold text, but got ''",
    )


TESTED = {"name": "unit_tests", "entry_point": "f", "column": "t"}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({}, "column 't' holds no tests"),
        ({"t": []}, "column 't' holds no tests"),
        (
            {"t": ["print(1)"]},
            "column 't' must hold a list of assert statements, a text of code with such, or pairs with `input` and "
            "`output`, but there is no assert statement in ['print(1)']",
        ),
        ({"t": ["assert f(1)"], "f": None}, "column 'f' must hold text, but got None"),
    ],
    ids=["missing", "empty", "no test", "no function"],
)
@pytest.mark.parametrize("place", ["reward", "gold"])
def test_a_row_without_tests_for_who_judges_by_them_is_dropped_and_counted_when_asked(place, bad, why):
    rows = [{"prompt": p, "t": ["assert f(1)"], "f": "g"} for p in "abc"]
    rows += [{"prompt": "d", "f": "g", **bad}, {"prompt": "e", "f": "g", **bad}]

    found = read_prompts(config(rows, drop_bad_rows=True, **{place: TESTED}))

    assert [prompt.text for prompt in found.prompts] == ["a", "b", "c"]
    assert found.notes == (f"a.jsonl: 2 rows were dropped, the first because a.jsonl:4: task.{place}: {why}",)
    assert len(prompts(rows, **{place: TESTED})) == 5  # who checks the judges refuses them


def test_a_column_of_tests_that_no_row_has_drops_none_for_its_name_is_wrong():
    assert len(prompts([{"prompt": "a"}, {"prompt": "b"}], drop_bad_rows=True, reward=TESTED)) == 2


@pytest.mark.parametrize("nothing", [None, float("nan"), ["de"], {"de": 1}, "\ud800"])
def test_what_the_template_names_and_cannot_be_written_makes_a_bad_row(nothing):
    rows = [{"prompt": "p", "lang": "de"}, {"prompt": "q", "lang": nothing}]

    found = read_prompts(config(rows, template="[{lang}] {prompt}", drop_bad_rows=True))

    assert refusal(rows, template="[{lang}] {prompt}") == (
        f"a.jsonl:2: column 'lang', which task.template names, must hold text, but got {nothing!r}; mend the row, or "
        "drop such rows with drop_bad_rows: true"
    )
    assert [prompt.text for prompt in found.prompts] == ["[de] p"]


@pytest.mark.parametrize(
    ("value", "text"), [(3, "[3] p"), (0.5, "[0.5] p"), (True, "[True] p"), ("", "[] p")]
)
def test_numbers_and_empty_texts_can_be_written(value, text):
    assert prompts([{"prompt": "p", "n": value}], template="[{n}] {prompt}")[0][0] == text


def test_a_file_of_which_no_row_has_the_templates_columns_is_refused():
    rows = [{"prompt": "p", "lang": None}] * 2

    assert refusal(rows, template="{lang} {prompt}", drop_bad_rows=True) == (
        "a.jsonl: at least one row is needed, but all were dropped, the last because a.jsonl:2: column 'lang', which "
        "task.template names, must hold text, but got None"
    )


def test_a_prompt_that_stands_twice_counts_once():
    assert [text for text, _ in prompts([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "a"}])] == ["a", "b"]


def test_a_prompt_keeps_its_other_columns_and_its_place():
    (prompt,), *_ = read_prompts(config([{"prompt": "a", "n": 3, "tags": ["x", None]}]))

    assert (prompt.columns["n"], prompt.columns["tags"], prompt.where) == (3, ["x", None], "a.jsonl:1")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("{prompt}", "why ?", id="the prompt"),
        pytest.param("Q: {prompt}\nA:", "Q: why ?\nA:", id="text around it"),
        pytest.param("{topic}: {question}", "fans: why ?", id="columns by name"),
        pytest.param("{{topic}} {prompt}", "{topic} why ?", id="literal braces"),
    ],
)
def test_a_template_makes_the_text_of_the_model(template, expected):
    rows = [{"question": "why ?", "topic": "fans"}]

    assert prompts(rows, prompt="question", template=template)[0][0] == expected


def test_a_template_means_the_prompt_column_even_where_another_is_called_prompt():
    assert prompts([{"q": "a", "prompt": "b"}], prompt="q")[0][0] == "a"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(
            "{topic} {prompt}",
            "task.template: there is no column 'topic' for '{topic} {prompt}'; the file has ",
            id="unknown column",
        ),
        pytest.param("{}", "task.template: there is no column '' for '{}'; the file has ", id="no name"),
        pytest.param("{0}", "task.template: there is no column '0' for '{0}'; the file has ", id="number"),
        pytest.param("{prompt.text}", "task.template: there is no column 'prompt.text' for ", id="attribute"),
        pytest.param(
            "{prompt",
            "task.template: expected '}' before end of string, in '{prompt'; double a literal brace",
            id="open brace",
        ),
        pytest.param(
            "prompt}",
            "task.template: Single '}' encountered in format string, in 'prompt}'; double a literal brace",
            id="closing brace",
        ),
        pytest.param("{prompt:d}", "task.template: ", id="format of a number"),
        pytest.param("{prompt!x}", "task.template: ", id="unknown conversion"),
        pytest.param("{prompt:{width}}", "task.template: ", id="column in a format"),
    ],
)
def test_a_wrong_template_is_refused_with_the_reason(template, expected):
    assert refusal([{"prompt": "a", "n": 1}], template=template).startswith(expected)


def test_a_column_of_the_template_that_only_some_rows_have_is_named_with_the_line():
    rows = [{"prompt": "a", "topic": "x"}, {"prompt": "b"}]

    assert refusal(rows, template="{topic}: {prompt}").startswith("a.jsonl:2: there is no column 'topic'")


def test_rows_without_a_column_of_the_template_are_dropped_and_counted_when_asked():
    rows = [{"prompt": "a", "topic": "x"}, {"prompt": "b"}]

    found = read_prompts(config(rows, template="{topic}: {prompt}", drop_bad_rows=True))

    assert [prompt.text for prompt in found.prompts] == ["x: a"]
    assert [note.partition(", the")[0] for note in found.notes] == ["a.jsonl: 1 row was dropped"]


def test_a_row_without_a_reference_is_refused_or_dropped_and_counted():
    rows = [{"prompt": "a", "r": "x"}, {"prompt": "b", "r": ""}]

    found = read_prompts(config(rows, reference="r", drop_bad_rows=True))

    assert refusal(rows, reference="r").startswith("a.jsonl:2: column 'r' must hold text, but got ''")
    assert [prompt.text for prompt in found.prompts] == ["a"]
    assert [note.partition(", the")[0] for note in found.notes] == ["a.jsonl: 1 row was dropped"]


def test_references_in_a_column_of_that_name_are_kept():
    assert prompts([{"prompt": "a", "references": ["x", "y"]}])[0][1]["references"] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "split"),
    [
        # the first bytes of their SHA-256, as published in many places
        pytest.param("abc", "train", id="abc: 0xba = 186"),
        pytest.param("hello", "train", id="hello: 0x2c = 44"),
        pytest.param("3", "heldout", id="3: 0x4e = 78"),
        pytest.param("test", "confirmation", id="test: 0x9f = 159"),
    ],
)
def test_a_prompt_belongs_to_the_split_of_the_last_digit_of_its_hash(text, split):
    assert split_of(text) == split


def test_the_splits_hold_about_80_10_and_10_percent():
    splits = [split_of(f"prompt {i}") for i in range(5000)]

    shares = [splits.count(split) / 5000 for split in ("train", "heldout", "confirmation")]

    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_no_text_is_in_two_splits_and_none_is_lost():
    rows = [{"prompt": f"prompt {i % 100}", "user": i} for i in range(200)]
    Path("r.py").write_text("def score(prompts, **columns): return [0.0] * len(prompts)", encoding="utf-8")
    reward = {"name": "python", "function": "r.py:score"}  # which may read the user

    splits = make_task(config(rows, reward=reward), torch.device("cpu")).prompts

    texts = [{prompt.text for prompt in members} for members in splits.values()]
    assert sum(map(len, splits.values())) == 200
    assert sum(map(len, texts)) == len(set.union(*texts)) == 100


def test_a_growing_file_moves_no_prompt_to_another_split():
    small, large = task(100).prompts, task(300).prompts

    assert all({p.text for p in small[split]} <= {p.text for p in large[split]} for split in small)


def test_the_task_of_a_file_is_judged_by_its_reward_and_its_gold_reward():
    gold = RuleRewardConfig(name="rule", avoid={"fan": 1.0})

    judged = task(100, gold=gold, chat=True, drop_bad_rows=True)

    assert (judged.name, judged.base_model, judged.chat, judged.drop_bad_rows) == (
        "dataset",
        None,
        True,
        True,
    )
    assert judged.reward(["p"], ["the fan"], {}).item() == 1.0
    assert judged.judges["gold"](["p"], ["the fan"], {}).item() == -1.0


def test_without_a_gold_reward_there_is_none():
    assert task(100).judges == {}


def test_dropped_rows_are_counted():
    rows = [{"prompt": f"prompt {i}"} for i in range(100)] + [{"prompt": ""}, {"text": "a"}]

    assert notes(rows, drop_bad_rows=True)[0].startswith("a.jsonl: 2 rows were dropped, the first because")


def test_a_file_too_small_for_every_split_is_refused():
    trained = [text for text in map(str, range(50)) if split_of(text) == "train"][:5]

    with pytest.raises(DataError) as caught:
        make_task(config([{"prompt": text} for text in trained]), torch.device("cpu"))

    assert str(caught.value) == (
        "a.jsonl: no prompt falls into the heldout split (80, 10 and 10 % by hash), of only 5 "
        "different prompts; more rows are needed"
    )


def run_config(n_prompts: int, rollout_size: int, **settings: Any) -> RunConfig:
    """A run on so many prompts."""
    rows = [{"prompt": f"prompt {i}"} for i in range(n_prompts)]
    ppo = PPOConfig(rollout_size=rollout_size, batch_size=rollout_size)
    return RunConfig(task=config(rows, **settings), model=ModelConfig(name="some/model"), ppo=ppo)


def n_trained(n_prompts: int) -> int:
    """How many of the prompts are for training."""
    return sum(split_of(f"prompt {i}") == "train" for i in range(n_prompts))


def test_a_dataset_smaller_than_one_rollout_is_refused_with_both_sizes():
    with pytest.raises(DataError) as caught:
        check_user_files(run_config(20, 64))

    assert str(caught.value) == (
        f"a.jsonl: `prompts >= rollout_size` must hold, but of 20 different prompts {n_trained(20)} are for "
        "training and rollout_size is 64; lower it or add rows"
    )


def test_a_dataset_of_exactly_one_rollout_is_enough():
    check_user_files(run_config(20, n_trained(20)))


def test_a_reward_function_is_looked_for_before_any_model_is_loaded():
    broken = {"name": "python", "function": "none.py:score"}

    with pytest.raises(ConfigError, match=r"no such file 'none\.py'"):
        check_user_files(run_config(50, 8, reward=broken))
    with pytest.raises(ConfigError, match=r"no such file 'none\.py'"):
        check_user_files(run_config(50, 8, gold=broken))


def test_what_an_experiment_depends_on_is_known_by_its_content():
    Path("reward.py").write_text("def score(prompts, responses, **columns): return [0] * len(responses)")
    Path("judge").mkdir()
    Path("judge", "config.json").write_text("{}")
    Path("judge", "weights").write_text("1")
    reward = {"name": "python", "function": "reward.py:score"}
    gold = {"name": "preference", "model": "judge"}

    before = check_user_files(run_config(50, 8, reward=reward, gold=gold)).hashes
    Path("judge", "weights").write_text("2")
    after = check_user_files(run_config(50, 8, reward=reward, gold=gold)).hashes

    assert set(before) == {"model.name", "task.path", "task.reward.function", "task.gold.model"}
    assert before["model.name"] == "some/model"
    assert [name for name in before if before[name] != after[name]] == ["task.gold.model"]


def test_what_a_reward_imports_is_an_input_by_its_file():
    Path("rewards").mkdir()
    Path("rewards", "words.py").write_text("WORD = 'sorry'")
    Path("rewards", "r.py").write_text("from words import WORD\ndef score(**given): return [0]")
    reward = {"name": "python", "function": "rewards/r.py:score"}

    before = check_user_files(run_config(50, 8, reward=reward)).hashes
    Path("rewards", "words.py").write_text("WORD = 'merry'")
    after = check_user_files(run_config(50, 8, reward=reward)).hashes

    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["task.reward.function imports rewards/words.py"]
    assert set(before) == {"model.name", "task.path", "task.reward.function", *changed}
    assert before[changed[0]] == hashlib.sha256(b"WORD = 'sorry'").hexdigest()


def test_what_surprises_in_a_file_is_noted_before_any_model_is_loaded():
    run = run_config(50, 8)
    with Path("a.jsonl").open("a") as file:
        file.write('{"prompt": "None"}\n')

    assert check_user_files(run).notes == (
        "a.jsonl: column 'prompt' holds the text 'None' in 1 row; was the cell empty?",
    )


def test_another_row_is_another_input():
    before, after = (check_user_files(run_config(n, 8)).hashes["task.path"] for n in (50, 51))

    assert before != after


def test_the_prompts_of_every_split_are_counted():
    counts = check_user_files(run_config(50, 8)).prompts

    assert counts == Counter(split_of(f"prompt {i}") for i in range(50))
