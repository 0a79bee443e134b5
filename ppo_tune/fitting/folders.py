"""The folder that a fit writes: refused if it holds anything else, and replaced only by a whole model.

Knows nothing of models, so that it can be asked before anything is read.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from safetensors import SafetensorError

from ppo_tune.errors import StorageError
from ppo_tune.files import make_folder, read_json, write_json

FACTS = "fit.json"
"""What a fit leaves beside its model: how good it is, on which held-out rows that was measured, and its files."""

Kind = Literal["sft", "reward"]
"""What fits: the command's name."""


@dataclass(frozen=True)
class FitFolder:
    """Where a fit writes its model.

    Attributes:
        path: The folder.
        kind: What fits.
        former: The files of the same command's earlier model, which the new one replaces.
    """

    path: Path
    kind: Kind
    former: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, kind: Kind, base: str | None) -> Self:
        """A folder that a fit may write: new, empty, or with nothing but an earlier model of the same command.

        Raises:
            StorageError: If it is the base's own, holds anything else, or cannot be written.
        """
        if base is not None and path.exists() and path.resolve() == Path(base).resolve():
            raise StorageError(
                f"folder {path} holds the base model, which would be lost; choose another with --out"
            )
        was_there = path.exists()
        former = _former(path, kind) if path.is_dir() else ()
        make_folder(path)
        if not was_there:  # a fit that fails leaves none
            path.rmdir()
        return cls(path, kind, former)

    @property
    def notes(self) -> tuple[str, ...]:
        """That an earlier model goes."""
        return (f"{self.path} held the model of an earlier {_command(self.kind)}; it was replaced",) * bool(
            self.former
        )

    @contextmanager
    def written(self, facts: Mapping[str, Any]) -> Iterator[Path]:
        """A folder to write the model into, whose files stand in place of the earlier ones when the block ends well.

        Args:
            facts: What the fit is worth; they become `FACTS`, which comes last.

        Raises:
            StorageError: If something cannot be written.
        """
        draft = make_folder(self.path) / f".{os.getpid()}.draft"
        try:
            draft.mkdir()
            yield draft
            members = sorted(member.name for member in draft.iterdir())
            write_json(draft / FACTS, {"kind": self.kind, **facts, "files": members})
            for name in (FACTS, *self.former):
                _take_away(self.path / name)
            for name in (*members, FACTS):
                (draft / name).replace(self.path / name)
        except (OSError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or error
            raise StorageError(
                f"folder {self.path} cannot be written ({why}); choose another with --out"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _former(folder: Path, kind: Kind) -> tuple[str, ...]:
    """The members of a folder that a command wrote there earlier.

    Raises:
        StorageError: If it holds anything else.
    """
    members = sorted(member.name for member in folder.iterdir() if not _is_draft(member))
    if not members:
        return ()
    facts = _facts(folder)
    if facts is not None and facts.get("kind") != kind:
        raise StorageError(
            f"folder {folder} holds a model that {_command(facts.get('kind'))} made, and {_command(kind)} would write "
            "over it; choose another with --out"
        )
    own = {FACTS, *(facts or {}).get("files", ())} if facts else set()
    others = [name for name in members if name not in own]
    if others:
        besides = f" besides the model of an earlier {_command(kind)}" if len(own) > 1 else ""
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise StorageError(
            f"folder {folder} holds {others[0]}{more}{besides}, which no model is written over; choose another with "
            "--out, or take that away"
        )
    return tuple(name for name in members if name != FACTS)


def _facts(folder: Path) -> dict[str, Any] | None:
    """What an earlier fit says of itself; None if there is none that can be read."""
    try:
        facts = read_json(folder / FACTS)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and isinstance(facts.get("files", []), list) else None


def _command(kind: Any) -> str:
    return f"ppo-tune {kind}"


def _is_draft(path: Path) -> bool:
    """Whether it is what a fit left that was killed while it wrote."""
    return path.name.startswith(".") and path.name.endswith(".draft")


def _take_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
