"""Files that are whole or not there: written beside, flushed, renamed."""

import difflib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ppo_tune.errors import StorageError


def write_text(path: Path, text: str) -> None:
    """Replace a file by `text`, or leave it as it was."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def write_json(path: Path, data: Any) -> None:
    """Replace a file by JSON; numbers that are not finite become null."""
    write_text(path, json.dumps(finite(data), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def append_json_line(path: Path, data: Any) -> None:
    """Add one line to a log; at worst the last line of a killed process is torn, and costs no other."""
    line = json.dumps(finite(data), ensure_ascii=False).encode() + b"\n"
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else b"\n" + line
        file.write(line)


def read_json_lines(path: Path) -> Iterator[Any]:
    """The whole lines of a log; nothing if there is no such file."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            yield json.loads(line.decode())
        except ValueError:  # torn, perhaps in the middle of a letter
            continue


def did_you_mean(path: Path, wanted: Callable[[Path], bool]) -> str:
    """The way out for a path that leads nowhere: one that is nearly called so, as a question; empty if there is none.

    Args:
        path: As it was written; each of its folders may be misspelt.
        wanted: Whether a path can be what is meant.
    """
    found = Path(path.anchor)
    for i, part in enumerate(path.parts[bool(path.anchor) :], start=1 + bool(path.anchor)):
        is_last = i == len(path.parts)
        can_be = wanted if is_last else Path.is_dir
        if not can_be(found / part):
            close = difflib.get_close_matches(part, _names_in(found, can_be), n=1)
            if not close:
                return ""
            part = close[0]
        found /= part
    return "" if found == path else f"; did you mean {str(found)!r}?"


def _names_in(folder: Path, wanted: Callable[[Path], bool]) -> list[str]:
    """What a folder holds of what is wanted; nothing where it cannot be read."""
    try:
        return [path.name for path in sorted(folder.iterdir()) if wanted(path)]
    except OSError:
        return []


def finite(data: Any) -> Any:
    """The same data with None for NaN and infinities, which JSON does not know."""
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return data


def make_folder(path: Path) -> Path:
    """A folder that exists and can be written.

    Raises:
        StorageError: If it cannot.
    """
    probe = path / f".probe.{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"folder {path} cannot be written ({error.strerror}); choose another with --out"
        ) from error
    return path


def content_hash(path: Path) -> str:
    """SHA-256 over a file, or over the names and contents of all files in a folder."""
    if not path.is_dir():
        return _digest(path).hex()
    whole = hashlib.sha256()
    for member in sorted(p for p in path.rglob("*") if p.is_file()):
        # The zero and the fixed length of a digest keep names and contents apart.
        whole.update(os.fsencode(member.relative_to(path).as_posix()) + b"\0" + _digest(member))
    return whole.hexdigest()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
