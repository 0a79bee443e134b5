"""Keys and values of responses that are being written: room made once, and rows that can leave."""

from collections.abc import Container, Sequence

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

Remembered = Sequence[tuple[Tensor, Tensor]]
"""Keys and values of n tokens, each (heads, n, D), by layer."""


def make_room(cache: DynamicCache, room: int) -> None:
    """Give the plain layers of an empty cache buffers for so many tokens."""
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]


def keeps_rows_apart(cache: DynamicCache) -> bool:
    """Whether rows can be taken out of it: a layer of another kind may hold more than keys and values."""
    plain = (RoomyLayer, DynamicLayer, DynamicSlidingWindowLayer)
    return all(type(layer) in plain for layer in cache.layers)


class RoomyLayer(DynamicLayer):
    """Keys and values of up to `room` tokens as views into buffers made once, (N, heads, tokens, D)."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new tokens behind the others, and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            shape = (*key_states.shape[:2], self.room)
            self.key_buffer = key_states.new_empty((*shape, key_states.shape[-1]))
            self.value_buffer = value_states.new_empty((*shape, value_states.shape[-1]))
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        self.key_buffer[:, :, start:end] = key_states
        self.value_buffer[:, :, start:end] = value_states
        return self._show(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        if not self.is_initialized:
            return
        length = self.get_seq_length()
        self.key_buffer, self.value_buffer = self.key_buffer[indices], self.value_buffer[indices]
        self._show(length)

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self.key_buffer[:, :, :length], self.value_buffer[:, :, :length]
        return self.keys, self.values


def remembered(cache: DynamicCache, n_tokens: int) -> Remembered:
    """Those of the first tokens of the first row.

    Raises:
        ValueError: If it holds something else, or not the same in every layer.
    """
    if not keeps_rows_apart(cache):
        raise ValueError("it remembers something else than keys and values")
    kept = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
    found = [
        (layer.keys[0, :, :n_tokens], layer.values[0, :, :n_tokens])
        for layer in kept
        if layer.keys is not None and layer.values is not None
    ]
    if not found or min(keys.shape[1] for keys, _ in found) < n_tokens:
        raise ValueError(f"not every layer looks back over {n_tokens} tokens")
    if len({tuple(tensor.shape) for both in found for tensor in both}) > 1:
        raise ValueError("its keys and values are not of one shape in all layers")
    return found


def cache_name(arguments: Container[str]) -> str:
    """What a model's forward calls its cache: the old name is gone from transformers 5.40, the new one is of 5.24."""
    return "cache" if "cache" in arguments else "past_key_values"
