"""The pages of the documentation that are made from the code: a study file's keys, the commands, the Python API.

Nothing here is written by hand twice: a key is explained by its field's description, a command by its help, a name of
the front door by its docstring.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import ppo_tune
from ppo_tune.cli import COMMANDS, load
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig

ROOT = Path(__file__).parent.parent
FROM_THE_ROOT = ("ARCHITECTURE.md", "CONTRIBUTING.md")
"""Files of the repository's first folder that are pages too."""

NOTEBOOKS = ROOT / "docs" / "notebooks"

WORDS = {
    "number": "a number", "integer": "a whole number", "string": "text", "boolean": "true or false", "null": "null",
    "array": "a list",
}  # fmt: skip
SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def write_pages(folder: Path) -> None:
    """Write all generated pages into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"study-file.md": study_file_page(), "commands.md": commands_page(), "api.md": api_page()}
    pages |= {name.lower(): page_of(ROOT / name) for name in FROM_THE_ROOT}
    pages |= {
        f"{path.stem.replace('_', '-')}.md": notebook_page(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


def study_file_page() -> str:
    """Every key of a study file and of a training file, block by block."""
    study, training = (model.model_json_schema() for model in (StudyConfig, TrainConfig))
    lines = [
        "# Study and training files",
        "",
        "Each block of a study file, each of its keys, and what may stand there.",
        "",
    ]
    lines += [
        "## A study file",
        "",
        *_table(study, without="name"),
        "",
        "## A training file",
        "",
        *_table(training),
        "",
    ]
    for name, block in {**study["$defs"], **training["$defs"]}.items():
        lines += [
            f"({_anchor(name)})=",
            f"## {_heading(name, block)}",
            "",
            block.get("description", ""),
            "",
            *_table(block),
            "",
        ]
    return "\n".join(lines)


def _anchor(name: str) -> str:
    return f"block-{name.lower()}"


def _heading(name: str, block: dict[str, Any]) -> str:
    """`dataset: DatasetTaskConfig` for a member of a family, which is chosen by its name; else the block's own name."""
    chosen = [key["const"] for key in block.get("properties", {}).values() if "const" in key]
    return f"{chosen[0]}: {name}" if chosen else name


def _table(block: dict[str, Any], without: str | None = None) -> list[str]:
    """A block's keys as rows of a Markdown table; a study's name is that of its file and stands in none."""
    if "properties" not in block:
        return [f"Any name, each with {_kind(block['additionalProperties'])}."]
    rows = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    for name, key in block["properties"].items():
        if name == without:
            continue
        default = _default(key) if name not in block.get("required", ()) else "must be given"
        rows.append(
            f"| `{name}` | {_cell(_kind(key))} | {_cell(default)} | {_cell(key.get('description', ''))} |"
        )
    return rows


def _default(key: dict[str, Any]) -> str:
    """What a key is worth that is left out; a block is worth its own defaults."""
    return (
        "its defaults"
        if isinstance(key.get("default"), dict) and "$ref" in key
        else f"`{json.dumps(key.get('default'))}`"
    )


def _kind(key: dict[str, Any]) -> str:
    """What may stand for a key, in words."""
    if "$ref" in key:
        name = key["$ref"].rpartition("/")[2]
        return f"[{name}](#{_anchor(name)})"
    if members := key.get("anyOf") or key.get("oneOf"):
        return " or ".join(_kind(member) for member in members)
    if "enum" in key or "const" in key:
        return " or ".join(f"`{value}`" for value in key.get("enum", [key.get("const")]))
    if key.get("type") == "object":
        return f"a mapping of names to {_kind(key['additionalProperties'])}"
    if key.get("type") == "array" and key.get("items"):
        return f"a list of {_kind(key['items'])}"
    bounds = ", ".join(f"{sign} {key[rule]}" for rule, sign in SIGNS.items() if rule in key)
    return " ".join(filter(None, (WORDS.get(key.get("type", ""), "any value"), bounds)))


def _cell(text: str) -> str:
    """Text that stands in one cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def commands_page() -> str:
    """Every command with its arguments and flags, as `--help` has them."""
    lines = ["# Commands", ""]
    for name, command in commands():
        lines += [
            f"## ppo-tune {name}",
            "",
            _plain(command.help),
            "",
            "| | Default | Meaning |",
            "|---|---|---|",
        ]
        for parameter in command.params:
            lines.append(_flag_row(parameter))
        lines.append("")
    return "\n".join(lines)


def commands() -> Iterator[tuple[str, Any]]:
    """The commands by name, in the order of the help."""
    for name in COMMANDS:
        yield name, load(name)


def _flag_row(parameter: Any) -> str:
    option = parameter.param_type_name == "option"
    spelled = [*parameter.opts, *parameter.secondary_opts] if option else [str(parameter.name).upper()]
    default = "must be given" if parameter.required else json.dumps(parameter.default, default=str)
    meaning = _plain(getattr(parameter, "help", None))
    return f"| {', '.join(f'`{name}`' for name in spelled)} | {_cell(f'`{default}`')} | {_cell(meaning)} |"


def _plain(text: str | None) -> str:
    """Help without the terminal's mark-up for colours."""
    return (
        re.sub(r"\[/?(bold|dim|cyan|green|red|yellow)[^\]]*\]", "", text or "")
        .replace("\b", "")
        .replace("<", "\\<")
        .strip()
    )


def api_page() -> str:
    """The front door: every public name with its docstring."""
    lines = ["# Python API", "", "```{eval-rst}", ".. automodule:: ppo_tune", "```", ""]
    for name in ppo_tune.__all__:
        member = getattr(ppo_tune, name)
        kind = "autoclass" if isinstance(member, type) else "autofunction"
        directive = [f".. {kind}:: ppo_tune.{name}"]
        if isinstance(member, type) and not issubclass(member, BaseModel):
            directive.append("   :members:")
        lines += [f"## {name}", "", "```{eval-rst}", *directive, "```", ""]
        if isinstance(member, type) and issubclass(member, BaseModel):
            lines += ["Its keys stand with those of [study and training files](study-file.md).", ""]
    return "\n".join(lines)


def page_of(path: Path) -> str:
    """A Markdown file of the repository; links to files that are no pages become their names."""
    pages = {name: name.lower() for name in FROM_THE_ROOT}

    def relinked(found: re.Match[str]) -> str:
        text, target = found.groups()
        if "://" in target or target.startswith("#"):
            return found[0]
        return f"[{text}]({pages[target]})" if target in pages else text

    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", relinked, path.read_text(encoding="utf-8"))


def notebook_page(path: Path) -> str:
    """A notebook as a page: its words, and its code as it is typed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    fenced = [f"```python\n{text}\n```" for text in texts]
    is_code = [cell["cell_type"] == "code" for cell in cells]
    return (
        "\n\n".join(code if is_ else text for is_, code, text in zip(is_code, fenced, texts, strict=True))
        + "\n"
    )
