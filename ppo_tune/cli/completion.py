"""What a shell may complete: names of studies, study files, and ours by their names; no command is loaded for it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from ppo_tune.config.shipped import shipped
from ppo_tune.search.folders import StudyFolder


def studies(out: Path) -> Iterator[str]:
    """Studies with a store of their own in a folder."""
    return (folder.path.name for folder in StudyFolder.all(out))


def study_files(begun: str) -> Iterator[str]:
    """Study files of ours by their names, and YAML files here and one folder deeper, that begin so."""
    yield from shipped()
    for pattern in (f"{begun}*.yaml", f"{begun}*/*.yaml"):
        yield from map(str, sorted(Path().glob(pattern))) if not Path(begun).is_absolute() else ()


ARGUMENTS: dict[str, Callable[[str, Path], Iterator[str]]] = {
    "study": lambda _, out: studies(out),
    "studies": lambda _, out: studies(out),
    "file": lambda begun, _: study_files(begun),
    "config": lambda begun, _: study_files(begun),
}
"""What the first argument of a command can be, by its name there."""

COMMANDS = {
    "check": "file", "search": "file", "confirm": "study", "extend": "study", "report": "study", "compare": "studies",
    "export": "study", "status": "study", "rerun": "study", "rename": "study", "delete": "study", "dashboard": "study",
    "train": "config",
}  # fmt: skip
"""The name of the first argument of commands, where it can be completed."""


def candidates(command: str, given: Sequence[str], begun: str) -> list[str]:
    """What an argument that is begun so can become; nothing where the value of a flag is wanted, or no argument."""
    after_flag = bool(given) and given[-1].startswith("-")
    values = [word for word, before in zip(given, ["", *given], strict=False) if not before.startswith("--")]
    arguments = [word for word in values if not word.startswith("-")]
    kind = COMMANDS.get(command)
    if kind is None or after_flag or (arguments and kind != "studies"):
        return []
    out = next((Path(word) for flag, word in pairwise(given) if flag == "--out"), Path())
    return [name for name in ARGUMENTS[kind](begun, out) if name.startswith(begun) and name not in given]


def stand_in(name: str, load: Callable[[str], TyperCommand]) -> TyperCommand:
    """What knows how the line of a command can go on; the command itself is loaded where its flags are asked for."""

    class StandIn(TyperCommand):
        """A command of any words."""

        def shell_complete(self, ctx: Any, incomplete: str) -> Any:
            """The flags of the command."""
            return load(name).shell_complete(ctx, incomplete)

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return candidates(name, ctx.params.get("words") or (), incomplete)

    single, any_words = typer.Typer(add_completion=False), {"ignore_unknown_options": True}

    @single.command(name, cls=StandIn, context_settings=any_words)
    def stand_in(words: Annotated[list[str] | None, typer.Argument(autocompletion=complete)] = None) -> None:
        """Is never called."""

    command = get_command(single)
    assert isinstance(command, TyperCommand)
    return command
