"""How what a message speaks of is given: by flags and commands where one is run, else by arguments and functions.

Whoever finds a mistake knows only what it is about; the command line says here that it is the one who asks.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

BY_COMMAND = "PPO_TUNE_BY_COMMAND"
"""A variable of the environment: set while a command runs, for its workers too."""

FUNCTIONS = {
    "init": "draft_study", "examples": "copy_shipped", "check": "check_study", "search": "run_search",
    "confirm": "run_confirmation", "extend": "extended", "report": "report_study", "compare": "compare_studies",
    "export": "export_study", "list": "study_names", "status": "study_status", "rename": "rename_study",
    "delete": "delete_study", "rerun": "rerun_trial", "dashboard": "study_dashboard", "train": "train",
    "evaluate": "evaluate_model", "sft": "fit_sft", "reward": "fit_reward",
}  # fmt: skip
"""The public function that does what a command does, by the command's name."""


@contextmanager
def by_command() -> Iterator[None]:
    """Within this block a command asks."""
    before = os.environ.get(BY_COMMAND)
    os.environ[BY_COMMAND] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[BY_COMMAND]


def place_of(name: str, *, python: str = "") -> str:
    """An argument as the place of a mistake: `--n-trials` or `n_trials`.

    Args:
        name: As in Python, and of its flag.
        python: Its name in Python, where that is another one.
    """
    return f"--{name.replace('_', '-')}" if is_by_command() else python or name


def argument(name: str, value: str = "", *, python: str = "") -> str:
    """An argument in a sentence.

    Args:
        name: As in Python, and of its flag.
        value: Its value in Python, where it has to be just that; its flag then stands alone.
        python: Its name in Python, where that is another one.
    """
    called = place_of(name, python=python)
    return called if is_by_command() else f"`{called}={value}`" if value else f"`{called}`"


def setting(key: str) -> str:
    """A value instead of a file's, by its dotted place there, as the place of a mistake."""
    return f"--set {key}" if is_by_command() else f"settings[{key!r}]"


def command(name: str) -> str:
    """A command, or the function that does the same, in a sentence."""
    return f"`ppo-tune {name}`" if is_by_command() else f"`ppo_tune.{FUNCTIONS[name]}`"


def is_by_command() -> bool:
    """Whether a command asks."""
    return BY_COMMAND in os.environ
