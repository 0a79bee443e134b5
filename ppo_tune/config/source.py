"""What must be said of a source of rows that does not say it itself: the encoding of a text, the part of a data set."""

import codecs
import operator
from typing import Annotated

from pydantic import AfterValidator, Field

from ppo_tune.config.block import Block, Text


def _check_encoding(encoding: str | None) -> str | None:
    """An encoding of text that Python knows."""
    if encoding is None:
        return None
    try:
        known = codecs.lookup(encoding)
        "".encode(encoding)
    except (LookupError, ValueError):  # no such name, or no encoding of text
        rule = "must be one of Python's names, such as cp1252 (Western Excel), cp1251 or shift_jis"
        raise ValueError(f"{rule}, but got {encoding!r}") from None
    return known.name


Encoding = Annotated[
    Text | None,
    AfterValidator(_check_encoding),
    Field(
        exclude_if=operator.not_,
        description="Of a text file; null = UTF-8, or UTF-16 by its mark. An older Excel writes cp1252 in the West.",
    ),
]
Subset = Annotated[
    Text | None,
    Field(exclude_if=operator.not_, description="Of a data set that has several; null = the only one."),
]
SplitName = Annotated[
    Text | None,
    Field(exclude_if=operator.not_, description="Of a data set; null = the only one, or `train`."),
]


class Source(Block):
    """What is to be known of a source of rows beside its name."""

    encoding: Encoding = None
    subset: Subset = None
    split: SplitName = None

    @classmethod
    def of(cls, block: Block) -> "Source":
        """By the fields of a block that has all of them."""
        return cls(**{name: getattr(block, name) for name in cls.model_fields})


WHOLE = Source()
"""Of which nothing need be said."""
