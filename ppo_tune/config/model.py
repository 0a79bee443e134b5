"""Which language model is trained, and how much of it: the block `model` of a study file."""

from typing import Any, Literal, Self, get_args

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from ppo_tune.config.block import Block, ModelName

AdapterKind = Literal["lora", "rslora", "dora", "adalora", "ia3"]
"""What the adapters are: LoRA, rank-stabilized LoRA or DoRA (`use_rslora`, `use_dora` of peft), AdaLoRA, or IA³."""

USUAL_ADAPTER: AdapterKind = "lora"


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
        "that a linear layer says, without rank or alpha, learned at ten times the rate.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of matrix products; what is trained stays float32. auto = bfloat16 where it is faster here.",
    )
    compile: Literal["auto"] | bool = Field(
        "auto",
        description="Compile the learning pass; wants a C++ compiler. auto = in a long search on CPUs, by the clock.",
    )

    @field_validator("adapter", mode="before")
    @classmethod
    def _check_kind(cls, wanted: Any) -> Any:
        if wanted != "prefix":
            return wanted
        raise ValueError(
            "prefix is not built: what it learns cannot be merged into the weights, which is how `train` writes a "
            "model and `evaluate` reads it, and it differs from the reference before it learns anything; choose one of "
            f"{', '.join(get_args(AdapterKind))}"
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
        if self.adapter == "ia3" and given:
            raise ValueError(
                f"adapter: ia3 has neither rank nor alpha, so {' and '.join(given)} would decide nothing; leave that "
                "out, or take adapter: lora"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_decides_nothing(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unread = ADAPTER_FIELDS if self.adapter == "ia3" else ()
        return {name: value for name, value in usual(self).items() if name not in unread}


ADAPTER_FIELDS = ("lora_rank", "lora_alpha")
"""Fields of `ModelConfig` that trials of one study may differ in."""
