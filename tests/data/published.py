"""A row of each data set of preferences, as its publishers shape it."""

from typing import Any

Row = dict[str, Any]

HH: Row = {
    "chosen": "\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: Rain?\n\nAssistant: Take an umbrella.",
    "rejected": "\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: Rain?\n\nAssistant: Take off.",
}
HH_PROMPT = "\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: Rain?\n\nAssistant:"
POST: Row = {
    "info": {"id": "t3", "post": "My cat left.", "title": "Cat", "subreddit": "AskReddit", "article": None},
    "summaries": [{"text": " A cat.", "policy": "ref"}, {"text": " The cat left.", "policy": "sup1"}],
    "choice": 1,
    "worker": "w",
    "extra": {"confidence": 8},
}
ARTICLE: Row = {
    **POST,
    "info": {"id": "a", "post": None, "title": "Cat", "article": "A cat left."},
    "choice": 0,
}
SHP: Row = {
    "post_id": "p1",
    "history": "How to boil eggs?",
    "human_ref_A": "Water.",
    "human_ref_B": "Fire, and then water.",
    "labels": 0,
    "score_ratio": 3.0,
}


def answer(response: str, *ratings: str) -> Row:
    names = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    rated = dict(zip(names, ratings, strict=False))
    return {
        "model": "m",
        "response": response,
        "annotations": {name: {"Rating": rating, "Rationale": ""} for name, rating in rated.items()},
        "overall_score": 10,
    }


UF: Row = {
    "source": "sharegpt",
    "instruction": "Count.",
    "completions": [
        answer("One.", "3", "3", "3", "3"),
        answer("One, two.", "5", "5", "4", "N/A"),
        answer("No.", "1", "1", "1", "1"),
        answer("Unrated.", "N/A"),
    ],
}
