"""Constraints between hyperparameters, as `batch_size * ppo_epochs <= 128`: read as formulas, never run as code."""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

LONGEST = 200
"""Letters of a constraint."""

ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
COMPARISONS: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Constraint:
    """What must hold between the hyperparameters of a config.

    Attributes:
        text: As it stands in the file.
        sides: What is compared, one after the other.
        signs: How, each between two sides.
    """

    text: str
    sides: tuple[ast.expr, ...]
    signs: tuple[ast.cmpop, ...]

    @classmethod
    def read(cls, text: str) -> "Constraint":
        """A constraint from its text.

        Raises:
            ValueError: If it is none.
        """
        if len(text) > LONGEST:
            raise ValueError(
                f"must have at most {LONGEST} letters, but has {len(text)}; write several constraints"
            )
        try:
            whole = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            raise ValueError(
                f"must be a comparison such as `kl_coef * kl_target <= 0.5`, but got {text!r}"
            ) from None
        if not isinstance(whole, ast.Compare):
            raise ValueError(f"must be a comparison such as `kl_coef * kl_target <= 0.5`, but got {text!r}")
        for node in ast.walk(whole):
            if not _is_allowed(node):
                raise ValueError(
                    "must hold nothing but numbers, names of hyperparameters, + - * / % and comparisons, but got "
                    f"{_quoted(node, text)!r} in {text!r}"
                )
        return cls(text.strip(), (whole.left, *whole.comparators), tuple(whole.ops))

    @property
    def names(self) -> tuple[str, ...]:
        """The hyperparameters that it speaks of, each once."""
        nodes = [node for side in self.sides for node in ast.walk(side)]
        return tuple(dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name)))

    def off(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of its names that are off (null) in a config, which leave it nothing to hold."""
        return tuple(name for name in self.names if values[name] is None)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for the values of its names; where one of them is off (null) there is nothing to hold.

        What cannot be computed, as a division by zero, does not.
        """
        if self.off(values):
            return True
        try:
            numbers = [_number(side, values) for side in self.sides]
        except (ZeroDivisionError, OverflowError):
            return False
        return all(
            COMPARISONS[type(sign)](low, high)
            for sign, (low, high) in zip(self.signs, pairwise(numbers), strict=True)
        )


@dataclass(frozen=True)
class Rules:
    """The constraints of a study.

    Attributes:
        constraints: All that must hold.
        fixed: The values of what a trial does not search.
    """

    constraints: tuple[Constraint, ...]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, texts: Sequence[str], fixed: Mapping[str, Any]) -> "Rules":
        """Those of these texts.

        Raises:
            ValueError: If one is none.
        """
        return cls(tuple(map(Constraint.read, texts)), fixed)

    def __bool__(self) -> bool:
        return bool(self.constraints)

    def broken(self, params: Mapping[str, Any]) -> Constraint | None:
        """The first that does not hold for the searched values of a trial; None if all do."""
        if not self.constraints:
            return None
        values = {**self.fixed, **params}
        return next((constraint for constraint in self.constraints if not constraint.holds(values)), None)

    def allow(self, params: Mapping[str, Any]) -> bool:
        """Whether all hold for the searched values of a trial."""
        return self.broken(params) is None


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        value = node.value
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    kinds = (ast.Compare, ast.BinOp, ast.UnaryOp, ast.Name, ast.Load, ast.USub, *ARITHMETIC, *COMPARISONS)
    return isinstance(node, kinds)


def _quoted(node: ast.AST, text: str) -> str:
    """A piece of a constraint as it stands there; the whole where it is a sign."""
    return ast.get_source_segment(text.strip(), node) or text.strip()


def _number(node: ast.expr, values: Mapping[str, Any]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return values[name]  # type: ignore[no-any-return]
        case ast.UnaryOp(operand=operand):
            return -_number(operand, values)
        case ast.BinOp(left=left, op=op, right=right):
            return ARITHMETIC[type(op)](_number(left, values), _number(right, values))
    raise AssertionError(f"{ast.dump(node)} was not refused when it was read")
