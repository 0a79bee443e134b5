"""Foreign texts as safe HTML: words that another text lacks are marked, and what cannot be seen is made visible."""

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice

from markupsafe import Markup, escape

from ppo_tune.safe_text import symbols

MAX_CHARACTERS = 4000
"""Of a text on the page; the trial's samples.json has all."""

MAX_WORDS = 400
"""Of a text on the page."""

FREQUENT = 20
"""A word that a text repeats more often is held equal only beside other equal words: where both texts say little
else, trying every pairing takes seconds."""

_STOPS = r".,;:!?…()\[\]\"“”«»、。！？"
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"
_PIECE = re.compile(rf"\s+|[{_STOPS}]|[{_IDEOGRAPHS}]|[^\s{_STOPS}{_IDEOGRAPHS}]+")


@dataclass(frozen=True)
class Marked:
    """A text as it stands on the page.

    Attributes:
        html: The text, escaped, with `<mark>` around what is new.
        missing: Words of the other text that are not in this one; stops are not counted.
        cut: Characters that are not shown.
        is_same: Whether nothing is new and nothing is missing, stops included.
    """

    html: Markup
    missing: int = 0
    cut: int = 0
    is_same: bool = False


def mark(text: str, before: str | None = None) -> Marked:
    """A text with the words marked by which it differs from another; nothing is marked without another.

    Words are compared, stops and ideographs one by one; white space is not.
    """
    shown, cut = shorten(text)
    pieces = _PIECE.findall(symbols(shown))
    if before is None:
        return Marked(escape("".join(pieces)), cut=cut)
    old = [piece for piece in _PIECE.findall(symbols(shorten(before)[0])) if not piece.isspace()]
    places = [i for i, piece in enumerate(pieces) if not piece.isspace()]
    new = [pieces[i] for i in places]
    counts = Counter(new)
    matcher = SequenceMatcher(lambda piece: counts[piece] > FREQUENT, old, new, autojunk=False)
    html, done, missing = Markup(), 0, 0
    for kind, old_start, old_end, start, end in matcher.get_opcodes():
        if kind == "equal":
            continue
        missing += sum(any(map(str.isalnum, piece)) for piece in old[old_start:old_end])
        if kind != "delete":
            first, last = places[start], places[end - 1] + 1
            html += escape("".join(pieces[done:first]))
            html += Markup("<mark>%s</mark>") % "".join(pieces[first:last])
            done = last
    html += escape("".join(pieces[done:]))
    return Marked(html, missing, cut, is_same=old == new)


def shorten(text: str) -> tuple[str, int]:
    """The beginning of a text, and how many characters were left out."""
    words = islice(re.finditer(r"\S+", text[:MAX_CHARACTERS]), MAX_WORDS, MAX_WORDS + 1)
    after = next(words, None)
    end = min(len(text), MAX_CHARACTERS) if after is None else after.start()
    return text[:end], len(text) - end
