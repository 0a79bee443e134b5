"""A Bash script that calls a trainer: three arrays of options, for the machine, as tuned, and suggested."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ppo_tune.export.base import Beside, Conversion, Export, Literally, Scale, Setting, Winner
from ppo_tune.export.rendering import README, advice, assignments, header, readme, suggestions
from ppo_tune.export.transfer import at_scale
from ppo_tune.templates import render

MAIN = "train.sh"


@dataclass(frozen=True)
class ShellTarget:
    """A trainer that is called with options.

    Attributes:
        name: Its manifest's.
        title: Its name as its people write it.
        command: What the options are given to, as shell code.
        machine: Options that were never tuned.
        example: An option of it.
        convert: A winner to its options.
        write: One option as shell words.
    """

    name: str
    title: str
    command: str
    machine: tuple[Setting, ...]
    example: str
    convert: Callable[[Winner], Conversion]
    write: Callable[[Setting], str]

    def export(self, winner: Winner, scale: Scale, files: Mapping[str, str]) -> Export:
        """The script, with the other files that it needs."""
        conversion, how = self.convert(winner), self._how(scale)
        larger = self.convert(at_scale(winner, scale))
        text = render(
            "export.sh.jinja",
            header=header(winner, conversion, self.name, self.title, how),
            advice=advice(winner, scale),
            machine=assignments(self.machine, self.write, winner, self.name),
            as_tuned=assignments(conversion.settings, self.write, winner, self.name),
            suggested=suggestions(conversion, larger, self.write),
            command=self.command,
            models=[(folder, shlex.quote(folder.absence)) for folder in winner.sources.models],
        )
        written = {MAIN: text, **files}
        card = readme(winner, conversion, self.name, self.title, how, [*written])
        return Export(MAIN, {**written, README: card}, conversion, sources=winner.sources)

    def _how(self, scale: Scale) -> dict[str, str]:
        return {
            "run it": f"bash {MAIN}",
            "on 8 GPUs": f"GPUS=8 bash {MAIN}",
            **({"with suggested values": f"SUGGESTED=1 bash {MAIN}"} if scale else {}),
            "options after it win": f"bash {MAIN} {self.example}",
        }


def beside(file: Beside, before: str = "", after: str = "") -> str:
    """The shell word for a file of the script's own folder, between two fixed texts."""
    if file.variable:
        return f'{shlex.quote(before) if before else ""}"${file.variable.lower()}"{shlex.quote(after) if after else ""}'
    return f'{shlex.quote(before) if before else ""}"$here"{shlex.quote(f"/{file.name}{after}")}'


def override(
    setting: Setting,
    quoted: Callable[[str], str],
    plain: re.Pattern[str],
    brackets: tuple[str, str] = ("", ""),
) -> str:
    """A dotted override, `name=value`, as one shell word.

    Args:
        setting: What is set.
        quoted: A text as the target's parser reads it back.
        plain: Texts that it reads as they stand.
        brackets: What stands before and after a file or a quoted text.
    """
    name, (before, after) = setting.name, brackets
    match setting.value:
        case bool(value):
            return f"{name}={str(value).lower()}"
        case Beside() as file:
            return beside(file, f'{name}={before}"', f'"{after}')
        case Literally(text):
            return f"{name}={text}"
        case list(numbers):
            return shlex.quote(f"{name}=[{','.join(map(str, numbers))}]")
        case str(text) if not plain.fullmatch(text):
            return shlex.quote(f"{name}={before}{quoted(text)}{after}")
        case value:
            return f"{name}={value}"
