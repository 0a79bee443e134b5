"""What an exported Bash script really calls its trainer with."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppo_tune.export import Export  # not to be found where a trainer's own environment runs this

LISTENER = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"


def write_files(made: "Export", folder: Path) -> Path:
    """The files of an export, in a folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def arguments(folder: Path, *more: str, **environment: str) -> list[str]:
    """The words that `train.sh` of a folder gives to `python3`, which only listens here."""
    bin_folder = folder.parent / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "python3").write_text(LISTENER, encoding="utf-8")
    (bin_folder / "python3").chmod(0o755)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    called = subprocess.run(
        ["bash", folder / "train.sh", *more],
        env={**os.environ, **environment, "PATH": path},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert called.stderr == ""
    words: list[str] = json.loads(called.stdout)
    return words


def flags(words: list[str]) -> Mapping[str, list[str]]:
    """Values by flag, of a command line like argparse's."""
    found: dict[str, list[str]] = {}
    for word in words[2:]:  # -m module
        if word.startswith("--"):
            found[word] = current = []
        else:
            current.append(word)
    return found


def overrides(words: list[str]) -> Mapping[str, str]:
    """Values by dotted name, of a command line like Hydra's."""
    return dict(word.split("=", 1) for word in words if "=" in word)
