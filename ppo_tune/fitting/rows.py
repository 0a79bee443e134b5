"""Rows that a model is fitted to: which of them are held out, and responses that hold their prompt again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch

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

    train: list[int]
    heldout: list[int]
    prompts: list[int]
    notes: tuple[str, ...]


def hold_out(prompts: Sequence[str], fraction: float, rng: torch.Generator) -> HoldOut:
    """Keep some of the prompts apart, each with all of its rows.

    Args:
        prompts: The prompt of each row, at least two.
        fraction: Share of the different prompts that is kept apart, at least one.
        rng: Decides which.
    """
    rows: dict[Any, list[int]] = {}
    alone = len({*prompts}) == 1
    for i, prompt in enumerate(prompts):
        rows.setdefault(i if alone else prompt, []).append(i)
    groups = list(rows.values())
    order: list[int] = torch.randperm(len(groups), generator=rng).tolist()
    n_heldout = max(1, int(len(groups) * fraction))
    heldout, train = ([i for g in part for i in groups[g]] for part in (order[:n_heldout], order[n_heldout:]))
    prompt_of = [g for g in order[:n_heldout] for _ in groups[g]]
    note = "all rows have one prompt, so what is held out are rows of it and says nothing of other prompts"
    return HoldOut(train, heldout, prompt_of, (note,) if alone else ())


def cut_prompts(rows: Sequence[Texts]) -> tuple[list[Texts], tuple[str, ...]]:
    """Rows whose responses do not begin with their prompt again, and a note where they did.

    Data sets often hold whole texts, the prompt included; fitted as they stand, the prompt would be read twice.
    Where most rows have such a response, it is cut from all of them; where few have, they may mean it and stay.

    Args:
        rows: A prompt and its responses each.
    """
    twice = [bool(prompt) and any(text.startswith(prompt) for text in texts) for prompt, *texts in rows]
    found = f"{sum(twice)} of {len(rows)} rows hold their prompt again at the beginning of the responses"
    if 2 * sum(twice) <= len(rows):
        note = f"{found}; they are taken as they stand, for the others do not"
        return list(rows), (note,) if any(twice) else ()
    cut = [
        cast(Texts, (row[0], *(text.removeprefix(row[0]) for text in row[1:]))) if again else row
        for row, again in zip(rows, twice, strict=True)
    ]
    return cut, (f"{found}; it is cut there",)
