"""What a word is in any script: a run of letters, digits and marks, or one character where words have no spaces.

Han, kana, Thai, Lao, Khmer and Myanmar letters stand without spaces between words. To find words there takes a
dictionary; to compare and to count, characters do.
"""

import re
import unicodedata
from functools import cache
from itertools import groupby

UNSPACED = (
    "\u2e80-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U000323af"  # Han
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d"  # Hiragana, Katakana
    "\u0e00-\u0e7f\u0e80-\u0eff"  # Thai, Lao
    "\u1780-\u17ff\u19e0-\u19ff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Khmer, Myanmar
)
"""Ranges of a regular expression: scripts without spaces between words, with their marks."""

PICTURES = "\u2600-\u27bf\U0001f000-\U0001faff"
"""Ranges of emoji and their like, each of which is a word."""

TONES = "\U0001f3fb-\U0001f3ff"
"""What colours the emoji before it."""

JOINERS = "\u200c\u200d"
"""Within words of Persian and Hindi, and within an emoji made of several."""


def words(text: str) -> list[str]:
    """The words of a text in lower case; of a text without any, its characters that are no space.

    Of ASCII text these are the runs of letters and digits.
    """
    plain = composed(text).lower()
    return _word().findall(plain) or [character for character in plain if not character.isspace()]


def has_unspaced(text: str) -> bool:
    """Whether a letter of a text is of a script without spaces between words."""
    return _letter().search(text) is not None


def count_words(text: str) -> int:
    """How long a text is: words between spaces, and each letter of a script that has none.

    Marks belong to their letter, and punctuation to the word that it touches: `it's late.` is 2 long, `包裹迟到了。` 5.
    """
    return sum(map(_count, composed(text).split()))


def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Finds a phrase as whole words, whatever its case and the white space between its words.

    No letter may go on at an end that is of a script with spaces; at an end that is not, or is an emoji, no mark may.
    """
    parts = composed(phrase).split() or [phrase]
    plain = " ".join(parts)
    free = f"[{UNSPACED}{PICTURES}]"
    first = "" if re.match(free, plain) else rf"(?<![^\W{UNSPACED}])(?<![{_marks(spaced=True)}])"
    last = f"(?![{_marks()}])"
    if not re.search(f"{free}[{_marks()}]*$", plain):
        last += rf"(?![^\W{UNSPACED}])"
    return re.compile(first + r"\s+".join(map(re.escape, parts)) + last, re.IGNORECASE)


def composed(text: str) -> str:
    """Text in which a letter with its marks is one character where there is such a character."""
    return unicodedata.normalize("NFC", text)


def _count(piece: str) -> int:
    """How long a piece without white space is."""
    parts = _letter().split(piece)  # every second one is a letter of a script without spaces
    if len(parts) == 1:
        return 1
    return len(parts) // 2 + sum(1 for between in parts[::2] if _word().search(between))


@cache
def _word() -> re.Pattern[str]:
    """A letter without spaces, an emoji, or a run of letters that are set off by spaces."""
    spaced = rf"(?:[^\W_{UNSPACED}]|[{_marks(spaced=True)}])"
    picture = f"[{PICTURES}][{_marks()}{TONES}]*"
    return re.compile(
        f"[{UNSPACED}][{_marks()}]*|{picture}(?:\u200d{picture})*|{spaced}(?:[{JOINERS}]*{spaced})*"
    )


@cache
def _letter() -> re.Pattern[str]:
    """A letter of a script without spaces, with its marks."""
    return re.compile(f"([{UNSPACED}][{_marks()}]*)")


@cache
def _marks(*, spaced: bool = False) -> str:
    """Ranges of the combining marks of Unicode, of scripts with spaces alone or of all."""
    unspaced = re.compile(f"[{UNSPACED}]")
    planes = (*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0))
    codes = [
        code
        for code in planes
        if unicodedata.category(chr(code))[0] == "M" and not (spaced and unspaced.match(chr(code)))
    ]
    runs = ([code for _, code in run] for _, run in groupby(enumerate(codes), lambda pair: pair[1] - pair[0]))
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)
