# mypy: ignore-errors
"""Files that are whole or not there."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ppo_tune.errors import StorageError
from ppo_tune.files import (
    append_json_line,
    content_hash,
    finite,
    make_folder,
    read_json,
    read_json_lines,
    write_json,
    write_text,
)

law = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
data = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
folders = st.dictionaries(st.sampled_from(["a", "b", "ab", "c"]), st.binary(max_size=3), min_size=1)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.json"


def test_a_file_is_replaced_and_nothing_stays_beside_it(file):
    file.write_text("a much longer text than the new one")

    write_text(file, "é\n")

    assert file.read_bytes() == "é\n".encode()
    assert list(file.parent.iterdir()) == [file]


def test_a_text_that_cannot_be_written_leaves_the_old_one(file):
    file.write_text("old")

    with pytest.raises(UnicodeEncodeError):
        write_text(file, "half of a surrogate pair: \ud800")

    assert file.read_text() == "old"


@law
@given(data)
def test_json_is_read_as_it_was_written(file, content):
    write_json(file, content)

    assert read_json(file) == content


def test_json_is_for_people_too(file):
    write_json(file, {"name": "é"})

    assert file.read_text(encoding="utf-8") == '{\n  "name": "é"\n}\n'


def test_numbers_that_json_does_not_know_become_null(file):
    write_json(file, {"a": float("nan"), "b": [float("inf"), 1.0], "c": (float("-inf"), {"d": float("nan")})})

    assert read_json(file) == {"a": None, "b": [None, 1.0], "c": [None, {"d": None}]}


def test_finite_data_stays_as_it_is():
    content = {"a": 1.5, "b": [1, "x", None, True], "c": {"d": 2}}

    assert finite(content) == content


@law
@given(st.lists(data, min_size=1, max_size=4))
def test_a_log_is_read_line_by_line_as_it_was_written(file, lines):
    file.unlink(missing_ok=True)

    for line in lines:
        append_json_line(file, line)

    assert list(read_json_lines(file)) == lines


def test_a_log_that_is_not_there_has_no_lines(file):
    assert list(read_json_lines(file)) == []


def test_a_number_that_is_not_finite_does_not_break_a_log(file):
    append_json_line(file, {"loss": float("nan")})

    assert json.loads(file.read_text()) == {"loss": None}


@pytest.mark.parametrize(
    "torn",
    [
        pytest.param(b'{"b": 2', id="in the middle"),
        pytest.param(b'{"b": "\xc3', id="in the middle of a letter"),
        pytest.param(b"", id="before its first byte"),
    ],
)
def test_a_torn_last_line_is_forgotten(file, torn):
    file.write_bytes(b'{"a": 1}\n' + torn)

    assert list(read_json_lines(file)) == [{"a": 1}]


def test_a_torn_line_costs_no_line_that_is_written_after_it(file):
    file.write_bytes(b'{"a": 1}\n{"b": 2')

    append_json_line(file, {"c": 3})
    append_json_line(file, {"d": 4})

    assert list(read_json_lines(file)) == [{"a": 1}, {"c": 3}, {"d": 4}]


def test_a_folder_is_made_with_those_around_it(tmp_path):
    folder = make_folder(tmp_path / "a" / "b")

    assert folder == tmp_path / "a" / "b"
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_there_is_kept_with_what_it_holds(tmp_path):
    (tmp_path / "kept").touch()

    make_folder(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("file", "File exists", id="a file"),
        pytest.param("file/a", "Not a directory", id="below a file"),
    ],
)
def test_a_folder_that_cannot_be_made_is_told_with_the_reason_and_the_flag(tmp_path, name, reason):
    (tmp_path / "file").touch()

    with pytest.raises(StorageError) as caught:
        make_folder(tmp_path / name)

    assert (
        str(caught.value)
        == f"folder {tmp_path / name} cannot be written ({reason}); choose another with --out"
    )


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"abc")

    assert content_hash(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@law
@given(folders, folders)
def test_folders_with_other_files_or_contents_have_other_hashes(tmp_path_factory, one, other):
    assume(one != other)
    hashes = []

    for files in (one, other):
        folder = tmp_path_factory.mktemp("folder")
        for name, content in files.items():
            (folder / name).write_bytes(content)
        hashes.append(content_hash(folder))

    assert hashes[0] != hashes[1]


def test_what_a_name_loses_to_a_content_changes_the_hash(tmp_path):
    for folder, name, content in (("one", "a", "bc"), ("other", "ab", "c")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)

    assert content_hash(tmp_path / "one") != content_hash(tmp_path / "other")


def test_the_hash_of_a_folder_forgets_its_own_name_its_age_and_the_order_of_writing(tmp_path):
    for folder, names in (("one", "ab"), ("other", "ba")):
        (tmp_path / folder / "deep").mkdir(parents=True)
        for name in names:
            (tmp_path / folder / "deep" / name).write_text(name)
    os.utime(tmp_path / "one" / "deep" / "a", (0, 0))

    assert content_hash(tmp_path / "one") == content_hash(tmp_path / "other")


def sparse(path: Path, size: int, **bytes_at: int) -> Path:
    """A file of this size with ones at some places, without the disk space."""
    with path.open("wb") as file:
        file.truncate(size)
        for place in bytes_at.values():
            file.seek(place)
            file.write(b"\1")
    return path


def test_a_huge_file_is_read_whole(tmp_path):
    blank, marked = sparse(tmp_path / "a", 65 << 20), sparse(tmp_path / "b", 65 << 20, place=32 << 20)

    assert content_hash(blank) != content_hash(marked)
    assert content_hash(marked) == hashlib.sha256(marked.read_bytes()).hexdigest()
