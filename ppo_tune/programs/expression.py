"""The language of expressions: a small, strict part of Python's, whose programs always end.

A program is one expression over integers and the variables that its test gives:

    expression  =  choice
    choice      =  or_test [ "if" or_test "else" choice ]
    or_test     =  and_test { "or" and_test }
    and_test    =  not_test { "and" not_test }
    not_test    =  "not" not_test  |  comparison
    comparison  =  sum { ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) sum }
    sum         =  term { ( "+" | "-" ) term }
    term        =  factor { ( "*" | "//" | "%" ) factor }
    factor      =  "-" factor  |  INTEGER  |  NAME  |  "(" expression ")"  |  call
    call        =  "abs" "(" expression ")"
                |  ( "min" | "max" ) "(" expression "," expression { "," expression } ")"
                |  "sum" "(" expression "for" NAME "in" "range" "(" expression ")" ")"

What an expression means in Python it means here, and True and False are 1 and 0: `a if a < b else b`,
`max ( a , b ) - min ( a , b )`, and as a bounded loop `sum ( i * i for i in range ( n ) )`. Spaces between tokens are
free, so a tokenizer of whole words can write it. A program takes `MOST_STEPS` steps at most, a number is at most
`LARGEST` in size, parts are nested `DEEPEST` deep at most, and a text has `LONGEST` characters at most; beyond that it
ends by an error.

The text is read by Python's own parser and evaluated here; nothing of it is compiled or run.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MOST_STEPS = 10_000
"""Operators, numbers and names that are evaluated; those within a sum count at each turn."""

LARGEST = 10**15
"""The largest size of a number, on the way too."""

DEEPEST = 100
"""Parts within one another."""

LONGEST = 2_000
"""Characters of a program."""

ARITHMETIC: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}

COMPARISONS: Mapping[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}

FUNCTIONS: Mapping[str, tuple[Callable[..., int], int, int]] = {
    "abs": (abs, 1, 1),
    "min": (min, 2, LONGEST),
    "max": (max, 2, LONGEST),
}
"""Each with the fewest and the most arguments."""


class ProgramError(Exception):
    """A program is none of the language, or ends by a limit or by dividing by zero; says which."""


def evaluate(program: str, variables: Mapping[str, int]) -> int:
    """The value of an expression.

    Args:
        program: Its text.
        variables: What its names stand for.

    Raises:
        ProgramError: If it has no value: it is no expression of the language, names what is not given, divides by
            zero, or passes a limit.
    """
    return parse(program)(variables)


def parse(program: str) -> "Expression":
    """An expression, read once and evaluated for any variables.

    Raises:
        ProgramError: If it is none of the language.
    """
    if len(program) > LONGEST:
        raise ProgramError(f"a program has at most {LONGEST:,} characters, but this one has {len(program):,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Python would warn about, such as `1 if`
            return Expression(ast.parse(program.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise ProgramError(f"no expression: {getattr(error, 'msg', error)}") from None
    except (RecursionError, MemoryError):
        raise ProgramError("no expression: too many nested parts") from None


@dataclass(frozen=True)
class Expression:
    """A parsed expression; call it with its variables.

    Attributes:
        tree: As Python's parser reads it.
    """

    tree: ast.expr

    def __call__(self, variables: Mapping[str, int]) -> int:
        """Its value.

        Raises:
            ProgramError: If it has none.
        """
        return int(_Evaluation(dict(variables)).of(self.tree))


class _Evaluation:
    """One evaluation, which counts its steps.

    Args:
        variables: What names stand for; a sum adds its own while it runs.
    """

    def __init__(self, variables: dict[str, int]) -> None:
        self.variables = variables
        self.steps = self.depth = 0

    def of(self, node: ast.expr) -> int:
        """The value of a part."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise ProgramError(f"it takes more than {MOST_STEPS:,} steps")
        if self.depth == DEEPEST:
            raise ProgramError(f"more than {DEEPEST} parts are nested")
        self.depth += 1
        value = self.at(node)
        self.depth -= 1
        return value

    def at(self, node: ast.expr) -> int:
        """The value of a part by its kind."""
        match node:
            case ast.Constant(value=int() as number):
                return self.sized(number)
            case ast.Name(id=name):
                return self.variable(name)
            case ast.UnaryOp():
                return self.unary(node)
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.BoolOp():
                return self.logic(node)
            case ast.Compare():
                return self.comparison(node)
            case ast.IfExp(test=test, body=then, orelse=other):
                return self.of(then if self.of(test) else other)
            case ast.Call():
                return self.call(node)
        raise _foreign(node)

    def variable(self, name: str) -> int:
        """What a name stands for."""
        if name not in self.variables:
            raise ProgramError(f"there is no variable {name!r}")
        return self.variables[name]

    def unary(self, node: ast.UnaryOp) -> int:
        """A number with its sign turned, or a truth turned around."""
        match node.op:
            case ast.USub():
                return -self.of(node.operand)
            case ast.Not():
                return not self.of(node.operand)
        raise _foreign(node)

    def arithmetic(self, node: ast.BinOp) -> int:
        """Two numbers made one."""
        calculate = ARITHMETIC.get(type(node.op))
        if calculate is None:
            raise _foreign(node)
        try:
            return self.sized(calculate(self.of(node.left), self.of(node.right)))
        except ZeroDivisionError:
            raise ProgramError(f"`{_source(node)}` divides by zero") from None

    def logic(self, node: ast.BoolOp) -> int:
        """The first value that decides, as in Python."""
        wanted = isinstance(node.op, ast.Or)
        value = 0
        for part in node.values:
            value = self.of(part)
            if bool(value) is wanted:
                break
        return value

    def comparison(self, node: ast.Compare) -> int:
        """Whether each neighbour compares as it should; the first that does not ends it."""
        left = self.of(node.left)
        for symbol, part in zip(node.ops, node.comparators, strict=True):
            compare = COMPARISONS.get(type(symbol))
            if compare is None:
                raise _foreign(node)
            right = self.of(part)
            if not compare(left, right):
                return False
            left = right
        return True

    def sum(self, each: ast.GeneratorExp) -> int:
        """A sum over a range."""
        match each.generators:
            case [
                ast.comprehension(
                    target=ast.Name(id=name),
                    iter=ast.Call(func=ast.Name(id="range"), args=[end], keywords=[]),
                    ifs=[],
                    is_async=0,
                )
            ]:
                before, total = dict(self.variables), 0
                for turn in range(self.of(end)):
                    self.variables[name] = turn
                    total = self.sized(total + self.of(each.elt))
                self.variables = before
                return total
        raise _foreign(each)

    def call(self, node: ast.Call) -> int:
        """A function of the language."""
        match node:
            case ast.Call(func=ast.Name(id="sum"), args=[ast.GeneratorExp() as each], keywords=[]):
                return self.sum(each)
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in FUNCTIONS:
                function, fewest, most = FUNCTIONS[name]
                if fewest <= len(parts) <= most:
                    return function(*map(self.of, parts))
        raise _foreign(node)

    def sized(self, number: int) -> int:
        """A number that is not too large."""
        if abs(number) > LARGEST:
            raise ProgramError(f"a number passes {LARGEST:,}")
        return number


def _foreign(node: ast.AST) -> ProgramError:
    """What is said of a part that is Python and not of the language."""
    return ProgramError(f"`{_source(node)}` is not of the language")


def _source(node: ast.AST) -> str:
    """A part as text; of one with too many parts within one another, its kind."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return f"{type(node).__name__} …"
