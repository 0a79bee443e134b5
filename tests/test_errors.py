# mypy: ignore-errors
"""The tree of exceptions, and how a list of problems reads."""

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest

from ppo_tune import errors
from ppo_tune.config.methods import PACKAGES
from ppo_tune.errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    Mistakes,
    ModelError,
    PPOTuneError,
    Problem,
    RewardError,
    TrialError,
)

ROOT = Path(__file__).parent.parent

exceptions = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, Exception)
    and member.__module__ == errors.__name__
    and not member.__name__.startswith("_")
]


def test_a_problem_reads_file_line_place_rule():
    error = ConfigError([Problem("space.gamma", "`low < high` must hold", 7)], "study.yaml")

    assert str(error) == "study.yaml:7: space.gamma: `low < high` must hold"


@pytest.mark.parametrize(
    ("problem", "source", "expected"),
    [
        pytest.param(Problem("task", "is missing"), "a.yaml", "a.yaml: task: is missing", id="no line"),
        pytest.param(Problem("", "no such file"), "a.yaml", "a.yaml: no such file", id="no place"),
        pytest.param(Problem("--url", "is wrong"), "", "--url: is wrong", id="no file"),
        pytest.param(Problem("", "is wrong"), "", "is wrong", id="nothing but the rule"),
    ],
)
def test_what_a_problem_does_not_know_leaves_no_gap_in_its_message(problem, source, expected):
    assert str(ConfigError([problem], source)) == expected


def test_problems_are_told_in_the_order_of_the_file_those_without_a_line_first():
    problems = [Problem("c", "third", 9), Problem("b", "second", 2), Problem("a", "first")]

    error = ConfigError(problems, "a.yaml")

    assert str(error).splitlines() == ["a.yaml: a: first", "a.yaml:2: b: second", "a.yaml:9: c: third"]


def test_problems_of_one_line_keep_the_order_in_which_they_were_found():
    error = ConfigError([Problem("z", "found first", 3), Problem("a", "found second", 3)])

    assert [problem.where for problem in error.problems] == ["z", "a"]


def test_a_missing_extra_names_the_package_and_the_command_that_installs_it():
    error = MissingExtraError("pyarrow", "parquet")

    assert str(error) == "pyarrow is not installed; run: pip install 'ppo-tune[parquet]'"


@pytest.mark.parametrize("kind", [PPOTuneError, TrialError, DataError, RewardError])
def test_what_a_message_quotes_steers_no_terminal(kind):
    error = kind("model '\x1b[31mred\x07' in \u202etxt.a:\n  column é\t1")

    assert str(error) == "model '␛[31mred␇' in ‹U+202E›txt.a:\n  column é␉1"


def test_a_problem_that_quotes_control_characters_is_told_with_symbols():
    assert str(ConfigError([Problem("task", "got \x1b[2J")], "a\x00.yaml")) == "a␀.yaml: task: got ␛[2J"


def test_every_extra_that_a_message_names_can_be_installed():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "ppo_tune").rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]

    missing = [
        call.args[1]
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "MissingExtraError"
    ]
    named = {extra.value for extra in missing if isinstance(extra, ast.Constant)}
    loggers = {name for name, package in PACKAGES.items() if package}  # whose extras are called as they are

    assert named
    assert named | loggers <= extras.keys()
    assert "wandb" in loggers
    assert [ast.unparse(extra) for extra in missing if not isinstance(extra, ast.Constant)] == ["name"]


def test_the_tree_in_the_docstring_is_the_real_one():
    drawn = set(re.findall(r"\w+Error\b", errors.__doc__)) - {"ValueError"}

    assert drawn == {exception.__name__ for exception in exceptions}


@pytest.mark.parametrize("exception", exceptions)
def test_an_exception_is_either_a_mistake_of_the_user_or_the_ending_of_a_trial(exception):
    assert issubclass(exception, PPOTuneError) != issubclass(exception, TrialError)


def test_every_ending_of_a_trial_has_a_name_of_its_own():
    endings = [
        error.ending for error in exceptions if issubclass(error, TrialError) and error is not TrialError
    ]

    assert sorted(endings) == ["diverged", "kl_limit", "out_of_memory", "reward_error"]


def test_mistakes_in_several_places_are_told_together_each_once():
    several, one, none = Mistakes(), Mistakes(), Mistakes()
    for error in (ModelError("no weights"), DataError("no rows"), DataError("no rows")):
        with several.collected():
            raise error
    with one.collected():
        raise ModelError("no weights")

    with pytest.raises(PPOTuneError) as all_of_them:
        several.tell()
    with pytest.raises(ModelError, match=r"^no weights$"):
        one.tell()
    none.tell()

    assert str(all_of_them.value) == "no weights\nno rows"


def test_a_bug_is_no_mistake_that_could_be_told_later():
    with pytest.raises(KeyError), Mistakes().collected():
        raise KeyError("ours")
