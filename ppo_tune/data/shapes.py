"""Preferences as their publishers shape them, known by their columns; what of a row is prompt, chosen and rejected.

Papers and data sets: Bai et al., 2022, arXiv:2204.05862 (HH); Stiennon et al., 2020, arXiv:2009.01325 (comparisons of
summaries); Ethayarajh et al., 2022, arXiv:2110.08420 (SHP); Cui et al., 2023, arXiv:2310.01377 (UltraFeedback).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class LeftOutError(Exception):
    """A row says nothing that could be learned; holds why, in the plural."""


@dataclass(frozen=True)
class Shape:
    """Rows of one publisher.

    Attributes:
        name: What is read, for people.
        columns: Those that a row has, and that are no columns of what is made of it.
        pairs: Of a row's values; raises `LeftOutError` where there is none, and anything else where a value is amiss.
        post: The column of what at most `MOST_PAIRS` pairs are taken of; None where all are.
    """

    name: str
    columns: frozenset[str]
    pairs: Callable[[Mapping[str, Any]], list[Pair]]
    post: str | None = None

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has the columns, and values that can be read."""
        if not self.columns <= {*row} or "prompt" in row:
            return False
        try:
            self.pairs(row)
        except LeftOutError:
            return True
        except Exception:  # values of another kind
            return False
        return True


def shape_of(row: Mapping[str, Any]) -> Shape | None:
    """The published shape of a row; None where it has none of them."""
    return next((shape for shape in SHAPES if shape.fits(row)), None)


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


def _mean_rating(annotations: Mapping[str, Any]) -> float | None:
    """The mean over aspects; None where none is rated."""
    ratings = [aspect["Rating"] for aspect in annotations.values()]
    numbers = [float(rating) for rating in ratings if str(rating).replace(".", "", 1).isdecimal()]
    return sum(numbers) / len(numbers) if numbers else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be text, but got {value!r}")
    return value


SHAPES = (
    Shape("pairs of whole dialogues, as in HH", frozenset({"chosen", "rejected"}), dialogues),
    Shape("comparisons of two summaries (TL;DR)", frozenset({"info", "summaries", "choice"}), summaries),
    Shape(
        "pairs of comments on a post (SHP)",
        frozenset({"history", "human_ref_A", "human_ref_B", "labels", "score_ratio"}),
        comments,
        post="post_id",
    ),
    Shape("answers rated by aspects (UltraFeedback)", frozenset({"instruction", "completions"}), rated),
)
"""All that are known, the first that fits counts."""
