"""The command that writes a study file to start from."""

import sys
from pathlib import Path
from typing import Annotated

import typer

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.settings import with_blocks
from ppo_tune.cli.terminal import console, say, tell
from ppo_tune.config.source import Source
from ppo_tune.config.study import check_name
from ppo_tune.config.study_file import load_study
from ppo_tune.data.columns import PROMPTS, likely, text_columns
from ppo_tune.errors import ConfigError, Problem, StorageError
from ppo_tune.files import write_text


@with_blocks
def init(
    source: Source,
    data: Annotated[
        Path | None, typer.Argument(help="Your file of prompts; or the folder or hub name of a data set.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model folder or hub name.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Column of the prompts; else it is looked for.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Column of good responses; else it is looked for.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; else the data file's.")] = None,
) -> Facts:
    """Write a study file for your prompts and model, and a reward to change.

    Ranges and lengths fit the model and the data; the model's weights are not read. What is not given is asked for
    where somebody can answer.
    """
    data = Path(_asked(None if data is None else str(data), "DATA", "your file of prompts"))
    model = _asked(model, "--model", "model folder or hub name")
    names = text_columns(data, source)
    if prompt is None and len(names) > 1 and likely(names, PROMPTS) is None:
        prompt = _asked(None, "--prompt", f"column of the prompts ({', '.join(names)})")
    name = name or data.name.partition(".")[0].partition("@")[0]
    check_name(name)
    draft = ppo_tune.draft_study(data, model, name=name, prompt=prompt, reference=reference, source=source)
    files = {f"{name}.yaml": draft.study, **({f"{name}_reward.py": draft.stub} if draft.stub else {})}
    if there := [file for file in files if Path(file).exists()]:
        raise StorageError(f"{there[0]} is there already; name the study otherwise by --name")
    for file, text in files.items():
        write_text(Path(file), text)
    load_study(f"{name}.yaml")
    for sentence in draft.seen:
        tell(sentence)
    for file in files:
        say(f"wrote {file}", final=True)
    if draft.stub:
        say(f"change {name}_reward.py to what you want")
    say(f"go on with ppo-tune check {name}.yaml, then ppo-tune search {name}.yaml")
    return Facts({"study": name, "files": [*files], "seen": draft.seen})


def _asked(given: str | None, place: str, what: str) -> str:
    """What was given, or else is answered.

    Raises:
        ConfigError: If nobody can be asked.
    """
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise ConfigError([Problem(place, f"must be given, for nobody can be asked: {what}")])
    answer: str = typer.prompt(what[0].upper() + what[1:], err=console.stderr)
    return answer
