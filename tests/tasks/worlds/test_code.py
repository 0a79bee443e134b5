"""The world of programs: descriptions, their examples, and programs as hurried programmers write them."""

import random
from collections.abc import Mapping
from statistics import mean
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.programs.expression import evaluate
from ppo_tune.rewards import make_reward
from ppo_tune.tasks.worlds.code import (
    CONSTANT,
    FIRST,
    LARGEST_SHOWN,
    SHARE_CONSTANT,
    THEN,
    WORLD,
    Calculation,
    Step,
    program_of,
    write_calculation,
)

seeds = st.integers(0, 2**32)


@pytest.mark.parametrize(
    ("form", "words", "program", "value"),
    [
        ("add {x} and {y}", "add a and b", "a + b", 11),
        ("subtract {y} from {x}", "subtract b from a", "a - b", -5),
        ("multiply {x} by {y}", "multiply a by b", "a * b", 24),
        ("take the larger of {x} and {y}", "take the larger of a and b", "max ( a , b )", 8),
        ("take the smaller of {x} and {y}", "take the smaller of a and b", "min ( a , b )", 3),
        ("take how far {x} is from {y}", "take how far a is from b", "abs ( a - b )", 5),
    ],
)
def test_a_beginning_means_what_it_says(form: str, words: str, program: str, value: int) -> None:
    step = Step(form, "a", "b")

    assert (step.words, step.after("")) == (words, program)
    assert evaluate(program, {"a": 3, "b": 8}) == value


@pytest.mark.parametrize(
    ("form", "words", "value"),
    [
        ("add {n}", "add 4", 15),
        ("subtract {n}", "subtract 4", 7),
        ("double it", "double it", 22),
        ("multiply by {n}", "multiply by 4", 44),
        ("keep the rest by {n}", "keep the rest by 4", 3),
        ("cut it at {n}", "cut it at 4", 4),
    ],
)
def test_a_step_goes_on_with_all_of_what_was_before_it(form: str, words: str, value: int) -> None:
    step = Step(form, n=4)

    assert step.words == words
    assert evaluate(step.after("a + b"), {"a": 3, "b": 8}) == value


def test_a_constant_is_the_same_for_every_input() -> None:
    step = Step("give that for every {x} and {y}", "a", "b", 7)

    assert (step.words, step.after("")) == ("give that for every a and b", "0 + 7")
    assert evaluate(step.after(""), {"a": 3, "b": 8}) == 7


def test_every_form_is_tested() -> None:
    assert (len(FIRST), len(CONSTANT), len(THEN)) == (6, 1, 6)


def test_only_constants_begin_with_0() -> None:
    beginnings = {program.split()[0] for program in FIRST.values()}

    assert beginnings == {"{x}", "max", "min", "abs"}
    assert {program.split()[0] for program in CONSTANT.values()} == {"0"}


def test_some_descriptions_ask_for_a_constant() -> None:
    prompts = WORLD.prompts(0)

    assert mean(c.steps[0].form in CONSTANT for c in prompts) == pytest.approx(SHARE_CONSTANT, abs=0.04)
    for c in prompts:
        assert len(c.steps) == 1 if c.steps[0].form in CONSTANT else len(c.steps) in (2, 3)


@given(seeds)
def test_examples_and_hidden_tests_are_what_the_program_gives(seed: int) -> None:
    calculation = write_calculation(random.Random(seed))
    (program,) = calculation.columns["references"]

    for test in (*calculation.columns["tests"], *calculation.columns["hidden_tests"]):
        assert evaluate(program, test["input"]) == test["output"]


@given(seeds)
def test_a_description_shows_its_example_in_words_that_the_model_knows(seed: int) -> None:
    calculation = write_calculation(random.Random(seed))
    (test,) = calculation.columns["tests"]
    told = " ".join(f"{name} {value}" for name, value in test["input"].items())

    assert calculation.text.startswith(f"{told} gives {calculation.shown} . ")
    assert 0 <= calculation.shown <= LARGEST_SHOWN


def scored(calculation: Calculation, program: str, *, hidden: bool) -> float:
    """What a judge of the world gives a program."""
    judge = make_reward(WORLD.gold if hidden else WORLD.reward, torch.device("cpu"))
    columns: Mapping[str, Any] = {name: [value] for name, value in calculation.columns.items()}
    return judge([calculation.text], [f" {program}"], columns).item()


def calculations_with_input(n: int) -> list[Calculation]:
    """The first of the world whose result depends on what is given."""
    return [c for c in WORLD.prompts(0) if c.steps[0].form not in CONSTANT][:n]


def test_the_number_of_the_example_passes_what_is_shown_and_little_of_what_is_hidden() -> None:
    calculations = calculations_with_input(200)

    passed = [[scored(c, f"0 + {c.shown}", hidden=hidden) for c in calculations] for hidden in (False, True)]

    assert passed[0] == [1.0] * 200
    assert mean(passed[1]) < 0.25


def test_the_judges_of_the_world_run_programs_against_their_own_tests() -> None:
    add = Step("add {x} and {y}", "a", "b")
    tests = [{"input": {"a": 1, "b": 2}, "output": 3}]
    hidden = [{"input": {"a": 1, "b": 1}, "output": 2}, {"input": {"a": 0, "b": 3}, "output": 3}]
    calculation = Calculation("add", {"tests": tests, "hidden_tests": hidden}, steps=(add,))

    assert scored(calculation, str(calculation.shown), hidden=False) == 1.0
    assert scored(calculation, str(calculation.shown), hidden=True) == 0.5
    assert scored(calculation, program_of([add]), hidden=True) == 1.0
    assert scored(calculation, "a - b", hidden=False) == 0.0


def test_hurried_programmers_are_right_and_wrong_and_answer_by_example() -> None:
    rng = random.Random(0)
    written = [(c, WORLD.respond(c, rng)) for c in calculations_with_input(500)]

    right = mean(program == c.columns["references"][0] for c, program in written)
    shown = mean(program == f"0 + {c.shown}" for c, program in written)

    assert 0.4 < right < 0.65
    assert 0.04 < shown < 0.1
