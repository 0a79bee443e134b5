"""A small seeded world of programs: descriptions with an example each, programs of mixed quality, and hidden tests.

A description is a calculation in two or three steps, behind an example of what it gives; one in seven asks for one
number whatever the input. A program is an expression of the language in `ppo_tune.programs.expression`. The base model
learns from programs that are often wrong, and that now and then give the number which the example shows, whatever the
input. The unit test that PPO is rewarded by is the example; hidden ones ask for other values, so there is something to
improve and something to exploit.

Knows nothing of models.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppo_tune.config.fitting import SFTConfig
from ppo_tune.config.rewards import UnitTestsRewardConfig
from ppo_tune.config.tasks import Architecture
from ppo_tune.data.prompts import Prompt
from ppo_tune.programs.expression import evaluate
from ppo_tune.tasks.world import World

VARIABLES = ("a", "b", "c")
LARGEST_INPUT = 9
LARGEST_SHOWN = 20
"""Inputs are 0 to 9, and an example gives 0 to 20: a model sees every number often enough to learn to copy it."""

SHARE_CONSTANT = 0.15
"""Of the descriptions; from them a model learns to copy what an example gives."""

N_HIDDEN = 8

FIRST = {
    "add {x} and {y}": "{x} + {y}",
    "subtract {y} from {x}": "{x} - {y}",
    "multiply {x} by {y}": "{x} * {y}",
    "take the larger of {x} and {y}": "max ( {x} , {y} )",
    "take the smaller of {x} and {y}": "min ( {x} , {y} )",
    "take how far {x} is from {y}": "abs ( {x} - {y} )",
}
"""How a calculation begins: in words, and as a program."""

CONSTANT = {"give that for every {x} and {y}": "0 + {n}"}
"""A calculation of one step. Its 0 begins no other program: after it a model copies, whatever the description."""

THEN = {
    "add {n}": "{e} + {n}",
    "subtract {n}": "{e} - {n}",
    "double it": "( {e} ) * 2",
    "multiply by {n}": "( {e} ) * {n}",
    "keep the rest by {n}": "( {e} ) % {n}",
    "cut it at {n}": "min ( {e} , {n} )",
}
"""How it goes on."""


@dataclass(frozen=True)
class Step:
    """One step of a calculation: its words, one of `FIRST`, `CONSTANT` or `THEN`, and what fills them."""

    form: str
    x: str = ""
    y: str = ""
    n: int = 0

    @property
    def words(self) -> str:
        """As a description says it."""
        return self.form.format(x=self.x, y=self.y, n=self.n)

    def after(self, program: str) -> str:
        """The program of all steps up to this one."""
        return (FIRST | CONSTANT | THEN)[self.form].format(e=program, x=self.x, y=self.y, n=self.n)


@dataclass(frozen=True)
class Calculation(Prompt):
    """A description with its example, and what the world knows about it.

    Its columns `tests`, the example, and `hidden_tests` are lists of {input, output}.
    """

    steps: tuple[Step, ...] = ()

    @property
    def shown(self) -> int:
        """What the example gives."""
        output: int = self.columns["tests"][0]["output"]
        return output


class Code(World[Calculation]):
    """Programs for descriptions."""

    templates: Mapping[Architecture, str] = {
        "gpt2": "{prompt} def f ( a , b , c ) : return",
        "t5": "write a program : {prompt}",
    }
    sft = SFTConfig(
        layers=2,
        width=64,
        heads=4,
        activation="relu",
        tokens="words",
        epochs=8,
        batch_size=64,
        learning_rate=5e-3,
    )
    t5: Mapping[str, Any] = {
        "width": 32,
        "epochs": 11,
        "batch_size": 32,
        "learning_rate": 8e-3,
    }  # until it looks where words stand
    reward = UnitTestsRewardConfig(name="unit_tests", language="expression", column="tests")
    gold = UnitTestsRewardConfig(name="unit_tests", language="expression", column="hidden_tests")

    def write(self, rng: random.Random) -> Calculation:
        """A description with its own example."""
        return write_calculation(rng)

    def respond(self, prompt: Calculation, rng: random.Random) -> str:
        """A program as a hurried programmer writes it: often right, often not."""
        how = rng.choices(("right", "careless", "unfinished", "by example"), weights=(50, 27, 16, 7))[0]
        match how:
            case "right":
                return program_of(prompt.steps)
            case "careless":
                return program_of(_slip(prompt.steps, rng))
            case "unfinished":
                return program_of(prompt.steps[:-1] or prompt.steps)
            case _:
                return program_of([_constant(rng, prompt.shown)])


def program_of(steps: Sequence[Step]) -> str:
    """The program that takes some steps."""
    program = ""
    for step in steps:
        program = step.after(program)
    return program


def write_calculation(rng: random.Random) -> Calculation:
    """A description with its example and its hidden tests."""
    constant = rng.random() < SHARE_CONSTANT
    while True:
        steps = (
            [_constant(rng, rng.randint(0, LARGEST_SHOWN))]
            if constant
            else [_first(rng), *(_then(rng) for _ in range(rng.choice((1, 1, 2))))]
        )
        names = sorted((steps[0].x, steps[0].y))
        cases = [{name: rng.randint(0, LARGEST_INPUT) for name in names} for _ in range(1 + N_HIDDEN)]
        outputs = [evaluate(program_of(steps), case) for case in cases]
        if 0 <= outputs[0] <= LARGEST_SHOWN:
            break
    tests = [{"input": case, "output": output} for case, output in zip(cases, outputs, strict=True)]
    columns = {
        "references": [program_of(steps)],
        "tests": tests[:1],
        "hidden_tests": tests[1:],
    }
    given = " ".join(f"{name} {value}" for name, value in cases[0].items())
    words = " , then ".join(step.words for step in steps)
    return Calculation(f"{given} gives {outputs[0]} . {words} .", columns, steps=tuple(steps))


def _first(rng: random.Random) -> Step:
    x, y = rng.sample(VARIABLES, 2)
    return Step(rng.choice(tuple(FIRST)), x, y)


def _constant(rng: random.Random, n: int) -> Step:
    (form,) = CONSTANT
    x, y = rng.sample(VARIABLES, 2)
    return Step(form, x, y, n)


def _then(rng: random.Random) -> Step:
    return Step(rng.choice(tuple(THEN)), n=rng.randint(2, LARGEST_INPUT))


def _slip(steps: Sequence[Step], rng: random.Random) -> tuple[Step, ...]:
    """The same with one step taken for another."""
    slipped = rng.randrange(len(steps))
    return tuple(step if i != slipped else (_then(rng) if i else _first(rng)) for i, step in enumerate(steps))


WORLD = Code()
