"""The unit tests of a row as users have them, read and checked: statements, texts of code, pairs of input, output."""

import ast
import json
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Any

from ppo_tune.config.rewards import UnitTestsRewardConfig

Job = dict[str, Any]
"""What is asked of a runner, see `ppo_tune.programs.running`."""

FORMS = "a list of assert statements, a text of code with such, or pairs with `input` and `output`"


@dataclass(frozen=True)
class UnitTests(ABC):
    """The tests of one row."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many there are."""

    @property
    def empty(self) -> list[str]:
        """Those that name nothing, and so ask nothing of a program."""
        return []

    @abstractmethod
    def job(self, program: str, seconds: float) -> Job:
        """What to ask of a runner for a program."""

    @abstractmethod
    def passed(self, answer: Any) -> int:
        """How many a program passes, by a runner's answer."""


@dataclass(frozen=True)
class Statements(UnitTests):
    """Statements that raise nothing where a program passes.

    Attributes:
        tests: Each with whether it counts; others prepare those that do.
        function: The name of what they call `candidate`.
    """

    tests: Sequence[tuple[str, bool]]
    function: str | None

    @property
    def count(self) -> int:
        """How many count."""
        return sum(counts for _, counts in self.tests)

    @property
    def empty(self) -> list[str]:
        """Those without any name, such as `assert True`."""
        return [
            source
            for source, counts in self.tests
            if counts
            and not any(isinstance(node, ast.Name) for one in _parsed(source) for node in ast.walk(one))
        ]

    def job(self, program: str, seconds: float) -> Job:
        """To run them beside the program."""
        job = {"tests": self.tests, "function": self.function}
        return {"kind": "statements", "program": program, "seconds": seconds, **job}

    def passed(self, answer: Any) -> int:
        """How many raised nothing."""
        return sum(answer)


@dataclass(frozen=True)
class Pairs(UnitTests):
    """Inputs with the outputs that a program must give, which it never sees."""

    inputs: Sequence[Any]
    outputs: Sequence[Any]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.inputs)

    def passed(self, answer: Any) -> int:
        """How many outputs are the right ones."""
        return sum(map(self.is_same, answer, self.outputs))

    def is_same(self, found: Any, wanted: Any) -> bool:
        """Whether an output is the right one."""
        return bool(found == wanted)


@dataclass(frozen=True)
class Calls(Pairs):
    """Arguments of a function with what it must return."""

    function: str

    def job(self, program: str, seconds: float) -> Job:
        """To call the function."""
        job = {"function": self.function, "inputs": self.inputs}
        return {"kind": "calls", "program": program, "seconds": seconds, **job}

    def is_same(self, found: Any, wanted: Any) -> bool:
        """Whether they are equal, decimal numbers to nine digits."""
        try:
            return found is not None and _equal(json.loads(found), wanted)
        except (ValueError, RecursionError, OverflowError):  # a whole number beyond every decimal one
            return False


@dataclass(frozen=True)
class Scripts(Pairs):
    """Texts that a program reads with those that it must print."""

    def job(self, program: str, seconds: float) -> Job:
        """To run the program on each."""
        return {"kind": "scripts", "program": program, "seconds": seconds, "inputs": self.inputs}

    def is_same(self, found: Any, wanted: Any) -> bool:
        """Whether their lines are equal, but for spaces and empty lines at their ends."""
        return found is not None and _lines(found) == _lines(wanted)


@dataclass(frozen=True)
class Expressions(Pairs):
    """Variables with the value that an expression must have."""

    def job(self, program: str, seconds: float) -> Job:
        """To evaluate the expression for each."""
        return {"kind": "expressions", "programs": [program], "inputs": [self.inputs], "seconds": seconds}


class NoColumnError(ValueError):
    """A row lacks a column that a reward names."""


def tests_of(config: UnitTestsRewardConfig, columns: Mapping[str, Any]) -> UnitTests:
    """The tests of a row, in the columns that a reward names.

    Raises:
        NoColumnError: If it has no such column.
        ValueError: If it has no tests, or of another form.
    """
    for option, name in config.columns.items():
        if name not in columns:
            found = ", ".join(name for name in columns if name != "references") or "none"
            raise NoColumnError(f"there is no column {name!r}; the row has {found}; name it by `{option}`")
        if option in ("entry_point", "prefix") and not isinstance(columns[name], str):
            raise ValueError(f"column {name!r} must hold text, but got {columns[name]!r}")
    value = columns[config.column]
    if is_empty(value):
        raise ValueError(f"column {config.column!r} holds no tests")
    name = config.column
    try:
        if config.language == "expression":
            return read_expression_tests(value)
        tests = read_python_tests(value, columns[config.entry_point] if config.entry_point else None)
        if config.setup is None or is_empty(columns[config.setup]):
            return tests
        if not isinstance(tests, Statements):
            raise ValueError("must hold statements where setup names what runs before them, but got pairs")
        name = config.setup
        return replace(tests, tests=[*_of_setup(columns[name]), *tests.tests])
    except ValueError as error:
        raise ValueError(f"column {name!r} {error}") from None


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing."""
    return value is None or value in ("", [], {})


def _of_setup(value: Any) -> list[tuple[str, bool]]:
    value = _decoded(value)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"must hold a text of Python or a list of such, but got {_short(value)}")
    for text in texts:
        _parsed(text, "a text of Python or a list of such")
    return [(text, False) for text in texts]


def together(jobs: Sequence[Job]) -> Job:
    """Several expressions as one job, whose answer is the list of theirs."""
    joined = {name: [one for job in jobs for one in job[name]] for name in ("programs", "inputs")}
    return {"kind": "expressions", "seconds": sum(job["seconds"] for job in jobs), **joined}


def read_expression_tests(value: Any) -> UnitTests:
    """The tests of an expression.

    Raises:
        ValueError: If they have another form; says which they must have.
    """
    rule = 'must hold a list of {"input": {"a": 3}, "output": 8}, of whole numbers'
    pairs = _pairs_of(_decoded(value))
    if pairs is None:
        raise ValueError(f"{rule}, but got {_short(value)}")
    pairs = [(_given(given), wanted) for given, wanted in pairs]
    for given, wanted in pairs:
        names = isinstance(given, Mapping) and all(_is_name(name) for name in given)
        if not names or not all(isinstance(number, int) for number in (*given.values(), wanted)):
            raise ValueError(f"{rule}, but got {_short({'input': given, 'output': wanted})}")
    return Expressions([given for given, _ in pairs], [wanted for _, wanted in pairs])


def read_python_tests(value: Any, function: str | None) -> UnitTests:
    """The tests of a program in Python.

    Args:
        value: What the row's column holds; a text that is a list or object of JSON, or a list of Python, as that.
        function: The name of the function that is tested, where the row has one.

    Raises:
        ValueError: If they have another form; says which they must have.
    """
    value = _decoded(value)
    pairs = _pairs_of(value)
    if pairs is not None:
        return _calls(pairs, function) if function is not None else _scripts(pairs)
    if isinstance(value, str):
        tests = [*_of_text(_parsed(value), function)]
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        tests = [(item, _asserts(*_parsed(item))) for item in value]
    else:
        raise ValueError(f"must hold {FORMS}, but got {_short(value)}")
    if not any(counts for _, counts in tests):
        if any(source.startswith("def check(") for source, _ in tests):
            raise ValueError(
                f"must hold {FORMS}, but what calls check(…) is missing in {_short(value)}; name the column of the "
                "function that it is given by entry_point"
            )
        raise ValueError(f"must hold {FORMS}, but there is no assert statement in {_short(value)}")
    return Statements(tests, function)


def _of_text(body: Sequence[ast.stmt], function: str | None) -> Iterator[tuple[str, bool]]:
    """The statements of a text, each with whether it is a test.

    Of `check(candidate)`, as HumanEval has it, each statement with an assert is one; of functions named test… each.
    """
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == "check" and len(node.args.args) == 1:
            yield from _of_check(node, function)
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test") and not node.args.args:
            yield ast.unparse(node), False
            yield f"{node.name}()", True
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield ast.unparse(node), False
        elif not (_calls_check(node) and function is not None):
            yield ast.unparse(node), _asserts(node) or _calls_check(node)


def _of_check(check: ast.FunctionDef, function: str | None) -> Iterator[tuple[str, bool]]:
    yield ast.unparse(check), False
    if function is None:  # the text may call it
        return
    if any(isinstance(node, ast.Return) for node in ast.walk(check)):
        yield "check(candidate)", True
        return
    if (name := check.args.args[0].arg) != "candidate":
        yield f"{name} = candidate", False
    for node in check.body:
        yield ast.unparse(node), _asserts(node)


def _calls_check(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="check"))):
            return True
    return False


def _asserts(*nodes: ast.stmt) -> bool:
    return any(isinstance(inner, ast.Assert) for node in nodes for inner in ast.walk(node))


def _parsed(source: str, forms: str = FORMS) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tests are others'
            return ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"must hold {forms}, but {_short(source)} is no Python: {_without_file(error)}"
        ) from None


def _without_file(error: Exception) -> str:
    """What Python says of a text, with the line but without the name of a file, which there is none."""
    if not isinstance(error, SyntaxError):
        return str(error)
    return error.msg if error.lineno is None else f"{error.msg} (line {error.lineno})"


def _calls(pairs: Sequence[tuple[Any, Any]], function: str) -> Calls:
    try:
        plain = json.loads(json.dumps(pairs))
    except (TypeError, ValueError) as error:
        raise ValueError(f"must hold pairs of what JSON can hold, but: {error}") from None
    inputs = [given if isinstance(given, list | dict) else [given] for given, _ in plain]
    return Calls(inputs, [wanted for _, wanted in plain], function)


def _scripts(pairs: Sequence[tuple[Any, Any]]) -> Scripts:
    texts = [(_text_of(given), _text_of(wanted)) for given, wanted in pairs]
    for pair, (given, wanted) in zip(pairs, texts, strict=True):
        if given is None or wanted is None:
            raise ValueError(
                "must hold pairs of texts, which a program reads and prints, unless entry_point names the column of "
                f"the function to call, but got {_short(dict(zip(('input', 'output'), pair, strict=True)))}"
            )
    return Scripts([given for given, _ in texts], [wanted for _, wanted in texts])


def _text_of(value: Any) -> str | None:
    """A text, or one of lines; None for anything else."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def _pairs_of(value: Any) -> list[tuple[Any, Any]] | None:
    """Pairs of input and output, given one by one or as two lists of equal length; None for anything else.

    Raises:
        ValueError: If a pair lacks one of them.
    """
    for given, wanted in (("input", "output"), ("inputs", "outputs")):
        match value:
            case [dict(), *_] if any(isinstance(one, dict) and given in one for one in value):
                for one in value:
                    if not isinstance(one, dict) or not {given, wanted} <= one.keys():
                        raise ValueError(
                            f"must hold pairs with `{given}` and `{wanted}`, but got {_short(one)}"
                        )
                return [(one[given], one[wanted]) for one in value]
            case dict() if {given, wanted} <= value.keys():
                both = value[given], value[wanted]
                if all(isinstance(many, list) for many in both) and len(both[0]) != len(both[1]):
                    raise ValueError(
                        f"must hold as many outputs as inputs, but got {len(both[0])} inputs and {len(both[1])} outputs"
                    )
                if all(isinstance(many, list) for many in both) and both[0]:
                    return [*zip(*both, strict=True)]
    return None


def _decoded(value: Any) -> Any:
    """A text that is a list or object of JSON, or a list of Python, as that; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            return read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _given(variables: Any) -> Any:
    """Those variables that a row gives: a table whose rows give others says None for the rest."""
    if not isinstance(variables, Mapping):
        return variables
    return {name: value for name, value in variables.items() if value is not None}


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not iskeyword(name)


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_equal, found, wanted))
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_equal(found[key], wanted[key]) for key in wanted)
    if isinstance(found, float) or isinstance(wanted, float):
        numbers = isinstance(found, int | float) and isinstance(wanted, int | float)
        return numbers and math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
    return bool(found == wanted)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
