"""A study file to start from: what can be told of a file of prompts and a model, each value with its reason."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppo_tune.calling import place_of
from ppo_tune.config.messages import unknown
from ppo_tune.config.source import WHOLE, Source
from ppo_tune.data.chats import has_turns, read_chat
from ppo_tune.data.columns import PROMPTS, REFERENCES, first_rows, likely, text_columns
from ppo_tune.data.model_folders import check_model
from ppo_tune.data.shapes import ASSISTANT
from ppo_tune.errors import ConfigError, Problem
from ppo_tune.models.chat import prompt_ids
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.layout import TokenLayout
from ppo_tune.models.loading import load_tokenizer, skeleton
from ppo_tune.models.text import check_tokens, name_of, tokenize
from ppo_tune.plurals import counted
from ppo_tune.templates import render

ROLLOUT = 64
"""Responses of a rollout, where there are as many prompts."""

NATS_PER_TOKEN = 0.17
"""Of the KL budget: ten nats for 60 tokens, as in the study of restaurants."""

MOST = 0.95
"""Share of prompts and of good responses that lengths are made for."""

SMALL, LARGE = 5e7, 1e9
"""Parameters up to which a model takes large steps, and from which only small ones: a rule of thumb."""


@dataclass(frozen=True)
class Draft:
    """What `draft_study` wrote down.

    Attributes:
        study: The text of a study file.
        stub: The text of a Python file with a reward to change; empty where the study needs none.
        seen: What was seen of data and model, one sentence each.
    """

    study: str
    stub: str
    seen: tuple[str, ...]


def draft_study(
    path: Path,
    model: str,
    *,
    name: str,
    prompt: str | None = None,
    reference: str | None = None,
    source: Source = WHOLE,
) -> Draft:
    """A study of a file of prompts and a model, with ranges for a model of its size and lengths from the data.

    Args:
        path: A file, folder or hub name, as `ppo_tune.data.formats.records` takes it.
        model: A folder or hub name.
        name: Of the study; the reward to change stands in `<name>_reward.py`.
        prompt: The column of prompts; None looks for one.
        reference: The column of good responses; None looks for one.
        source: The encoding of a text file, or the part of a data set.

    Returns:
        The texts of the files, and what was seen.

    Raises:
        ConfigError: If a column is not there, or nothing says which one holds the prompts.
        DataError: If the file cannot be used.
        ModelError: If the model cannot be read.
    """
    check_model(model)
    names = text_columns(path, source)
    for flag, given in (("prompt", prompt), ("reference", reference)):
        if given is not None and given not in names:
            raise ConfigError([Problem(place_of(flag), unknown(given, names, kind="column"))])
    prompt = prompt or likely(names, PROMPTS) or (names[0] if len(names) == 1 else None)
    if prompt is None:
        raise ConfigError(
            [Problem(place_of("prompt"), f"name the column that holds the prompts: {' or '.join(names)}")]
        )
    reference = reference or likely([name for name in names if name != prompt], REFERENCES)
    rows = first_rows(path, source)
    facts = _Facts.of(model, rows, prompt, reference)
    study = render(
        "study.yaml.jinja", name=name, path=_quoted(str(path)), prompt=_quoted(prompt), model=_quoted(model),
        reference=reference and _quoted(reference), facts=facts,
        source=[f"{key}: {_quoted(value)}" for key, value in source.model_dump().items()],
        flags="".join(f" --{key} {shlex.quote(value)}" for key, value in source.model_dump().items()),
    )  # fmt: skip
    if reference:
        scored = (
            f"responses are scored by their likeness to column {reference!r} (chrF), so no reward to change was "
            "written; for one of your own see `reward` in the file"
        )
        return Draft(study, "", (*facts.seen, scored))
    return Draft(study, render("reward_stub.py.jinja", name=name), facts.seen)


@dataclass(frozen=True)
class _Facts:
    """What is known of a file and a model, and what follows from it."""

    parameters: int
    width: int
    layout: TokenLayout
    lengths: Sequence[int]
    response_tokens: int | None
    chat: bool
    is_dialogue: bool
    has_pairs: bool

    @classmethod
    def of(
        cls, model: str, rows: Sequence[Mapping[str, Any]], prompt: str, reference: str | None
    ) -> "_Facts":
        """Of these columns of some rows, by the tokenizer and the config of a model, whose weights are not read."""
        tokenizer = load_tokenizer(model)
        empty = skeleton(model)
        layout = layout_of(empty.config)(empty, tokenizer, empty.dtype)
        embedding: Any = empty.get_input_embeddings()
        values = [row[prompt] for row in rows]
        chats = [read_chat(value) if isinstance(value, list) else (value, []) for value in values]
        texts = list(dict.fromkeys(text for text, _ in chats))
        answers = [answer for _, found in chats for answer in found]
        answers += [row[reference] for row in rows if reference and isinstance(row[reference], str)]
        said = [len(ids) for ids in tokenize(tokenizer, answers)]
        asked = prompt_ids(tokenizer, texts, chat=has_turns(texts), closed=layout.closes_prompts)
        check_tokens(asked, tokenizer, empty, name_of(empty))
        return cls(
            parameters=empty.num_parameters(),
            width=int(embedding.weight.shape[1]),
            layout=layout,
            lengths=[len(ids) for ids in asked],
            response_tokens=int(np.quantile(said, MOST)) if said else None,
            chat=has_turns(texts),
            is_dialogue=all(text.endswith(ASSISTANT) for text in texts),
            has_pairs={"chosen", "rejected"} <= {*rows[0]},
        )

    @property
    def prompts(self) -> int:
        """How many different ones."""
        return len(self.lengths)

    @property
    def n_long(self) -> int:
        """How many of them leave no room for a response, or have none themselves."""
        room = self.layout.room_for_prompts(self.max_new_tokens)
        return 0 if room is None else sum(n > room for n in self.lengths)

    @property
    def what_is_long(self) -> str:
        """Why those are too long."""
        if self.layout.closes_prompts:
            return "longer than the encoder can read"
        return "so long that no room is left for a response"

    @property
    def context(self) -> str:
        """How much the model can read and write."""
        read, written = self.layout.room_for_prompts(1), self.layout.room_for_responses
        if read is None and written is None:
            return "no limit of context"
        if self.layout.closes_prompts:
            return f"room for {_tokens(read)} of a prompt and {_tokens(written)} of a response"
        return f"a context of {_tokens(written)}"

    @property
    def max_new_tokens(self) -> int:
        """What nineteen of twenty good responses need, rounded up to eights."""
        wanted = 48 if self.response_tokens is None else 8 * math.ceil((self.response_tokens + 1) / 8)
        room = self.layout.room_for_responses
        most = 256 if room is None else room if self.layout.closes_prompts else room // 2
        return max(min(wanted, most, 256), 1)

    @property
    def rollout(self) -> int:
        """A power of two, of the prompts that are left to train on."""
        return min(ROLLOUT, 1 << int(math.log2(max(0.8 * self.prompts, 1))))

    @property
    def batch_sizes(self) -> list[int]:
        """Up to four, each half of the next."""
        return [self.rollout // part for part in (8, 4, 2, 1) if self.rollout >= 2 * part or part == 1]

    @property
    def learning_rates(self) -> tuple[str, str]:
        """Ends of the range for adapters of a model of this size."""
        if self.parameters < SMALL:
            return "1e-5", "1e-2"
        return ("3e-6", "3e-3") if self.parameters < LARGE else ("1e-6", "1e-3")

    @property
    def kl_budget(self) -> float:
        """Nats per response."""
        return max(2.0, float(round(NATS_PER_TOKEN * self.max_new_tokens)))

    @property
    def seen(self) -> tuple[str, ...]:
        """One sentence each."""
        told = [
            f"the model has {_count(self.parameters)} parameters, a width of {self.width:,} and {self.context}",
            f"looked at: {counted(self.prompts, 'different prompt')}{' of messages' if self.chat else ''}; nineteen of "
            f"twenty have at most {counted(int(np.quantile(self.lengths, MOST)), 'token')}",
        ]
        if self.response_tokens is not None:
            told.append(
                f"nineteen of twenty good responses have at most {counted(self.response_tokens, 'token')}"
            )
        if self.n_long:
            told.append(
                f"{self.what_is_long}: {counted(self.n_long, 'prompt')}; too_long: cut takes their beginning"
            )
        if self.prompts < 100:
            told.append(
                "these are few prompts: a tenth is held out, and a tenth confirms; some hundreds would say more"
            )
        return tuple(told)


def _quoted(text: str) -> str:
    """A text as YAML takes it, whatever it holds."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tokens(limit: int | None) -> str:
    return "any number of tokens" if limit is None else counted(limit, "token")


def _count(number: int) -> str:
    if number < 1e5:
        return f"{number:,}"
    return f"{number / 1e9:.1f} billion" if number >= LARGE else f"{number / 1e6:.1f} million"
