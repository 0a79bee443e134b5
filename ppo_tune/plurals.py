"""A number with its noun, so that nobody is told of 1 trials."""

_SINGULAR = {"are": "is", "were": "was", "have": "has"}


def counted(n: int, noun: str, verb: str = "") -> str:
    """So many of something: `1 trial`, `1,200 trials`, `1 trial repeats`; only the last word of a noun changes.

    Args:
        n: How many.
        noun: In the singular.
        verb: What they do, in the plural; empty for none.
    """
    said = f"{n:,} {noun if n == 1 else plural(noun)}"
    if not verb:
        return said
    return f"{said} {_SINGULAR.get(verb, f'{verb}s') if n == 1 else verb}"


def plural(noun: str) -> str:
    """Several of what a regular noun of English names."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
