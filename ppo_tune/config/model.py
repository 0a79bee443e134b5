"""Which language model is trained, and how much of it: the block `model` of a study file."""

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from ppo_tune.config.block import Block, ModelName

AdapterKind = Literal["lora", "rslora", "dora", "adalora", "ia3", "prefix"]
"""LoRA, rank-stabilized LoRA or DoRA (`use_rslora`, `use_dora` of peft), AdaLoRA, IA³, or a prefix."""

USUAL_ADAPTER: AdapterKind = "lora"
USUAL_PREFIX = 8
RANKLESS: tuple[AdapterKind, ...] = ("ia3", "prefix")
"""Kinds that have neither rank nor alpha."""


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
    lora_alpha: float = Field(
        16.0, gt=0, description="Adapter scale: alpha / rank, or alpha / √rank of rslora."
    )
    adapter: AdapterKind = Field(
        USUAL_ADAPTER,
        exclude_if=lambda kind: kind == USUAL_ADAPTER,
        description="lora; rslora: rank-stabilized, so that the best learning rate stays where it is as the rank "
        "grows; dora: LoRA that learns the length of each row of a weight apart from where it points; adalora: "
        "layers begin with half as much rank again, and lose it where it matters least; ia3: a factor for each number "
        "that a linear layer says, without rank or alpha, learned at ten times the rate; prefix: keys and values of "
        "prefix_length tokens before everything that is written.",
    )
    prefix_length: int = Field(
        USUAL_PREFIX,
        ge=1,
        exclude_if=lambda length: length == USUAL_PREFIX,
        description="Tokens that the keys and values of adapter: prefix stand for.",
    )
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

    @model_validator(mode="after")
    def _check_adapter(self) -> Self:
        if self.lora_rank is None and self.adapter != USUAL_ADAPTER:
            raise ValueError(
                f"adapter: {self.adapter} says what adapters are like, and lora_rank: null trains all weights without "
                "any; leave one of them out"
            )
        given = sorted(self.model_fields_set & set(ADAPTER_FIELDS))
        if self.adapter in RANKLESS and given:
            raise ValueError(
                f"adapter: {self.adapter} has neither rank nor alpha, so {' and '.join(given)} would decide nothing; "
                "leave that out, or take adapter: lora"
            )
        if self.adapter != "prefix" and "prefix_length" in self.model_fields_set:
            raise ValueError(
                f"prefix_length is of adapter: prefix, and would decide nothing of adapter: {self.adapter}; leave it "
                "out, or take adapter: prefix"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_decides_nothing(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unread = ADAPTER_FIELDS if self.adapter in RANKLESS else ()
        return {name: value for name, value in usual(self).items() if name not in unread}


ADAPTER_FIELDS = ("lora_rank", "lora_alpha")
"""Fields of `ModelConfig` that trials of one study may differ in."""
