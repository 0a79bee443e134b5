"""The command that says which studies there are."""

from dataclasses import asdict
from pathlib import Path

from rich.text import Text

import ppo_tune
from ppo_tune.cli.output import Facts
from ppo_tune.cli.terminal import Out, Storage, printable, say, tell
from ppo_tune.errors import PPOTuneError
from ppo_tune.search.status import StudyStatus


def list(storage: Storage = None, out: Out = Path()) -> Facts:
    """Say which studies there are, how each stands and what it says; changes nothing and disturbs nobody.

    With --json it prints a list, an object per study.
    """
    names = ppo_tune.study_names(storage=storage, out=out)
    if not names:
        say(f"there is no study in {out if storage is None else 'that store'} yet")
    facts = []
    for name in names:
        try:
            found = ppo_tune.study_status(name, storage=storage, out=out)
        except PPOTuneError as error:  # of something else than ppo-tune, say
            say(Text.assemble(name, ("  cannot be read", "yellow")))
            tell(f"  {printable(str(error))}", indent=2)
            continue
        say(Text.assemble(name, (f"  {_stands(found)}", "dim")), final=True)
        tell(f"  {printable(found.verdict.sentence)}", indent=2)
        facts.append(asdict(found))
    return Facts(facts)


def _stands(found: StudyStatus) -> str:
    of = "" if found.total is None else f" of {found.total}"
    ended = "" if found.last_ended is None else f", the last on {found.last_ended:%d %b %Y}"
    return f"{found.state}, {found.done}{of} trials over{ended}"
