"""The generated pages of the documentation name everything that they are made from."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

import ppo_tune
from docs import generate
from ppo_tune.cli import COMMANDS, app
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig


def blocks_in(annotation: object) -> set[type[BaseModel]]:
    """The blocks that an annotation names, and those that they name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.values()
        return {annotation}.union(*(blocks_in(field.annotation) for field in fields))
    return set().union(*map(blocks_in, get_args(annotation)))


def rows_of(page: str, heading: str) -> str:
    """The text below a heading, to the next one."""
    (start,) = (
        i for i, line in enumerate(page.splitlines()) if line.startswith("## ") and line.endswith(heading)
    )
    lines = page.splitlines()[start + 1 :]
    return "\n".join(lines[: next((i for i, line in enumerate(lines) if line.startswith("## ")), len(lines))])


BLOCKS = sorted(blocks_in(StudyConfig) | blocks_in(TrainConfig), key=lambda block: block.__name__)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_every_key_of_every_block_is_explained(block: type[BaseModel]) -> None:
    heading = {StudyConfig: "A study file", TrainConfig: "A training file"}.get(block, block.__name__)
    rows = rows_of(generate.study_file_page(), heading)

    keys = set(block.model_fields) - {"root"} - ({"name"} if block is StudyConfig else set())

    assert [key for key in keys if f"| `{key}` | " not in rows] == []


def test_a_key_says_what_may_stand_there_what_it_is_worth_left_out_and_what_it_means() -> None:
    page = generate.study_file_page()

    assert "| `gamma` | a number ≥ 0, ≤ 1 | `1.0` | Discount of later rewards. |" in page
    assert "| `path` | text | must be given | JSON, JSONL, CSV, TSV (each also .gz) or Parquet file, " in page


def test_every_command_and_every_flag_is_explained() -> None:
    page = generate.commands_page()

    assert "`--workers`" in rows_of(page, "ppo-tune search")
    for name in COMMANDS:
        rows = rows_of(page, f"ppo-tune {name}")
        help_ = CliRunner().invoke(app, [name, "--help"], terminal_width=200).output
        flags = set(re.findall(r"^  (--[\w-]+)", help_, re.MULTILINE)) - {"--help"}
        assert len(flags) > 0
        assert [flag for flag in flags if f"`{flag}`" not in rows] == []


def test_every_public_name_stands_in_the_api() -> None:
    page = generate.api_page()

    assert [name for name in ppo_tune.__all__ if f":: ppo_tune.{name}\n" not in page] == []


def test_links_to_files_that_are_no_pages_become_words() -> None:
    for name in generate.FROM_THE_ROOT:
        page = generate.page_of(generate.ROOT / name)

        assert "](../" not in page
        assert "](ppo_tune/" not in page


@pytest.mark.parametrize("path", sorted(generate.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: str(path.stem))
def test_a_notebook_is_a_page_of_all_its_cells(path: Path) -> None:
    page, index = (
        generate.notebook_page(path),
        (generate.ROOT / "docs" / "index.md").read_text(encoding="utf-8"),
    )
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]

    assert len(cells) > 2
    for cell in cells:
        text = "".join(cell["source"])
        assert (
            f"```python\n{text}\n```" if cell["cell_type"] == "code" else f"\n\n{text}\n"
        ) in f"\n\n{page}"
    assert f"\nreference/{path.stem.replace('_', '-')}\n" in index
