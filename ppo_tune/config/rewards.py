"""What scores a response: the rewards that a task names as its reward, its objective or its judges."""

from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ppo_tune.config.block import Block, FunctionName, JudgeName, Text


class LengthRule(Block):
    """How long a response should be: words between spaces, or letters in scripts without spaces."""

    low: int = Field(
        ge=0,
        description="Shortest length that earns the full weight: in words between spaces; in Chinese, Japanese, Thai, "
        "Lao, Khmer and Burmese, which set no spaces, in letters.",
    )
    high: int = Field(ge=1, description="Longest length that earns the full weight, in the same unit.")
    weight: float = Field(1.0, description="Earned inside the range; each unit outside costs weight / high.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"`low <= high` must hold, but got low={self.low}, high={self.high}")
        return self


class RuleRewardConfig(Block):
    """A score from rules a person can read."""

    name: Literal["rule"]
    include: dict[str, float] = Field({}, description="Words or phrases to mention, each with its weight.")
    avoid: dict[str, float] = Field(
        {}, description="Words or phrases to avoid; the weight is lost at each use."
    )
    length: LengthRule | None = Field(None, description="A range of words, or of letters without spaces.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.include or self.avoid or self.length):
            raise ValueError("at least one of `include`, `avoid` and `length` must be given")
        return self


Reads = Literal["score", "probability", "log_probability", "expected"]
"""What is read of a reward model: its latent score or log-odds, the probability of the class to be reached, the
logarithm of that, or the mean over ordered classes from 0 to 1."""


class PreferenceRewardConfig(Block):
    """A learned reward model: one that `ppo-tune reward` made, or any sequence classifier."""

    name: Literal["preference"]
    model: JudgeName = Field(description="Folder or hub name of the reward model.")
    template: Text | None = Field(
        None,
        description="Text it reads, with {prompt} and {response}; null = as reward.json beside it says, else by its "
        "chat template, else joined; before the response of an encoder–decoder then with a space.",
    )
    label: Text | None = Field(
        None,
        description="The class to be reached, of a classifier with several labels that is not ours; or the attribute "
        "that scores, of a reward model of several, which else is their mean.",
    )
    reads: Reads = Field(
        "score",
        description="What is read of it: its score or log-odds; or, of one that knows classes, the probability of the "
        "class to be reached, its logarithm, or what is expected of ordered classes from 0 to 1. PPO has no slope to "
        "learn from where a probability is near 0 or 1.",
    )

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str | None) -> str | None:
        if template is not None and (problem := problem_of_template(template)):
            raise ValueError(problem)
        return template


def problem_of_template(template: str) -> str | None:
    """What is wrong with the text that a reward model is to read; None if nothing is."""
    rule = "must hold {response}, and {prompt} if need be, and nothing else in braces"
    try:
        fields = [(name, spec, how) for _, name, spec, how in Formatter().parse(template) if name is not None]
    except ValueError as error:
        return f"{rule}, but {template!r} has {str(error).lower()}; double a literal brace"
    names = {name for name, _, _ in fields}
    bare = not any(spec or how for _, spec, how in fields)
    if bare and "response" in names and names <= {"prompt", "response"}:
        return None
    return f"{rule}, but got {template!r}"


class PythonRewardConfig(Block):
    """A function of yours: `def score(prompts, responses, **columns) -> list[float]`."""

    name: Literal["python"]
    function: FunctionName = Field(description="`path/to/file.py:function`.")


Metric = Literal["chrf", "bleu", "rouge1", "rouge2", "rougeL", "meteor"]
"""Similarities to reference texts."""


class ReferenceRewardConfig(Block):
    """Similarity to the row's reference texts, 0 to 100 (needs the `metrics` extra)."""

    name: Literal["reference"]
    metric: Metric = Field(
        "chrf",
        description="The measure, of each response by itself: `bleu` by as many n-grams as it has, `meteor` by equal "
        "words alone.",
    )


class UnitTestsRewardConfig(Block):
    """The share of the row's unit tests that a response passes, which is a program; 0 to 1."""

    name: Literal["unit_tests"]
    language: Literal["python", "expression"] = Field(
        "python",
        description="What responses are written in: `python` (the first fenced block of Markdown where there is one), "
        "or one `expression` of whole numbers, variables, + - * // %, comparisons, and, or, not, min, max, abs, "
        "`a if c else b` and `sum(e for i in range(n))`.",
    )
    column: Text = Field(
        "tests",
        description="Column that holds the tests: a list of assert statements (MBPP), a text of Python with such or "
        "with check(candidate) (HumanEval), or a list of {input, output}, of which a program reads one and prints the "
        "other.",
    )
    entry_point: Text | None = Field(
        None,
        description="Column that names the tested function: check(candidate) is given it; with {input, output} "
        "it is called with the input, a list of arguments or a dict of named ones, to return the output.",
    )
    prefix: Text | None = Field(
        None,
        description="Column with code that stands before the response, such as the head of a function (HumanEval: "
        "prompt). A fenced block that defines that function itself takes its place; what stands above the head, such "
        "as imports, is kept.",
    )
    setup: Text | None = Field(
        None,
        description="Column with what runs before the tests, a text of Python or a list of such, which a row may leave "
        "empty (MBPP: test_setup_code, or test_imports).",
    )
    timeout: float = Field(
        2.0,
        gt=0,
        description="Seconds of processor time of a program for all its tests; by the clock it has ten times as many.",
    )
    memory_mb: int = Field(256, ge=64, description="Megabytes of memory of a program.")

    @property
    def columns(self) -> dict[str, str]:
        """The columns that a row must have, by the options that name them."""
        named = {
            "column": self.column, "entry_point": self.entry_point, "prefix": self.prefix, "setup": self.setup,
        }  # fmt: skip
        return {option: name for option, name in named.items() if name is not None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [option for option in self.columns if option != "column"]
        if self.language == "expression" and given:
            raise ValueError(f"an expression has no function, head or setup; leave out {' and '.join(given)}")
        return self


RewardConfig = Annotated[
    RuleRewardConfig
    | PreferenceRewardConfig
    | PythonRewardConfig
    | ReferenceRewardConfig
    | UnitTestsRewardConfig,
    Field(discriminator="name"),
]
