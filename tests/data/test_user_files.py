"""The fingerprint holds all that a config names: whatever changes there changes it, whichever block names it."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from ppo_tune.config.block import Block, FileName, Kind, Named, Text
from ppo_tune.config.run import RunConfig, TrainConfig
from ppo_tune.data.user_files import IMPORTS, RECIPE, as_noted, check_user_files
from ppo_tune.errors import PPOTuneError
from tests.blocks import Examples, all_blocks, kinds_of, within
from tests.conftest import save_tiny_model

PLACES = [
    pytest.param(path, id=f"{i}-{block.__name__}") for i, (path, block) in enumerate(within(TrainConfig))
]


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """A training that has a block at one of its places, and names all that it can there; the files lie here."""
    monkeypatch.chdir(tmp_path)
    data = Examples(Path()).along(TrainConfig, request.param)
    return TrainConfig.model_validate({**data, "ppo": {"rollout_size": 8}})


def named_files(block: Block) -> list[Named]:
    return [named for named in block.names() if named.kind != "recipe"]


def change(path: Path) -> None:
    """Let a file, or one in a folder, hold something else that is as good."""
    file = path / "config.json" if path.is_dir() else path
    text = file.read_text(encoding="utf-8")
    added = "\n" + json.dumps({"prompt": "one more"}) if file.suffix == ".jsonl" else "\n"
    file.write_text(text + added, encoding="utf-8")


@pytest.mark.parametrize("config", PLACES, indirect=True)
def test_a_change_of_any_file_that_any_block_names_changes_its_fingerprint_and_no_other(
    config: TrainConfig,
) -> None:
    before = check_user_files(config).hashes

    assert {named.place for named in config.names()} <= before.keys()
    for named in named_files(config):
        change(Path(named.path))
        now = check_user_files(config).hashes
        assert {place for place in now if now[place] != before[place]} == {named.place}
        before = now


def test_a_hub_name_stands_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = tmp_path / "models--org--model"
    (fetched / "refs").mkdir(parents=True)
    (fetched / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    (fetched / "snapshots" / ("0" * 40)).mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    config = RunConfig.model_validate({"task": {"name": "support"}, "model": {"name": "org/model"}})

    assert check_user_files(config).hashes["model.name"] == "org/model"


def test_a_model_without_a_chat_template_is_refused_for_an_embedded_task_of_conversations(
    tmp_path: Path,
) -> None:
    save_tiny_model(tmp_path / "plain")
    name = str(tmp_path / "plain")
    config = RunConfig.model_validate({"task": {"name": "dialogue"}, "model": {"name": name}})

    with pytest.raises(PPOTuneError) as refused:
        check_user_files(config)

    assert str(refused.value) == (
        f"task.name: the tokenizer of {name!r} has no chat template; the prompts of this task are conversations, so "
        "name a chat model, or save one with it"
    )


def test_every_kind_of_thing_is_named_by_some_block_or_tried_here() -> None:
    kinds = {
        kind for block in all_blocks() for field in block.model_fields.values() for kind in kinds_of(field)
    }

    assert kinds == set(get_args(Kind))


class Words(Block):
    """What a later reward could name."""

    path: FileName
    label: Text = ""


class OfWords(RunConfig):
    words: Words


def of_words(path: str) -> OfWords:
    return OfWords.model_validate({"task": {"name": "support"}, "words": {"path": path}})


def test_a_file_that_a_new_block_names_is_looked_for_and_part_of_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        PPOTuneError, match=re.escape(f"words.path: no such file 'w.txt' (looked in {tmp_path})")
    ):
        check_user_files(of_words("w.txt"))
    Path("w.txt").write_text("red", encoding="utf-8")

    assert {*check_user_files(of_words("w.txt")).hashes} == {"task.name", "words.path"}


@pytest.mark.parametrize(
    ("before", "compared"),
    [
        pytest.param({"f": "1"}, {"f"}, id="neither imports nor recipe"),
        pytest.param({"f": "1", f"f{IMPORTS}old.py": "2"}, {"f", f"f{IMPORTS}a.py"}, id="imports"),
        pytest.param({"f": "1", RECIPE: "2"}, {"f", RECIPE}, id="recipe"),
        pytest.param({}, {"f"}, id="nothing"),
    ],
)
def test_what_an_older_study_did_not_note_is_not_compared(before: dict[str, Any], compared: set[str]) -> None:
    now = {"f": "1", f"f{IMPORTS}a.py": "3", RECIPE: "4"}

    assert as_noted(now, before) == {place: now[place] for place in compared}


def test_all_that_cannot_be_used_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reward = {"name": "python", "function": "mine.py:score"}
    config = RunConfig.model_validate({
        "task": {"name": "dataset", "path": "p.jsonl", "reward": reward},
        "model": {"name": "no/such/model"},
    })  # fmt: skip

    with pytest.raises(PPOTuneError) as caught:
        check_user_files(config)

    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "p.jsonl",
        "task.reward.function",
        "model 'no/such/model'",
    ]
