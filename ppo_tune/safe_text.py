"""Texts that models and users wrote, made safe to show: nothing in them is hidden or steers what shows them."""

import unicodedata

UNSEEN = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")
"""Letters and marks that show nothing; the rest that cannot be seen is known by its Unicode category."""

_JOINERS = "\u200c\u200d"


def symbols(text: str) -> str:
    """Text in which what cannot be seen is a symbol.

    Control characters become their pictures, a line feed stays. Of the others, such as those that turn the
    direction of reading or have no width, the code is shown: ‹U+202E›. The two joiners stay between letters of
    scripts that need them.
    """
    return "".join(
        c if _can_be_seen(c) or _joins(text, i) else _symbol(c) for i, c in enumerate(text)
    )  # fmt: skip


def _can_be_seen(character: str) -> bool:
    if character == "\n" or " " <= character <= "~":
        return True
    is_selector = "\U000e0100" <= character <= "\U000e01ef"
    is_hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return not (is_hidden or is_selector or character in UNSEEN)


def _joins(text: str, i: int) -> bool:
    """Whether this is a joiner between two letters or pictures beyond ASCII."""
    around = text[i - 1 : i] + text[i + 1 : i + 2]
    return text[i] in _JOINERS and len(around) == 2 and all(c > "~" and _can_be_seen(c) for c in around)


def _symbol(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 32 else "␡" if code == 127 else f"‹U+{code:04X}›"


def writable(text: str) -> str:
    """Text that a file can hold: halves of pairs, which JSON lets through, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
