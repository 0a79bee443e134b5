"""What `make.py` has written, as a trainer's own environment reads it: nothing of ppo-tune is imported here."""

import json
import os
from pathlib import Path
from typing import Any

NAMES = ("plain", "begins", "chat", "function")
"""A tokenizer without a chat template; one that begins every text; one with a template; a user's own function."""


def folder(name: str, target: str) -> Path:
    """The exported folder of a case."""
    return Path(os.environ["PPO_TUNE_EXPORTS"]).resolve() / name / target


def facts(name: str) -> dict[str, Any]:
    """What ppo-tune says of a case.

    `model`: the policy's folder; `context`: of it; `prompts`: the text of each; `prompt_ids`: as ppo-tune reads
    them; `responses`: text as sampled, with or without the end-of-sequence token; `response_ids`: the tokens;
    `scores`: what ppo-tune's reward says of them, less the penalty where the end is missing.
    """
    path = Path(os.environ["PPO_TUNE_EXPORTS"]).resolve() / name / "facts.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
