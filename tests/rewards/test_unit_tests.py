"""The reward by unit tests: the share that a response passes, of tests in every form that rows have."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from ppo_tune.config.rewards import UnitTestsRewardConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.errors import ConfigError, DataError, RewardError
from ppo_tune.programs.runners import Protection, Runner, Runners, runners
from ppo_tune.rewards import Reward, check_reward, make_reward


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
        f"```javascript\nfoo\n```\nor, in Python:\n```Python\n{ADD}\n```",
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


IMPORTS = "from math import floor\n\ndef helper():\n    return 0\n\n"
HEAD = '@staticmethod\ndef add(a, b):\n    """Add.\n\ndef add as one does."""\n'
NEW = "\n"
WHOLE = "def add(a, b):\n    return floor(a + b + helper())"


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (f"Here:\n```python\n{WHOLE}\n```", 1.0),
        (f"```python\nimport os\n\n{WHOLE}\n```\n```python\nadd(1, 2)\n```", 1.0),
        ("```python\n    return floor(a + b)\n```", 1.0),
        ("1. So:\n\n   ```py\n       return floor(a + b)\n   ```", 1.0),
        (f"1. So:\n\n   ```py\n   {WHOLE.replace(NEW, NEW + '   ')}\n   ```", 1.0),
        ("    return floor(a + b)", 1.0),
        ("```python\n    def add(a, b):\n        return a + b\n    return add(a, b)\n```", 1.0),
        ("```python\ndef other(a, b):\n    return a + b\n```", 0.0),
        ("```python\ndef add(a, b):\n    return a +\n```", 0.0),
        (f"```python\n{WHOLE.replace('+ b', '')}\n```", 0.5),
    ],
    ids=[
        "whole",
        "with imports",
        "a body",
        "a body in a list",
        "in a list",
        "bare",
        "a body with a function",
        "another",
        "broken",
        "wrong",
    ],
)
def test_a_block_that_defines_what_the_row_begins_takes_its_place_behind_what_stands_above(
    response: str, expected: float
) -> None:
    judge = reward(prefix="prompt", entry_point="entry_point")

    assert shares(judge, [response], tests=HUMANEVAL, entry_point="add", prompt=IMPORTS + HEAD) == [expected]


def test_an_expression_scores_by_the_variables_of_its_tests() -> None:
    tests = [{"input": {"a": 3, "b": 5}, "output": 8}, {"input": {"a": 2, "b": 2}, "output": 4}]
    responses = [" a + b", "a * b", "8", "```\na + b\n```", "a +", "sum ( 1 for i in range ( 999999 ) )", ""]

    found = shares(reward(language="expression"), responses, tests=tests)

    assert found == [1.0, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0]


def test_an_expression_of_too_many_parts_costs_its_neighbours_nothing() -> None:
    tests = [{"input": {"a": 3}, "output": 3}]

    found = shares(reward(language="expression"), ["a" + ".b" * 900, "a", "max ( a , 1 )"], tests=tests)

    assert found == [0.0, 1.0, 1.0]


def test_programs_of_more_than_one_process_come_in_their_order() -> None:
    tests = [{"input": {}, "output": 7}]

    found = shares(reward(language="expression"), [str(n) for n in range(200)], tests=tests)

    assert [n for n, score in enumerate(found) if score] == [7]


def checked(*rows: dict[str, Any], **options: Any) -> list[str]:
    config = UnitTestsRewardConfig(name="unit_tests", **options)
    prompts = [Prompt("p", row, f"rows.jsonl:{line}") for line, row in enumerate(rows, start=1)]
    return check_reward(config, "task.reward", prompts, 32)


@pytest.mark.parametrize(
    ("row", "options", "why"),
    [
        ({"prompt": "p", "references": []}, {}, "there is no column 'tests'; the row has prompt; name it by `column`"),
        ({}, {"column": "test_list"}, "there is no column 'test_list'; the row has none; name it by `column`"),
        ({"tests": MBPP}, {"entry_point": "f"}, "there is no column 'f'; the row has tests; name it by `entry_point`"),
        ({"tests": MBPP}, {"prefix": "head"}, "there is no column 'head'; the row has tests; name it by `prefix`"),
        ({"tests": MBPP, "f": 3}, {"entry_point": "f"}, "column 'f' must hold text, but got 3"),
        ({"tests": MBPP}, {"setup": "s"}, "there is no column 's'; the row has tests; name it by `setup`"),
        ({"tests": MBPP, "s": 3}, {"setup": "s"}, "column 's' must hold a text of Python or a list of such, but got 3"),
        ({"tests": MBPP, "s": ["import math", None]}, {"setup": "s"}, "column 's' must hold a text of Python or a list "
         "of such, but got ['import math', None]"),
        ({"tests": MBPP, "s": "import"}, {"setup": "s"}, "column 's' must hold a text of Python or a list of such, but "
         "'import' is no Python: invalid syntax (line 1)"),
        ({"tests": {"inputs": ["1"], "outputs": ["1"]}, "s": "x = 1"}, {"setup": "s"}, "column 'tests' must hold "
         "statements where setup names what runs before them, but got pairs"),
        ({"tests": {"inputs": ["1", "2"], "outputs": ["1"]}}, {}, "column 'tests' must hold as many outputs as inputs, "
         "but got 2 inputs and 1 outputs"),
        ({"tests": [{"input": "1", "output": "1"}, {"input": "2"}]}, {}, "column 'tests' must hold pairs with `input` "
         "and `output`, but got {'input': '2'}"),
        ({"tests": None}, {}, "column 'tests' holds no tests"),
        ({"tests": []}, {}, "column 'tests' holds no tests"),
        ({"tests": ""}, {}, "column 'tests' holds no tests"),
        ({"tests": 5}, {}, "column 'tests' must hold a list of assert statements, a text of code with such, or pairs "
         "with `input` and `output`, but got 5"),
        ({"tests": 5}, {"language": "expression"}, "column 'tests' must hold a list of {\"input\": {\"a\": 3}, "
         '"output": 8}, of whole numbers, but got 5'),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_judged_is_refused_by_its_line(
    row: dict[str, Any], options: dict[str, str], why: str
) -> None:
    good: dict[str, Any] = {"tests": MBPP, "test_list": MBPP, "f": "add", "head": "", "s": None}
    if options.get("language"):
        good["tests"] = [{"input": {}, "output": 1}]

    with pytest.raises(DataError) as error:
        checked(good, row, **options)

    way_out = (
        "" if "there is no column" in why else "; mend the row, or drop such rows with drop_bad_rows: true"
    )
    assert str(error.value) == f"rows.jsonl:2: task.reward: {why}{way_out}"


def test_what_a_check_refuses_is_never_scored() -> None:
    with pytest.raises(RewardError) as error:
        shares(reward(), [ADD], tests=None)

    assert str(error.value) == (
        "reward unit_tests: column 'tests' holds no tests, for prompt 'prompt', "
        "response 'def add(a, b):\\n    return a + b'"
    )


CLOSE = ["assert math.isclose(add(0.1, 0.2), 0.3)", "assert math.isclose(add(1, 1), 3)"]


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("import math", 0.5),
        (["import math"], 0.5),
        ("['import math', 'x = 1']", 0.5),  # as a csv of MBPP has it
        ('["import math"]', 0.5),
        (None, 0.0),
        ("", 0.0),
        ([], 0.0),
        (["import math", "raise ValueError"], 0.5),
        ("import nothing_of_the_kind", 0.0),
    ],
)
def test_what_runs_before_the_tests_is_named_by_setup_and_counts_as_none(setup: Any, expected: float) -> None:
    assert shares(reward(setup="test_imports"), [ADD], tests=CLOSE, test_imports=setup) == [expected]


def test_what_mbpp_runs_before_its_tests_is_named_where_no_option_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runners(256), "protection", Protection(isolated=True, filtered=True))
    rows: list[dict[str, Any]] = [
        {"tests": MBPP, "test_imports": []},
        {"tests": CLOSE, "test_imports": ["import math"]},
    ]

    assert checked(*rows) == [
        "task.reward: rows have code in column 'test_imports', which runs before the tests of MBPP, and not here; name "
        "it by setup: test_imports"
    ]
    assert checked(*rows, setup="test_imports") == []
    assert checked(rows[0]) == []


def test_a_system_without_forks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.fork")
    monkeypatch.setattr("sys.platform", "win32")

    with pytest.raises(ConfigError) as error:
        checked({"tests": MBPP})

    assert str(error.value) == (
        "task.reward: programs are run in forks of a process, which win32 does not make; search on Linux, such as in "
        "WSL or a container"
    )


@pytest.mark.parametrize(
    ("protection", "told"),
    [
        (Protection(isolated=True, filtered=True), None),
        (Protection(isolated=True, filtered=False), None),
        (
            Protection(isolated=False, filtered=True),
            "unit tests: programs can write no file, start no process and use no network, but read the files of this "
            "account, for this system grants it no namespaces",
        ),
        (
            Protection(isolated=False, filtered=False),
            "unit tests: programs are limited in time and memory alone: they can change the files of this account and "
            "use the network, for this system grants it neither namespaces nor a filter of system calls; judge those "
            "that you do not trust in a container",
        ),
    ],
)
def test_what_programs_are_not_kept_from_is_told(
    protection: Protection, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners(256), "protection", protection)

    assert checked({"tests": MBPP}) == ([] if told is None else [told])


@pytest.mark.parametrize(
    ("rows", "n"),
    [
        ([MBPP, [*MBPP, "assert True"], ["assert 1 == 1", *MBPP]], "2 tests name"),
        ([MBPP, f"def test_it():\n    assert add(0, 0) == 0\n\nassert True\n{MBPP[0]}"], "1 test names"),
        ([MBPP, PYTEST], ""),
    ],
    ids=["of lists", "of a text", "none"],
)
def test_tests_that_name_nothing_are_counted_with_the_first(
    rows: list[Any], n: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners(256), "protection", Protection(isolated=True, filtered=True))
    told = f"task.reward: {n} nothing, so every program that loads passes, the first 'assert True' (rows.jsonl:2)"

    assert checked(*({"tests": tests} for tests in rows)) == ([told] if n else [])


@pytest.mark.parametrize("option", ["entry_point", "prefix", "setup"])
def test_an_expression_has_no_function_head_or_setup(option: str) -> None:
    with pytest.raises(
        ValidationError, match=f"an expression has no function, head or setup; leave out {option}"
    ):
        UnitTestsRewardConfig.model_validate({"name": "unit_tests", "language": "expression", option: "x"})


def test_programs_that_are_the_same_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    answers = Runners.answers

    def counted(self: Runners, jobs: list[Any]) -> list[Any]:
        asked.append(len(jobs))
        return answers(self, jobs)

    monkeypatch.setattr(Runners, "answers", counted)

    assert shares(reward(), [ADD, SUBTRACT, f"```\n{ADD}\n```", ADD], tests=MBPP) == [1.0, 0.5, 1.0, 1.0]
    assert asked == [2]


def test_a_program_that_takes_a_runner_along_scores_nothing_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = Runner.answer
    monkeypatch.setattr(
        Runner, "answer", lambda self, job: None if "deadly" in job["program"] else answer(self, job)
    )

    assert shares(reward(), [ADD, "deadly", ADD], tests=MBPP) == [1.0, 0.0, 1.0]
