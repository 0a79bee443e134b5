"""Rows in a temporary file are those that were written, leave nothing behind, and say where there is no room."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_tune.data.row_file import RowFile, View
from ppo_tune.errors import StorageError

law = settings(deadline=None, max_examples=50)


def texts(*rows: str) -> RowFile[str]:
    file: RowFile[str] = RowFile(str.encode, bytes.decode)
    for row in rows:
        file.append(row)
    return file


@law
@given(st.lists(st.text(max_size=9)), st.integers(-12, 12), st.integers(-12, 12), st.sampled_from([1, 3, 99]))
def test_rows_are_read_as_from_a_list(rows: list[str], start: int, stop: int, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ppo_tune.data.row_file.BYTES_AT_ONCE", at_once)
        file = texts(*rows)
        view = View[str](file, str.upper, range(len(rows))[::-1])

        assert (len(file), [*file], file[start:stop]) == (len(rows), rows, rows[start:stop])
        assert [file[i] for i in range(-len(rows), len(rows))] == rows * 2
        assert file == rows and view == [row.upper() for row in reversed(rows)]
        assert file != [*rows, "more"] and file != [row + "!" for row in rows] + [""] * (not rows)


def test_a_number_beyond_the_rows_is_an_index_error() -> None:
    for number in (2, -3):
        with pytest.raises(IndexError):
            texts("a", "b")[number]
        with pytest.raises(IndexError):
            View[str](texts("a", "b"))[number]


def test_what_was_read_before_does_not_hide_what_is_written_after() -> None:
    file = texts("a")
    assert [*file] == ["a"]

    file.append("b")

    assert [*file] == ["a", "b"]


def test_the_file_has_no_name_and_is_closed_with_its_last_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    file = texts("a")

    assert file[0] == "a"
    assert [*tmp_path.iterdir()] == []
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del file
    assert len(os.listdir("/proc/self/fd")) == before


def test_where_there_is_no_room_it_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ppo_tune.data.row_file.os.write", full)
    file = texts("a" * 500)

    with pytest.raises(StorageError) as caught:
        file.append("b" * 10**6)

    assert str(caught.value) == (
        "the rows cannot be kept in /tmp after 1 MB (No space left on device); make room there, or name another "
        "folder by the variable TMPDIR"
    )


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))

    with pytest.raises(StorageError) as caught:
        texts()

    assert str(caught.value) == (
        f"the rows cannot be kept in {tmp_path / 'none'} (No such file or directory); make room there, or name another "
        "folder by the variable TMPDIR"
    )
