"""From a winner to text: comments that cannot break out of their line, assignments with their notes, and prompts."""

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from ppo_tune.data.prompts import Prompt
from ppo_tune.export.base import Conversion, Remark, Scale, Setting, Winner
from ppo_tune.export.transfer import rules, wanted_context
from ppo_tune.templates import render

PROMPTS, README = "prompts.jsonl", "README.md"

WIDTH = 108
"""Columns of a comment."""


@cache
def load_manifest(target: str) -> Any:
    """A foreign target's released package: its `version`, and `options` by name, each with `type` and `default`.

    These are checked-in facts, derived again from its wheel by a test.
    """
    path = files("ppo_tune.export").joinpath("manifests", f"{target}.json")
    return json.loads(path.read_text(encoding="utf-8"))


def one_line(text: str) -> str:
    """Text as one printable line, safe in a comment."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split())
    )


def comment(text: str, indent: str = "") -> list[str]:
    """Lines of a comment, without their `#`; the first is indented, and the others stand below its text."""
    wrapper = textwrap.TextWrapper(
        width=WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(one_line(text)) or [""]


def bullets(remarks: Sequence[object]) -> list[str]:
    """Lines of a list in a comment."""
    return [line for remark in remarks for line in comment(str(remark), "  - ")]


def cell(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return one_line(text).replace("|", "\\|")


def header(
    winner: Winner, conversion: Conversion, target: str, title: str, how: Mapping[str, str]
) -> list[str]:
    """What stands on top of an exported script, as lines of a comment.

    Args:
        winner: What is exported.
        conversion: How.
        target: Its manifest names package and version.
        title: The target's name as its people write it.
        how: Commands by what they are for.
    """
    facts = [line for name, fact in winner.provenance.items() for line in comment(f"{name}: {fact}")]
    return [
        *comment(
            f"{winner.config.name}: PPO hyperparameters found by ppo-tune, for {title} "
            f"{load_manifest(target)['version']}"
        ),
        *facts,
        "",
        *(comment(f"FIRST: {winner.sources.first}") if winner.sources.first else []),
        *(f"{what + ':':<24}{command}" for what, command in how.items()),
        *_listed("unsupported: what this trainer cannot do", conversion.unsupported),
        *_listed("approximated: what it does a little differently", conversion.approximated),
    ]


def readme(
    winner: Winner,
    conversion: Conversion,
    target: str,
    title: str,
    how: Mapping[str, str],
    written: Sequence[str],
) -> str:
    """The README of an export for another trainer.

    Args:
        winner: What is exported.
        conversion: How.
        target: Its manifest names package and version.
        title: The target's name as its people write it.
        how: Commands by what they are for, the usual one first.
        written: Names of the files, the one that is run first.
    """
    usual, *others = how.items()
    prompts = len(winner.sources.prompts or ())
    told = {written[0]: "the training, with all values", PROMPTS: f"the {prompts:,} training prompts"}
    files = [(name, told.get(name, f"the reward, as {title} calls it")) for name in written]
    return render(
        "export_readme.md.jinja",
        name=one_line(winner.config.name),
        title=f"{title} {load_manifest(target)['version']}",
        task=winner.config.task.title,
        facts=[(cell(name), cell(fact)) for name, fact in winner.provenance.items()],
        first=one_line(winner.sources.first),
        command=usual[1],
        others=others,
        contents=[*files, *enclosed(winner, "set {variable} to another")],
        unsupported=[one_line(str(remark)) for remark in conversion.unsupported],
        approximated=[one_line(str(remark)) for remark in conversion.approximated],
    )


def enclosed(winner: Winner, otherwise: str) -> list[tuple[str, str]]:
    """What goes along by name, each with what it is.

    Args:
        winner: What is exported.
        otherwise: What to do where a model's folder does not go along, with {variable}.
    """
    lines = []
    for known in winner.sources.enclosures:
        told = known.what
        if known.is_missing:
            told += "; it was not there when this was written: put it here"
        elif known.is_linked:
            told += (
                "; a link where this was written: take it along by `cp -rL` or `rsync -aL`, or "
                f"{otherwise.format(variable=f'`{known.variable}`')}"
            )
        lines.append((one_line(known.name), one_line(told)))
    return lines


def _listed(title: str, remarks: Sequence[Remark]) -> list[str]:
    return ["", f"{title}:", *(bullets(remarks) or ["  nothing"])]


def advice(winner: Winner, scale: Scale) -> list[str]:
    """The rules by which values carry over to a larger model, as lines of a comment."""
    if scale:
        title = f"Suggested for {scale}, by these rules:"
    else:
        title = "For a larger model (--params-ratio and --response-length work the numbers out):"
    context = wanted_context(winner, scale)
    warning = [f"{context}: name a model with more above"] if context else []
    return [*comment(title), *bullets([*rules(winner), *warning])]


def note(setting: Setting, winner: Winner, target: str) -> str:
    """What to say of a setting beside it: our name, whether it was tuned, and the target's other default."""
    default = load_manifest(target)["options"].get(setting.name, {}).get("default")
    words = [", ".join(setting.fields)] if setting.fields else []
    if set(setting.fields) & set(winner.searched):
        words.append("tuned")
    if setting.note:
        words.append(setting.note)
    if setting.value is not None and default not in (None, setting.value):
        words.append(f"default {default}")
    return one_line("; ".join(words))


def assignments(
    settings: Sequence[Setting], write: Callable[[Setting], str], winner: Winner, target: str
) -> list[tuple[str, str]]:
    """Each setting's text with its note; one that is left out has a note alone."""
    lines = []
    for setting in settings:
        told = note(setting, winner, target)
        left_out = setting.value is None
        lines.append(("", f"{setting.name} stays out: {told}") if left_out else (write(setting), told))
    return lines


def suggestions(
    before: Conversion, after: Conversion, write: Callable[[Setting], str]
) -> list[tuple[str, str]]:
    """Texts of the settings that the second conversion alters, each with what it was in the first."""
    old = {setting.name: setting.value for setting in before.settings}
    return [
        (write(setting), one_line(f"{', '.join(setting.fields)}; as tuned {old[setting.name]}"))
        for setting in after.settings
        if setting.value is not None and setting.value != old[setting.name]
    ]


def prompt_lines(winner: Winner, row: Callable[[Prompt], Mapping[str, Any]]) -> dict[str, str]:
    """The training prompts as a file by its name, one JSON object each; none where they could not be read."""
    prompts = winner.sources.prompts
    if prompts is None:
        return {}
    return {PROMPTS: "".join(json.dumps(row(prompt), default=str) + "\n" for prompt in prompts)}


def columns_text(prompt: Prompt) -> str:
    """The other columns as one text: so every row has the same type, whatever they hold."""
    return json.dumps(dict(prompt.columns), default=str)
