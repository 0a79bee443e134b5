"""Rows as their publishers shape them, known by their columns: preferences, and conversations to learn from.

Papers and data sets: Bai et al., 2022, arXiv:2204.05862 (HH); Stiennon et al., 2020, arXiv:2009.01325 (comparisons of
summaries); Ethayarajh et al., 2022, arXiv:2110.08420 (SHP); Cui et al., 2023, arXiv:2310.01377 (UltraFeedback).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from ppo_tune.data.chats import read_chat, turns_of

CONVERSATIONS = ("messages", "conversations")
"""Columns that hold whole conversations: as TRL calls them, and ShareGPT."""

ASSISTANT, HUMAN = "\n\nAssistant:", "\n\nHuman:"
"""What begins a turn of a dialogue of HH."""

CLEAR = 2.0
"""How many times the votes for the other a comment of SHP must have, as its authors advise."""

MOST_PAIRS = 5
"""Pairs of one post of SHP, as its authors advise."""


class Pair(NamedTuple):
    """A prompt with two responses, as texts."""

    prompt: str
    chosen: str
    rejected: str


class Reply(NamedTuple):
    """A prompt with a good response, as texts."""

    prompt: str
    response: str


class LeftOutError(Exception):
    """A row says nothing that could be learned; holds why, in the plural."""


@dataclass(frozen=True)
class Shape:
    """Rows of one publisher.

    Attributes:
        name: What is read, for people.
        columns: Those that a row has, and that are no columns of what is made of it.
        read: What is made of a row's values; raises `LeftOutError` where that is nothing, and anything else where one
            is amiss.
        made: Columns of that; a response is the chosen one.
        post: The column of what at most `MOST_PAIRS` pairs are taken of; None where all are.
        beside_prompt: Whether a row may have a column of prompts too.
    """

    name: str
    columns: frozenset[str]
    read: Callable[[Mapping[str, Any]], Sequence[Pair | Reply]]
    made: frozenset[str] = frozenset((*Pair._fields, "response"))
    post: str | None = None
    beside_prompt: bool = False

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has the columns, and values that can be read."""
        if not self.columns <= {*row} or ("prompt" in row and not self.beside_prompt):
            return False
        try:
            self.read(row)
        except LeftOutError:
            return True
        except Exception:  # values of another kind
            return False
        return True


def shape_of(row: Mapping[str, Any], wanted: Collection[str]) -> Shape | None:
    """The published shape of a row that has these columns; None where it has none of them."""
    return next((shape for shape in SHAPES if {*wanted} <= shape.made and shape.fits(row)), None)


def dialogues(row: Mapping[str, Any]) -> list[Pair]:
    """Two whole dialogues: what they share up to the assistant's turn is the prompt."""
    chosen, rejected = _text(row["chosen"]), _text(row["rejected"])
    if ASSISTANT not in chosen or ASSISTANT not in rejected:
        raise ValueError(f"a dialogue must hold {ASSISTANT!r}")
    shared = next(
        (i for i, pair in enumerate(zip(chosen, rejected, strict=False)) if pair[0] != pair[1]),
        min(len(chosen), len(rejected)),
    )
    if chosen == rejected:
        raise LeftOutError("both dialogues are the same")
    begins = chosen.rfind(ASSISTANT, 0, shared)
    if begins < 0:
        raise LeftOutError("the dialogues share no turn")
    prompt = chosen[: begins + len(ASSISTANT)]
    answers = chosen.removeprefix(prompt), rejected.removeprefix(prompt)
    if any(HUMAN in answer for answer in answers):
        raise LeftOutError("the dialogues part before their last turn")
    if not all(answer.strip() for answer in answers):
        raise LeftOutError("an answer is empty")
    return [Pair(prompt, *answers)]


def summaries(row: Mapping[str, Any]) -> list[Pair]:
    """Two summaries of a post or an article, of which one was chosen."""
    info, texts = row["info"], [_text(summary["text"]) for summary in row["summaries"]]
    if row["choice"] not in (0, 1) or len(texts) != 2:
        raise ValueError(
            f"`choice` must be 0 or 1, of two summaries, but got {row['choice']!r} of {len(texts)}"
        )
    if info.get("post") is not None:
        subreddit = _text(info["subreddit"]).removeprefix("r/")
        title, post = _text(info["title"]), _text(info["post"])
        prompt = f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"
    else:
        prompt = f"Article: {_text(info['article'])}\n\nTL;DR:"
    chosen, rejected = (f" {text.strip()}" for text in (texts[row["choice"]], texts[1 - row["choice"]]))
    if chosen == rejected:
        raise LeftOutError("both summaries are the same")
    return [Pair(prompt, chosen, rejected)]


def comments(row: Mapping[str, Any]) -> list[Pair]:
    """Two comments on a post, of which one got more votes."""
    first, second = _text(row["human_ref_A"]), _text(row["human_ref_B"])
    if row["labels"] not in (0, 1):
        raise ValueError(f"`labels` must be 0 or 1, but got {row['labels']!r}")
    if row["score_ratio"] < CLEAR:
        raise LeftOutError(f"neither comment has {CLEAR:g} times the votes of the other")
    chosen, rejected = (first, second) if row["labels"] else (second, first)
    return [Pair(f"{_text(row['history'])}\n\n", chosen, rejected)]


def rated(row: Mapping[str, Any]) -> list[Pair]:
    """Several answers, each rated by aspects: the best by their mean with each that is worse.

    The overall score has known errors, a 10 for a 1 among them.
    """
    means = [_mean_rating(answer["annotations"]) for answer in row["completions"]]
    answers = [_text(answer["response"]) for answer in row["completions"]]
    known = [(mean, text) for mean, text in zip(means, answers, strict=True) if mean is not None]
    if len(known) < 2:
        raise LeftOutError("fewer than two answers are rated")
    best, text = max(known, key=lambda rating: rating[0])
    worse = [answer for mean, answer in known if mean < best]
    if not worse or sum(mean == best for mean, _ in known) > 1:
        raise LeftOutError("no answer is the best")
    prompt = f"{_text(row['instruction'])}\n\n"
    return [Pair(prompt, text, answer) for answer in worse]


def conversations(row: Mapping[str, Any]) -> list[Pair]:
    """Two whole conversations, or two answers to one, as lists of messages."""
    if isinstance(row.get("prompt"), list):
        asked, _ = read_chat(row["prompt"])
        return [Pair(asked, _answer(row["chosen"]), _answer(row["rejected"]))]
    (prompt, chosen), (other, rejected) = (_reply(row[name]) for name in ("chosen", "rejected"))
    if turns_of(prompt) != turns_of(other):
        raise LeftOutError("the conversations part before their last turn")
    if chosen == rejected:
        raise LeftOutError("both conversations are the same")
    return [Pair(prompt, chosen, rejected)]


def replies(row: Mapping[str, Any], column: str) -> list[Reply]:
    """A conversation that ends with an answer of the assistant."""
    return [_reply(row[column])]


def completions(row: Mapping[str, Any]) -> list[Reply]:
    """A prompt and its completion, as texts or as messages."""
    prompt = row["prompt"]
    return [
        Reply(read_chat(prompt)[0] if isinstance(prompt, list) else _text(prompt), _answer(row["completion"]))
    ]


def _reply(messages: Any) -> Reply:
    """A conversation up to the assistant's last turn, and that."""
    prompt, answers = read_chat(_list(messages))
    if not answers:
        raise LeftOutError("a conversation ends without an answer of the assistant")
    return Reply(prompt, "\n\n".join(answers))


def _answer(value: Any) -> str:
    """What the assistant says, as a text or as messages."""
    if isinstance(value, str):
        return value
    return _reply([{"role": "user", "content": "?"}, *_list(value)]).response


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"must be a list of messages, but got {value!r}")
    return value


def _mean_rating(annotations: Mapping[str, Any]) -> float | None:
    """The mean over aspects; None where none is rated."""
    ratings = [aspect["Rating"] for aspect in annotations.values()]
    numbers = [float(rating) for rating in ratings if str(rating).replace(".", "", 1).isdecimal()]
    return sum(numbers) / len(numbers) if numbers else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be text, but got {value!r}")
    return value


REPLY = frozenset(Reply._fields)

SHAPES = (
    Shape("pairs of conversations", frozenset({"chosen", "rejected"}), conversations, beside_prompt=True),
    Shape("pairs of whole dialogues, as in HH", frozenset({"chosen", "rejected"}), dialogues),
    Shape("comparisons of two summaries (TL;DR)", frozenset({"info", "summaries", "choice"}), summaries),
    Shape(
        "pairs of comments on a post (SHP)",
        frozenset({"history", "human_ref_A", "human_ref_B", "labels", "score_ratio"}),
        comments,
        post="post_id",
    ),
    Shape("answers rated by aspects (UltraFeedback)", frozenset({"instruction", "completions"}), rated),
    *(
        Shape(f"conversations in {column!r}", frozenset({column}), partial(replies, column=column), REPLY)
        for column in CONVERSATIONS
    ),
    Shape("prompts with completions", frozenset({"completion"}), completions, REPLY, beside_prompt=True),
)
"""All that are known, the first that fits counts."""
