"""The search block: how a study proposes trials and ends hopeless ones, by samplers and pruners with their options.

`sampler: tpe` is short for `sampler: {name: tpe}` with every option at its default, and is stored as that.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_serializer

from ppo_tune.config.block import FROM_LIST, Block, Text


class Method(Block):
    """A sampler or pruner; written as its name alone where its options have their defaults."""

    title: ClassVar[str]
    """As the report's first sentence calls it."""

    name: Text

    @property
    def options(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        fields = type(self).model_fields.items()
        values = {key: getattr(self, key) for key, field in fields if getattr(self, key) != field.default}
        return {key: value for key, value in values.items() if key != "name"}

    @model_serializer
    def _written(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.options} if self.options else self.name

    def __str__(self) -> str:
        options = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return f"{self.name} ({options})" if options else self.name


class Sampler(Method):
    """Proposes the values of trials."""

    exhaustive: ClassVar[bool] = False
    """Whether it takes each cell of a grid once, and so needs a space of finite size."""

    @property
    def learns_after(self) -> int | None:
        """How many trials it proposes before others' results decide its proposals; None if they never do."""
        return None


class LearningSampler(Sampler):
    """Where a model of others' results says, after a start-up design."""

    n_startup_trials: int = Field(10, ge=1, description="Random trials before its model is trusted.")

    @property
    def learns_after(self) -> int:
        """The start-up design."""
        return self.n_startup_trials


class TPESamplerConfig(LearningSampler):
    """Where good trials are dense and others are not."""

    title = "TPE"
    name: Literal["tpe"]


class GPSamplerConfig(LearningSampler):
    """Where a Gaussian process of all results expects the most improvement within the KL budget."""

    title = "GP"
    name: Literal["gp"]


class RandomSamplerConfig(Sampler):
    """Anywhere."""

    title = "random search"
    name: Literal["random"]


class QMCSamplerConfig(Sampler):
    """Points of a scrambled Sobol sequence, which fill the space evenly."""

    title = "QMC"
    name: Literal["qmc"]


class GridSamplerConfig(Sampler):
    """Each cell of a grid once."""

    title = "grid search"
    exhaustive = True
    name: Literal["grid"]


class Pruner(Method):
    """Ends hopeless trials early."""


ReductionFactor = Annotated[int, Field(ge=2, description="One of so many trials is promoted at a rung.")]
CompletedFirst = Annotated[
    int, Field(ge=1, description="Completed trials before others' scores are trusted.")
]


class SuccessiveHalvingConfig(Pruner):
    """Those outside the best part of their rung."""

    title = "pruned by successive halving"
    name: Literal["successive_halving"]
    reduction_factor: ReductionFactor = 2


class HyperbandConfig(Pruner):
    """Successive halving in brackets that begin to look at different milestones."""

    title = "pruned by hyperband"
    name: Literal["hyperband"]
    reduction_factor: ReductionFactor = 2


class MedianPrunerConfig(Pruner):
    """Those whose best score so far is below the median of the others' scores."""

    title = "pruned by median"
    name: Literal["median"]
    n_startup_trials: CompletedFirst = 5


class PercentilePrunerConfig(Pruner):
    """Those whose best score so far is not among the best of the others' scores."""

    title = "pruned by percentile"
    name: Literal["percentile"]
    percentile: float = Field(25.0, gt=0, lt=100, description="How many of 100 trials go on.")
    n_startup_trials: CompletedFirst = 5


class NoPrunerConfig(Pruner):
    """None."""

    title = "not pruned"
    name: Literal["none"]


def _by_name(value: Any) -> Any:
    """The short form as the whole one."""
    return value if isinstance(value, dict | Method) else {"name": value}


SamplerConfig = Annotated[
    TPESamplerConfig | GPSamplerConfig | RandomSamplerConfig | QMCSamplerConfig | GridSamplerConfig,
    Field(discriminator="name"),
    BeforeValidator(_by_name),
]

PrunerConfig = Annotated[
    SuccessiveHalvingConfig | HyperbandConfig | MedianPrunerConfig | PercentilePrunerConfig | NoPrunerConfig,
    Field(discriminator="name"),
    BeforeValidator(_by_name),
]

Loggers = Annotated[
    tuple[Literal["tensorboard", "wandb"], ...],
    FROM_LIST,
    Field(description="Where the numbers go besides metrics.jsonl: any of tensorboard and wandb (offline)."),
]
"""Who gets the numbers of a training besides its metrics.jsonl."""

PACKAGES: Mapping[str, str | None] = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""The package that each logger imports, which the extra of the logger's name installs; None if none."""


@dataclass(frozen=True)
class Size:
    """How much a confirmation does.

    Attributes:
        top: How many configs run beside the default; 0 for no confirmation.
        seeds: On how many fresh seeds each, as long as it can win.
    """

    top: int
    seeds: int

    @property
    def runs(self) -> int:
        """At most so many trainings."""
        return (self.top + 1) * self.seeds if self.top else 0


SHARE = 0.25
"""Of all episodes of a study, search and confirmation: what a confirmation takes at most unless more is asked for."""

LEAST, MOST = Size(3, 2), Size(5, 5)
"""The smallest confirmation, for one good config in four is beyond the KL budget on fresh seeds; and the largest."""


class SearchConfig(Block):
    """How a study looks for the best config."""

    sampler: SamplerConfig = Field(GPSamplerConfig(name="gp"), description="Who proposes the values.")
    pruner: PrunerConfig = Field(
        SuccessiveHalvingConfig(name="successive_halving"), description="Who ends hopeless trials early."
    )
    n_trials: int | None = Field(
        None,
        ge=1,
        description="All trials of the study at most, the default config included; null = a grid counts itself, no "
        "limit where max_episodes or max_seconds is given, else 32. Whichever limit comes first ends the search.",
    )
    max_episodes: int | None = Field(
        None,
        ge=1,
        description="All episodes of the study, its confirmation included. Trials under way are finished when none is "
        "left for another.",
    )
    max_seconds: float | None = Field(
        None,
        gt=0,
        description="Seconds by the clock, the confirmation included; those of earlier calls count while trials were "
        "under way. What is under way when they are over is given back.",
    )
    stop_when_no_gain: bool = Field(
        False,
        description="Whether the search ends when all results together expect less improvement from one more trial "
        "than a fifth of the noise of a score.",
    )
    warm_start: Text | None = Field(
        None,
        description="An earlier study, in the same store or below the same `runs/`: up to three of its best "
        "configs, moved into this space, are tried after the default config.",
    )
    milestones: int = Field(10, ge=1, description="How often a trial is scored on the held-out prompts.")
    kl_budget: float = Field(10.0, gt=0, description="A winner stays within this KL, in nats per sequence.")
    kl_limit: float | None = Field(
        None, gt=0, description="A trial beyond this KL ends at once; null = twice the budget."
    )
    pack: Literal["auto"] | int = Field(
        "auto", description="Trials trained together by one worker; auto = as many as pay, by the clock."
    )
    seed: int = Field(0, ge=0, description="Everything random follows from it.")
    confirm_top: Literal["auto"] | int = Field(
        "auto",
        description="How many of the best run again on fresh seeds beside the default; 0 = none, auto = as many as "
        "a quarter of the episodes pays.",
    )
    confirm_seeds: Literal["auto"] | int = Field(
        "auto",
        description="How many fresh seeds each of them gets; auto = as many as a quarter of the episodes pays.",
    )
    train_episodes: int | None = Field(
        None,
        ge=1,
        description="Length of the full training in the exported config; null = four trials' worth.",
    )
    log: Loggers = ()

    @field_validator("pack", "confirm_top", "confirm_seeds", mode="before")
    @classmethod
    def _check_number(cls, value: Any, info: ValidationInfo) -> Any:
        least = {"pack": 1, "confirm_top": 0, "confirm_seeds": 2}[str(info.field_name)]
        if value == "auto" or (type(value) is int and value >= least):
            return value
        raise ValueError(f"`{info.field_name} >= {least}` must hold, or auto, but got {value!r}")

    @property
    def kl_ceiling(self) -> float:
        """The KL beyond which a trial ends, in nats per sequence."""
        return 2 * self.kl_budget if self.kl_limit is None else self.kl_limit

    def confirmation(self, trials: float, *, asked: bool = False) -> Size:
        """What is confirmed after a search that took as many episodes as so many full trials.

        What the file leaves open is chosen so that the confirmation takes at most `SHARE` of all episodes: as many
        seeds as that pays for `LEAST` configs, and then as many configs. Where it does not pay for `LEAST` nothing is
        confirmed, unless it is asked for.
        """
        runs = int(trials * SHARE / (1 - SHARE))
        top = None if self.confirm_top == "auto" else self.confirm_top
        seeds = None if self.confirm_seeds == "auto" else self.confirm_seeds
        if top is None and seeds is None and runs < LEAST.runs and not asked:
            return Size(0, 0)
        if seeds is None:
            seeds = min(max(runs // ((LEAST.top if top is None else top) + 1), LEAST.seeds), MOST.seeds)
        if top is None:
            top = min(max(runs // seeds - 1, LEAST.top), MOST.top)
        return Size(top, seeds)

    def split(self, total: float) -> tuple[float, Size]:
        """How a study's total of episodes is divided, in full trials' worth: the part of the search, and what follows.

        The search gets what leaves its confirmation the runs that it will have; all where the total does not pay for
        both.
        """
        tenths = range(10, int(10 * total) + 1)
        fit = bisect_right(tenths, total, key=lambda part: part / 10 + self.confirmation(part / 10).runs)
        part = tenths[fit - 1] / 10 if fit else 0.0
        size = self.confirmation(part) if fit else Size(0, 0)
        return (part, size) if size.top else (total, size)
