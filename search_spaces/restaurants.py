"""A reward in plain Python: does a description say what the restaurant's attributes say, once, and no more?

    prompt    name[Alimentum], area[city centre], familyFriendly[no]
    response  Alimentum is in the city centre and is not family-friendly.

It is called as `score(prompts, responses, **columns)` and returns one number per response, at most 2: the
share of attributes mentioned, less 0.5 for each thing invented and 0.25 for each thing said twice, plus up to
1 for a length of 6 to 14 words and 2 more words per attribute.
"""

import re
from collections.abc import Sequence

ATTRIBUTE = re.compile(r"([\w ]+)\[([^\]]*)\]")

WORDS: dict[str, dict[str, str]] = {
    "eatType": {"pub": r"pubs?", "restaurant": r"restaurants?", "coffee shop": r"coffee ?shops?|cafes?"},
    "food": {
        "Chinese": r"chinese", "English": r"english|british", "Fast food": r"fast[ -]?food", "French": r"french",
        "Indian": r"indian", "Italian": r"italian", "Japanese": r"japanese",
    },
    "area": {"city centre": r"city[ -]?cent(?:re|er)|centre of the city", "riverside": r"river(?:side)?"},
    "priceRange": {
        "cheap": r"cheap(?:ly)?|inexpensive|low[ -](?:price|cost)\w*",
        "less than £20": r"(?:less than|under|below) £? ?20|cheap(?:ly)?|low[ -](?:price|cost)\w*",
        "moderate": r"moderate\w*|mid[ -]?(?:price|range)\w*|average[ -]price\w*",
        "£20-25": r"£? ?20 ?(?:-|to|and) ?£? ?25|moderate\w*",
        "high": r"high[ -](?:price|cost)\w*|expensive|pricey|high(?:er)? price\w*",
        "more than £30": r"(?:more than|over|above) £? ?30|expensive|high[ -](?:price|cost)\w*",
    },
    "customer rating": {
        "low": r"(?:low|poor)\w*", "1 out of 5": r"(?:1|one) (?:out )?of (?:5|five)|1 star|one star|(?:low|poor)\w*",
        "average": r"average", "3 out of 5": r"(?:3|three) (?:out )?of (?:5|five)|3 star|three star|average",
        "high": r"high\w*|excellent", "5 out of 5": r"(?:5|five) (?:out )?of (?:5|five)|5 star|five star|high\w*",
    },
}  # fmt: skip

FAMILY = re.compile(r"famil(?:y|ies)|kids?|child(?:ren)?", re.IGNORECASE)
NEGATION = re.compile(r"\b(?:not?|non|isn't|aren't|doesn't|without|adults?)\b", re.IGNORECASE)


def score(prompts: Sequence[str], responses: Sequence[str], **columns: Sequence[object]) -> list[float]:
    """One number per description."""
    return [score_one(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]


def score_one(prompt: str, response: str) -> float:
    """The share of attributes mentioned, less what is invented or repeated, plus the length's share."""
    attributes = {name.strip(): value.strip() for name, value in ATTRIBUTE.findall(prompt)}
    counts = {name: mentions(name, value, response) for name, value in attributes.items()}
    mentioned = sum(count > 0 for count in counts.values()) / max(len(counts), 1)
    allowed = {"name": 2}
    repeated = sum(max(count - allowed.get(name, 1), 0) for name, count in counts.items())
    words = response.split()
    repeated += (
        len(words) - 2 - len(set(zip(words, words[1:], words[2:], strict=False))) if len(words) > 2 else 0
    )
    low, high = 6, 14 + 2 * len(attributes)
    outside = max(low - len(words), len(words) - high, 0)
    return mentioned - 0.5 * invented(attributes, response) - 0.25 * repeated + max(1 - outside / 5, -1)


def mentions(name: str, value: str, response: str) -> int:
    """How often an attribute is said."""
    if name == "familyFriendly":
        found = list(FAMILY.finditer(response))
        denied = any(
            NEGATION.search(response[max(match.start() - 30, 0) : match.end() + 20]) for match in found
        )
        return int(bool(found) and denied == (value == "no"))
    pattern = WORDS.get(name, {}).get(value, re.escape(value))
    return len(re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", response, re.IGNORECASE))


def invented(attributes: dict[str, str], response: str) -> int:
    """How many kinds of place, of food and of area are named that the attributes do not hold."""
    wrong = 0
    for name in ("eatType", "food", "area"):
        for value in WORDS[name]:
            if attributes.get(name) != value and mentions(name, value, response):
                # Everything is a restaurant of sorts, and a pub or a café may be called one.
                wrong += value != "restaurant"
    return wrong + (FAMILY.search(response) is not None and "familyFriendly" not in attributes)
