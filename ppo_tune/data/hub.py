"""Models and data sets of a Hugging Face hub: their names, whether there are such, and the rows of a data set.

A name is `org/name`, or `org/name@revision` for a branch, a tag or a commit. The hub's own variables count: HF_TOKEN,
HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE. No code of a model or data set is run.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ppo_tune.config.source import Source
from ppo_tune.errors import DataError, MissingExtraError
from ppo_tune.plurals import counted

HUB_SECONDS = 5.0
"""How long a hub may take to say whether it has something."""

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""Of a data set on a hub."""


class HubName(NamedTuple):
    """What a name says.

    Attributes:
        repo: Such as `org/name`.
        revision: A branch, a tag or a commit; None is the hub's own default.
    """

    repo: str
    revision: str | None

    @classmethod
    def of(cls, name: str) -> "HubName":
        """Read from `org/name` or `org/name@revision`."""
        repo, _, revision = name.partition("@")
        return cls(repo, revision or None)


def pretrained(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the settings by which the `from_pretrained` of transformers finds a model of a folder or a hub."""
    if Path(name).is_dir():
        return name, {}
    repo, revision = HubName.of(name)
    return repo, {"revision": revision or "main"}


def is_dataset(name: str) -> bool:
    """Whether a name is not that of a file, and may be that of a data set: of a folder, or on a hub."""
    return Path(name).is_dir() or (not Path(name).exists() and bool(HUB_NAME.fullmatch(name)))


Kind = Literal["model", "dataset"]
_WORDS: Mapping[Kind, str] = {"model": "model", "dataset": "data set"}


def problem_of_hub_name(name: str, kind: Kind) -> str:
    """Why something cannot be fetched from a hub; empty if it can, or was. A hub is asked once and briefly."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    word = _WORDS[kind]
    try:
        if _fetched(name, kind) is not None:
            return ""
        if constants.HF_HUB_OFFLINE:
            return "not in the hub's cache, which is all that HF_HUB_OFFLINE allows"
        _asked_commit(name, kind)
    except HFValidationError:
        return f"no name that a {word} on the hub could have"
    except RevisionNotFoundError:
        return f"no branch, tag or commit {HubName.of(name).revision!r} of that {word} on the hub"
    except RepositoryNotFoundError:
        return f"no such {word} on the hub, or a private one that HF_TOKEN does not open"
    except Exception as error:  # of whatever library speaks with the hub
        return f"not in the hub's cache, and {constants.ENDPOINT} cannot be asked: {error}"
    return ""


def commit_of(name: str, kind: Kind) -> str:
    """The commit that is read by a name: the hub's own, or without it the one that was fetched; empty if unknown."""
    try:
        return _asked_commit(name, kind)
    except Exception:  # of whatever library speaks with the hub
        fetched = _fetched(name, kind)
        return "" if fetched is None else fetched.name


def _fetched(name: str, kind: Kind) -> Path | None:
    """The folder of the files that were fetched before, called as their commit; None if there are none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, revision = HubName.of(name)
    try:
        folder = snapshot_download(repo, revision=revision, repo_type=kind, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return Path(folder)


def _asked_commit(name: str, kind: Kind) -> str:
    from huggingface_hub import HfApi

    repo, revision = HubName.of(name)
    return str(HfApi().repo_info(repo, revision=revision, repo_type=kind, timeout=HUB_SECONDS).sha)


def read_dataset(name: str, source: Source, notes: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a data set, one after the other: of a folder, or of a hub, from which it is fetched once.

    Args:
        name: A folder that `Dataset.save_to_disk` wrote or that holds data files, or a name on a hub.
        source: Which part of it.
        notes: Gets which part was read.

    Raises:
        DataError: If there is none, or this part of it is not to be had.
        MissingExtraError: If `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "hub") from None
    folder = Path(name)
    where, commit = (name, "") if folder.is_dir() else _on_hub(name)
    was_saved = any((folder / file).is_file() for file in ("state.json", "dataset_dict.json"))
    if was_saved and source.subset is not None:
        raise DataError(f"{name}: has no subsets; leave out subset ({source.subset!r})")
    try:
        if was_saved:
            found = datasets.load_from_disk(name)
        else:
            revision = HubName.of(name).revision if commit else None
            found = datasets.load_dataset(where, source.subset, revision=revision)
    except Exception as error:  # of whatever library reads the files
        raise DataError(f"{name}: cannot be read as a data set: {_said(error)}") from error
    if isinstance(found, datasets.Dataset):
        if source.split is not None:
            raise DataError(f"{name}: has no splits; leave out split ({source.split!r})")
        part = found
    else:
        split = _split_of(name, [*found], source)
        part = found[split]
        if len(found) > 1:
            others = ", ".join(other for other in found if other != split)
            notes.append(
                f"{name}: read the split {split!r} with {counted(len(part), 'row')}, and not {others}"
            )
    if not all(commit in file["filename"] for file in part.cache_files):
        what = f"commit {commit[:7]} cannot be read, and what was prepared before is of another"
        raise DataError(f"{name}: {what}; try again, or mend the data set")
    if commit and HubName.of(name).revision is None:
        notes.append(f"{name}: read at commit {commit}; name it {name}@{commit[:7]} to stay with it")
    notes += [] if was_saved else _other_files(folder, str(part.info.builder_name))
    yield from _readable(part, name)


def _readable(part: Iterable[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    """The rows of a part of a data set.

    Raises:
        DataError: If one cannot be read.
    """
    try:
        yield from part
    except Exception as error:  # of whatever library reads a picture or a sound
        raise DataError(f"{name}: cannot be read as a data set: {_said(error)}") from error


def _other_files(folder: Path, kind: str) -> list[str]:
    """A note on a folder's tables that were not read, for `datasets` reads the commonest kind of files alone.

    What is no folder is a hub's, whose files its authors describe.

    Raises:
        DataError: If that is a kind that holds no texts, such as pictures.
    """
    if not folder.is_dir():
        return []
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file())
    tables = {file: kind_of for file in files for end, kind_of in _TABLES.items() if file.endswith(end)}
    if kind.endswith("folder"):
        way_out = (
            f"name the file of texts, such as {folder / next(iter(tables))}" if tables else "name another"
        )
        raise DataError(
            f"{folder}: most of its files are of a kind that holds no texts ({kind.removesuffix('folder')}s); {way_out}"
        )
    others = [file for file, kind_of in tables.items() if kind_of != kind]
    if not others:
        return []
    shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
    return [f"{folder}: read its files of kind {kind}, and not {shown}; name one file to read that"]


_TABLES = {
    **dict.fromkeys((".csv", ".csv.gz", ".tsv", ".tsv.gz"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".json.gz", ".jsonl.gz"), "json"),
    ".parquet": "parquet",
}
"""What `datasets` calls the kinds of files that are read here one by one, by their endings."""


def _on_hub(name: str) -> tuple[str, str]:
    """What `datasets` is to load, and the commit that it must then be of: without a hub, what was fetched before.

    Left to itself and without a hub, it would take whatever commit was prepared last.

    Raises:
        DataError: If it is in neither.
    """
    try:
        return HubName.of(name).repo, _asked_commit(name, "dataset")
    except Exception:  # of whatever library speaks with the hub
        if fetched := _fetched(name, "dataset"):
            return str(fetched), ""
    problem = problem_of_hub_name(name, "dataset")
    raise DataError(f"{name}: no such file or folder (looked in {Path.cwd()}), and {problem}")


def _split_of(name: str, splits: Sequence[str], source: Source) -> str:
    """The split that is asked for, the only one, or `train`.

    Raises:
        DataError: If it is not there, or several are and none is called so.
    """
    if source.split is None and len(splits) == 1:
        return splits[0]
    split = source.split or "train"
    if split not in splits:
        asked = f"there is no split {split!r}; " if source.split else ""
        raise DataError(f"{name}: {asked}name one of {', '.join(splits)} by split")
    return split


def _said(error: BaseException) -> str:
    """The lines of an error as one sentence; where it only says that something went wrong, those of its cause."""
    if any(words in str(error) for words in ("must have the same columns", "Schema at index")):
        return "its files have different columns; name one of them, or save them with the same"
    if error.__cause__ is not None and str(error) == "An error occurred while generating the dataset":
        return _said(error.__cause__)
    return " ".join(str(error).split()) or type(error).__name__
