"""The public interface: the imports of a type checker say where each name is at home, and all else agrees with them."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import ppo_tune
from ppo_tune import cli

TREE = ast.parse(Path(ppo_tune.__file__).read_text(encoding="utf-8"))


def test_the_imports_of_a_type_checker_the_table_and_all_are_one_list() -> None:
    (block,) = (node for node in TREE.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert imported == ppo_tune._HOMES
    assert ppo_tune.__all__ == sorted(imported)


@pytest.mark.parametrize("name", ppo_tune.__all__)
def test_each_name_is_at_home_where_the_imports_say(name: str) -> None:
    home = importlib.import_module(ppo_tune._HOMES[name])

    assert getattr(ppo_tune, name) is getattr(home, name)
    assert getattr(home, name).__doc__


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ppo_tune' has no attribute 'nothing'"):
        ppo_tune.nothing  # noqa: B018


def test_the_front_door_loads_nothing_before_it_is_asked() -> None:
    code = "import ppo_tune, sys; print(*(name for name in sys.modules if name.startswith('ppo_tune.')))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


OPENERS = {"load_run", "load_study", "load_training", "open_study"}
"""Public functions that read what a command is about, and do nothing with it."""


def called_by(command: str) -> set[str]:
    """The public functions that a command's module takes from the front door, or from where they are at home."""
    assert cli.__file__ is not None
    tree = ast.parse(Path(cli.__file__).with_name(f"{command}.py").read_text(encoding="utf-8"))
    taken = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ppo_tune"
    }
    taken |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if ppo_tune._HOMES.get(alias.name) == node.module
    }
    return {name for name in taken & {*ppo_tune.__all__} if inspect.isfunction(getattr(ppo_tune, name))}


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_its_function(command: str) -> None:
    """What can be typed can be called, and what it does stands in no command."""
    assert called_by(command) - OPENERS
