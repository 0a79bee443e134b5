"""Names, models and data sets of a hub: against one on this machine, by processes that know nothing of tests."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.config.source import Source
from ppo_tune.data.hub import HubName, is_dataset, pretrained
from ppo_tune.data.tables import Table, read_table
from ppo_tune.errors import DataError, MissingExtraError
from tests.conftest import save_tiny_model
from tests.hub import Files, Hub, commit_of, files_of, serving

ASKS = """
import json, sys
from ppo_tune.config.source import Source
from ppo_tune.data.hub import commit_of
from ppo_tune.data.tables import read_table
for name, part in json.loads(sys.argv[1]):
    try:
        table = read_table(name, ["q"], source=Source(**part))
        print(json.dumps([len(table.rows), table.rows[0].where, table.notes, commit_of(name, "dataset")]))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""

LOADS = """
import json, sys
from ppo_tune.models.loading import load_language_model, load_tokenizer
for name in json.loads(sys.argv[1]):
    try:
        model = load_language_model(name)
        print(json.dumps([model.config.n_layer, len(load_tokenizer(name))]))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def lines(n: int, word: str) -> bytes:
    return "".join(json.dumps({"q": f"{word} {i}"}) + "\n" for i in range(n)).encode()


OLD = {"data/train.jsonl": lines(3, "old")}
NEW = {"data/train.jsonl": lines(5, "new"), "data/test.jsonl": lines(2, "test")}
PARTS = {
    "README.md": b"---\nconfigs:\n"
    b"- {config_name: a, data_files: a.jsonl}\n- {config_name: b, data_files: b.jsonl}\n---\n",
    "a.jsonl": lines(4, "a"),
    "b.jsonl": lines(6, "b"),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    base = tmp_path_factory.mktemp("models")
    one, two = (files_of(save_tiny_model(base / str(n), n_layer=n)) for n in (1, 2))
    repos: dict[tuple[str, str], dict[str, Files]] = {
        ("datasets", "me/asks"): {"main": NEW, "v1": OLD},
        ("datasets", "me/parts"): {"main": PARTS},
        ("models", "me/tiny"): {"main": two, "v1": one},
        ("models", "me/secret"): {"main": one},
    }
    with serving(Hub(repos, private={"me/secret"})) as found:
        yield found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def said(code: str, asked: Any, hub: Hub, home: Path, **variables: str) -> list[Any]:
    """What a new process says of each name, in its own empty home."""
    here = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = {**here, "HF_ENDPOINT": hub.address, "HF_HOME": str(home), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asked)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_data_set_of_a_hub_is_read_by_name_revision_subset_and_split(hub: Hub, home: Path) -> None:
    asked: list[tuple[str, Mapping[str, str]]] = [
        ("me/asks", {}),
        ("me/asks@v1", {}),
        ("me/asks", {"split": "test"}),
        ("me/asks", {"split": "dev"}),
        ("me/parts", {"subset": "b"}),
        ("me/parts", {}),
        ("me/nothing", {}),
        ("me/asks@v9", {}),
        ("me/asks", {"encoding": "cp1252"}),
    ]
    at = commit_of(NEW)
    stay = f"me/asks: read at commit {at}; name it me/asks@{at[:7]} to stay with it"
    notes = ["me/asks: read the split 'train' with 5 rows, and not test", stay]
    new = [5, "me/asks:row 1", notes, at]
    old = [3, "me/asks@v1:row 1", [], commit_of(OLD)]

    online = said(ASKS, asked, hub, home)
    offline = said(ASKS, asked[:2], hub, home, HF_HUB_OFFLINE="1")

    assert online[:2] == [new, old]
    assert online[2][:3] == [
        2,
        "me/asks:row 1",
        ["me/asks: read the split 'test' with 2 rows, and not train", stay],
    ]
    assert online[3] == "DataError: me/asks: there is no split 'dev'; name one of train, test by split"
    assert online[4][0] == 6
    assert online[5].startswith("DataError: me/parts: cannot be read as a data set: Config name is missing. ")
    assert "['a', 'b']" in online[5]
    nothing = (
        f"no such file or folder (looked in {Path.cwd()}), and no such data set on the hub, or a private one"
    )
    assert online[6] == f"DataError: me/nothing: {nothing} that HF_TOKEN does not open"
    assert online[7].endswith("and no branch, tag or commit 'v9' of that data set on the hub")
    assert online[8] == (
        "DataError: me/asks: a text file has an encoding, a data set has none; leave out encoding ('cp1252')"
    )
    new[2] = notes[:1]  # nothing can have moved
    assert offline == [new, old], "without a hub each name is still of its own commit"


def test_a_model_of_a_hub_is_loaded_by_name_and_revision_and_a_private_one_by_its_token(
    hub: Hub, home: Path
) -> None:
    names = ["me/tiny", "me/tiny@v1", "me/secret", "me/tiny@v9"]

    without = said(LOADS, names, hub, home)
    with_token = said(LOADS, names[2:3], hub, home, HF_TOKEN=hub.token)
    offline = said(LOADS, names[:2], hub, home, HF_HUB_OFFLINE="1")

    assert [layers for layers, _ in without[:2]] == [2, 1]
    assert without[2].startswith("ModelError: model 'me/secret' (no such folder, so taken as a hub name)")
    assert without[3].startswith("ModelError: model 'me/tiny@v9' (no such folder, so taken as a hub name)")
    assert with_token[0][0] == 1
    assert offline == without[:2]


def test_a_name_is_a_repository_and_its_revision(tmp_path: Path) -> None:
    assert HubName.of("me/it") == ("me/it", None)
    assert HubName.of("me/it@refs/pr/1") == ("me/it", "refs/pr/1")
    assert pretrained("me/it@v1") == ("me/it", {"revision": "v1"})
    assert pretrained(str(tmp_path)) == (str(tmp_path), {})


@pytest.mark.parametrize("name", ["prompts.csv", "data/prompts.csv.bz2x/y", "a b/c", "/data/prompts"])
def test_what_cannot_be_a_name_on_a_hub_is_a_file_that_is_missing(name: str) -> None:
    assert not is_dataset(name)


def test_a_folder_is_read_as_it_was_saved_or_by_its_data_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    saved = datasets.Dataset.from_list([{"q": "a"}, {"q": "b"}])
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=saved, test=saved.select([0])).save_to_disk(str(tmp_path / "two"))
    datasets.DatasetDict(a=saved, b=saved).save_to_disk(str(tmp_path / "three"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.jsonl").write_bytes(lines(4, "file"))

    def n_rows(folder: str, **part: str) -> int:
        return len(read_table(tmp_path / folder, ["q"], source=Source(**part)).rows)

    assert n_rows("one") == 2
    assert n_rows("two") == 2
    assert n_rows("two", split="test") == 1
    assert n_rows("files") == 4
    with pytest.raises(DataError, match="three: name one of a, b by split"):
        n_rows("three")
    with pytest.raises(DataError, match=r"one: has no splits; leave out split \('x'\)"):
        n_rows("one", split="x")
    with pytest.raises(DataError, match=r"two: has no subsets; leave out subset \('x'\)"):
        n_rows("two", subset="x")


def test_of_a_folder_of_mixed_files_it_is_told_which_are_read_or_why_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)

    def read(folder: str, **files: bytes) -> Table:
        Path(folder).mkdir()
        for name, content in files.items():
            Path(folder, name.replace("_", ".")).write_bytes(content)
        return read_table(Path(folder), ["q"])

    assert read("tables", a_csv=b"q\nx\n", b_csv=b"q\ny\n", c_jsonl=lines(1, "z")).notes == (
        "tables: read its files of kind csv, and not c.jsonl; name one file to read that",
    )
    with pytest.raises(DataError) as refused:
        read("pictures", a_csv=b"q\nx\n", b_png=b"no picture", c_png=b"none either")
    assert str(refused.value) == (
        "pictures: most of its files are of a kind that holds no texts (images); name the file of texts, such as "
        "pictures/a.csv"
    )
    with pytest.raises(DataError, match=r"^album: most of its .* holds no texts \(images\); name another$"):
        read("album", b_png=b"no picture")
    with pytest.raises(DataError) as refused:
        read("columns", a_csv=b"q\nx\n", b_csv=b"answer\ny\n")
    assert str(refused.value) == (
        "columns: cannot be read as a data set: its files have different columns; name one of them, or save them with "
        "the same"
    )
    with pytest.raises(DataError, match=r"^torn: cannot be read as a data set: JSON parse error: "):
        read("torn", a_json=b'{"q": 1')


def test_without_datasets_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        MissingExtraError, match=r"datasets is not installed; run: pip install 'ppo-tune\[hub\]'"
    ):
        read_table(tmp_path, ["q"])
