"""What is asked and who scores the answers: the block `task` of a study file."""

import operator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ppo_tune.config.block import FROM_LIST, Block, FileName, Names, Text
from ppo_tune.config.judges import Gold, Judges
from ppo_tune.config.rewards import RewardConfig
from ppo_tune.config.source import Encoding, SplitName, Subset

OBJECTIVE = "What trials are compared by, the same from first to last; null = the reward."

JUDGES = "More judges by their names, never used by the search; `gold` is the short form of one."


Architecture = Literal["gpt2", "t5"]
"""What a new small model is: a decoder, or an encoder–decoder."""

EmbeddedName = Literal["support", "summarize", "translate", "dialogue", "code"]
"""The embedded tasks."""

CHATS: frozenset[EmbeddedName] = frozenset({"dialogue"})
"""Those whose prompts are conversations."""

Texts = Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], FROM_LIST]
"""Texts, none of them empty."""


@dataclass(frozen=True)
class Advice:
    """What can be done about the prompts of a kind of task, in the words of its keys: the ends of messages.

    Attributes:
        too_long: Where one leaves no room for a response.
        too_long_to_encode: Where an encoder, which reads nothing else, cannot read one.
        empty: Where a tokenizer makes nothing of one.
        few: Where a rollout needs more of them.
        asks_for_chat: The key by which they are wrapped in a chat template.
        no_turn_end: Where that template does not say when an answer ends.
        stops: What may end a response besides the model's tokens, for those who look for what does; or nothing.
    """

    too_long: str
    too_long_to_encode: str
    empty: str
    few: str
    asks_for_chat: str
    no_turn_end: str
    stops: str = ""


class EmbeddedTaskConfig(Block):
    """An embedded task, with its own prompts, model, reward and gold reward."""

    advice: ClassVar[Advice] = Advice(
        too_long="lower max_new_tokens, or name a model that reads more",
        too_long_to_encode="name a model that reads more",
        empty="name a model whose tokenizer reads it",
        few="lower it",
        asks_for_chat="task.name",
        no_turn_end="name a model whose template writes one",
    )
    brings_model: ClassVar[bool] = True  # else the study file must name one
    stop: ClassVar[Texts] = ()
    prompt: ClassVar[str] = "messages"  # the column that holds the turns of its conversations
    name: Annotated[EmbeddedName, Names("recipe")]
    architecture: Architecture = Field(
        "gpt2",
        exclude_if=lambda value: value == "gpt2",
        description="The task's own model: gpt2, a decoder, or t5, an encoder–decoder; prompts are written as such a "
        "model expects them.",
    )
    seed: int = Field(
        0,
        ge=0,
        exclude_if=operator.not_,
        description="Another seed is another world: another base model, other preferences and so another reward model, "
        "and the prompts in another order, so other held-out prompts. The words and the hidden scorer stay.",
    )
    heldout_prompts: int = Field(
        64,
        ge=1,
        description="How many held-out prompts score a policy at a milestone; four times as many at a trial's end.",
    )
    reward: RewardConfig | None = Field(None, description="Instead of the task's own reward.")
    objective: RewardConfig | None = Field(None, exclude_if=operator.not_, description=OBJECTIVE)
    judges: Judges = Field({}, exclude_if=operator.not_, description=JUDGES)
    gold: Gold = Field(None, validate_default=True, description="Instead of the task's own hidden scorer.")

    @property
    def chat(self) -> bool:
        """Whether prompts are wrapped in the tokenizer's chat template."""
        return self.name in CHATS

    @property
    def title(self) -> str:
        """What the task is called in words: its name, with its architecture and seed where they are not the usual."""
        unusual: list[str] = [self.architecture] if self.architecture != "gpt2" else []
        unusual += [f"seed {self.seed}"] if self.seed else []
        return f"{self.name} ({', '.join(unusual)})" if unusual else self.name


TooLong = Literal["refuse", "drop", "cut"]
"""What becomes of prompts that leave no room for a response."""


class DatasetTaskConfig(Block):
    """Your prompts from a file."""

    advice: ClassVar[Advice] = Advice(
        too_long="shorten it, lower max_new_tokens, or take too_long: drop or cut",
        too_long_to_encode="shorten it, or take too_long: drop or cut",
        empty="write some text, or drop such rows with drop_bad_rows: true",
        few="lower it or add rows",
        asks_for_chat="task.chat",
        no_turn_end="name a token or a text that ends one by task.stop",
        stops=" and no stop is named",
    )
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


TaskConfig = Annotated[EmbeddedTaskConfig | DatasetTaskConfig, Field(discriminator="name")]


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
