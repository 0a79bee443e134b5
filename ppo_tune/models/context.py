"""How long a text a model can read, and at which position its first token stands."""

from collections.abc import Iterator

from torch import nn
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicSlidingWindowLayer

NAMES_OF_POSITIONS = ("max_position_embeddings", "max_seq_len")
"""How configs call the number of positions."""


NAMES_OF_WINDOWS = ("window_size", "keep_window_size")
"""How configs of models whose caches do not say so call what their layers look back over."""


def context_length(model: PreTrainedModel) -> int | None:
    """The longest sequence the model can read, in tokens; None where it has no limit."""
    positions = usable_positions(model.config)
    return None if positions is None else positions - first_position(model)


def look_back(model: PreTrainedModel) -> int | None:
    """The fewest tokens that a layer looks back over, padding included; None where all look back at everything."""
    text = model.config.get_text_config(decoder=True)
    layers = DynamicCache(config=text).layers
    windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
    named = (getattr(text, name, None) for name in NAMES_OF_WINDOWS)
    return min((*windows, *(size for size in named if isinstance(size, int))), default=None)


def problem_of_prompt(n_tokens: int, room: int | None, *, closed: bool = False) -> str | None:
    """Rule that a prompt of so many tokens breaks; None if it breaks none, as with no limit of room.

    What an encoder reads is `closed`: the response takes nothing of its room.
    """
    if n_tokens == 0:
        return "`tokens >= 1` must hold for a prompt, but the tokenizer makes none of it"
    if room is not None and n_tokens > room:
        return (
            f"`tokens <= {room}`, {name_of_room(closed=closed)}, must hold for a prompt, but got {n_tokens}"
        )
    return None


def name_of_room(*, closed: bool) -> str:
    """What messages call the room for prompts."""
    return "what the encoder can read" if closed else "the model's context less max_new_tokens"


def usable_positions(config: PreTrainedConfig) -> int | None:
    """The positions at which what a model says of a text depends on that text alone; None where there is no limit."""
    text = config.get_text_config(decoder=True)
    named = (getattr(text, name, None) for name in NAMES_OF_POSITIONS)
    limits = (limit for limit in named if isinstance(limit, int) and limit > 0)
    return min((*limits, *_where_embeddings_change(text), *_where_attention_changes(config)), default=None)


def first_position(model: PreTrainedModel) -> int:
    """The position of a text's first token: 0, or the one behind that of padding where padding has one."""
    for name, module in model.named_modules():
        if "position" in name and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


def _where_embeddings_change(config: PreTrainedConfig) -> Iterator[int]:
    """Lengths beyond which a model reads all texts of a batch by other rotary embeddings than shorter ones."""
    rope = getattr(config, "rope_parameters", None) or {}
    for kind in (rope, *(part for part in rope.values() if isinstance(part, dict))):
        if kind.get("rope_type") in ("longrope", "dynamic"):
            original = kind.get("original_max_position_embeddings")
            original = original or getattr(config, "original_max_position_embeddings", None)
            yield int(original or config.max_position_embeddings)


def _where_attention_changes(config: PreTrainedConfig) -> Iterator[int]:
    """Lengths beyond which a text is read in windows or blocks, whose number depends on the longest of a batch."""
    window = getattr(config, "attention_window", None)  # Longformer's encoder
    if window:
        yield min(window) if isinstance(window, list) else int(window)
    if getattr(config, "attention_type", None) == "block_sparse":  # BigBird, which reads shorter texts whole
        yield int((5 + 2 * config.num_random_blocks) * config.block_size)
