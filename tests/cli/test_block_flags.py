"""Flags that are the fields of blocks: each is passed on, and refused by the block's own rule, before a model loads."""

import json
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

import ppo_tune
from ppo_tune.cli.settings import flag
from ppo_tune.config.block import Block
from ppo_tune.config.fitting import LabelColumns, PairColumns, RewardTrainingConfig, SFTConfig
from tests.cli.conftest import Cli

FIELDS = [
    pytest.param(command, block, name, id=f"{command} {flag(name)}")
    for command, blocks in (
        ("sft", (PairColumns, SFTConfig)),
        ("reward", (LabelColumns, RewardTrainingConfig)),
    )
    for block in blocks
    for name in block.model_fields
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of pairs and one of preferences, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    row = {"prompt": "a", "question": "b", "response": "c", "chosen": "d", "rejected": "e"}
    Path("d.jsonl").write_text("\n".join([json.dumps(row)] * 3), encoding="utf-8")


def other_value(block: type[Block], name: str) -> Any:
    """A legal value that is not the default."""
    texts = {
        "prompt": "question",
        "reference": "chosen",
        "chosen": "response",
        "rejected": "response",
        "response": "chosen",
        "choice": "response",
        "margin": "response",
        "rating": "response",
        "label": "response",
        "rater": "response",
        "comment": "response",
        "teacher": "bert",
        "classes": "no,yes",
        "good": "yes",
        "template": "{prompt} {response}",
        "encoding": "cp1252",
        "subset": "other",
        "split": "test",
    }
    if name == "width":
        return 64
    if name in texts:
        return texts[name]
    field = block.model_fields[name]
    if int in get_args(field.annotation):
        return 3
    if field.annotation is bool:
        return not field.default
    choices = [choice for kind in get_args(field.annotation) for choice in get_args(kind)] or get_args(
        field.annotation
    )
    if choices:
        return next(choice for choice in choices if choice != field.default)
    return (
        (field.default or 0.5) / 2
        if isinstance(field.default, float)
        else field.default + 1
        if name != "heads"
        else 8
    )


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("command", "block", "name"), FIELDS)
def test_every_field_is_a_flag(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str, block: type[Block], name: str
) -> None:
    given: list[Any] = []

    def note(*arguments: Any, **_: Any) -> None:
        given.extend(arguments)
        raise ppo_tune.PPOTuneError("enough")

    for home, function in (
        ("data.examples", "read_pairs"),
        ("data.labelled", "read_labels"),
        ("fitting.sft", "fit_sft"),
        ("fitting.reward_model", "fit_reward"),
    ):
        if not function.startswith("read") or block in (PairColumns, LabelColumns):
            monkeypatch.setattr(f"ppo_tune.{home}.{function}", note)
    value = other_value(block, name)

    given_by = [flag(name), value] if not isinstance(value, bool) else [flag(name)]
    if value is False:
        given_by = [f"--no-{flag(name).removeprefix('--')}"]
    outcome = cli(command, "d.jsonl", "--base", "b", "--out", "m", *given_by)

    assert outcome.err == "error: enough\n"
    (made,) = (argument for argument in given if isinstance(argument, block))
    assert made == block.model_validate({name: value})
    assert made != block()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("spelled", ["--reference", "--response"])
def test_the_column_of_good_responses_has_the_name_of_a_study_file_and_another(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    given: list[Any] = []

    def note(*arguments: Any) -> None:
        given.extend(arguments)
        raise ppo_tune.PPOTuneError("enough")

    monkeypatch.setattr("ppo_tune.data.examples.read_pairs", note)

    cli("sft", "d.jsonl", "--out", "m", spelled, "chosen")

    assert given[1] == PairColumns(reference="chosen")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "sft --width 130",
            "--width: must be a multiple of the 4 heads, but got 130; take 128 or 132, or other heads",
        ),
        (
            "sft --heads 5",
            "--width: must be a multiple of the 5 heads, but got 128; take 125 or 130, or other heads",
        ),
        ("sft --learning-rate -1", "--learning-rate: `learning_rate > 0` must hold, but got -1.0"),
        ("sft --learning-rate nan", "--learning-rate: must be finite, but got nan"),
        (
            "sft --template {nope}",
            "--template: there is no column 'nope' for '{nope}'; the file has prompt, question, response, chosen, "
            "rejected",
        ),
        (
            "sft --template {prompt",
            "--template: expected '}' before end of string, in '{prompt'; double a literal",
        ),
        ("sft --activation rleu", "--activation: unknown 'rleu'; did you mean 'relu'?"),
        (
            "sft --epochs 0 --vocab-size 9",
            "--vocab-size: `vocab_size >= 300` must hold, but got 9\n--epochs: `epochs",
        ),
        ("reward --base b --learning-rate 0", "--learning-rate: `learning_rate > 0` must hold, but got 0.0"),
        (
            "reward --base b --template {prompt}",
            "--template: must hold {response}, and {prompt} if need be, and nothing else in braces, but got",
        ),
        ("reward --base b --batch-size 0", "--batch-size: `batch_size >= 1` must hold, but got 0"),
    ],
)
def test_a_wrong_flag_is_one_message_and_loads_no_model(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, call: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "ppo_tune.fitting.sft", None)
    monkeypatch.setitem(sys.modules, "ppo_tune.fitting.reward_model", None)
    command, *flags = call.split()

    outcome = cli(command, "d.jsonl", "--out", "m", *flags)

    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")
    assert "Traceback" not in outcome.err
    assert not Path("m").exists()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("sft", "d.jsonl", "--out", "m", "--template", ""),
            "--template: String should have at least 1 character, but got ''",
        ),
        (
            ("sft", "d.jsonl", "--out", "d.jsonl"),
            "folder d.jsonl cannot be written (File exists); choose another with --out",
        ),
        (
            ("reward", "d.jsonl", "--base", "b", "--out", "d.jsonl"),
            "folder d.jsonl cannot be written (File exists); choose another with --out",
        ),
    ],
)
def test_what_a_fit_cannot_use_is_refused_before_it_begins(
    cli: Cli, words: tuple[str, ...], message: str
) -> None:
    before = Path("d.jsonl").read_bytes()

    outcome = cli(*words)

    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")
    assert not Path("m").exists()
    assert Path("d.jsonl").read_bytes() == before


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--episodes", 0), "life.yaml: --episodes: `episodes >= 1` must hold, but got 0"),
        (("--episodes", 100), "life.yaml: --episodes: must be whole rollouts of 64, but got 100; take 128"),
        (("--seed", -1), "life.yaml: --seed: `seed >= 0` must hold, but got -1"),
    ],
)
def test_a_wrong_flag_of_train_is_told_with_its_name(cli: Cli, flags: tuple[str, int], message: str) -> None:
    Path("life.yaml").write_text("task: {name: support}", encoding="utf-8")

    outcome = cli("train", "life.yaml", *flags)

    assert (outcome.code, outcome.err) == (2, f"error: {message}\n")


@pytest.mark.usefixtures("files")
def test_flags_of_train_come_before_the_file(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def note(config: Any, **_: Any) -> None:
        given.append(config)
        raise ppo_tune.PPOTuneError("enough")

    monkeypatch.setattr("ppo_tune.training.full_length.train", note)
    Path("life.yaml").write_text("task: {name: support}\nseed: 1", encoding="utf-8")

    cli("train", "life.yaml", "--episodes", 128, "--seed", 7)

    assert [(config.ppo.episodes, config.seed) for config in given] == [(128, 7)]
