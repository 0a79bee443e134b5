"""Which language model is trained, and how much of it: the block `model` of a study file."""

from typing import Any, Literal

from pydantic import Field, field_validator

from ppo_tune.config.block import Block, ModelName


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
