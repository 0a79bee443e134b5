"""The reward as Python source that stands without ppo-tune where it can: a function `score`, and its callers."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ppo_tune.config.rewards import PreferenceRewardConfig, PythonRewardConfig
from ppo_tune.export.base import REWARD_PLACEHOLDER, Winner
from ppo_tune.export.conversions import model_name, turns_column
from ppo_tune.export.enclosures import MODULES
from ppo_tune.templates import render


def score_source(winner: Winner) -> tuple[tuple[str, ...], str]:
    """Python that scores as the reward does: its imports, and a body with `score(prompts, responses, **columns)`."""
    reward = winner.sources.reward
    if isinstance(reward, PythonRewardConfig):
        path, _, function = reward.function.rpartition(":")
        return (
            ("import importlib.util", "import sys", "from pathlib import Path"),
            render(
                "reward_python.py.jinja",
                path=repr(path),
                function=function,
                modules=repr(MODULES) if _has_modules(winner) else None,
            ),
        )
    if reward is None or isinstance(reward, PreferenceRewardConfig):
        model = REWARD_PLACEHOLDER if reward is None else reward.model
        return (
            (
                "import json",
                "import os",
                "from pathlib import Path",
                "import torch",
                "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
                "from transformers.utils import cached_file",
            ),
            render(
                "reward_model.py.jinja",
                model=located(winner, model),
                template=repr(reward and reward.template),
                label=repr(reward and reward.label),
                reads=repr("score" if reward is None else reward.reads),
                turns=repr(turns_column(winner)),
            ),
        )
    return ("import torch",), render("reward_ppo_tune.py.jinja", reward=repr(reward.model_dump(mode="json")))


def _has_modules(winner: Winner) -> bool:
    return any(enclosure.shelf == MODULES for enclosure in winner.sources.enclosures)


def model_source(winner: Winner) -> str:
    """The policy's model as a Python expression, which wants os and Path."""
    return located(winner, model_name(winner))


def located(winner: Winner, name: str) -> str:
    """A model as a Python expression: a hub name; or a folder beside the script, unless a variable names another."""
    folder = winner.sources.enclosed(name)
    if folder is None:
        return repr(name)
    return f"os.environ.get({folder.variable!r}) or str(Path(__file__).resolve().parent / {name!r})"


def python_file(
    template: str, winner: Winner, imports: Sequence[str], header: Sequence[str], values: Mapping[str, Any]
) -> str:
    """A Python file that has the reward in it.

    Args:
        template: Of the package; it gets `header`, imports as `standard` and `others`, `score` and `values`.
        winner: Whose reward.
        imports: What the template itself needs.
        header: Lines of the comment on top, already safe in one.
        values: What else the template needs.
    """
    needed, body = score_source(winner)
    standard, others = _sorted([*imports, *needed])
    return render(template, header=header, standard=standard, others=others, score=body.strip("\n"), **values)


def _sorted(imports: Sequence[str]) -> tuple[list[str], list[str]]:
    """Imports as a formatter would have them, one line per module: the standard library's, and the others."""
    names: dict[str, set[str]] = {}
    for line in imports:
        module, _, imported = line.partition(" import ")
        names.setdefault(module, set()).update(filter(None, imported.split(", ")))
    lines = [
        f"{module} import {', '.join(sorted(imported))}" if imported else module
        for module, imported in names.items()
    ]
    groups: tuple[list[str], list[str]] = ([], [])
    for line in sorted(lines, key=lambda line: (line.startswith("from"), line)):
        groups[line.split()[1].partition(".")[0] not in sys.stdlib_module_names].append(line)
    return groups
