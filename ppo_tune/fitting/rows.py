"""Rows that a model is fitted to: which of them are held out, and responses that hold their prompt again."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch

from ppo_tune.data.row_file import View

Texts = TypeVar("Texts", bound=tuple[str, ...])


@dataclass(frozen=True)
class HoldOut:
    """Rows to learn from and rows kept apart.

    Attributes:
        train: Numbers of the rows to learn from.
        heldout: Numbers of those kept apart.
        prompts: The number of each held-out row's prompt; where all rows have one prompt, that of the row.
        notes: What the user should know of them.
    """

    train: "array[int]"
    heldout: "array[int]"
    prompts: "array[int]"
    notes: tuple[str, ...]


def hold_out(prompts: Sequence[str], fraction: float, rng: torch.Generator) -> HoldOut:
    """Keep some of the prompts apart, each with all of its rows.

    Args:
        prompts: The prompt of each row, at least two.
        fraction: Share of the different prompts that is kept apart, at least one.
        rng: Decides which.
    """
    keys = bytearray()
    for prompt in prompts:
        keys += key_of(prompt)
    _, first, group = np.unique(np.frombuffer(keys, "S16"), return_index=True, return_inverse=True)
    alone, n_groups = len(first) == 1, len(first)
    if alone:
        group, n_groups = np.arange(len(group)), len(group)
    else:  # numbered as they come
        group = np.argsort(np.argsort(first))[group]
    places = np.empty(n_groups, np.int64)
    places[torch.randperm(n_groups, generator=rng).numpy()] = np.arange(n_groups)
    order = np.argsort(places[group], kind="stable")
    n_heldout = int((places[group] < max(1, int(n_groups * fraction))).sum())
    heldout, train = order[:n_heldout], order[n_heldout:]
    note = "all rows have one prompt, so what is held out are rows of it and says nothing of other prompts"
    return HoldOut(_numbers(train), _numbers(heldout), _numbers(group[heldout]), (note,) if alone else ())


def key_of(text: str) -> bytes:
    """Sixteen bytes that no other text has."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _numbers(values: "np.ndarray[Any, np.dtype[np.int64]]") -> "array[int]":
    """Numbers in eight bytes each: a list takes four times as many."""
    return array("q", values.astype(np.int64).tobytes())


def cut_prompts(rows: Sequence[Texts]) -> tuple[Sequence[Texts], tuple[str, ...]]:
    """Rows whose responses do not begin with their prompt again, and a note where they did.

    Data sets often hold whole texts, the prompt included; fitted as they stand, the prompt would be read twice.
    Where most rows have such a response, it is cut from all of them; where few have, they may mean it and stay.

    Args:
        rows: A prompt and its responses each.
    """
    n_twice = sum(map(_is_twice, rows))
    found = f"{n_twice} of {len(rows)} rows hold their prompt again at the beginning of the responses"
    if 2 * n_twice <= len(rows):
        note = f"{found}; they are taken as they stand, for the others do not"
        return rows, (note,) if n_twice else ()
    return View(rows, _cut), (f"{found}; it is cut there",)


def _is_twice(row: tuple[str, ...]) -> bool:
    """Whether a response of a row begins with its prompt."""
    prompt, *texts = row
    return bool(prompt) and any(text.startswith(prompt) for text in texts)


def _cut(row: Texts) -> Texts:
    """A row without its prompt at the beginning of its responses."""
    return cast(Texts, (row[0], *(text.removeprefix(row[0]) for text in row[1:]))) if _is_twice(row) else row
