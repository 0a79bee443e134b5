"""The user's files that a config names: looked at before any model loads, and known by their content."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ppo_tune.config.block import Block, Named
from ppo_tune.config.paths import seen_from
from ppo_tune.config.run import RunConfig
from ppo_tune.config.tasks import DatasetTaskConfig
from ppo_tune.data.hub import HubName, commit_of, is_dataset
from ppo_tune.data.model_folders import check_chat_template, check_model
from ppo_tune.data.prompts import Prompt, Split, read_prompts, split_of
from ppo_tune.data.recipes import recipe_of
from ppo_tune.data.user_functions import helper_files, load_function
from ppo_tune.errors import DataError, Mistakes
from ppo_tune.files import content_hash, did_you_mean

B = TypeVar("B", bound=Block)

IMPORTS = " imports "
"""Between the place of a function and the name of a file that its own file imports, in the place of that file."""

RECIPE = "task.name"
"""The place of the recipe by which an embedded task builds its models."""


@dataclass(frozen=True)
class UserFiles:
    """What the user's files hold.

    Attributes:
        hashes: Of the content of every file and folder that the experiment depends on, by its place in the
            config, the user's own modules that a function imports included; hub names stand for themselves, and the
            embedded task for the recipe of its models.
        prompts: How many prompts of the user's own each split has; None for the embedded task.
        notes: What may surprise whoever wrote the data file; one sentence each.
    """

    hashes: dict[str, str]
    prompts: Counter[Split] | None = None
    notes: tuple[str, ...] = ()


def check_user_files(config: RunConfig, *, read: list[Prompt] | None = None) -> UserFiles:
    """Look at the user's files without loading any model.

    Args:
        config: The experiment.
        read: Gets the prompts, for whoever goes on with them.

    Raises:
        DataError: If the data cannot be used, or is smaller than one rollout.
        ConfigError: If a function cannot be imported.
        ModelError: If a model's folder holds what cannot be used, or there is no such model.
        PPOTuneError: If several of these are so; it says all of them.
    """
    mistakes = Mistakes()
    prompts: Counter[Split] | None = None
    notes: tuple[str, ...] = ()
    if config.task.name == "dataset":
        with mistakes.collected():
            found = read_prompts(config.task)
            prompts, notes = _splits(config.task, found.prompts, config.ppo.rollout_size), found.notes
            if read is not None:
                read += found.prompts
            del found
    contents: dict[str, str] = {}
    for named in config.names():
        if named.place == "task.path" and prompts is None:
            continue  # what is wrong with it was found already
        with mistakes.collected():
            contents |= _contents(named)
            if named.place == "model.name" and config.task.chat:
                check_chat_template(named.value, asked_by=config.task.advice.asks_for_chat)
    mistakes.tell()
    hashes = {
        place: content_hash(Path(name)) if Path(name).exists() else name for place, name in contents.items()
    }
    return UserFiles(hashes, prompts, notes)


def check_functions(config: RunConfig) -> None:
    """See whether the user's functions can be had, and nothing else: before torch is imported.

    Raises:
        ConfigError: If one cannot be imported, or lives in another Python session.
        PPOTuneError: If several cannot.
    """
    mistakes = Mistakes()
    for named in config.names():
        if named.kind == "function":
            with mistakes.collected():
                load_function(named.value, named.place)
    mistakes.tell()


def _splits(task: DatasetTaskConfig, found: Sequence[Prompt], rollout_size: int) -> Counter[Split]:
    """How many prompts each split has.

    Raises:
        DataError: If they are fewer than one rollout needs.
    """
    prompts = Counter(split_of(prompt.text) for prompt in found)
    if prompts["train"] < rollout_size:
        raise DataError(
            f"{task.path}: `prompts >= rollout_size` must hold, but of {prompts.total()} different prompts "
            f"{prompts['train']} are for training and rollout_size is {rollout_size}; lower it or add rows"
        )
    return prompts


def _contents(named: Named) -> dict[str, str]:
    """What a config names, checked: the files and folders with their places, or what stands for itself.

    Raises:
        PPOTuneError: If it cannot be used.
    """
    match named.kind:
        case "file":
            if Path(named.path).exists():
                return {named.place: named.path}
            if not is_dataset(named.path):
                near = did_you_mean(Path(named.path), Path.is_file)
                raise DataError(f"{named.place}: no such file {named.path!r} (looked in {Path.cwd()}){near}")
            return {named.place: f"{HubName.of(named.path).repo}@{commit_of(named.path, 'dataset')}"}
        case "model" | "judge":
            check_model(named.path, judge=named.kind == "judge")
            return {named.place: named.path}
        case "function":
            load_function(named.value, named.place)
            helpers = helper_files(named.value, named.place)
            imported = {f"{named.place}{IMPORTS}{name}": str(file) for name, file in helpers.items()}
            return {named.place: named.path, **imported}
        case "recipe":
            return {named.place: recipe_of(named.value)}


def as_noted(now: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """The hashes of today that can be compared with those of an older study.

    Once nobody noted what a function imports, where a new import shows in the function's own file; and nobody noted
    the embedded task's recipe.
    """
    knows_imports = any(IMPORTS in place for place in before)
    return {
        place: content
        for place, content in now.items()
        if (knows_imports or IMPORTS not in place) and (place in before or place != RECIPE)
    }


def with_paths_from(block: B, folder: Path) -> B:
    """A block as a file of a folder says it: relative paths that lead somewhere lead there from that folder."""
    return block.renamed(
        lambda n: n.value if n.kind == "recipe" else seen_from(n.path, n.value[len(n.path) :], folder)
    )


def with_names_that_stay(block: B, before: Block) -> B:
    """A block of today as it is kept in place of an older one: what is named otherwise now by its full path.

    So it is found from wherever the next one is started, and not only from here.
    """
    known = {named.place: named.value for named in before.names()}

    def name(named: Named) -> str:
        if named.kind == "recipe" or known.get(named.place) == named.value:
            return named.value
        return full_path(named.path) + named.value[len(named.path) :]

    return block.renamed(name)


def as_named(
    before: B, contents: Mapping[str, str], now: Block, now_contents: Mapping[str, str]
) -> tuple[B, dict[str, str]]:
    """An older block and its hashes with the names of today, wherever both name the same content.

    So a study goes on when its files lie elsewhere, or are named from another folder.
    """
    today, moved = {named.place: named for named in now.names()}, dict[str, tuple[Path, Path]]()

    def name(old: Named) -> str:
        new, content = today.get(old.place), contents.get(old.place)
        if new is None or old.kind == "recipe" or content is None or content != now_contents.get(old.place):
            return old.value
        moved[f"{old.place}{IMPORTS}"] = Path(old.path).parent, Path(new.path).parent
        return new.path + old.value[len(old.path) :]

    def key(place: str) -> str:
        for beginning, (was, is_) in moved.items():
            helper = Path(place.removeprefix(beginning))
            if place.startswith(beginning) and helper.is_relative_to(was):
                return beginning + (is_ / helper.relative_to(was)).as_posix()
        return place

    renamed = before.renamed(name)
    return renamed, {key(place): content for place, content in contents.items()}


def full_path(name: str) -> str:
    """A file or folder by its full path; a hub name as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name
