"""How a search proposes trials and ends hopeless ones: samplers and pruners, each with its options.

`sampler: tpe` is short for `sampler: {name: tpe}` with every option at its default, and is stored as that.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_serializer

from ppo_tune.config.block import Block, Text

StartupTrials = Annotated[int, Field(ge=1)]
ReductionFactor = Annotated[int, Field(ge=2)]


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

    @property
    def learns_after(self) -> int | None:
        """How many trials it proposes before others' results decide its proposals; None if they never do."""
        return None


class LearningSampler(Sampler):
    """Where a model of others' results says, after a start-up design."""

    n_startup_trials: StartupTrials = Field(10, description="Random trials before its model is trusted.")

    @property
    def learns_after(self) -> int:
        """The start-up design."""
        return self.n_startup_trials


class TPESamplerConfig(LearningSampler):
    """Where good trials are dense and others are not."""

    title = "TPE"
    name: Literal["tpe"]


class GPSamplerConfig(LearningSampler):
    """Where a Gaussian process expects the most improvement."""

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
    name: Literal["grid"]


class Pruner(Method):
    """Ends hopeless trials early."""


class SuccessiveHalvingConfig(Pruner):
    """Those outside the best part of their rung."""

    title = "pruned by successive halving"
    name: Literal["successive_halving"]
    reduction_factor: ReductionFactor = Field(2, description="One of so many trials is promoted at a rung.")


class HyperbandConfig(Pruner):
    """Successive halving in brackets that begin to look at different milestones."""

    title = "pruned by hyperband"
    name: Literal["hyperband"]
    reduction_factor: ReductionFactor = Field(2, description="One of so many trials is promoted at a rung.")


class MedianPrunerConfig(Pruner):
    """Those whose best score so far is below the median of the others' scores."""

    title = "pruned by median"
    name: Literal["median"]
    n_startup_trials: StartupTrials = Field(5, description="Completed trials before the median is trusted.")


class PercentilePrunerConfig(Pruner):
    """Those whose best score so far is not among the best of the others' scores."""

    title = "pruned by percentile"
    name: Literal["percentile"]
    percentile: float = Field(25.0, gt=0, lt=100, description="How many of 100 trials go on.")
    n_startup_trials: StartupTrials = Field(
        5, description="Completed trials before the percentile is trusted."
    )


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
