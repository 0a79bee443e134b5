"""Commands about a study that has run: look at what was found, hand the winner on."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppo_tune.cli.terminal import (
    Out,
    Storage,
    StudyName,
    app,
    open_study,
    say,
)

if TYPE_CHECKING:
    from optuna.study import Study

    from ppo_tune.config import StudyConfig


@app.command()
def report(study: StudyName, storage: Storage = None, out: Out = Path()) -> None:
    """Write reports/<study>/: the page index.html, trials.csv and best.yaml."""
    opened, config = open_study(study, storage, out)
    write_study_report(opened, config, out)


@app.command()
def export(
    study: StudyName,
    storage: Storage = None,
    out: Out = Path(),
    to: Annotated[Path | None, typer.Option(help="File to write; default: the terminal.")] = None,
) -> None:
    """Write the best config as the file that `ppo-tune train` reads."""
    opened, config = open_study(study, storage, out)
    text = _best_yaml(opened, config)
    if to is None:
        sys.stdout.write(text)
        return
    from ppo_tune.files import write_text

    write_text(to, text)
    say(f"wrote {to}")


def write_study_report(study: "Study", config: "StudyConfig", out: Path) -> None:
    """Write the report's files and say where they are and what won."""
    from ppo_tune.files import make_folder, write_text
    from ppo_tune.progress import describe
    from ppo_tune.reporting import write_report
    from ppo_tune.search.results import baseline_trial, best_trial
    from ppo_tune.search.storage import run_folder

    folder = make_folder(out / "reports" / config.name)
    page = write_report(study, config, run_folder(out, config.name), folder)
    winner = best_trial(study)
    if winner is not None:
        write_text(folder / "best.yaml", _best_yaml(study, config))
        default = baseline_trial(study)
        beside = "" if default is None or default.value is None else f" (default: {default.value:.3f})"
        say(f"winner     trial {winner.number}, score {winner.value:.3f}{beside}")
        say(f"           {describe(winner.params)}")
        say(f"go on with ppo-tune train {folder / 'best.yaml'}")
    say(f"report     {page}")


def _best_yaml(study: "Study", config: "StudyConfig") -> str:
    from ppo_tune.export.native import render
    from ppo_tune.search.results import best_config, best_trial
    from ppo_tune.versions import versions

    best = best_config(study, config)
    winner = best_trial(study)
    assert winner is not None
    facts = {
        "from": f"study {config.name}, trial {winner.number}, {winner.user_attrs['episodes']} episodes long",
        "held-out score": f"{winner.value:.4f}, at {winner.user_attrs['heldout/kl_per_sequence']:.2f} nats of KL",
        "made with": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    return render(best, facts)
