"""From a file to one training at full length; its mistakes are told as a study file's are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppo_tune.calling import command, place_of
from ppo_tune.config.methods import Loggers
from ppo_tune.config.model import ModelConfig
from ppo_tune.config.reader import Reader
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.schedule import check_schedule
from ppo_tune.config.strict_yaml import Document, read_yaml
from ppo_tune.config.tasks import EmbeddedTaskConfig
from ppo_tune.config.writing import yaml_text
from ppo_tune.events import Watcher

TRAIN_BLOCKS = tuple(TrainConfig.model_fields)


def load_training(
    path: str | Path,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    watch: Watcher = lambda _: None,
) -> TrainConfig:
    """Read the file of a single training, such as `ppo-tune export` writes; its paths are found as a study file's are.

    Args:
        path: The YAML file with the blocks task, model and ppo, a name and a seed.
        episodes: Instead of the file's.
        seed: Instead of the file's.
        settings: Further values instead of the file's, by their places, such as `ppo.learning_rate`.
        watch: Told where files were found that do not lie where this was started.

    Returns:
        The training, checked.

    Raises:
        ConfigError: With every mistake in the file.
    """
    path = Path(path)
    reader = Reader(read_yaml(path), str(path), path.stem, TRAIN_BLOCKS, folder=path.parent, watch=watch)
    return _training(reader, episodes, seed, settings)


def training_with(
    config: TrainConfig,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """A training with another length, seed or other values, which keep the rules of a file's.

    Raises:
        ConfigError: With every mistake.
    """
    blocks = config.model_dump(mode="json")
    blocks["task"] = {name: value for name, value in blocks["task"].items() if value is not None}
    document = Document(yaml_text(blocks, ()))
    return _training(Reader(document, config.name, config.name, TRAIN_BLOCKS), episodes, seed, settings)


def _training(
    reader: Reader, episodes: int | None, seed: int | None, settings: Mapping[str, Any] | None
) -> TrainConfig:
    """The training that a file holds, with a flag's values in place of the file's."""
    for block in ("space", "constraints", "search"):
        if block in reader.data:
            reader.add(
                (block,), f"this is a study file; run {command('search')} on it, then {command('export')}"
            )
    reader.set_all(settings)
    reader.replace(("ppo", "episodes"), episodes, place_of("episodes"))
    reader.replace(("seed",), seed, place_of("seed"))
    task, model, ppo = reader.run_blocks()
    check_schedule(reader, ppo, {})
    log = reader.block("log", Loggers, ())
    reader.check_log(log or ())
    name = str(reader.data.get("name", reader.name))
    reader.check_name(name, "set another `name` in the file")
    own = {key: value for key, value in reader.data.items() if key in TRAIN_BLOCKS}
    # A block with mistakes, which are noted, does not hide those of the other values.
    blocks = {"task": task or EmbeddedTaskConfig(name="support"), "model": model or ModelConfig(), "ppo": ppo}
    config = reader.validated((), TrainConfig, {**own, **blocks, "name": name, "log": log or ()})
    reader.finish()
    assert isinstance(config, TrainConfig)
    return config
