"""From a file to an experiment: every mistake is found here, all at once, before any model is loaded."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ppo_tune.config.block import Block, Named
from ppo_tune.config.blocks import (
    ADAPTER_FIELDS,
    NOT_SEARCHABLE,
    SEARCHABLE,
    ModelConfig,
    PPOConfig,
    ReferenceRewardConfig,
    StudyConfig,
    SupportTaskConfig,
    TaskConfig,
    TrainConfig,
    check_name,
)
from ppo_tune.config.constraints import Constraint
from ppo_tune.config.messages import mistakes, say, unknown
from ppo_tune.config.methods import PACKAGES, Loggers, SearchConfig
from ppo_tune.config.paths import located
from ppo_tune.config.ranges import Param
from ppo_tune.config.searched import faults_of_room, possible_values, read_constraints, with_conditions
from ppo_tune.config.shipped import study_file
from ppo_tune.config.space import MAX_GRID_CELLS, Space
from ppo_tune.config.strict_yaml import Document, Path_, dotted, read_yaml
from ppo_tune.config.writing import yaml_text
from ppo_tune.errors import ConfigError, MissingExtraError, Problem
from ppo_tune.events import Watcher

B = TypeVar("B", bound=Block)

STUDY_BLOCKS = ("task", "model", "ppo", "space", "constraints", "search")
OPTIONAL_BLOCKS = ("model", "ppo", "search")
TRAIN_BLOCKS = tuple(TrainConfig.model_fields)


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
    name = path.stem if name is None else name
    reader = _Reader(read_yaml(path), str(path), name, STUDY_BLOCKS, folder=path.parent, watch=watch)
    for place, value in (settings or {}).items():
        reader.set(tuple(place.split(".")), value, f"--set {place}")
    limits = {"n_trials": n_trials, "max_episodes": max_episodes, "max_seconds": max_seconds, "seed": seed}
    for limit, number in limits.items():
        reader.replace(("search", limit), number, "--" + limit.replace("_", "-"))
    return _study_of(reader, allow_huge_grid=allow_huge_grid)


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
    return _study_of(_Reader(document, "", name, STUDY_BLOCKS), allow_huge_grid=False)


def _study_of(reader: "_Reader", *, allow_huge_grid: bool) -> StudyConfig:
    """The study that a reader has before it.

    Raises:
        ConfigError: With every mistake.
    """
    task, model, ppo = reader.run_blocks()
    space = reader.space(ppo, model)
    search = reader.block("search", SearchConfig, {})
    reader.check_schedule(ppo, space)
    if search is not None:
        reader.check_search(search, space, ppo, allow_huge_grid=allow_huge_grid)
        reader.check_log(search.log, "search")
        if (
            model is not None
            and model.lora_rank is None
            and "lora_rank" not in space
            and search.pack not in ("auto", 1)
        ):
            reader.add(
                ("search", "pack"),
                "`pack = 1` must hold when all weights are trained (model.lora_rank: "
                f"null), but got {search.pack}; set a lora_rank",
            )
    constraints = reader.constraints(space, reader.fixed(ppo, model))
    reader.check_name(reader.name)
    reader.finish()
    texts = [constraint.text for constraint in constraints]
    blocks = {"task": task, "model": model, "ppo": ppo, "space": Space(space), "search": search}
    blocks |= {"constraints": texts} if texts else {}
    study = StudyConfig.model_validate({"name": reader.name, **blocks})
    if texts:
        grid = study.search.sampler.exhaustive
        reader.add_all(faults_of_room(study.rules, study.space, study.baseline, texts, grid=grid))
        reader.finish()
    return study


def load_training(
    path: str | Path,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    watch: Watcher = lambda _: None,
) -> TrainConfig:
    """Read the file of a single training, such as `ppo-tune export` writes; its paths are found as a study file's are.

    Args:
        path: The YAML file with the blocks task, model and ppo, a name and a seed.
        episodes: Instead of the file's.
        seed: Instead of the file's.
        watch: Told where files were found that do not lie where this was started.

    Returns:
        The training, checked.

    Raises:
        ConfigError: With every mistake in the file.
    """
    path = Path(path)
    reader = _Reader(read_yaml(path), str(path), path.stem, TRAIN_BLOCKS, folder=path.parent, watch=watch)
    return _training(reader, episodes, seed)


def training_with(
    config: TrainConfig, *, episodes: int | None = None, seed: int | None = None
) -> TrainConfig:
    """A training with another length or seed, which keep the rules of a file's.

    Raises:
        ConfigError: With every mistake.
    """
    blocks = config.model_dump(mode="json")
    blocks["task"] = {name: value for name, value in blocks["task"].items() if value is not None}
    document = Document(yaml_text(blocks, ()))
    return _training(_Reader(document, config.name, config.name, TRAIN_BLOCKS), episodes, seed)


def _training(reader: "_Reader", episodes: int | None, seed: int | None) -> TrainConfig:
    """The training that a file holds, with a flag's values in place of the file's."""
    for block in ("space", "constraints", "search"):
        if block in reader.data:
            reader.add((block,), "this is a study file; run `ppo-tune search` on it, then `ppo-tune export`")
    reader.replace(("ppo", "episodes"), episodes, "--episodes")
    reader.replace(("seed",), seed, "--seed")
    task, model, ppo = reader.run_blocks()
    reader.check_schedule(ppo, {})
    log = reader.block("log", Loggers, ())
    reader.check_log(log or ())
    name = str(reader.data.get("name", reader.name))
    reader.check_name(name)
    own = {key: value for key, value in reader.data.items() if key in TRAIN_BLOCKS}
    # A block with mistakes, which are noted, does not hide those of the other values.
    blocks = {"task": task or SupportTaskConfig(name="support"), "model": model or ModelConfig(), "ppo": ppo}
    config = reader.validated((), TrainConfig, {**own, **blocks, "name": name, "log": log or ()})
    reader.finish()
    assert isinstance(config, TrainConfig)
    return config


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


def notes(study: StudyConfig) -> list[str]:
    """What is legal in a study and may still surprise; one sentence each."""
    found = []
    inert = [study.ppo.with_params(params).steps_per_iteration == 1 for params in _schedule_corners(study)]
    if "clip_range" in study.space and all(inert):
        found.append(
            "clip_range is inert: with one optimizer step per rollout the policy ratio is 1 everywhere; "
            "raise ppo_epochs or lower batch_size"
        )
    elif "clip_range" in study.space and any(inert):
        found.append(
            "clip_range is inert in trials with batch_size = rollout_size and one PPO epoch: the policy "
            "ratio is 1 everywhere"
        )
    found += _weak_target(study)
    if study.search.sampler.exhaustive and (ruled_out := study.space.grid_size() - study.grid_size):
        found.append(f"constraints leave out {ruled_out} of the grid's {study.space.grid_size()} cells")
    found += _repeats_of_cells(study) if study.search.sampler.exhaustive else _repeats(study)
    for name, value in study.baseline.items():
        wanted = study.space[name].default
        wanted = study.default(name) if wanted is None else wanted
        if value != wanted:
            found.append(
                f"trial 0, the default config, uses {name} = {value}: the default {wanted} is outside "
                "the space"
            )
    return found


def _repeats(study: StudyConfig) -> list[str]:
    """A note where so few combinations can be drawn that trials repeat them; the default config is one of them."""
    n, size = study.n_trials, study.space.size()
    if n is None or size >= 2 * n:
        return []
    surely = f"at least {n - size} trials repeat one" if n > size else "some may be drawn more than once"
    return [
        f"the space has only {size} combinations for {n} trials: {surely}; sampler: grid tries each of them once"
    ]


def _repeats_of_cells(study: StudyConfig) -> list[str]:
    """A note where a grid search trains a combination twice."""
    n, cells = study.n_trials, study.grid_size
    assert n is not None, "a grid counts itself"
    default_is_cell = study.space.has_cell(study.baseline)
    repeats = max(n - 1 - cells, 0) + (default_is_cell and n > cells)
    if n > cells + 1:
        return [f"{n} trials, but the grid has {cells} cells: {repeats} trials repeat one"]
    if repeats:
        return ["the default config is also a cell of the grid: it runs twice, as trial 0 and in its turn"]
    return []


LEAST_REACH = 1.5
"""What moves the KL coefficient less than so many times in a whole trial holds no target."""


def _weak_target(study: StudyConfig) -> list[str]:
    """A note where a trial is too short for its adaptive KL coefficient to move."""
    if study.ppo.kl_target is None and "kl_target" not in study.space:
        return []
    horizons = possible_values(study.space.root.get("kl_horizon"), study.ppo.kl_horizon)
    reach = max(study.ppo.with_params({"kl_horizon": horizon}).kl_coef_reach for horizon in horizons)
    if reach >= LEAST_REACH:
        return []
    return [
        f"kl_target does little: with this kl_horizon, kl_coef can change {reach:.2f}-fold at most in a trial of "
        f"{study.ppo.episodes:,} episodes; leave kl_horizon out, and it is a tenth of them"
    ]


def _schedule_corners(study: StudyConfig) -> Iterator[dict[str, Any]]:
    """Every combination of the searched batch sizes with the extreme numbers of epochs."""
    epochs = possible_values(study.space.root.get("ppo_epochs"), study.ppo.ppo_epochs)
    for batch_size in possible_values(study.space.root.get("batch_size"), study.ppo.batch_size):
        for ppo_epochs in (min(epochs), max(epochs)):
            yield {"batch_size": batch_size, "ppo_epochs": ppo_epochs}


_KEYS: Mapping[str, type[Block]] = {"ppo": PPOConfig, "search": SearchConfig, "model": ModelConfig}
"""Blocks that always have the same keys."""


class _Reader:
    """One file being read: its data, and the problems found so far."""

    def __init__(
        self,
        document: Document,
        source: str,
        name: str,
        blocks: tuple[str, ...],
        *,
        folder: Path | None = None,
        watch: Watcher = lambda _: None,
    ) -> None:
        self.source = source
        self.folder = folder
        self.watch = watch
        self.name = name
        self.blocks = blocks
        self.document = document
        self.problems = list(self.document.problems)
        self.noted: set[Path_] = set(self.document.unread)
        self.flags: dict[Path_, str] = {}
        data = self.document.data
        if not isinstance(data, dict):
            raise ConfigError([Problem("", f"must hold the blocks {', '.join(blocks)}", 1)], self.source)
        self.data: dict[str, Any] = {
            key: {} if block is None and key in OPTIONAL_BLOCKS else block for key, block in data.items()
        }
        for key in data:
            if key not in blocks and key not in STUDY_BLOCKS:
                self.add((key,), unknown(key, blocks, kind="block"))

    def add(self, place: Path_, what: str) -> None:
        """Note a mistake, unless the value at its place could not be read."""
        if place in self.document.unread:
            return
        self.noted.add(place)
        line = None if place in self.flags else self.document.line(place)
        self.problems.append(Problem(self.flags.get(place, dotted(place)), what, line))

    def add_all(self, mistakes: Iterable[tuple[Path_, str]]) -> None:
        """Note mistakes, each with its place."""
        for place, what in mistakes:
            self.add(place, what)

    def replace(self, place: Path_, value: Any, flag: str) -> None:
        """Put a flag's value in place of the file's; None leaves that as it is."""
        block = self.data.get(str(place[0]), {}) if len(place) > 1 else {}
        if value is not None and isinstance(block, dict):
            self.set(place, value, flag)

    def set(self, place: Path_, value: Any, flag: str) -> None:
        """Put a flag's value in place of the file's, in blocks that are made where there are none."""
        *blocks, key = map(str, place)
        first = str(place[0])
        if first not in self.blocks:
            self.problems.append(Problem(flag, self._unknown_block(first, is_alone=not blocks)))
            return
        found = self.data
        for i, block in enumerate(blocks):
            inner = found.setdefault(block, {})
            if not isinstance(inner, dict):
                where = dotted(place[: i + 1])
                self.problems.append(
                    Problem(flag, f"{where} is {inner!r}, which has no {key}; set {where} itself")
                )
                return
            found = inner
        found[key] = value
        self.flags[place] = flag

    def _unknown_block(self, name: str, *, is_alone: bool) -> str:
        """The message for a block that there is not; a key that stands alone may be meant as that of a block."""
        homes = [f"{block}.{name}" for block, kind in _KEYS.items() if is_alone and name in kind.model_fields]
        if homes:
            return f"unknown block {name!r}; did you mean {' or '.join(homes)}?"
        return unknown(name, self.blocks, kind="block")

    def finish(self) -> None:
        if self.problems:
            raise ConfigError(self.problems, self.source)

    def check_name(self, name: str) -> None:
        try:
            check_name(name)
        except ConfigError as error:
            self.problems += error.problems

    def run_blocks(self) -> tuple[TaskConfig | None, ModelConfig | None, PPOConfig]:
        """The blocks that a study and a training have in common; of a wrong `ppo` what is right in it."""
        task = self.block("task", TaskConfig, None)
        model = self.block("model", ModelConfig, {})
        ppo = self.block("ppo", PPOConfig, {}) or self._right_part_of_ppo()
        if task is not None and model is not None and model.name is None and not task.brings_model:
            self.add(("model",), f"`name` must be given with task {task.name}: a model folder or hub name")
        if isinstance(task, SupportTaskConfig):
            self._check_needs_no_references(task)
        return self.located(task, "task"), self.located(model, "model"), ppo

    def located(self, block: B | None, name: str) -> B | None:
        """A block whose names mean what they mean here; those that cannot are noted."""

        def find(named: Named) -> str:
            place = tuple(int(part) if part.isdigit() else part for part in named.place.split("."))
            by_flag = any(place[: len(flag)] == flag for flag in self.flags)
            try:
                found = located(named, None if by_flag else self.folder)
            except ValueError as error:
                self.add(place, str(error))
                return named.value
            if found.told:
                self.watch({"kind": "note" if found.surprises else "found", "text": found.told})
            return found.value

        return None if block is None else block.renamed(find, name)

    def _check_needs_no_references(self, task: SupportTaskConfig) -> None:
        """Nobody who scores the embedded task compares with reference texts, which its prompts have not."""
        scorers: dict[Path_, Any] = {(name,): getattr(task, name) for name in ("reward", "objective", "gold")}
        scorers |= {("judges", name): judge for name, judge in task.judges.items()}
        for place, scorer in scorers.items():
            if isinstance(scorer, ReferenceRewardConfig):
                self.add(
                    ("task", *place),
                    "reference texts are needed, and the prompts of task support have none; take rule, preference or "
                    "python, or your own prompts by task dataset",
                )

    def block(self, name: str, kind: Any, missing: Any) -> Any:
        """One block, checked; None after noting its problems."""
        data = self.data.get(name, missing)
        if data is None and name not in self.data:
            self.problems.append(Problem(name, "this block is missing"))
            return None
        return self.validated((name,), kind, {} if data is None else data)

    def space(self, ppo: PPOConfig, model: ModelConfig | None) -> dict[str, Param]:
        """The legal parameters of the space block; problems are noted."""
        data = self.data.get("space")
        if not isinstance(data, dict) or not data:
            self.add(
                ("space",),
                "at least one hyperparameter must be searched; for a single config use `ppo-tune train`",
            )
            return {}
        found = {}
        for name, value in data.items():
            block = "model" if name in ADAPTER_FIELDS else "ppo"
            fixed = self.data.get(block, {})
            if name in NOT_SEARCHABLE:
                self.add(("space", name), f"cannot be searched: it {NOT_SEARCHABLE[name]}")
            elif name not in SEARCHABLE:
                self.add(("space", name), unknown(name, SEARCHABLE))
            elif isinstance(fixed, dict) and name in fixed:
                line = self.document.line(("space", name))
                self.add((block, name), f"stands in {block} and in space (line {line}); keep one")
            param = self.validated(("space", name), Param, value)
            if param is not None and name in SEARCHABLE:
                self._check_values(name, param)
                found[name] = param
        if (
            "lora_alpha" in found
            and "lora_rank" not in found
            and model is not None
            and model.lora_rank is None
        ):
            self.add(
                ("space", "lora_alpha"),
                "scales the adapters, and without any (model.lora_rank: null) it decides nothing; set a lora_rank, or "
                "leave it out",
            )
        unread = [
            name for name in (*PPOConfig.model_fields, *data) if name in data or not self._is_right(name)
        ]
        found, wrong = with_conditions(found, self.fixed(ppo, model), unread)
        self.add_all(wrong)
        return found

    @staticmethod
    def fixed(ppo: PPOConfig, model: ModelConfig | None) -> dict[str, Any]:
        """The values of all hyperparameters where they are not searched."""
        adapters = (model or ModelConfig()).model_dump(include=set(ADAPTER_FIELDS))
        return {**ppo.model_dump(), **adapters}

    def constraints(self, space: Mapping[str, Param], fixed: Mapping[str, Any]) -> tuple[Constraint, ...]:
        """The legal constraints; problems are noted."""
        listed = self.data.get("constraints")
        if listed is None:
            return ()
        searched = self.data.get("space")
        found, wrong = read_constraints(listed, space, fixed, searched if isinstance(searched, dict) else ())
        self.add_all(wrong)
        return found

    def _check_values(self, name: str, param: Param) -> None:
        """Every end and choice is legal for its field; the first that is not is told."""
        always = param.model_copy(update={"when": {}})
        block = ModelConfig if name in ADAPTER_FIELDS else PPOConfig
        for value in (*possible_values(always, None), *(() if param.default is None else (param.default,))):
            if name == "lora_rank" and value is None:
                self.add(
                    ("space", name),
                    "null trains all weights, which shares no pack with adapters; make a study of its own of it",
                )
                return
            try:
                block.model_validate({name: value})
            except ValidationError as error:
                self.add(("space", name), say(error.errors()[0], block, ("space", name)))
                return

    def check_schedule(self, ppo: PPOConfig, space: Mapping[str, Param]) -> None:
        """Episodes are whole rollouts, a rollout whole batches, a batch whole micro-batches."""
        if ppo.episodes % ppo.rollout_size and self._is_right("episodes", "rollout_size"):
            fitting = ppo.iterations * ppo.rollout_size
            self.add(
                ("ppo", "episodes"),
                f"must be whole rollouts of {ppo.rollout_size}, but got {ppo.episodes}; take {fitting}",
            )
        place = ("space", "batch_size") if "batch_size" in space else ("ppo", "batch_size")
        micro = ppo.micro_batch_size
        for size in possible_values(space.get("batch_size"), ppo.batch_size):
            if not isinstance(size, int) or not self._is_right("batch_size"):
                continue
            if self._is_right("rollout_size") and (size < 1 or ppo.rollout_size % size):
                self.add(place, f"`batch_size` must divide rollout_size {ppo.rollout_size}, but got {size}")
            if micro is not None and size % micro:
                self.add(("ppo", "micro_batch_size"), f"must divide batch_size {size}, but got {micro}")
        self._check_horizon(ppo, space)
        if ppo.kl_target is not None and 0 in possible_values(space.get("kl_coef"), ppo.kl_coef):
            self.add(
                ("ppo", "kl_target"), "`kl_coef > 0` must hold with kl_target: an adaptive β of 0 stays 0"
            )

    def _check_horizon(self, ppo: PPOConfig, space: Mapping[str, Param]) -> None:
        """No rollout can take an adaptive KL coefficient to 0 or below, where it would stay."""
        if ppo.kl_target is None and "kl_target" not in space:
            return
        place = ("space", "kl_horizon") if "kl_horizon" in space else ("ppo", "kl_horizon")
        for horizon in possible_values(space.get("kl_horizon"), ppo.kl_horizon):
            if isinstance(horizon, int | float) and 5 * horizon <= ppo.rollout_size:
                self.add(
                    place,
                    f"`kl_horizon > rollout_size / 5` must hold, or one rollout can take β to 0, but got {horizon:g} "
                    f"with rollout_size {ppo.rollout_size}",
                )
                return

    def check_search(
        self, search: SearchConfig, space: Mapping[str, Param], ppo: PPOConfig, *, allow_huge_grid: bool
    ) -> None:
        """A grid that can be listed, limits in order, and episodes for what is asked for."""
        self._check_max_episodes(search, ppo)
        self._check_warm_start(search)
        if search.kl_ceiling < search.kl_budget:
            self.add(
                ("search", "kl_limit"),
                f"`kl_limit >= kl_budget` must hold, but got {search.kl_limit:g} < {search.kl_budget:g}",
            )
        if not search.sampler.exhaustive or not space:
            return
        grid = Space(dict(space))
        for name in grid.without_grid_values():
            self.add(("space", name), "`points` must be given for a grid: a list of values, or how many")
        size = grid.grid_size()
        if size > MAX_GRID_CELLS and not allow_huge_grid:
            self.add(
                ("space",),
                f"`cells <= {MAX_GRID_CELLS}` must hold, but the grid has {size}; use fewer points, "
                "another sampler, or --yes",
            )

    def _check_warm_start(self, search: SearchConfig) -> None:
        """It names another study, and the sampler does not try everything anyway."""
        if search.warm_start == self.name:
            self.add(
                ("search", "warm_start"),
                f"must name an earlier study, but {self.name!r} is this one; leave it out",
            )
        elif search.warm_start is not None and search.sampler.exhaustive:
            self.add(
                ("search", "warm_start"),
                f"sampler {search.sampler} tries every cell once, whatever was found before; leave it out",
            )

    def _check_max_episodes(self, search: SearchConfig, ppo: PPOConfig) -> None:
        """All episodes pay for a trial, and for as many runs of a confirmation as the file asks for."""
        if search.max_episodes is None or not self._is_right("episodes"):
            return
        auto = search.confirm_top == search.confirm_seeds == "auto"
        runs = 0 if auto else search.confirmation(0).runs
        least = (1 + runs) * ppo.episodes
        if search.max_episodes >= least:
            return
        confirmed = f" and {runs} runs of the confirmation (confirm_top, confirm_seeds)" if runs else ""
        self.add(
            ("search", "max_episodes"),
            f"`max_episodes >= {least}` must hold, for a trial of {ppo.episodes}{confirmed}, but got "
            f"{search.max_episodes}",
        )

    def check_log(self, log: Loggers, *block: str) -> None:
        """What is to get the numbers is installed."""
        for i, name in enumerate(log):
            if (package := PACKAGES[name]) is not None and find_spec(package) is None:
                self.add((*block, "log", i), str(MissingExtraError(package, name)))

    def _is_right(self, *names: str) -> bool:
        """Whether nothing was noted of these keys of `ppo`; others are then not blamed for them."""
        return not any(("ppo", name) in self.noted for name in names)

    def _right_part_of_ppo(self) -> PPOConfig:
        """What can still be checked against the other blocks when some of `ppo` is wrong."""
        data = self.data.get("ppo")
        if not isinstance(data, dict):
            return PPOConfig()
        return PPOConfig.model_validate({key: value for key, value in data.items() if self._is_right(key)})

    def validated(self, place: Path_, kind: Any, data: Any) -> Any:
        try:
            return TypeAdapter(kind).validate_python(data)
        except ValidationError as error:
            for where, what in mistakes(error, kind, data, place):
                self.add(where, what)
            return None
