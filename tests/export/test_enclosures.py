"""What goes along in an export's folder: every file that any block names, found again wherever the folder is put."""

import gc
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.config.run import TrainConfig
from ppo_tune.data.model_folders import MERGE
from ppo_tune.data.stand_ins import stand_in
from ppo_tune.data.user_files import IMPORTS, check_user_files
from ppo_tune.data.user_functions import Held, hold
from ppo_tune.errors import PPOTuneError, StorageError
from ppo_tune.export.base import Conversion, Export, Sources
from ppo_tune.export.enclosures import Enclosing, Enclosure, notes_on
from ppo_tune.files import content_hash
from tests.blocks import Examples, within

PLACES = [
    pytest.param(path, id=f"{i}-{block.__name__}") for i, (path, block) in enumerate(within(TrainConfig))
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's, to work in."""
    folder = tmp_path / "user" / "work"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def written(enclosing: Enclosing, folder: Path) -> list[Path]:
    """What an export of nothing else writes."""
    sources = Sources(enclosures=enclosing.enclosures)
    return Export("", {}, Conversion(()), sources=sources).write(folder, force=True)


def training(**task: Any) -> TrainConfig:
    """A training over a file of prompts."""
    given = {
        "name": "dataset",
        "path": "prompts.jsonl",
        "reward": {"name": "rule", "include": {"a": 1.0}},
        **task,
    }
    return TrainConfig.model_validate({"task": given, "model": {"name": "org/model"}})


@pytest.mark.parametrize("path", PLACES)
def test_whatever_any_block_names_is_found_again_in_another_place(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: dict[str, Any]
) -> None:
    data = Examples(Path()).along(TrainConfig, path)
    relative = TrainConfig.model_validate({**data, "ppo": {"rollout_size": 8}})
    absolute = relative.renamed(lambda n: n.value if n.kind == "recipe" else str(here / n.value))
    before = check_user_files(relative).hashes

    enclosing = Enclosing(copy_models=True, here="./")
    moved = enclosing.block(relative)
    written(enclosing, here / "export")

    assert Enclosing(copy_models=True, here="./").block(absolute) == moved
    assert enclosing.notes == notes_on(enclosing.enclosures) == []
    assert str(tmp_path) not in moved.model_dump_json()
    shutil.move(here / "export", tmp_path / "other")
    shutil.rmtree(here.parent)
    monkeypatch.chdir(tmp_path / "other")

    assert check_user_files(moved).hashes == before


def test_a_function_takes_the_modules_of_the_users_that_it_imports_along(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = tmp_path / "user" / "lib"
    for file, text in {
        here
        / "rewards"
        / "mine.py": "from words.good import GOOD\nfrom ours import bonus\ndef score(**_): return []\n",
        here / "rewards" / "words" / "__init__.py": "",
        here / "rewards" / "words" / "good.py": "GOOD = 1\n",
        here / "rewards" / "stays.py": "",
        lib / "ours.py": "def bonus(): return 1\n",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(lib))
    enclosing = Enclosing()

    moved = enclosing.block(training(reward={"name": "python", "function": "rewards/mine.py:score"}))

    assert moved.task.reward is not None
    assert moved.task.reward.names()[0].value == "functions/mine.py:score"
    assert {
        known.name: known.source.resolve() for known in enclosing.enclosures if known.shelf != "data"
    } == {
        "functions/mine.py": here / "rewards" / "mine.py",
        "functions/words/__init__.py": here / "rewards" / "words" / "__init__.py",
        "functions/words/good.py": here / "rewards" / "words" / "good.py",
        "modules/ours.py": lib / "ours.py",
    }


def test_functions_of_two_folders_stay_apart_and_a_file_goes_along_once(here: Path) -> None:
    for name in ("one", "two"):
        (here / name).mkdir()
        (here / name / "reward.py").write_text(
            f"def score(**_): return ['{name}']\ndef gold(**_): return []\n", "utf-8"
        )
    functions = {
        "reward": "one/reward.py:score",
        "gold": "one/reward.py:gold",
        "objective": "two/reward.py:score",
    }
    enclosing = Enclosing()

    moved = enclosing.block(training(**{k: {"name": "python", "function": f} for k, f in functions.items()}))

    names = {named.place: named.value for named in moved.task.names()}
    assert names["reward.function"].rpartition("/")[0] != names["objective.function"].rpartition("/")[0]
    assert names["reward.function"].rpartition(":")[0] == names["gold.function"].rpartition(":")[0]
    sources = {known.name: known.source for known in enclosing.enclosures}
    for place, function in functions.items():
        file, _, attribute = names[f"{place}.function"].rpartition(":")
        assert (str(sources[file]), attribute) == tuple(function.split(":"))


def test_a_hub_name_stays_one(here: Path) -> None:
    enclosing = Enclosing(here="./")

    assert enclosing.model("org/model") == "org/model"
    assert enclosing.model("gpt2") == "gpt2"
    assert enclosing.enclosures == ()


@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "../model", "a/b/c"])
def test_a_folder_of_a_model_that_is_not_here_is_said_to_be_missing(here: Path, name: str) -> None:
    enclosing = Enclosing()

    assert enclosing.model(name) == "model"
    base = Path(name).name
    assert notes_on(enclosing.enclosures) == [
        f"{Path(name)} is not here, so it is not in the folder: put the model's folder '{base}' there, as model"
    ]
    assert written(enclosing, here / "export") == []


def test_a_folder_that_the_study_knew_is_no_hub_name_when_it_is_gone(here: Path) -> None:
    enclosing = Enclosing(inputs={"model.name": "0f" * 32})

    assert enclosing.model("mine") == "model"
    assert notes_on(enclosing.enclosures)[0].startswith("mine is not here, ")


def test_data_that_is_not_here_is_said_to_be_missing(here: Path) -> None:
    enclosing = Enclosing()

    assert enclosing.block(training()).task.names()[0].value == "data/prompts.jsonl"
    assert notes_on(enclosing.enclosures) == [
        "prompts.jsonl is not here, so it is not in the folder: put the data there, as data/prompts.jsonl"
    ]


def test_a_function_that_cannot_be_imported_goes_along_alone_and_that_is_said(here: Path) -> None:
    (here / "reward.py").write_text(
        "import no_such_module_at_all\ndef score(**_): return []\n", encoding="utf-8"
    )
    enclosing = Enclosing()

    enclosing.block(training(reward={"name": "python", "function": "reward.py:score"}))

    assert enclosing.notes == [
        "which modules it imports is not known, and they do not go along: task.reward.function: reward.py cannot be "
        "imported: ModuleNotFoundError: No module named 'no_such_module_at_all'"
    ]
    assert "functions/reward.py" in [known.name for known in enclosing.enclosures]


def test_what_only_a_session_has_is_to_be_put_into_the_folder_first(here: Path) -> None:
    """In that session as in any other, and until code stands in its place."""
    (here / "reward.py").write_text(stand_in(len, "my_score", "hash"), encoding="utf-8")
    kept = hold("reward.py:score", Held(lambda **_: [], "my_score", "is a lambda"))

    def first() -> str:
        enclosing = Enclosing()
        enclosing.block(training(reward={"name": "python", "function": "reward.py:score"}))
        assert enclosing.notes == []
        return Export("", {}, Conversion(()), sources=Sources(enclosures=enclosing.enclosures)).first

    for _ in range(2):
        assert first() == (
            "put my_score in functions/reward.py, in place of what stands there: only a Python session had it, and "
            "nothing trains without it"
        )
        kept = None  # type: ignore[assignment]
        gc.collect()
    assert kept is None
    (here / "reward.py").write_text("def score(**_): return []\n", encoding="utf-8")
    assert first() == ""


@pytest.mark.parametrize("changed", ["prompts.jsonl", "reward.py", "helper.py"])
def test_a_file_that_is_no_longer_what_was_tuned_is_said_to_be_another(here: Path, changed: str) -> None:
    (here / "prompts.jsonl").write_text('{"prompt": "a"}', encoding="utf-8")
    (here / "reward.py").write_text("import helper\ndef score(**_): return []\n", encoding="utf-8")
    (here / "helper.py").write_text("", encoding="utf-8")
    config = training(reward={"name": "python", "function": "reward.py:score"})
    places = {
        "task.path": "prompts.jsonl",
        "task.reward.function": "reward.py",
        f"task.reward.function{IMPORTS}helper.py": "helper.py",
    }
    inputs = {place: content_hash(here / file) for place, file in places.items()}

    def notes() -> list[str]:
        enclosing = Enclosing(inputs=inputs)
        enclosing.block(config)
        return enclosing.notes

    assert notes() == []
    with (here / changed).open("a", encoding="utf-8") as file:
        file.write("\n")
    known = here / changed if changed == "helper.py" else changed
    assert notes() == [f"{known} is not what it was when the study was searched; as it is now it goes along"]


def model(folder: Path, text: str = "{}") -> Path:
    """What looks like a model's folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


def test_a_model_is_linked_to_by_a_relative_link_and_copied_on_request(here: Path) -> None:
    model(here / "base")
    linked, copied = Enclosing(), Enclosing(copy_models=True)
    for enclosing in (linked, copied):
        enclosing.model("base")

    written(linked, here / "a" / "b")
    written(copied, here / "c")

    assert os.readlink(here / "a" / "b" / "model") == "../../base"
    assert notes_on(linked.enclosures) == [
        "model is only a link to base, and to another machine that folder must go along: copy by `cp -rL` or "
        "`rsync -aL`, or export with `copy_models=True`"
    ]
    assert not (here / "c" / "model").is_symlink()
    assert content_hash(here / "c" / "model") == content_hash(here / "base")
    assert notes_on(copied.enclosures) == []


def test_links_are_told_in_one_sentence(here: Path) -> None:
    enclosures = [
        Enclosure(name, model(here / name), name, is_linked=True) for name in ("gold_model", "model")
    ]

    assert notes_on(enclosures)[0].startswith(
        f"gold_model and model are only links to {here / 'gold_model'} and {here / 'model'}, and to another machine "
        "those folders must go along: "
    )


def test_writing_again_replaces_files_and_links_and_leaves_the_same_model(here: Path) -> None:
    model(here / "base")
    (here / "reward.py").write_text("1", encoding="utf-8")
    function = Enclosure("functions/reward.py", here / "reward.py", "")
    folder = here / "export"
    for is_linked in (True, True, False, False):
        (here / "reward.py").write_text(f"{is_linked}", encoding="utf-8")
        for enclosure in (function, Enclosure("model", here / "base", "", is_linked=is_linked)):
            folder.mkdir(exist_ok=True)
            enclosure.put_into(folder)

        assert (folder / "functions" / "reward.py").read_text(encoding="utf-8") == f"{is_linked}"
        assert (folder / "model").is_symlink() == is_linked
    assert {path.name for path in folder.rglob("*")} == {"functions", "reward.py", "model", "config.json"}


def test_another_model_is_not_written_over(here: Path) -> None:
    model(here / "base", "1")
    model(here / "export" / "model", "2")

    with pytest.raises(StorageError) as refused:
        Enclosure("model", here / "base", "").put_into(here / "export")

    assert str(refused.value) == (
        f"{here / 'export' / 'model'} holds something else than {here / 'base'}; take it away, or choose another folder"
    )


def test_a_model_that_lies_in_the_folder_itself_stays(here: Path) -> None:
    model(here / "model")

    for is_linked in (True, False):
        Enclosure("model", here / "model", "", is_linked=is_linked).put_into(here)

    assert not (here / "model").is_symlink()
    assert (here / "model" / "config.json").is_file()


def test_what_cannot_be_read_is_refused_by_its_name(here: Path) -> None:
    (here / "export").mkdir()
    (here / "export" / "data").write_text("a file where a folder must be", encoding="utf-8")
    (here / "prompts.csv").write_text("prompt\n", encoding="utf-8")

    with pytest.raises(StorageError) as refused:
        Enclosure("data/prompts.csv", here / "prompts.csv", "").put_into(here / "export")

    assert str(refused.value) == (
        f"{here / 'prompts.csv'} cannot be put at {here / 'export' / 'data' / 'prompts.csv'}: File exists"
    )


@pytest.mark.parametrize("base", ["base", "/home/me/base"])
@pytest.mark.parametrize(
    ("kind", "way_out"),
    [
        ("LORA", MERGE),
        (
            "PREFIX_TUNING",
            "what PREFIX_TUNING learns cannot be merged into a model's weights, so its adapter_config.json must name a "
            "base that a hub has",
        ),
    ],
)
def test_an_adapter_whose_base_is_a_folder_does_not_travel_and_that_is_said(
    here: Path, kind: str, way_out: str, base: str
) -> None:
    for folder in ("base", "judge"):
        (here / folder).mkdir()
    facts = json.dumps({"base_model_name_or_path": base, "peft_type": kind})
    (here / "judge" / "adapter_config.json").write_text(facts, encoding="utf-8")
    config = training(reward={"name": "preference", "model": "judge"})
    told = (
        f"task.reward.model: 'judge' is an adapter, and its base, {base!r}, is a folder of this machine: elsewhere it "
        f"would not be found; {way_out}"
    )
    linking = Enclosing()

    linking.block(config)
    with pytest.raises(PPOTuneError) as caught:
        Enclosing(copy_models=True).block(config)

    assert linking.notes == [told]
    assert str(caught.value) == f"{told}, or export without --copy-models"


def test_an_adapter_of_a_hubs_model_travels(here: Path) -> None:
    (here / "judge").mkdir()
    facts = json.dumps({"base_model_name_or_path": "org/base"})
    (here / "judge" / "adapter_config.json").write_text(facts, encoding="utf-8")
    enclosing = Enclosing(copy_models=True)

    enclosing.block(training(reward={"name": "preference", "model": "judge"}))

    assert enclosing.notes == []
