"""From a file to an experiment: every mistake is found here, all at once, before any model is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppo_tune.calling import argument, command, place_of
from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.reader import STUDY_BLOCKS, Reader
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.schedule import check_schedule
from ppo_tune.config.search_block import check_pack, check_search
from ppo_tune.config.searched import faults_of_room
from ppo_tune.config.shipped import study_file
from ppo_tune.config.space import Space
from ppo_tune.config.space_block import fixed_values, read_constraints, read_space
from ppo_tune.config.strict_yaml import Document, read_yaml
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.training_file import load_training
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.events import Watcher


def load_study(  # noqa: PLR0913 as many as the command has flags
    path: str | Path,
    *,
    allow_huge_grid: bool = False,
    n_trials: int | None = None,
    max_episodes: int | None = None,
    max_seconds: float | None = None,
    seed: int | None = None,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    watch: Watcher = lambda _: None,
) -> StudyConfig:
    """Read a study file.

    In its names of files and models `~` and variables of the environment are filled in, and a relative path is looked
    up beside the file, then from the working folder.

    Args:
        path: The YAML file; its name without the ending becomes the study's name. Or the name of one of ours, such as
            `quickstart`.
        allow_huge_grid: Accept a grid of more than 10,000 cells.
        n_trials: Instead of the file's `search.n_trials`.
        max_episodes: Instead of the file's `search.max_episodes`.
        max_seconds: Instead of the file's `search.max_seconds`.
        seed: Instead of the file's `search.seed`.
        name: Of the study, instead of the file's.
        settings: Further values instead of the file's, by their places, such as `ppo.episodes`.
        watch: Told where files were found that do not lie where this was started.

    Returns:
        The experiment, checked.

    Raises:
        ConfigError: With every mistake in the file, its line, the rule, the value and the way out.
    """
    path = study_file(path)
    flag = argument("name")
    way_out = f"rename the file, or name the study by {flag}" if name is None else f"give another {flag}"
    name = path.stem if name is None else name
    document = read_yaml(path)
    _refuse_training(document, str(path))
    reader = Reader(document, str(path), name, STUDY_BLOCKS, folder=path.parent, watch=watch)
    reader.set_all(settings)
    limits = {"n_trials": n_trials, "max_episodes": max_episodes, "max_seconds": max_seconds, "seed": seed}
    for limit, number in limits.items():
        reader.replace(("search", limit), number, place_of(limit))
    return _study_of(reader, way_out, allow_huge_grid=allow_huge_grid)


def _refuse_training(document: Document, source: str) -> None:
    """Refuse the config of one training, which has a name and a seed, and nothing to search.

    Raises:
        ConfigError: If it is one.
    """
    data = document.data
    if isinstance(data, dict) and {"name", "seed"} <= {*data} and not {"space", "search"} & {*data}:
        what = f"this is the config of one training; run {command('train')} on it, or give a study file"
        raise ConfigError([Problem("name", what, document.line(("name",)))], source)


def make_study(blocks: Mapping[str, Any], name: str) -> StudyConfig:
    """The study that a file of these blocks would be.

    Args:
        blocks: Plain data, as a study file holds it.
        name: Of the study.

    Raises:
        ConfigError: With every mistake, its place, the rule, the value and the way out.
    """
    document = Document("")
    document.data = dict(blocks)
    return _study_of(Reader(document, "", name, STUDY_BLOCKS), "give another name", allow_huge_grid=False)


def _study_of(reader: Reader, way_out: str, *, allow_huge_grid: bool) -> StudyConfig:
    """The study that a reader has before it; the way out is that of a name that cannot be one.

    Raises:
        ConfigError: With every mistake.
    """
    task, model, ppo = reader.run_blocks()
    space = read_space(reader, ppo, model)
    search = reader.block("search", SearchConfig, {})
    check_schedule(reader, ppo, space)
    if search is not None:
        check_search(reader, search, space, ppo, allow_huge_grid=allow_huge_grid)
        check_pack(reader, search, space, model)
        reader.check_log(search.log, "search")
    constraints = read_constraints(reader, space, fixed_values(ppo, model))
    reader.check_name(reader.name, way_out)
    reader.finish()
    texts = [constraint.text for constraint in constraints]
    blocks = {"task": task, "model": model, "ppo": ppo, "space": Space(space), "search": search}
    blocks |= {"constraints": texts} if texts else {}
    study = StudyConfig.model_validate({"name": reader.name, **blocks})
    if texts:
        reader.add_all(faults_of_room(study, texts))
        reader.finish()
    return study


def load_run(path: str | Path, *, watch: Watcher = lambda _: None) -> StudyConfig | TrainConfig:
    """Read either kind of file; `watch` is told where its files were found.

    Raises:
        ConfigError: With every mistake in the file.
    """
    data = read_yaml(Path(path)).data
    is_study = isinstance(data, dict) and "space" in data
    return (
        load_study(path, allow_huge_grid=True, watch=watch) if is_study else load_training(path, watch=watch)
    )
