"""Study files that come with the package; a name in place of a file is one of them."""

import difflib
import shutil
from collections.abc import Mapping
from pathlib import Path

from ppo_tune.config.messages import unknown
from ppo_tune.config.strict_yaml import is_yaml
from ppo_tune.errors import ConfigError, Problem, StorageError
from ppo_tune.files import did_you_mean

_HERE = Path(__file__).resolve()
FOLDER = next(
    (
        folder
        for folder in (_HERE.parents[1] / "search_spaces", _HERE.parents[2] / "search_spaces")
        if folder.is_dir()
    ),
    _HERE.parents[1] / "search_spaces",
)
"""Inside the package in a wheel, beside it in a checkout."""


def shipped() -> Mapping[str, Path]:
    """The study files by their names."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def study_file(given: str | Path) -> Path:
    """The file that is meant: a path, or where there is none of a bare name, a study file of ours.

    Raises:
        ConfigError: If there is no file of a bare name either; says which one is nearly called so, here or of ours.
    """
    path = Path(given)
    if path.exists() or path.name != str(given):
        return path
    if path.name in shipped():
        return shipped()[path.name]
    here = path if path.suffix in (".yaml", ".yml") else Path(f"{path}.yaml")
    near = f"; did you mean {str(here)!r}?" if is_yaml(here) else did_you_mean(here, is_yaml)
    ours = f", and as a study file that comes with ppo-tune {unknown(here.stem, shipped())}"
    if here == path:
        close = difflib.get_close_matches(here.stem, shipped(), n=1)
        ours = f"; did you mean {close[0]!r}, which comes with ppo-tune?" if close else ""
    raise ConfigError([Problem("", f"no such file (looked in {Path.cwd()}){near or ours}")], str(path))


def about(path: Path) -> str:
    """What a study file says of itself: its first lines, without commands."""
    lines = path.read_text(encoding="utf-8").splitlines()
    told = [line.lstrip("# ") for line in lines if line.startswith("#")]
    return " ".join(line for line in told if line and not line.startswith("ppo-tune "))


def copy_shipped(name: str, out: Path) -> list[Path]:
    """Copy a study file of ours, and what it names beside it, to `search_spaces` in a folder; says what was written.

    Raises:
        ConfigError: If there is none of that name.
        StorageError: If another file is there.
    """
    if name not in shipped():
        raise ConfigError([Problem("", unknown(name, shipped()))], "examples")
    written = []
    for source in sorted(FOLDER.glob(f"{name}.*")):
        target = out / "search_spaces" / source.name
        if target.exists() and target.read_bytes() != source.read_bytes():
            raise StorageError(f"{target} is there and is another file; name another folder by --out")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        written.append(target)
    return written
