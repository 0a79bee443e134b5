"""Comparisons that hold between the hyperparameters of every trial."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.config.constraints import Constraint, Rules
from ppo_tune.config.notes import notes
from ppo_tune.config.study_file import load_study
from ppo_tune.config.writing import study_text
from tests.config.study_files import RATE, blocks, load, mistakes, train

pytestmark = pytest.mark.usefixtures("here")

SIZES = "batch_size: {type: categorical, choices: [8, 16, 32, 64]}, ppo_epochs: {type: int, low: 1, high: 8}"


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("a <= b", {"a": 2, "b": 2}, True),
        ("a < b", {"a": 2, "b": 2}, False),
        ("a >= b", {"a": 1, "b": 2}, False),
        ("a > b", {"a": 3, "b": 2}, True),
        ("a == b", {"a": 2, "b": 2.0}, True),
        ("a != b", {"a": 2, "b": 2.0}, False),
        ("1 <= a < b", {"a": 1, "b": 2}, True),
        ("1 <= a < b", {"a": 3, "b": 2}, False),
        ("a + 2 * b - 1 == 6", {"a": 3, "b": 2}, True),
        ("(a + 2) * b == 10", {"a": 3, "b": 2}, True),
        ("a / b == 1.5", {"a": 3, "b": 2}, True),
        ("a % b == 1", {"a": 3, "b": 2}, True),
        ("-a < b", {"a": 3, "b": 2}, True),
        ("a < 1e-3", {"a": 1e-4}, True),
        pytest.param("a / b < 1", {"a": 3, "b": 0}, False, id="what cannot be computed does not hold"),
        pytest.param("a % b < 1", {"a": 3, "b": 0}, False, id="nor a remainder"),
        pytest.param("a * b < 1", {"a": 10**400, "b": 0.5}, False, id="nor what is too large"),
        pytest.param("a < b", {"a": 3, "b": None}, True, id="what is off breaks nothing"),
    ],
)
def test_a_comparison_holds_or_not(text: str, values: dict[str, Any], holds: bool) -> None:
    assert Constraint.read(text).holds(values) is holds


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 9))
def test_a_constraint_says_what_python_says(a: int, b: int, c: int) -> None:
    text = "a * b - c <= a / c + b % c != -b"

    assert Constraint.read(text).holds({"a": a, "b": b, "c": c}) is eval(text, {"a": a, "b": b, "c": c})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("batch_size", "a comparison", id="no comparison"),
        pytest.param("batch_size <= ", "a comparison", id="half of one"),
        pytest.param("batch_size <= 8 and ppo_epochs <= 4", "a comparison", id="two"),
        pytest.param("", "a comparison", id="nothing"),
        pytest.param("batch_size ** 2 <= 8", "**", id="a power"),
        pytest.param("__import__('os').getpid() < 8", "__import__('os').getpid()", id="a call"),
        pytest.param("batch_size.real < 8", "batch_size.real", id="an attribute"),
        pytest.param("batch_size in [8, 16]", "batch_size in [8, 16]", id="a list"),
        pytest.param("lr_schedule == 'linear'", "'linear'", id="text"),
        pytest.param("batch_size < True", "True", id="a truth"),
        pytest.param("batch_size < 1e999", "1e999", id="infinity"),
        pytest.param("batch_size < (lambda: 8)", "lambda: 8", id="a function"),
    ],
)
def test_nothing_else_is_read_let_alone_run(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=r"^must ") as caught:
        Constraint.read(text)

    comparison = f"must be a comparison such as `kl_coef * kl_target <= 0.5`, but got {text!r}"
    nothing = (
        "must hold nothing but numbers, names of hyperparameters, + - * / % and comparisons, but got "
        f"{expected!r} in {text!r}"
    )
    if expected == "**":
        nothing = nothing.replace("'**'", repr(text))
    assert str(caught.value) == (comparison if expected == "a comparison" else nothing)


def test_a_constraint_is_no_book() -> None:
    with pytest.raises(ValueError, match=r"must have at most 200 letters, but has 404; write several"):
        Constraint.read("a <" + " " * 400 + "1")


def test_the_first_that_is_broken_is_told_with_what_is_fixed() -> None:
    rules = Rules.of(["a < b", "b < c"], {"c": 3})

    assert rules.allow({"a": 1, "b": 2})
    assert rules.broken({"a": 2, "b": 2}) == rules.constraints[0]
    assert rules.broken({"a": 2, "b": 4}) == rules.constraints[1]
    assert not Rules.of([], {})


def test_a_study_has_its_constraints_and_is_written_with_them() -> None:
    study = load(
        blocks(space=f"{{{SIZES}}}", constraints="[batch_size * ppo_epochs <= 128, 'ppo_epochs < 8']")
    )

    assert study.constraints == ("batch_size * ppo_epochs <= 128", "ppo_epochs < 8")
    assert load(study_text(study)) == study
    assert "constraints" not in load(blocks()).model_dump()


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        pytest.param(
            "batch_size < 8",
            ": must be a list of comparisons in quotes, but got 'batch_size < 8'",
            id="no list",
        ),
        pytest.param("[3]", ": must be a list of comparisons in quotes, but got [3]", id="a number"),
        pytest.param(
            "['batch_siz < 8']",
            ".0: unknown 'batch_siz'; did you mean 'batch_size'?, in `batch_siz < 8`",
            id="a typo",
        ),
        pytest.param(
            "['batch_size <']",
            ".0: must be a comparison such as `kl_coef * kl_target <= 0.5`, but got 'batch_size <'",
            id="half of one",
        ),
        pytest.param(
            "['lr_schedule < 3']",
            ".0: must compare numbers, but lr_schedule may be 'constant', in `lr_schedule < 3`",
            id="text",
        ),
        pytest.param(
            "['kl_coef < 3']",
            ".0: must speak of a hyperparameter that is searched, in `kl_coef < 3`",
            id="nothing searched",
        ),
        pytest.param(
            "['ppo_epochs < 8', 'batch_size <= 4 * ppo_epochs']",
            ".1: `batch_size <= 4 * ppo_epochs` must hold for the default config, which is trial 0, but there "
            "batch_size = 32, ppo_epochs = 4; give a searched one another `default`",
            id="not the default",
        ),
        pytest.param(
            "['learning_rate == 1e-4']",
            ": must allow one config in 100, but of 2,000 drawn at random they allow 0; narrow the ranges to what is "
            "allowed",
            id="next to nothing",
        ),
    ],
)
def test_constraints_that_cannot_be_are_refused(constraints: str, expected: str) -> None:
    text = blocks(space=f"{{{SIZES}, {RATE}}}", constraints=constraints)

    assert mistakes(text) == [f"a.yaml:3: constraints{expected}"]


def test_a_grid_must_keep_a_cell() -> None:
    rate = "learning_rate: {type: float, points: [1e-3, 1e-2], default: 5e-3}"
    text = blocks(
        space=f"{{{rate}}}",
        search="{sampler: grid}",
        constraints="['0.002 < learning_rate < 0.009']",
    )

    assert mistakes(text) == [
        "a.yaml:4: constraints: must leave cells of the grid, but allow none; change them or its points"
    ]


def test_a_grid_drops_what_is_ruled_out_and_says_how_many() -> None:
    study = load(
        blocks(
            space=f"{{{SIZES}}}", search="{sampler: grid}", constraints="['batch_size * ppo_epochs <= 128']"
        )
    )
    cells = list(study.grid_cells())

    assert len(cells) == study.grid_size == 8 + 8 + 4 + 2
    assert study.n_trials == 1 + 22
    assert all(cell["batch_size"] * cell["ppo_epochs"] <= 128 for cell in cells)
    assert "constraints leave out 10 of the grid's 32 cells" in notes(study)


def test_a_training_has_no_constraints() -> None:
    Path("b.yaml").write_text(blocks(), encoding="utf-8")
    assert load_study("b.yaml").rules.allow({})
    with pytest.raises(Exception, match="this is a study file"):
        train("task: {name: support}\nconstraints: ['gamma < 1']\n")
