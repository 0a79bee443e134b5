"""The command that looks at a study before it is begun."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import ppo_tune
from ppo_tune.cli.asked import AskedStudy, with_study
from ppo_tune.cli.output import Facts
from ppo_tune.cli.progress import clock
from ppo_tune.cli.terminal import Out, Storage, Workers, note, say, tell
from ppo_tune.config.methods import LEAST
from ppo_tune.config.study import StudyConfig
from ppo_tune.data.draws import milestone_draws
from ppo_tune.plurals import counted
from ppo_tune.search.budget import trial_cost

if TYPE_CHECKING:
    from ppo_tune.search.check import StudyCheck
    from ppo_tune.search.measuring import Takes


@with_study
def check(
    asked: AskedStudy,
    measure: Annotated[
        bool, typer.Option("--measure", help="Load the models and time an update: memory and minutes.")
    ] = False,
    workers: Workers = None,
    storage: Storage = None,
    out: Out = Path(),
) -> Facts:
    """Find what is wrong with a study before it starts, count its trials and estimate the work.

    It is asked with what `search` is to be given. Models are known by their configs and tokenizers; their weights are
    loaded with --measure alone.
    """
    files: list[str] = []
    config = asked.load(lambda event: files.append(event["text"]))
    confirm = not asked.no_confirm
    found = ppo_tune.check_study(
        config, out=out, storage=storage, workers=workers, measure=measure, confirm=confirm
    )
    say(
        f"{asked.file} is a valid study{', and was begun: a search goes on with it' if found.exists else ''}.",
        final=True,
    )
    for label, text in _lines(config, found, confirm=confirm):
        tell(f"  {label:<10} {text}", indent=13)
    for text in (*files, *found.notes):
        note(text)
    return Facts({**asdict(found), "files": files})


def _lines(config: StudyConfig, found: "StudyCheck", *, confirm: bool) -> Iterator[tuple[str, str]]:
    episodes, search = config.ppo.episodes, config.search
    yield "task", config.task.title
    when = {name: f" (when {condition})" for name, condition in config.space.conditions.items()}
    yield "searched", ", ".join(name + when.get(name, "") for name in config.space)
    if config.constraints:
        yield "where", ", ".join(config.constraints)
    earlier = "" if search.warm_start is None else f", then the best configs of study {search.warm_start}"
    yield (
        "trials",
        f"{_trials(config)}, by {search.sampler}, pruned by {search.pruner}; the default is trial 0{earlier}",
    )
    yield "episodes", f"{episodes:,} per trial, {_in_all(config)}"
    if found.prompts is not None:
        draws = milestone_draws(config)
        few, used = (
            min(n, found.prompts.get("heldout", 0))
            for n in (draws.on_the_way or draws.n_prompts, draws.n_prompts)
        )
        counts = {split: found.prompts.get(split, 0) for split in ("train", "heldout", "confirmation")}
        yield (
            "prompts",
            f"{counts['train']:,} to train on, {counts['heldout']:,} held out, of which {few:,} score a trial at a "
            f"milestone and {used:,} at its end, {counts['confirmation']:,} for confirmation",
        )
    if found.lengths is not None:
        yield "tokens", _tokens(config, found)
    yield "scored at", f"{', '.join(f'{e:,}' for e in config.milestone_episodes())} episodes"
    if found.confirmation.top:
        size = found.confirmation
        left = " where pruning leaves enough" if "auto" in (search.confirm_top, search.confirm_seeds) else ""
        yield (
            "confirmed",
            f"the best {size.top} and the default, on {counted(size.seeds, 'fresh seed')}{left}: at most "
            f"{counted(size.runs, 'run')}, {counted(size.runs * episodes, 'episode')}",
        )
    elif search.confirm_top and confirm and config.n_trials == 1:
        yield "confirmed", "not: trial 0, the default config, is the only one"
    elif search.confirm_top and confirm:
        yield (
            "confirmed",
            f"not: a quarter of what about {found.trials_worth:.0f} whole trials take does not pay for {LEAST.runs} "
            "runs; `ppo-tune confirm` makes them",
        )
    if found.takes is not None:
        yield "memory", _memory(found.takes)
        yield "time", _time(found.takes)


def _tokens(config: StudyConfig, found: "StudyCheck") -> str:
    """How long prompts are, and what becomes of those that leave no room for a response."""
    lengths = found.lengths
    assert lengths is not None, "asked for where there are lengths"
    room = "a context without limit"
    if lengths.room is not None:
        room = f"a context that holds prompts of {lengths.room:,} at most"
    gone = {"dropped": lengths.dropped, "cut": lengths.cut}
    lost = "".join(f", {n:,} longer ones {what}" for what, n in gone.items() if n)
    return (
        f"{lengths.median:,} in the median prompt, {lengths.longest:,} in the longest{lost}; "
        f"{config.ppo.max_new_tokens:,} for a response, in {room}"
    )


def _memory(takes: "Takes") -> str:
    """What the workers of a device hold, against what it has."""
    pace, each = takes.pace, takes.bytes_per_device
    several = "" if takes.workers == pace.devices else f", {_gigabytes(each)} for all on one device"
    short = "; they do not fit, take fewer --workers" if each > pace.device_bytes else ""
    return f"{_gigabytes(pace.worker_bytes)} per worker{several}, of {_gigabytes(pace.device_bytes)}{short}"


def _time(takes: "Takes") -> str:
    """How long a trial, the search and its confirmation are."""
    pace, n = takes.pace, takes.workers
    packed = f" in packs of {pace.pack}" if pace.pack > 1 else ""
    confirmed = takes.confirmation_seconds
    after = f", and at most {clock(confirmed)} for its confirmation" if confirmed else ""
    by = counted(n, "worker")
    return (
        f"about {clock(pace.seconds_per_trial)} per whole trial{packed}; about "
        f"{clock(takes.search_seconds)} for the search by {by}{after}"
    )


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB"


def _trials(config: StudyConfig) -> str:
    """How many trials there are, or what else ends the search."""
    search = config.search
    limits = [] if config.n_trials is None else [f"{config.n_trials}"]
    if search.max_episodes is not None:
        limits.append(f"until {search.max_episodes:,} episodes pay for no more")
    if search.max_seconds is not None:
        limits.append(f"until {search.max_seconds:g} seconds are over")
    return " or ".join(limits)


def _in_all(config: StudyConfig) -> str:
    """How many episodes the search takes, or with its confirmation may take."""
    if config.search.max_episodes is not None:
        return f"about {config.search.max_episodes:,} in all"  # the last trial begins where half of it fits
    if config.n_trials is None:
        return "as many as the seconds allow"
    cost, most = trial_cost(config), config.n_trials * config.ppo.episodes
    pruned = "" if cost == 1 else f"about {cost * most:,.0f} in all where pruning ends trials, "
    return f"{pruned}at most {most:,}{'' if pruned else ' in all'}"
