"""Prompts, the split each belongs to, and how a user's file becomes prompts; loads no model."""

import hashlib
import json
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from ppo_tune.config.rewards import UnitTestsRewardConfig
from ppo_tune.config.source import Source
from ppo_tune.config.tasks import DatasetTaskConfig, scorers
from ppo_tune.data.chats import Chat, read_chat, turns_of
from ppo_tune.data.formats import HALF_PAIR, Row
from ppo_tune.data.tables import DROP, Table, read_table
from ppo_tune.errors import ConfigError, DataError, Problem
from ppo_tune.plurals import counted
from ppo_tune.programs.cases import tests_of

Split = Literal["train", "heldout", "confirmation"]


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        text: What the model is given, before any chat template; also what rewards see. A `Chat` where it has turns.
        columns: What else belongs to it, by name; `references` is a list of good responses.
        where: `file:line` it came from, or "".
    """

    text: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    def cut_to(self, text: str) -> "Prompt":
        """The prompt with only a part of its text; the column that holds the turns of a conversation has those left."""
        old, new = turns_of(self.text), turns_of(text)
        columns = {name: new if value == old else value for name, value in self.columns.items()}
        return replace(self, text=text, columns=columns)


def split_of(prompt: str) -> Split:
    """The split a prompt belongs to by its hash: 80 % train, 10 % held out, 10 % confirmation.

    The same prompt is in the same split whatever else the file holds.
    """
    bucket = hashlib.sha256(prompt.encode()).digest()[0] % 10
    return "train" if bucket < 8 else "heldout" if bucket == 8 else "confirmation"


class PromptFile(NamedTuple):
    """What a file of prompts holds.

    Attributes:
        prompts: The different prompts.
        notes: What may surprise whoever wrote the file; one sentence each.
    """

    prompts: list[Prompt]
    notes: tuple[str, ...]


def read_prompts(config: DatasetTaskConfig) -> PromptFile:
    """The different prompts of the file.

    Rows of one text are one prompt, with all their references. Only where a Python function judges, and no column
    of references is named, may rows of one text be different prompts: they are if they differ in another column,
    which the function is given. A column that only some rows have is None for the others.

    Raises:
        DataError: If the file or one of its rows cannot be used.
        ConfigError: If the template is not one, or names a column that no row has.
    """
    needed = [config.prompt, *([config.reference] if config.reference else [])]
    options = dict(zip(needed, ("task.prompt", "task.reference"), strict=False))
    table = read_table(
        config.path,
        needed,
        chat=config.prompt,
        drop_bad_rows=config.drop_bad_rows,
        source=Source.of(config),
        options=options,
    )
    columns = list(dict.fromkeys(name for row in table.rows for name in row.columns))
    names = template_columns(config.template, columns, "task.template")
    rows, dropped = _usable(table, config, names, columns)
    dropped = [*table.dropped, *dropped]
    by_text = bool(config.reference) or not any(named.kind == "function" for named in config.names())
    prompts: dict[str, Prompt] = {}
    differing: set[str] = set()
    for row in rows:
        text, answers = _prompt_of(row, config)
        others = {name: row.columns.get(name) for name in columns if name != config.reference}
        if isinstance(text, Chat):
            others[config.prompt] = [*text.turns]
        key = text if by_text else json.dumps([text, others], sort_keys=True, default=str)
        known = prompts.get(key)
        given = [row.columns[config.reference]] if config.reference else others.get("references") or answers
        if known is None:
            prompts[key] = Prompt(text, {**others, "references": given}, row.where)
            continue
        differing |= {name for name, value in others.items() if value != known.columns.get(name)} - {
            "references"
        }
        _add_references(known, given, is_new=bool(config.reference))
    found = list(prompts.values())
    return PromptFile(found, tuple(_notes(config, table, dropped, found, sorted(differing))))


def _prompt_of(row: Row, config: DatasetTaskConfig) -> tuple[str, list[str]]:
    """What the model is given of a row, and what the assistant says after it where the row holds that.

    Raises:
        ConfigError: If it is a chat, and the task is none or has a template.
    """
    value = row.columns[config.prompt]
    if isinstance(value, str) and not isinstance(value, Chat):
        return config.template.format(**{**row.columns, "prompt": value}), []
    if not config.chat:
        what = f"{row.where}: column {config.prompt!r} holds messages, which a chat template writes; set chat: true"
        raise ConfigError([Problem("task.chat", what)])
    if config.template != "{prompt}":
        what = f"{row.where}: column {config.prompt!r} holds messages, for which there is no template; leave it out"
        raise ConfigError([Problem("task.template", what)])
    return (value, []) if isinstance(value, Chat) else read_chat(value)


def _add_references(known: Prompt, given: Any, *, is_new: bool) -> None:
    """Add the references of another row of the same prompt; of a list, those that are not there yet."""
    references = known.columns["references"]
    if isinstance(references, list) and isinstance(given, list):
        references += [text for text in given if is_new or text not in references]


def _notes(
    config: DatasetTaskConfig, table: Table, dropped: list[str], prompts: list[Prompt], differing: list[str]
) -> Iterator[str]:
    yield from table.notes
    if dropped:
        yield f"{config.path}: {counted(len(dropped), 'row', 'were')} dropped, the first because {dropped[0]}"
    if differing:
        yield (
            f"{config.path}: rows of one prompt differ in {', '.join(differing)}; they are one prompt with all their "
            "references, and the columns of its first row"
        )
    n_repeated = len(prompts) - len({prompt.text for prompt in prompts})
    if n_repeated:
        yield (
            f"{config.path}: {counted(n_repeated, 'prompt', 'repeat')} the text of another, with another value in a "
            "column that the reward function may read; each counts as a prompt of its own"
        )


def template_columns(template: str, columns: Collection[str], place: str) -> list[str]:
    """The columns that a template names, checked against those that the file has.

    Args:
        template: The text, with {column} names; {prompt} is always known.
        columns: Those of the file.
        place: Where the template was given, for the message.

    Raises:
        ConfigError: If it is not a template, or names a column that the file has not.
    """
    fields = _fields(template, place)
    for name, is_plain in fields:
        if name not in (*columns, "prompt"):
            what = f"there is no column {name!r} for {template!r}; the file has {', '.join(columns)}"
            raise ConfigError([Problem(place, what)])
        if not is_plain:
            what = f"a column stands as {{{name}}}, without a format, but got {template!r}"
            raise ConfigError([Problem(place, what)])
    return [name for name, _ in fields if name != "prompt"]


def named_columns(template: str, place: str) -> list[str]:
    """The columns that a template names, whether or not a file has them.

    Raises:
        ConfigError: If it is not a template.
    """
    return template_columns(template, [name for name, _ in _fields(template, place)], place)


def _fields(template: str, place: str) -> list[tuple[str, bool]]:
    """What a template names, and whether that stands without a format.

    Raises:
        ConfigError: If it is not a template.
    """
    try:
        parsed = [*string.Formatter().parse(template)]
    except ValueError as error:
        what = f"{error}, in {template!r}; double a literal brace"
        raise ConfigError([Problem(place, what)]) from None
    return [(name, not spec and not how) for _, name, spec, how in parsed if name is not None]


def _usable(
    table: Table, config: DatasetTaskConfig, names: Sequence[str], columns: Collection[str]
) -> tuple[list[Row], list[str]]:
    """The rows that can be used, and what is wrong with the others.

    One has a value to write for every column that the template names; where bad rows are dropped, also tests for all
    who judge by such, which who checks the judges refuses otherwise.
    """
    kept, dropped = [], []
    judges = {place: one for place, one in scorers(config).items() if isinstance(one, UnitTestsRewardConfig)}
    judges = {place: one for place, one in judges.items() if {*one.columns.values()}.issubset(columns)}
    for row in table.rows:
        problems = [problem_of_column(row, name, "task.template") for name in names]
        if config.drop_bad_rows:
            problems += [_problem_of_tests(row, judge, place, columns) for place, judge in judges.items()]
        problem = next(filter(None, problems), None)
        if problem is None:
            kept.append(row)
        elif config.drop_bad_rows:
            dropped.append(problem)
        else:
            raise DataError(f"{problem}; mend the row, or {DROP}")
    if not kept:
        raise DataError(
            f"{config.path}: at least one row is needed, but all were dropped, the last because {dropped[-1]}"
        )
    return kept, dropped


def _problem_of_tests(
    row: Row, judge: UnitTestsRewardConfig, place: str, columns: Collection[str]
) -> str | None:
    """Why a row cannot be judged by its tests; None where it can."""
    try:
        tests_of(judge, {name: row.columns.get(name) for name in columns})
    except ValueError as error:
        return f"{row.where}: {place}: {error}"
    return None


def problem_of_column(row: Row, name: str, place: str) -> str | None:
    """Why a column of a row cannot stand in a prompt: None and NaN mean that there is nothing to write."""
    if name not in row.columns:
        return f"{row.where}: there is no column {name!r}, which {place} names"
    value = row.columns[name]
    is_broken = isinstance(value, str) and HALF_PAIR.search(value)
    if value is None or value != value or is_broken or isinstance(value, list | dict | bytes):
        return f"{row.where}: column {name!r}, which {place} names, must hold text, but got {value!r}"
    return None
