"""What hyperparameters of a space may ask of one another: conditions and constraints, checked before anything runs.

Every mistake is a place in the study file and a sentence.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ppo_tune.config.constraints import Constraint, Rules
from ppo_tune.config.messages import unknown
from ppo_tune.config.ranges import Param
from ppo_tune.config.space import MAX_GRID_CELLS, Space
from ppo_tune.config.strict_yaml import Path_

Mistakes = list[tuple[Path_, str]]

DRAWS = 2000
"""Random configs by which it is seen how many the constraints allow."""

LEAST_ROOM = 0.01
"""With a smaller share, drawing again until a config is allowed would take too long."""


def possible_values(param: Param | None, fixed: Any) -> list[Any]:
    """The values that a hyperparameter may have, as far as they can be listed; its ends otherwise.

    With what it is where it is not searched, if that can be.
    """
    if param is None:
        return [fixed]
    if param.type == "float" or (param.type == "int" and param.grid_size() > MAX_GRID_CELLS):
        found: list[Any] = list(param.ends)
    else:
        found = list(param.grid_values())
    return [*found, fixed] if param.when else found


def with_conditions(
    params: Mapping[str, Param], fixed: Mapping[str, Any], unread: Collection[str]
) -> tuple[dict[str, Param], Mistakes]:
    """The parameters without those conditions that hold in every trial, and what is wrong with conditions.

    Args:
        params: What is searched.
        fixed: The values of all hyperparameters where they are not searched.
        unread: Names of those of which that is not known, for the file is wrong there.
    """
    found, wrong = {}, Mistakes()
    for name, param in params.items():
        kept = {}
        for parent, wanted in param.when.items():
            what = _fault_of_condition(name, parent, wanted, params, fixed, unread)
            if what is not None:
                wrong.append((("space", name, "when", parent), what))
            elif parent in params:
                kept[parent] = wanted
        found[name] = param.model_copy(update={"when": kept})
    try:
        _ = Space(found).order
    except ValueError as error:
        wrong.append((("space",), f"{error}; one of them must be searched in every trial"))
        found = {name: param.model_copy(update={"when": {}}) for name, param in found.items()}
    return found, wrong


def _fault_of_condition(
    name: str,
    parent: str,
    wanted: tuple[Any, ...],
    params: Mapping[str, Param],
    fixed: Mapping[str, Any],
    unread: Collection[str],
) -> str | None:
    """What is wrong with the condition that a hyperparameter has some of the wanted values; None if nothing is."""
    if parent not in fixed:
        return unknown(parent, fixed)
    if parent == name:
        return "must name another hyperparameter, but this is the one that is searched"
    if parent in params:
        return _fault_of_choice(params[parent], wanted)
    value = fixed[parent]
    if parent in unread or any(repr(value) == repr(one) or _same_number(value, one) for one in wanted):
        return None
    return (
        f"is {value!r} in every trial of this study, so {name} would never be searched; search {parent} too, or leave "
        "one of them out"
    )


def _fault_of_choice(parent: Param, wanted: tuple[Any, ...]) -> str | None:
    if parent.type != "categorical":
        return f"must be searched by choices to decide about others, but its type is {parent.type}"
    choices = list(map(repr, parent.choices))
    wrong = [value for value in wanted if repr(value) not in choices]
    return f"must be one of {list(parent.choices)}, its choices, but got {wrong[0]!r}" if wrong else None


def _same_number(one: Any, other: Any) -> bool:
    """Whether 8 and 8.0 are written; True is no number."""
    numbers = [value for value in (one, other) if isinstance(value, int | float) and type(value) is not bool]
    return len(numbers) == 2 and one == other


def constraints_of(
    listed: Any, params: Mapping[str, Param], fixed: Mapping[str, Any], searched: Collection[str]
) -> tuple[tuple[Constraint, ...], Mistakes]:
    """The constraints of a file, and what is wrong with others.

    Args:
        listed: As they stand there.
        params: What is searched.
        fixed: The values of all hyperparameters where they are not searched.
        searched: The names in the file's space, also of what is wrong there.
    """
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        return (), [(("constraints",), f"must be a list of comparisons in quotes, but got {listed!r}")]
    found, wrong = [], Mistakes()
    for i, text in enumerate(listed):
        try:
            constraint = Constraint.read(text)
        except ValueError as error:
            wrong.append((("constraints", i), str(error)))
            continue
        if (what := _fault_of_constraint(constraint, params, fixed, searched)) is not None:
            wrong.append((("constraints", i), f"{what}, in `{text}`"))
        else:
            found.append(constraint)
    return tuple(found), wrong


def _fault_of_constraint(
    constraint: Constraint,
    params: Mapping[str, Param],
    fixed: Mapping[str, Any],
    searched: Collection[str],
) -> str | None:
    for name in constraint.names:
        if name not in fixed:
            return unknown(name, fixed)
        for value in possible_values(params.get(name), fixed[name]):
            if isinstance(value, bool | str):
                return f"must compare numbers, but {name} may be {value!r}"
    if not any(name in searched for name in constraint.names):
        return "must speak of a hyperparameter that is searched"
    return None


def faults_of_room(
    rules: Rules, space: Space, baseline: Mapping[str, Any], texts: Sequence[str], *, grid: bool
) -> Mistakes:
    """What is wrong with constraints together: the default config, and enough of all others, must satisfy them.

    Args:
        rules: The constraints.
        space: What is searched.
        baseline: The searched values of the default config.
        texts: The constraints as they stand in the file.
        grid: Whether the cells of the grid are all that is tried.
    """
    if (broken := rules.broken(baseline)) is not None:
        values = {**rules.fixed, **baseline}
        told = ", ".join(f"{name} = {values[name]}" for name in broken.names)
        place = rules.constraints.index(broken)
        return [
            (
                ("constraints", place),
                f"`{texts[place]}` must hold for the default config, which is trial 0, but there {told}; give a "
                "searched one another `default`",
            )
        ]
    if grid:
        if any(map(rules.allow, space.grid_cells())):
            return []
        return [(("constraints",), "must leave cells of the grid, but allow none; change them or its points")]
    rng = random.Random(0)
    allowed = sum(rules.allow(space.draw(rng)) for _ in range(DRAWS))
    if allowed >= LEAST_ROOM * DRAWS:
        return []
    return [
        (
            ("constraints",),
            f"must allow one config in {1 / LEAST_ROOM:.0f}, but of {DRAWS:,} drawn at random they allow {allowed}; "
            "narrow the ranges to what is allowed",
        )
    ]
