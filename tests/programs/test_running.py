"""Programs that would do harm, cheat or never end: each scores what it earned, costs its limit and loses nothing."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.programs.runners import Protection, Runner

ADD = "def add(a, b):\n    return a + b\n"
TESTS = ("assert add(1, 2) == 3", "assert add(1, 1) == 3", "assert add(0, 0) == 0")
SECONDS = 0.1


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    found = Runner(memory_mb=128)
    yield found
    found.close()


@pytest.fixture(
    scope="module",
    params=[Protection(True, True), Protection(True, False), Protection(False, True)],
    ids=["isolated and filtered", "isolated", "filtered"],
)
def any_runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """One protected in each way that systems grant, as far as this one does."""
    found = Runner(memory_mb=128, most=request.param)
    if found.protection != request.param:
        pytest.skip("not granted by this system")
    yield found
    found.close()


def passed(runner: Runner, program: str, *tests: str, function: str | None = None) -> Any:
    job = {"tests": [(test, True) for test in tests or TESTS], "function": function}
    return runner.answer({"kind": "statements", "program": program, "seconds": SECONDS, **job})


def test_each_test_of_a_program_passes_or_fails_on_its_own(runner: Runner) -> None:
    assert passed(runner, ADD) == [True, False, True]


REACHES = {
    "a fork": "import os\nos.fork()\nwhile True:\n    pass",
    "a fork bomb": "import os\ntry:\n    while True:\n        os.fork()\nfinally:\n    os._exit(0)",
    "our package": "import ppo_tune",
    "a module of ours": "from ppo_tune.programs import running",
    "another process": "import subprocess\nsubprocess.run(['true'])",
    "another program": "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'pass'])",
    "killing its parent": "import os\nos.kill(os.getppid(), 9)\nos._exit(0)",
    "killing all": "import os\nos.kill(-1, 9)\nos._exit(0)",
    "stopping its group": "import os\nos.killpg(0, 19)",
    "the network": "import socket\nsocket.create_connection(('127.0.0.1', 9))",
    "a thread that does not end": "import os, threading\ndef loop():\n    while True:\n        pass\n"
    "threading.Thread(target=loop).start()\nos._exit(0)",
}

ENDS = {
    "exit code 0": "import os\nos._exit(0)",
    "sys.exit": "import sys\nsys.exit()",
    "SystemExit": "raise SystemExit(0)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "no Python": "def add(a, b) return a + b",
    "nothing": "",
    "NUL": "\0",
    "half a character": "add = '\ud800'",
    "standard input": "add = input()",
    "all of standard input": "import sys\nadd = sys.stdin.read()\nassert not add",
    "a fake report": "print('passed')\nprint([True, True, True])",
    "deep recursion": "def add(a, b):\n    return add(a, b)",
    "deeper recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef add(a, b):\n    return add(a, b)",
    "a memory bomb at once": "add = [0] * 10**10",
    "a memory bomb": "add = []\nwhile True:\n    add.append('a' * 10**7)",
    "a crash": "import ctypes\nctypes.string_at(0)",
    "sleeping": "import time\ntime.sleep(100)",
    "waiting": "import signal\nsignal.pause()",
    "huge output": "while True:\n    print('x' * 10**6)",
    "a socket": "import socket\nsocket.socket()",
    "an endless loop": "while True:\n    pass",
    "an endless loop that hears no signal": "import signal\nfor i in range(1, 64):\n    try:\n        signal.signal(i, "
    "signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\nwhile True:\n    pass",
    "waiting for itself": "import os\nos.waitpid(-1, 0)",
    "a dead lock": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "more time": "import signal\nsignal.setitimer(signal.ITIMER_PROF, 0)",
    "more memory": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "no limits": "import ctypes\nif ctypes.CDLL(None).prctl(22, 0, 0, 0, 0):\n    raise OSError",
}


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_a_program_that_never_comes_to_its_tests_passes_none(program: str, runner: Runner) -> None:
    begun = time.monotonic()

    assert passed(runner, program) == [False, False, False]
    assert (
        time.monotonic() - begun < 8
    )  # four times its seconds or a whole second, on a machine of others too
    assert passed(runner, ADD) == [True, False, True]


@pytest.mark.parametrize("program", REACHES.values(), ids=REACHES)
def test_a_program_reaches_nobody_else(program: str, any_runner: Runner) -> None:
    begun = time.monotonic()

    assert passed(any_runner, program) == [False, False, False]
    assert time.monotonic() - begun < 8
    assert passed(any_runner, ADD) == [True, False, True]


FORGERIES = {
    "says that it passed": "import os\nfor i in range(64):\n    try:\n        os.write(i, b'True\\n1\\npassed\\n')\n"
    "    except OSError:\n        pass",
    "leaves within a test": "import os\ndef add(a, b):\n    os._exit(0)",
    "exits within a test": "def add(a, b):\n    raise SystemExit(0)",
    "closes what it could be heard by": "import os\nos.closerange(0, 64)\n" + ADD,
    "loops behind what it closed": "import os\nos.closerange(0, 64)\nwhile True:\n    pass",
    "ends what runs after it": "import atexit\natexit.register(print, 'passed')\nraise AssertionError",
}


@pytest.mark.parametrize("program", FORGERIES.values(), ids=FORGERIES)
def test_no_program_passes_by_saying_so(program: str, runner: Runner) -> None:
    assert passed(runner, program) == [False, False, False]


def test_tests_that_were_passed_before_the_time_was_up_count(runner: Runner) -> None:
    program = "def add(a, b):\n    while (a, b) == (1, 1):\n        pass\n    return a + b"

    assert passed(runner, program) == [True, False, False]


HARM = {
    "delete": "import os\nos.remove({path!r})",
    "delete all": "import shutil\nshutil.rmtree({folder!r}, ignore_errors=True)",
    "write": "open({path!r}, 'w').write('gone')",
    "append": "open({path!r}, 'a').write('more')",
    "empty": "import os\nos.truncate({path!r}, 0)",
    "rename": "import os\nos.rename({path!r}, {path!r} + '.old')",
    "link": "import os\nos.link({path!r}, {path!r} + '.link')",
    "make": "import os\nos.mkdir({folder!r} + '/new')",
    "make a file": "import os\nos.open({folder!r} + '/new', os.O_CREAT)",
    "forbid": "import os\nos.chmod({path!r}, 0)",
    "date": "import os\nos.utime({path!r}, (0, 0))",
}


@pytest.mark.parametrize("program", HARM.values(), ids=HARM)
def test_the_users_files_stay_as_they_are(program: str, any_runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "precious.txt"
    file.write_text("precious", encoding="utf-8")
    before = file.stat()

    passed(any_runner, program.format(path=str(file), folder=str(tmp_path)))

    assert [*tmp_path.iterdir()] == [file]
    assert file.read_text(encoding="utf-8") == "precious"
    assert (file.stat().st_mode, file.stat().st_mtime) == (before.st_mode, before.st_mtime)


def test_a_program_sees_nothing_of_ours(runner: Runner) -> None:
    program = "import os, sys\nseen = [*os.environ], sys.path, os.listdir('.')"
    tests = (
        "assert seen[0] == ['PYTHONHASHSEED', 'LC_ALL']",
        "assert not seen[2]",
        "import ppo_tune.errors",
        "import numpy",
    )

    assert passed(runner, program, *tests) == [True, True, False, False]


def test_programs_share_nothing(runner: Runner) -> None:
    passed(runner, "import builtins\nbuiltins.shared = 1\nimport math\nmath.pi = 3")

    assert passed(runner, "", "assert shared", "import math\nassert math.pi == 3") == [False, False]


def test_a_program_that_draws_numbers_or_hashes_text_does_so_the_same_twice(runner: Runner) -> None:
    program = "import random\ndef drawn(_):\n    return [random.random(), hash('a'), [*{'a', 'b', 'c', 'd'}]]"
    job = {"kind": "calls", "program": program, "function": "drawn", "inputs": [[0]], "seconds": SECONDS}
    other = Runner(memory_mb=128)

    assert runner.answer(job) == runner.answer(job) == other.answer(job)
    other.close()


def test_check_is_given_the_function_that_is_named(runner: Runner) -> None:
    assert passed(runner, ADD, "assert candidate(1, 2) == 3", function="add") == [True]
    assert passed(runner, ADD, "assert True", function="subtract") == [False]


def test_a_call_returns_what_json_can_hold(runner: Runner) -> None:
    program = "def f(x, y=0):\n    return {1: x + y} if x else {x}"
    inputs = [[1, 2], {"x": 3}, [0], [None, 1], []]

    found = runner.answer(
        {"kind": "calls", "program": program, "function": "f", "inputs": inputs, "seconds": SECONDS}
    )

    assert found == ['{"1": 3}', '{"1": 3}', None, None, None]


def test_the_first_that_is_said_of_a_call_counts(runner: Runner) -> None:
    program = "import os\ndef f(x):\n    os.write(3, b'0 1\\n0 2\\n0 3\\n')\n    return 3"
    job = {"kind": "calls", "program": program, "function": "f", "inputs": [[0]], "seconds": SECONDS}

    assert runner.answer(job) == ["1"]


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "1", "00", "٠", "0x0", "²"])
def test_what_is_said_of_no_call_is_nothing(number: str, runner: Runner) -> None:
    program = f"import os\nos.write(3, {number!r}.encode() + b' 1\\n')\ndef f(x):\n    return 3"
    job = {"kind": "calls", "program": program, "function": "f", "inputs": [[0]], "seconds": SECONDS}

    assert runner.answer(job) == ["3"]


def test_a_script_is_run_once_for_each_input(runner: Runner) -> None:
    program = (
        "import sys\nn = int(input())\nif n < 0:\n    sys.exit(1)\nprint(n * 2)\nif n > 9:\n    sys.exit(0)\n"
    )
    inputs = ["3\n", "10", "-1", "x", ""]

    found = runner.answer({"kind": "scripts", "program": program, "inputs": inputs, "seconds": SECONDS})

    assert found == ["6\n", "20\n", None, None, None]


def test_a_script_that_loops_leaves_no_time_for_what_is_after_it(runner: Runner) -> None:
    program = "while input() == 'loop':\n    while True:\n        pass\nprint(1)"
    job = {"kind": "scripts", "program": program, "inputs": ["x", "loop", "x"], "seconds": SECONDS}

    assert runner.answer(job) == ["1\n", None, None]


def test_expressions_in_one_process_are_evaluated_each_for_its_variables(runner: Runner) -> None:
    programs = ["a + b", "a +", "sum ( i for i in range ( a * 10000 ) )"]
    inputs = [[{"a": 1, "b": 2}, {"a": 1}]] * 3

    found = runner.answer({"kind": "expressions", "programs": programs, "inputs": inputs, "seconds": 2.0})

    assert found == [[3, None], [None, None], [None, None]]


def test_a_runner_ends_with_what_it_serves() -> None:
    runner = Runner(memory_mb=128)
    process = runner._process.pid

    del runner

    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
