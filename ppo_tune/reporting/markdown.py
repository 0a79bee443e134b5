"""A page as a short text in GitHub's Markdown, for a pull request or a model card.

Foreign texts are escaped: they make no HTML, no link, no picture, no mention of a person and no further cell.
"""

import re
from collections.abc import Mapping, Sequence

from ppo_tune.export import other_trainers
from ppo_tune.reporting.page import Page
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.tables import view
from ppo_tune.reporting.wording import CALL, cut
from ppo_tune.safe_text import symbols

MAX_LINES = 80
"""Of a summary; where it would be longer, only the hyperparameters of best.yaml stand in it, or those searched."""

MAX_ROWS = 8
MAX_LETTERS = 400
"""Rows of a table, and letters of a reading."""

SPECIAL = re.compile(r"[\\`*{}\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])")
UNESCAPED = re.compile(r"\\(?=.)")
BLOCKS = re.compile(r"^(?:model|ppo):\n(?:  .*\n?)+", re.MULTILINE)
"""Of best.yaml, those that hold hyperparameters."""

ADDRESS = re.compile(r"(https?|ftp|mailto|xmpp|www)(?=[:.])", re.IGNORECASE)


def summary(page: Page, best_yaml: str | None, pictures: Mapping[str, str]) -> str:
    """The verdict, the results, what each chapter says in a sentence, and how to go on.

    Args:
        page: What the report says.
        best_yaml: The winner's config as a file, or None without a winner.
        pictures: Address of the picture of a section, by the section's anchor.

    Returns:
        At most `MAX_LINES` lines.
    """
    lines = [f"# {plain(page.title)}", "", plain(page.kind), "", f"**{prose(page.headline[0])}**"]
    lines += [" ".join(map(prose, page.headline[1:]))] if len(page.headline) > 1 else []
    for chapter in page.chapters:
        lines += _tables(chapter) if chapter.in_summary == "tables" else []
    told = [_reading(chapter) for chapter in page.chapters if chapter.in_summary == "reading"]
    if told:
        lines += ["", "## What it says", "", *told]
    shown = [
        f"![{plain(section.title or chapter.title)}]({pictures[section.anchor]})"
        for chapter in page.chapters
        for section in chapter.sections
        if section.anchor in pictures
    ]
    if shown:
        lines += ["", " ".join(shown)]
    if best_yaml is not None:
        lines += ["", *_next(page), ""]
        lines += _config(best_yaml, page.searched, MAX_LINES - len(lines))
    return "\n".join(lines[:MAX_LINES]) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = " ".join(symbols(text).split())
    line = SPECIAL.sub(lambda found: f"\\{found[0]}", line)
    line = ADDRESS.sub(
        lambda found: f"{found[0]}\u2060", line
    )  # an invisible joiner: GitHub makes no link of it
    line = line.replace("@", "@\u2060")  # nor calls a person
    line = re.sub(r"^(?=[#+=-])", r"\\", line)
    return re.sub(
        r"^(\d+)([.)])(?= |$)", r"\1\\\2", line
    )  # a line of text is no heading and no item of a list


def prose(text: str) -> str:
    """A sentence of ours, with commands between backticks as code; all else shows as it is."""
    return re.sub(rf"\\`({CALL})\\`", lambda found: f"`{UNESCAPED.sub('', found[1])}`", plain(text))


def _tables(chapter: Chapter) -> list[str]:
    """The tables that stand on the page without a figure, or for one: they are what the verdict rests on."""
    lines: list[str] = []
    for section in (one.summary or one for one in chapter.sections):
        if section.table is None or section.table.empty or section.figure is not None:
            continue
        title = plain(section.title or chapter.title)
        lines += ["", f"## {title}", "", _cut(section.reading), "", *_table(section)]
    return lines


def _table(section: Section) -> list[str]:
    assert section.table is not None
    shown = view(section.table, MAX_ROWS, section.decimals)
    rule = ["---:" if is_number else "---" for is_number in shown.numeric]
    rows = [[plain(cut(text, 60)) for text in row] for row in shown.rows]
    return [f"| {' | '.join(row)} |" for row in ([plain(name) for name in shown.headings], rule, *rows)]


def _reading(chapter: Chapter) -> str:
    return f"- **{plain(chapter.title)}** {_cut(chapter.sections[0].reading)}"


def _cut(reading: str) -> str:
    """Whole sentences of a reading, as many as there is room for."""
    text = ""
    for sentence in re.split(r"(?<=[.?!]) ", reading):
        if text and len(text) + len(sentence) > MAX_LETTERS:
            break
        text = f"{text} {sentence}".strip()
    return plain(cut(text, 2 * MAX_LETTERS))


def _next(page: Page) -> list[str]:
    """How to go on with the winner, or what to do instead."""
    first = [f"Next: {prose(page.first)}.", ""] if page.first else []
    if page.advice:
        return ["## What to do", "", *first, prose(page.advice)]
    train = f"ppo-tune train reports/{page.title}/best.yaml    # at full length, here"
    trainer, *others = other_trainers()
    export = f"ppo-tune export {page.title} --to {trainer}    # or {', '.join(others)}"
    if page.train:
        return [
            "## Go on with the winner",
            "",
            *first,
            f"By {prose(page.train)}.",
            "",
            *_fenced("sh", export),
        ]
    return ["## Go on with the winner", "", *first, *_fenced("sh", f"{train}\n{export}")]


def _config(best_yaml: str, searched: Sequence[str], max_lines: int) -> list[str]:
    """The file; where there is no room, its hyperparameters; where there is none for them, those searched."""
    whole = _fenced("yaml", best_yaml)
    if len(whole) <= max_lines:
        return whole
    blocks = "".join(BLOCKS.findall(best_yaml))
    told = ["The hyperparameters of best.yaml:", "", *_fenced("yaml", blocks)]
    if len(told) <= max_lines:
        return told
    kept = [
        line for line in blocks.splitlines() if line.strip().partition(":")[0] in (*searched, "model", "ppo")
    ]
    told = ["The searched hyperparameters of best.yaml:", "", *_fenced("yaml", "\n".join(kept))]
    return told if len(told) <= max_lines else []


def _fenced(language: str, text: str) -> list[str]:
    """A block of code that its own text cannot end."""
    ticks = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return [f"{fence}{language}", *map(symbols, text.rstrip("\n").split("\n")), fence]
