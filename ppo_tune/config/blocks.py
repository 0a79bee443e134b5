"""What an experiment is: frozen models of the five blocks of a study file, each field described once.

A field's description is its documentation, its help text and its tooltip in the report. Numbers that
follow from others are properties. Reading files is `ppo_tune.config.study_file`'s work.
"""

import json
import math
import operator
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from string import Formatter
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from ppo_tune.config.block import FROM_LIST, Block, FileName, FunctionName, JudgeName, ModelName, Names, Text
from ppo_tune.config.constraints import Constraint, Rules
from ppo_tune.config.methods import Loggers, SearchConfig
from ppo_tune.config.source import Encoding, SplitName, Subset
from ppo_tune.config.space import Space
from ppo_tune.errors import ConfigError, Problem

NAME_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class PPOConfig(Block):
    """Hyperparameters of PPO-RLHF. Those that are the same for all trials of a study say so."""

    learning_rate: float = Field(
        1e-4, ge=0, description="AdamW step size; LoRA wants about 10 times full tuning's."
    )
    lr_schedule: Literal["constant", "linear"] = Field(
        "constant", description="Constant, or falling linearly to 0 over the episodes."
    )
    adam_epsilon: float = Field(1e-5, gt=0, description="AdamW's epsilon.")
    max_grad_norm: float = Field(1.0, gt=0, description="Ceiling of a trial's gradient norm.")
    gamma: float = Field(1.0, ge=0, le=1, description="Discount of later rewards.")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="GAE's mixing of short and long horizons.")
    clip_range: float = Field(0.2, gt=0, description="ε of the policy ratio's clip.")
    dual_clip: float | None = Field(
        None, gt=1, description="Bound of the loss where the advantage is negative; null = off."
    )
    clip_range_value: float | None = Field(
        None, gt=0, description="Clip of the value's change, in units of the reward; null = off."
    )
    vf_coef: float = Field(
        0.1,
        ge=0,
        description="Weight of the value loss, in units of score_std² (value head and policy share the model).",
    )
    ent_coef: float = Field(0.0, ge=0, description="Weight of the entropy bonus.")
    kl_coef: float = Field(
        0.05, ge=0, description="β: reward lost per nat of KL to the reference, per token."
    )
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k1", description="k1: right gradient; k2, k3: never negative (k3: biased gradient)."
    )
    kl_target: float | None = Field(
        None, gt=0, description="Adapt β to hold this KL, in nats per sequence; null = fixed β."
    )
    kl_horizon: float | None = Field(
        None,
        gt=0,
        description="Episodes over which an adaptive β moves; null = a tenth of `episodes`: up to 7-fold in a trial.",
    )
    whiten_rewards: bool = Field(
        False, description="Scale token rewards to variance 1; changes what β means."
    )
    missing_eos_penalty: float = Field(
        0.0, ge=0, description="Subtracted from the score of a response cut off at the length limit."
    )
    batch_size: int = Field(32, ge=1, description="Episodes per optimizer step; divides rollout_size.")
    ppo_epochs: int = Field(4, ge=1, description="Passes over each rollout.")
    rollout_size: int = Field(64, ge=1, description="Episodes sampled per iteration. Shared by all trials.")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="Episodes per forward pass; memory only; null = as many as fit a step. Shared.",
    )
    episodes: int = Field(2560, ge=1, description="A trial's whole budget of responses. Shared.")
    max_new_tokens: int = Field(32, ge=1, description="Longest response, in tokens. Shared.")
    temperature: float = Field(1.0, gt=0, description="Of sampling, and in every log-probability. Shared.")

    @property
    def steps_per_iteration(self) -> int:
        """Optimizer steps between two rollouts."""
        return self.ppo_epochs * self.rollout_size // self.batch_size

    @property
    def iterations(self) -> int:
        """Rollouts until the budget is spent."""
        return math.ceil(self.episodes / self.rollout_size)

    @property
    def kl_horizon_episodes(self) -> float:
        """Episodes over which an adaptive KL coefficient moves: as set, else a tenth of the budget, a rollout at least.

        A rollout of n episodes moves it by a factor of 1 ± 0.2·n/horizon at most, so a whole budget of many rollouts
        by exp(0.2·episodes/horizon), here e² = 7.4; a rollout as long as the horizon by 0.8 to 1.2.
        """
        return self.kl_horizon or max(self.episodes / 10, float(self.rollout_size))

    @property
    def kl_coef_reach(self) -> float:
        """How many times larger an adaptive KL coefficient can become until the budget is spent, at the very most."""
        return float((1 + 0.2 * self.rollout_size / self.kl_horizon_episodes) ** self.iterations)

    def learning_rate_at(self, episodes_done: int) -> float:
        """The step size after so many episodes, by the schedule."""
        if self.lr_schedule == "constant":
            return self.learning_rate
        return self.learning_rate * max(0.0, 1.0 - episodes_done / self.episodes)

    def with_params(self, params: Mapping[str, Any]) -> "PPOConfig":
        """A copy with some values replaced, checked like a new one.

        Raises:
            pydantic.ValidationError: If a name is unknown or a value breaks a rule.
        """
        return type(self).model_validate({**self.model_dump(), **params})


SHARED_FIELDS = frozenset(("rollout_size", "micro_batch_size", "episodes", "max_new_tokens", "temperature"))
"""Fields of `PPOConfig` that are equal for all trials of a study and so cannot be searched."""


class ModelConfig(Block):
    """Which language model is trained, and how much of it."""

    name: ModelName | None = Field(
        None, description="A model folder or hub name; null = the task's own small model."
    )
    lora_rank: int | None = Field(
        16,
        ge=1,
        description="Rank of the adapters on every linear layer, which fused experts are not; null = all weights.",
    )
    lora_alpha: float = Field(16.0, gt=0, description="Adapter scale: alpha / rank.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of matrix products; what is trained stays float32. auto = bfloat16 where it is faster here.",
    )
    compile: Literal["auto"] | bool = Field(
        "auto",
        description="Compile the learning pass; wants a C++ compiler. auto = in a long search on CPUs, by the clock.",
    )

    @field_validator("compile", mode="before")
    @classmethod
    def _check_compile(cls, wanted: Any) -> Any:
        if wanted == "auto" or type(wanted) is bool:
            return wanted
        raise ValueError(f"`true`, `false` or `auto` must stand here, but got {wanted!r}")


ADAPTER_FIELDS = ("lora_rank", "lora_alpha")
"""Fields of `ModelConfig` that trials of one study may differ in."""

SEARCHABLE: Mapping[str, FieldInfo] = {
    name: field
    for name, field in {**PPOConfig.model_fields, **ModelConfig.model_fields}.items()
    if name in ADAPTER_FIELDS or name in PPOConfig.model_fields.keys() - SHARED_FIELDS
}
"""What a study may search."""

NOT_SEARCHABLE = {
    "rollout_size": "decides after how many episodes trials are scored, so it is the same for all trials of a study; "
    "set it in ppo, and search batch_size and ppo_epochs",
    "episodes": "is what every trial gets, for trials are compared at equal episodes; set it in ppo",
    "micro_batch_size": "changes no result, only memory; set it in ppo",
    "max_new_tokens": "decides how long a response may be, and so its score, which is then no measure to compare "
    "trials by; set it in ppo",
    "temperature": "decides how held-out responses are sampled too, and so their score, which is then no measure to "
    "compare trials by; set it in ppo",
    "name": "decides which model is trained, and trials of different models share no base to be compared with; make a "
    "study of each, and put them side by side by `ppo-tune report STUDY STUDY`",
    "dtype": "is that of the model that all trials share, and decides speed and rounding; set it in model",
    "compile": "changes no result, only speed; set it in model",
}
"""Other fields of ppo and model, and why a study does not search them."""


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


class PreferenceRewardConfig(Block):
    """A learned reward model: one that `ppo-tune reward` made, or any one-label sequence classifier."""

    name: Literal["preference"]
    model: JudgeName = Field(description="Folder or hub name of the reward model.")
    template: Text | None = Field(
        None,
        description="Text it reads, with {prompt} and {response}; null = as reward.json beside it says, else by its "
        "chat template, else joined.",
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


class ReferenceRewardConfig(Block):
    """Similarity to the row's reference texts, 0 to 100 (needs the `metrics` extra)."""

    name: Literal["reference"]
    metric: Literal["chrf", "rouge1", "rouge2", "rougeL"] = Field("chrf", description="The measure.")


RewardConfig = Annotated[
    RuleRewardConfig | PreferenceRewardConfig | PythonRewardConfig | ReferenceRewardConfig,
    Field(discriminator="name"),
]


REWARD = "reward"
"""What the reward is called among the judges where trials are compared by something else."""

JUDGE_RULE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")

TAKEN = frozenset(
    ("base", "beats_default", "beats_runner_up", "best", "best_trial", "budget", "config", "confirmed",
     "confirmed_kl_per_sequence", "confirmed_score", "default", "default_score", "drop", "ending", "eos_rate",
     "episodes", "failed", "feasible", "flag", "gain", "gain_over_default", "gain_over_untrained", "iqm", "judge", "kl",
     "kl_per_sequence", "mean", "number", "objective", "outcome", "prompt", "reason", "response", "response_tokens",
     REWARD, "role", "sampler", "samples", "score", "search_score", "seconds", "seed", "seeds", "split", "study",
     "tokens", "trials", "untrained", "untrained_score", "what", "winner", "worst", *PPOConfig.model_fields,
     *ADAPTER_FIELDS)
)  # fmt: skip
"""Names that stand beside the judges' in what is stored, in tables and in exports."""

DERIVED = ("_change", "_error", "_gain", "_high", "_low")
"""Ends of the names of numbers that are made from a judge's."""


def _check_judge(name: str) -> str:
    """The name of a judge, which becomes that of metrics and columns."""
    if JUDGE_RULE.fullmatch(name) and name.lower() not in TAKEN and not name.lower().endswith(DERIVED):
        return name
    raise ValueError(
        "a judge's name must be letters, digits, dashes and underscores, at most 40, the first a letter, and not that "
        f"of another number (as score, reward, kl, or one that ends in _error), but got {name!r}; rename it"
    )


def _check_apart(judges: dict[str, Any]) -> dict[str, Any]:
    """Judges whose names are two, also where a file system takes capitals for small letters."""
    first: dict[str, str] = {}
    for name in judges:
        other = first.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(
                f"names must differ in more than capitals, but got {other!r} and {name!r}; rename one"
            )
    return judges


def _with_long_form(gold: Any, info: ValidationInfo) -> Any:
    """The gold judge, wherever it was named: `gold: X` and `judges: {gold: X}` are the same."""
    if gold is not None and "gold" in map(str.lower, info.data.get("judges", {})):
        raise ValueError("stands in task.judges too; keep one")
    return info.data.get("judges", {}).pop("gold", gold)


Judges = Annotated[
    dict[Annotated[str, AfterValidator(_check_judge)], RewardConfig], AfterValidator(_check_apart)
]
"""Judges by their names."""

Gold = Annotated[RewardConfig | None, AfterValidator(_with_long_form)]
"""The judge named gold; stands behind `judges`."""

OBJECTIVE = "What trials are compared by, the same from first to last; null = the reward."
JUDGES = "More judges by their names, never used by the search; `gold` is the short form of one."


class SupportTaskConfig(Block):
    """The embedded task: customer-support replies, with its own model, reward and gold reward."""

    brings_model: ClassVar[bool] = True  # else the study file must name one
    name: Annotated[Literal["support"], Names("recipe")]
    seed: int = Field(
        0,
        ge=0,
        exclude_if=operator.not_,
        description="Another seed is another world: another base model, other preferences and so another reward model, "
        "and the messages in another order, so other held-out prompts. The words and the hidden scorer stay.",
    )
    heldout_prompts: int = Field(
        64,
        ge=1,
        description="How many held-out prompts score a policy at a milestone; four times as many at a trial's end.",
    )
    reward: RewardConfig | None = Field(None, description="Instead of the task's own preference model.")
    objective: RewardConfig | None = Field(None, exclude_if=operator.not_, description=OBJECTIVE)
    judges: Judges = Field({}, exclude_if=operator.not_, description=JUDGES)
    gold: Gold = Field(None, validate_default=True, description="Instead of the task's own hidden scorer.")

    @property
    def title(self) -> str:
        """What the task is called in words: its name, with the seed where that is not 0."""
        return f"{self.name} (seed {self.seed})" if self.seed else self.name


Texts = Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], FROM_LIST]
"""Texts, none of them empty."""


TooLong = Literal["refuse", "drop", "cut"]
"""What becomes of prompts that leave no room for a response."""


class DatasetTaskConfig(Block):
    """Your prompts from a file."""

    brings_model: ClassVar[bool] = False
    name: Literal["dataset"]
    path: FileName = Field(
        description="JSON, JSONL, CSV, TSV (each also .gz) or Parquet file, beside the study file or from where you "
        "start; or a data set: its folder, or its name on a hub, `org/name` or `org/name@revision` (extra `hub`)."
    )
    encoding: Encoding = None
    subset: Subset = None
    split: SplitName = None
    prompt: Text = Field(
        "prompt",
        description="Column that holds the prompt: a text or, with chat, a list of messages with role and content (or "
        "from and value), of which what the assistant says last is a reference.",
    )
    reference: Text | None = Field(
        None, description="Column that holds a good response; several rows may share a prompt."
    )
    template: Text = Field("{prompt}", description="Text given to the model, with {column} names.")
    chat: bool = Field(False, description="Wrap the text in the tokenizer's chat template.")
    stop: Texts = Field(
        (),
        description="What ends a response besides the model's own tokens: a token by its name or text, or a text of "
        "several; no judge reads it. With chat, its turn's end is one already.",
    )
    drop_bad_rows: bool = Field(
        False,
        description="Instead of stopping, drop rows that cannot be used, of which `check` says how many, and prompts "
        "of which the tokenizer makes nothing.",
    )
    too_long: TooLong | None = Field(
        None,
        exclude_if=operator.not_,
        description="What becomes of prompts longer than the model's context less max_new_tokens: refuse the file, "
        "drop them, or cut their beginning (the first turns of a chat); null = drop with drop_bad_rows, else refuse.",
    )
    heldout_prompts: int = Field(
        128,
        ge=1,
        description="How many held-out prompts score a policy at a milestone; four times as many at a trial's end.",
    )
    reward: RewardConfig = Field(description="What PPO maximizes.")
    objective: RewardConfig | None = Field(None, exclude_if=operator.not_, description=OBJECTIVE)
    judges: Judges = Field({}, exclude_if=operator.not_, description=JUDGES)
    gold: Gold = Field(None, validate_default=True, description="A second judge, never used by the search.")

    @property
    def title(self) -> str:
        """What the task is called in words."""
        return self.name


TaskConfig = Annotated[SupportTaskConfig | DatasetTaskConfig, Field(discriminator="name")]


def named_judges(task: TaskConfig) -> dict[str, RewardConfig]:
    """The judges that a task's block names, by their names."""
    return {**({} if task.gold is None else {"gold": task.gold}), **task.judges}


def scorers(task: TaskConfig) -> dict[str, RewardConfig]:
    """All that scores responses, by its place in the config; what stands at two places, by the first of them."""
    found: dict[str, RewardConfig | None] = {"task.reward": task.reward, "task.objective": task.objective}
    found |= {"task.gold": task.gold, **{f"task.judges.{name}": judge for name, judge in task.judges.items()}}
    named: dict[str, RewardConfig] = {}
    for place, scorer in found.items():
        if scorer is not None and scorer not in named.values():
            named[place] = scorer
    return named


class RunConfig(Block):
    """What any training needs: a task, a model and hyperparameters."""

    task: TaskConfig
    model: ModelConfig = ModelConfig()
    ppo: PPOConfig = PPOConfig()

    @property
    def widest_model(self) -> ModelConfig:
        """The model with adapters that are as wide as any trial wants them."""
        return self.model

    @property
    def adapters_vary(self) -> bool:
        """Whether trials differ in their adapters."""
        return False


class TrainConfig(RunConfig):
    """One config at full length, as `ppo-tune export` writes it."""

    name: Text = Field("run", description="What the model is called; left out: the file's name.")
    seed: int = Field(0, ge=0, description="Everything random follows from it.")
    kl_budget: float | None = Field(
        None,
        gt=0,
        description="The model kept is the best evaluated within this KL, in nats per sequence; null: the last.",
    )
    score_std: float | None = Field(
        None,
        gt=0,
        description="Standard deviation of the untrained model's scores, the unit in which values are learned; null: "
        "measured before the training.",
    )
    log: Loggers = ()


def _check_constraint(text: str) -> str:
    return Constraint.read(text).text


class StudyConfig(RunConfig):
    """A whole search."""

    name: Text = Field(description="The study's name: the file's name without its ending.")
    space: Space
    constraints: Annotated[tuple[Annotated[Text, AfterValidator(_check_constraint)], ...], FROM_LIST] = Field(
        (),
        exclude_if=operator.not_,
        description="Comparisons that must hold between hyperparameters of every trial, such as `batch_size * "
        "ppo_epochs <= 128`: numbers, names of ppo, + - * / % and brackets. What is null breaks none.",
    )
    search: SearchConfig = SearchConfig()

    @property
    def n_trials(self) -> int | None:
        """All trials of the study at most: those asked for, or the default config and every cell of the grid.

        None where only episodes or seconds end it.
        """
        search = self.search
        if search.n_trials is not None:
            return search.n_trials
        if search.sampler.exhaustive:
            return 1 + self.grid_size
        return DEFAULT_N_TRIALS if search.max_episodes is None and search.max_seconds is None else None

    @property
    def baseline(self) -> dict[str, Any]:
        """The searched values of trial 0, the default config."""
        return self.space.baseline(self.defaults)

    @property
    def defaults(self) -> dict[str, Any]:
        """The trainer's defaults of all searched hyperparameters."""
        return {name: self.default(name) for name in self.space}

    @property
    def widest_model(self) -> ModelConfig:
        """The model with adapters of the largest rank that is searched."""
        rank = self.space.root.get("lora_rank")
        if rank is None:
            return self.model
        unsearched = (self.model.lora_rank,) if rank.when else ()
        return self.model_of({"lora_rank": max(*rank.extent, *unsearched)})

    @property
    def adapters_vary(self) -> bool:
        """Whether trials differ in their adapters."""
        return any(name in self.space for name in ADAPTER_FIELDS)

    @property
    def rules(self) -> Rules:
        """What its constraints allow."""
        fixed = {**self.ppo.model_dump(), **self.model.model_dump(include=set(ADAPTER_FIELDS))}
        return Rules.of(self.constraints, fixed)

    @property
    def grid_size(self) -> int:
        """How many cells the grid has that the constraints allow."""
        if not self.constraints:
            return self.space.grid_size()
        return _n_allowed(self.space.model_dump_json(), self.constraints, json.dumps(self.rules.fixed))

    def grid_cells(self) -> Iterator[dict[str, Any]]:
        """The cells of the grid that the constraints allow."""
        return filter(self.rules.allow, self.space.grid_cells())

    def ppo_of(self, params: Mapping[str, Any]) -> PPOConfig:
        """The hyperparameters of a trial of these values."""
        return self.ppo.with_params({n: value for n, value in params.items() if n not in ADAPTER_FIELDS})

    def model_of(self, params: Mapping[str, Any]) -> ModelConfig:
        """The model of a trial of these values."""
        own = {name: value for name, value in params.items() if name in ADAPTER_FIELDS}
        return ModelConfig.model_validate({**self.model.model_dump(), **own})

    def default(self, name: str) -> Any:
        """The trainer's default of a searched hyperparameter, a number also where it follows from others."""
        if name in ADAPTER_FIELDS:
            return getattr(self.model, name)
        usual = PPOConfig(episodes=self.ppo.episodes, rollout_size=self.ppo.rollout_size)
        return usual.kl_horizon_episodes if name == "kl_horizon" else getattr(usual, name)

    def milestone_episodes(self) -> tuple[int, ...]:
        """Episodes at which every trial is scored, whole rollouts, rising to the end of the budget."""
        n, iterations = self.search.milestones, self.ppo.iterations
        marks = {max(1, round(iterations * i / n)) for i in range(1, n + 1)}
        return tuple(self.ppo.rollout_size * mark for mark in sorted(marks))


@lru_cache(maxsize=8)
def _n_allowed(space: str, constraints: tuple[str, ...], fixed: str) -> int:
    """How many cells of a grid the constraints allow; asked often of the same study."""
    rules = Rules.of(constraints, json.loads(fixed))
    return sum(map(rules.allow, Space.model_validate_json(space).grid_cells()))


DEFAULT_N_TRIALS = 32
"""Of a study that names no limit."""


def check_name(name: str) -> str:
    """The name of a study, safe to be the name of a folder.

    Raises:
        ConfigError: If it is not.
    """
    if NAME_RULE.fullmatch(name):
        return name
    rule = "letters, digits, dots, dashes and underscores, at most 100, the first a letter or a digit"
    raise ConfigError([Problem("study name", f"must be {rule}, but got {name!r}; rename it")])
