"""The training prompts as a file of rows, in the form that a target reads."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from ppo_tune.data.prompts import Prompt
from ppo_tune.export.base import Winner

PROMPTS = "prompts.jsonl"


def prompt_lines(winner: Winner, row: Callable[[Prompt], Mapping[str, Any]]) -> dict[str, str]:
    """The file by its name, one JSON object per prompt; none where the prompts could not be read."""
    prompts = winner.sources.prompts
    if prompts is None:
        return {}
    return {PROMPTS: "".join(json.dumps(row(prompt), default=str) + "\n" for prompt in prompts)}


def columns_text(prompt: Prompt) -> str:
    """The other columns as one text: so every row has the same type, whatever they hold."""
    return json.dumps(dict(prompt.columns), default=str)
