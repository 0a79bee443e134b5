"""The folder that a fit writes: nothing else is written over, and an earlier model stays until the new one is whole."""

import json
from pathlib import Path

import pytest

from ppo_tune.config.fitting import SFTConfig
from ppo_tune.errors import ModelError, StorageError
from ppo_tune.fitting.folders import FitFolder, Kind
from ppo_tune.fitting.sft import fit_sft

PAIRS = [(f"say {i}", "a b") for i in range(12)]


def write(path: Path, *names: str, kind: Kind = "sft") -> FitFolder:
    """A model of these files, as a fit writes it."""
    folder = FitFolder.of(path, kind, None)
    with folder.written({"examples": 3}) as draft:
        for name in names:
            (draft / name).parent.mkdir(exist_ok=True)
            (draft / name).write_text(name, encoding="utf-8")
    return folder


def fail_halfway(folder: FitFolder) -> None:
    with folder.written({}) as draft:
        (draft / "config.json").write_text("half", encoding="utf-8")
        draft.read_text()


def held(path: Path) -> set[str]:
    return {str(member.relative_to(path)) for member in path.rglob("*") if member.is_file()}


def test_a_folder_is_not_that_of_the_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write(base, "config.json")

    assert FitFolder.of(tmp_path / "out", "sft", str(base)).path == tmp_path / "out"
    with pytest.raises(StorageError) as caught:
        FitFolder.of(base, "sft", str(tmp_path / "out" / ".." / "base"))

    assert (
        str(caught.value)
        == f"folder {base} holds the base model, which would be lost; choose another with --out"
    )
    assert not (tmp_path / "out").exists()


def test_what_the_same_command_wrote_is_replaced_whole_and_that_is_said(tmp_path: Path) -> None:
    first = write(tmp_path / "out", "config.json", "chat_template.jinja", "templates/a.jinja")

    second = write(tmp_path / "out", "config.json", "b.safetensors")

    assert held(tmp_path / "out") == {"config.json", "b.safetensors", "fit.json"}
    assert first.notes == ()
    assert second.notes == (f"{tmp_path / 'out'} held the model of an earlier ppo-tune sft; it was replaced",)
    assert json.loads((tmp_path / "out" / "fit.json").read_text(encoding="utf-8")) == {
        "kind": "sft", "examples": 3, "files": ["b.safetensors", "config.json"],
    }  # fmt: skip


def test_a_model_of_the_other_command_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "config.json", kind="reward")

    with pytest.raises(StorageError) as caught:
        FitFolder.of(out, "sft", None)

    assert str(caught.value) == (
        f"folder {out} holds a model that ppo-tune reward made, and ppo-tune sft would write over it; choose another "
        "with --out"
    )


@pytest.mark.parametrize(
    ("made", "others", "told"),
    [
        (False, ("config.json", "model.safetensors"), "config.json and 1 more, which"),
        (False, ("study.yaml",), "study.yaml, which"),
        (True, ("notes.txt",), "notes.txt besides the model of an earlier ppo-tune sft, which"),
    ],
)
def test_a_folder_with_anything_else_is_refused_and_stays(
    made: bool, others: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if made:
        write(out, "config.json")
    for name in others:
        (out / name).write_text("mine", encoding="utf-8")
    before = held(out)

    with pytest.raises(StorageError) as caught:
        FitFolder.of(out, "sft", None)

    assert str(caught.value) == (
        f"folder {out} holds {told} no model is written over; choose another with --out, or take that away"
    )
    assert held(out) == before


@pytest.mark.parametrize("text", ["no json", "[1]", '{"kind": "sft", "files": 3}'])
def test_facts_that_cannot_be_read_say_nothing_of_what_else_is_there(text: str, tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text(text, encoding="utf-8")

    with pytest.raises(StorageError, match=r"holds fit.json, which no model is written over"):
        FitFolder.of(tmp_path, "sft", None)


def test_a_fit_that_fails_while_it_writes_leaves_the_earlier_model(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "config.json")
    again = FitFolder.of(out, "sft", None)

    with pytest.raises(StorageError, match="Is a directory"):
        fail_halfway(again)

    assert held(out) == {"config.json", "fit.json"}
    assert (out / "config.json").read_text(encoding="utf-8") == "config.json"


def test_what_a_killed_fit_left_is_no_obstacle(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".123.draft").mkdir(parents=True)

    assert FitFolder.of(out, "sft", None).former == ()


def test_a_disk_that_fails_is_told_with_the_folder(tmp_path: Path) -> None:
    folder = FitFolder.of(tmp_path / "out", "sft", None)

    with pytest.raises(StorageError) as caught, folder.written({}):
        raise OSError(28, "No space left on device")

    assert str(caught.value) == (
        f"folder {tmp_path / 'out'} cannot be written (No space left on device); choose another with --out"
    )


def test_a_fit_that_diverges_leaves_the_model_of_the_fit_before(tmp_path: Path) -> None:
    config = SFTConfig(layers=1, width=16, heads=2, tokens="words", epochs=1)
    fit_sft(PAIRS, tmp_path / "out", config)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in held(tmp_path / "out")}

    with pytest.raises(ModelError, match="the fit diverged, so no model was written; lower learning_rate"):
        fit_sft(PAIRS, tmp_path / "out", config.model_copy(update={"learning_rate": 1e30}))
    again = fit_sft(PAIRS, tmp_path / "out", config)

    assert {name: (tmp_path / "out" / name).read_bytes() for name in held(tmp_path / "out")} == before
    assert again.notes == (f"{tmp_path / 'out'} held the model of an earlier ppo-tune sft; it was replaced",)
