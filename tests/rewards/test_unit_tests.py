"""The reward by unit tests: the share that a response passes, of tests in every form that rows have."""

from typing import Any

import pytest
import torch

from ppo_tune.config.rewards import UnitTestsRewardConfig
from ppo_tune.rewards import Reward, make_reward


def reward(**options: Any) -> Reward:
    return make_reward(UnitTestsRewardConfig(name="unit_tests", **options), torch.device("cpu"))


def shares(judge: Reward, responses: list[str], **row: Any) -> list[float]:
    columns = {name: [value] * len(responses) for name, value in row.items()}
    return judge(["prompt"] * len(responses), responses, columns).tolist()


ADD = "def add(a, b):\n    return a + b"
SUBTRACT = "def add(a, b):\n    return a - b"
MBPP = ["assert add(1, 2) == 3", "assert add(0, 0) == 0", "assert add(2, 2) == 4", "assert add(-1, 0) == -1"]
HUMANEVAL = """METADATA = {"author": "x"}


def check(candidate):
    ones = [1, 1]
    assert candidate(*ones) == 2
    for n in range(3):
        assert candidate(n, 0) == n
"""
PYTEST = "def test_one():\n    assert add(1, 2) == 3\n\ndef test_zero():\n    assert add(0, 0) == 0"
PAIRS = [{"input": [1, 2], "output": 3}, {"input": {"a": 1, "b": 0}, "output": 1}]


def test_a_score_is_the_share_of_the_tests_that_pass() -> None:
    assert shares(reward(), [ADD, SUBTRACT, "", "def add("], tests=MBPP) == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        ({"tests": MBPP}, {}, [1.0, 0.5]),
        ({"test_list": ["import math", *MBPP[:2]]}, {"column": "test_list"}, [1.0, 0.5]),
        ({"tests": str(MBPP)}, {}, [1.0, 0.5]),
        ({"tests": "three = 3\nassert add(1, 2) == three\nassert add(0, 0) == 0"}, {}, [1.0, 0.5]),
        ({"tests": PYTEST}, {}, [1.0, 0.5]),
        ({"tests": HUMANEVAL, "entry_point": "add"}, {"entry_point": "entry_point"}, [1.0, 0.5]),
        ({"tests": f"{HUMANEVAL}\ncheck(add)"}, {}, [1.0, 0.0]),
        ({"tests": f"{HUMANEVAL}\ncheck(add)", "entry_point": "add"}, {"entry_point": "entry_point"}, [1.0, 0.5]),
        ({"tests": HUMANEVAL + "    return True", "entry_point": "add"}, {"entry_point": "entry_point"}, [1.0, 0.0]),
        ({"tests": HUMANEVAL.replace("candidate", "f"), "f": "add"}, {"entry_point": "f"}, [1.0, 0.5]),
        ({"tests": PAIRS, "f": "add"}, {"entry_point": "f"}, [1.0, 0.5]),
        ({"tests": '{"inputs": [[1, 2], [1, 0]], "outputs": [3, 1]}', "f": "add"}, {"entry_point": "f"}, [1.0, 0.5]),
    ],
)  # fmt: skip
def test_tests_are_read_in_the_forms_that_rows_have(
    row: dict[str, Any], options: dict[str, str], expected: list[float]
) -> None:
    assert shares(reward(**options), [ADD, SUBTRACT], **row) == expected


def test_a_program_reads_inputs_and_prints_outputs() -> None:
    double, triple = "print(int(input()) * 2)", "print(int(input()) * 3)"
    pairs = [{"input": "2\n", "output": "4 \n\n"}, {"input": ["0", "7"], "output": ["0"]}]

    assert shares(reward(), [double, triple], tests=pairs) == [1.0, 0.5]


@pytest.mark.parametrize(
    "response",
    [
        f"Sure!\n```python\n{ADD}\n```\nThat is all.",
        f"```\n{ADD}\n```\n```python\nraise ValueError\n```",
        f"1. First\n\n   ```py\n   {ADD.replace(chr(10), chr(10) + '   ')}\n   ```",
        f"```python\n{ADD}",
        f" {ADD}\n",
    ],
)
def test_the_program_of_a_response_is_its_first_fence_or_all_of_it(response: str) -> None:
    assert shares(reward(), [response], tests=MBPP) == [1.0]


def test_a_response_may_go_on_with_what_the_row_begins() -> None:
    head = 'def add(a, b):\n    """Add."""\n'
    judge = reward(prefix="prompt", entry_point="entry_point")

    found = shares(
        judge, ["    return a + b", "    return a", ADD], tests=HUMANEVAL, entry_point="add", prompt=head
    )

    assert found == [1.0, 0.5, 1.0]


def test_an_expression_scores_by_the_variables_of_its_tests() -> None:
    tests = [{"input": {"a": 3, "b": 5}, "output": 8}, {"input": {"a": 2, "b": 2}, "output": 4}]
    responses = [" a + b", "a * b", "8", "```\na + b\n```", "a +", "sum ( 1 for i in range ( 999999 ) )", ""]

    found = shares(reward(language="expression"), responses, tests=tests)

    assert found == [1.0, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0]


def test_programs_of_more_than_one_process_come_in_their_order() -> None:
    tests = [{"input": {}, "output": 7}]

    found = shares(reward(language="expression"), [str(n) for n in range(200)], tests=tests)

    assert [n for n, score in enumerate(found) if score] == [7]
