"""The hash of an object's code: the same for the same behaviour written elsewhere, another for another."""

import functools
import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from ppo_tune.data.code_hash import code_hash


def made(source: str, name: str = "score", **names: Any) -> Any:
    """What a session that ran this text has under a name."""
    session = ModuleType("a_session")
    session.__dict__.update(names)
    exec(compile(source, "<cell>", "exec"), session.__dict__)
    return getattr(session, name)


FUNCTION = "def score(responses, **_):\n    return [len(r) * 2.0 for r in responses]\n"

OTHER = {
    "a constant": FUNCTION.replace("2.0", "3.0"),
    "a function that is called": FUNCTION.replace("len(r)", "id(r)"),
    "a default": FUNCTION.replace("**_", "n=1, **_"),
    "an inner constant": FUNCTION.replace("r in responses", "r in responses if r != 'x'"),
}


def test_lines_and_comments_change_nothing() -> None:
    assert code_hash(made(f"# a comment\n\n{FUNCTION}")) == code_hash(made(FUNCTION))


@pytest.mark.parametrize("source", OTHER.values(), ids=OTHER)
def test_what_decides_a_score_changes_the_hash(source: str) -> None:
    assert code_hash(made(source)) != code_hash(made(FUNCTION))


def test_values_and_functions_of_its_own_module_count() -> None:
    source = "def score(responses, **_):\n    return [weigh(r) * LIKES['a'] for r in responses]\n"
    weigh = "def weigh(r):\n    return len(r) * FACTOR\n"

    def hashed(likes: dict[str, float], factor: float, text: str = weigh) -> str:
        return code_hash(made(text + source, LIKES=likes, FACTOR=factor, UNUSED=factor))

    assert hashed({"a": 1.0}, 2.0) == hashed({"a": 1.0}, 2.0)
    variants = {
        hashed({"a": 1.0}, 2.0), hashed({"a": 1.5}, 2.0), hashed({"a": 1.0, "b": 1.0}, 2.0), hashed({"a": 1.0}, 3.0),
        hashed({"a": 1.0}, 2.0, weigh.replace("len", "hash")),
    }  # fmt: skip
    assert len(variants) == 5


def test_what_a_function_encloses_counts() -> None:
    def maker(weight: object) -> Callable[..., object]:
        return lambda responses, **_: [weight for _ in responses]

    assert code_hash(maker(1.0)) == code_hash(maker(1.0))
    assert (
        len({code_hash(maker(w)) for w in (1.0, 2.0, "a", b"a", None, True, (1, 2), [1, 2], {1}, {1: 2})})
        == 10
    )


OBJECT = """
class Score:
    word = "red"
    def __init__(self, n, other=None):
        self.n, self.other = n, other
    def __call__(self, responses, **_):
        return [self.weigh(r) for r in responses]
    def weigh(self, r):
        return r.count(self.word) * self.n
    @staticmethod
    def name():
        return "a"
    @property
    def twice(self):
        return 2 * self.n
"""


def test_an_object_is_its_class_and_what_it_holds() -> None:
    edits = (
        ('"red"', '"blue"'),
        ("* self.n\n    @s", "+ self.n\n    @s"),
        ('"a"', '"b"'),
        ("2 *", "3 *"),
    )
    scores = [made(OBJECT, "Score")(*given) for given in ((1,), (2,), (1, [3]))]
    scores += [made(OBJECT.replace(old, new), "Score")(1) for old, new in edits]

    assert len({code_hash(one) for one in scores}) == len(scores)
    assert code_hash(made(OBJECT, "Score")(1)) == code_hash(scores[0])
    assert (
        code_hash(made(OBJECT, "Score")(1).weigh) == code_hash(scores[0].weigh) != code_hash(scores[1].weigh)
    )


def test_a_part_of_a_function_is_its_arguments_too() -> None:
    function = made(FUNCTION)

    assert code_hash(functools.partial(function, n=1)) == code_hash(functools.partial(made(FUNCTION), n=1))
    assert code_hash(functools.partial(function, n=1)) != code_hash(functools.partial(function, n=2))


def test_an_object_that_changes_while_it_works_stays_what_it_was_when_first_seen() -> None:
    counter = made(OBJECT, "Score")(1)
    before = code_hash(counter)
    counter.n += 1

    assert code_hash(counter) == before


def test_what_another_module_has_counts_by_its_name() -> None:
    source = "def score(responses, **_):\n    return [f(len(r)) for r in responses]\n"

    hashes = {
        code_hash(made(source, f=f)) for f in (math.sqrt, math.exp, functools.cache, sys.getsizeof, math)
    }

    assert len(hashes) == 5


def test_what_names_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    function = made("def score(n, **_):\n    return score(n - 1) or LOOP\n", LOOP=loop)

    assert len(code_hash(function)) == 64


def test_a_cell_that_is_not_filled_yet_is_no_value() -> None:
    def outer() -> object:
        def inner() -> object:
            return later

        found = code_hash(inner)
        later = 1
        return found

    assert len(str(outer())) == 64
