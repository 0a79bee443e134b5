"""How a base model or a reward model is fitted: the blocks whose fields are the flags of `sft` and `reward`."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ppo_tune.config.block import Block, ModelName, Text
from ppo_tune.config.rewards import problem_of_template
from ppo_tune.config.source import Encoding, SplitName, Subset
from ppo_tune.config.tasks import Architecture, TooLong


class PairColumns(Block):
    """Where a file of prompts with good responses has them."""

    prompt: Text = Field("prompt", description="Column of the prompts.")
    reference: Text = Field("response", description="Column of the good responses.")
    template: Text = Field(
        "{prompt}", min_length=1, description="Text given to the model, with {column} names."
    )
    encoding: Encoding = None
    subset: Subset = None
    split: SplitName = None


class LabelColumns(Block):
    """Where a file of judged responses has them, unless it is in a published shape."""

    kind: Literal["pairs", "ratings", "classes", "comments"] | None = Field(
        None,
        description="What the file holds: `pairs` of responses of which one was chosen, `ratings` by numbers, "
        "`classes` such as good, fair and bad, or `comments` beside either; default: what its columns or these "
        "options say.",
    )
    prompt: Text = Field("prompt", description="Column of the prompts.")
    chosen: Text = Field("chosen", description="Column of the better responses.")
    rejected: Text = Field("rejected", description="Column of the worse responses.")
    choice: Text = Field(
        "choice",
        description="Column that says a, b or tie, where pairs stand in columns a and b.",
    )
    margin: Text | None = Field(
        None,
        description="Column of by how much the chosen response is better, a number from 0; default: margin, if there "
        "is one.",
    )
    response: Text = Field("response", description="Column of the responses that are rated or have a class.")
    rating: Text | None = Field(
        None,
        description="Column of the ratings, or several of different attributes with commas between; default: rating.",
    )
    best: Literal["high", "low"] = Field("high", description="Which end of the ratings is the better one.")
    label: Text | None = Field(None, description="Column of the classes; default: label.")
    classes: Text | None = Field(
        None,
        description="The classes from worst to best with commas between, other words for one behind it: "
        "bad=poor=差,fair=中,good=好; default: bad,fair,good, 差,中,好, false,true, no,yes, 0,1, down,up.",
    )
    order: Literal["ordered", "unordered"] = Field(
        "ordered", description="Whether three or more classes have an order."
    )
    good: Text | None = Field(
        None, description="The class to be reached, of unordered ones; default: the last."
    )
    comment: Text | None = Field(
        None,
        description="Column of what was written of a response, which may have that alone; default: comment, if there "
        "is one. A teacher that reads it says what the reward model learns, which sees no comment.",
    )
    rater: Text | None = Field(
        None, description="Column of who judged a row; default: rater, if there is one."
    )
    encoding: Encoding = None
    subset: Subset = None
    split: SplitName = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [name for name, given in (("rating", self.rating), ("label", self.label)) if given]
        if len(named) == 2 and self.kind is None:
            raise ValueError("both `rating` and `label` are given; say by `kind` what is to be learned")
        for name in named:
            if self.kind not in (None, "comments", KIND_OF[name]):
                raise ValueError(f"`{name}` is of {KIND_OF[name]}, but `kind` is {self.kind}; leave one out")
        return self


KIND_OF: Mapping[str, str] = {"rating": "ratings", "label": "classes"}
"""The kind of label that the option which names its column is of."""


class FitConfig(Block):
    """What a fit of either kind is done by; none of it is needed for a small model."""

    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="Rows per forward and backward pass; memory only. Default: a whole batch, halved until it fits.",
    )
    lora_rank: int | None = Field(
        None,
        ge=1,
        description="Rank of LoRA adapters, and of no other kind, on every linear layer of the base, merged into what "
        "is written; default: all weights are fitted.",
    )
    lora_alpha: float = Field(16.0, gt=0, description="Adapter scale: alpha / rank.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of matrix products; what is fitted stays float32. auto = bfloat16 where it is faster here.",
    )
    seed: int = Field(0, ge=0, description="Everything random follows from it.")


class SFTConfig(FitConfig):
    """A small GPT-2 or T5 and how it is fitted; the sizes play no part when an existing model is given."""

    architecture: Architecture = Field(
        "gpt2",
        description="Of a new model: a decoder, or an encoder–decoder with so many blocks at each end.",
    )
    layers: int = Field(4, ge=1, description="Transformer blocks of a new model.")
    heads: int = Field(4, ge=1, description="Attention heads of a new model.")
    width: int = Field(
        128, ge=1, validate_default=True, description="Width of a new model, a multiple of its heads."
    )
    activation: Literal["gelu_new", "relu"] = Field(
        "gelu_new", description="Of a new model; relu is faster on a CPU."
    )
    tokens: Literal["bpe", "words"] = Field(
        "bpe", description="Tokenizer of a new model: byte-level BPE, or words."
    )
    vocab_size: int = Field(1024, ge=300, description="Vocabulary of a new byte-level BPE.")
    epochs: int = Field(3, ge=1, description="Passes over the data.")
    learning_rate: float = Field(
        3e-3,
        gt=0,
        description="Peak step size; about 1e-5 for a large existing model, 2e-4 for adapters of it.",
    )
    batch_size: int = Field(32, ge=1, description="Examples per optimizer step.")
    heldout_fraction: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Share of the prompts kept, with all their examples, for the loss that is printed.",
    )
    too_long: TooLong = Field(
        "refuse",
        description="What becomes of examples longer than the base's context: refuse the file, drop them, or cut their "
        "prompt's beginning.",
    )

    @field_validator("width")
    @classmethod
    def _check_width(cls, width: int, info: ValidationInfo) -> int:
        heads = info.data.get("heads", 1)
        if width % heads:
            below, above = width // heads * heads, (width // heads + 1) * heads
            fitting = f"{below} or {above}" if below else str(above)
            raise ValueError(
                f"must be a multiple of the {heads} heads, but got {width}; take {fitting}, or other heads"
            )
        return width


class RewardTrainingConfig(FitConfig):
    """How a reward model is fitted."""

    epochs: int = Field(1, ge=1, description="Passes over the data; reward models overfit early.")
    learning_rate: float = Field(
        1e-3, gt=0, description="Peak step size; about 1e-5 for a large model, 2e-4 for adapters of it."
    )
    batch_size: int = Field(32, ge=1, description="Rows per optimizer step.")
    heldout_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of the prompts kept, with all their rows, for the accuracy.",
    )
    ties: Literal["half", "rao_kupper", "davidson"] = Field(
        "half",
        description="What a pair is in which neither response was chosen: half a win of each, which does up to about a "
        "fifth of ties, or an outcome of its own by one of these models.",
    )
    label_noise: float = Field(
        0.0, ge=0, lt=0.5, description="Share of the pairs that are taken to be labelled the wrong way round."
    )
    margins: Literal["subtract", "scale"] = Field(
        "subtract", description="What a margin does: it is subtracted from the lead, or multiplies the loss."
    )
    huber: bool = Field(
        False,
        description="Whether the loss of a rating grows with the error, and no longer with its square, beyond one "
        "standard deviation.",
    )
    teacher: ModelName | None = Field(
        None, description="Model that learns to read comments beside responses; default: the base."
    )
    learning_curve: bool = Field(
        True,
        description="Whether to fit on 25 % and 50 % of the prompts first, which says whether more data would help; "
        "takes three quarters of the time again.",
    )
    base_samples: int = Field(256, ge=2, description="Responses of the base model that fix mean and scale.")
    max_new_tokens: int = Field(32, ge=1, description="Greatest length of the base's samples, in tokens.")
    template: Text = Field(
        "{prompt}{response}", description="Text the model reads, with {prompt} and {response}."
    )
    too_long: TooLong = Field(
        "refuse",
        description="What becomes of rows longer than the base's context, by a response or by max_new_tokens "
        "behind the prompt: refuse the file, drop them, or cut their prompt's beginning, the same for both of a pair.",
    )

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        if problem := problem_of_template(template):
            raise ValueError(problem)
        return template
