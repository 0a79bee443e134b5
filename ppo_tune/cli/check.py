"""The command that validates a study file."""

from ppo_tune.cli.terminal import HugeGrid, StudyFile, note, say
from ppo_tune.config.blocks import StudyConfig
from ppo_tune.config.methods import LEAST
from ppo_tune.config.study_file import load_study, notes
from ppo_tune.data.user_files import check_user_files
from ppo_tune.search.budget import expected_trials


def check(file: StudyFile, yes: HugeGrid = False) -> None:
    """Validate a study file, count its trials and estimate the work; loads no model."""
    config = load_study(file, allow_huge_grid=yes)
    inputs = check_user_files(config)
    prompts = inputs.prompts
    n, episodes, search = expected_trials(config), config.ppo.episodes, config.search
    say(f"{file} is a valid study.")
    say(f"  task       {config.task.title}")
    say(f"  searched   {', '.join(config.space)}")
    say(
        f"  trials     {_trials(config)}, by {search.sampler}, pruned by {search.pruner}; the default is trial 0"
    )
    most = n * episodes if search.max_episodes is None else search.max_episodes
    limited = config.n_trials is not None or search.max_episodes is not None
    say(f"  episodes   {episodes:,} per trial{f', at most {most:,} in all' if limited else ''}")
    if prompts is not None:
        used = min(config.task.heldout_prompts, prompts["heldout"])
        say(
            f"  prompts    {prompts['train']:,} to train on, {prompts['heldout']:,} held out, of which {used:,} "
            f"score every trial, {prompts['confirmation']:,} for confirmation"
        )
    say(f"  scored at  {', '.join(f'{e:,}' for e in config.milestone_episodes())} episodes")
    size = search.confirmation(n)
    if search.max_episodes is not None:
        size = min(size, search.split(search.max_episodes / episodes)[1], key=lambda found: found.runs)
    if size.top:
        left = " where pruning leaves enough" if "auto" in (search.confirm_top, search.confirm_seeds) else ""
        say(
            f"  confirmed  the best {size.top} and the default, on {size.seeds} fresh seeds{left}: at most {size.runs} "
            f"runs, {size.runs * episodes:,} episodes"
        )
    elif search.confirm_top:
        say(
            f"  confirmed  not: a quarter of {n} trials' episodes does not pay for {LEAST.runs} runs; "
            "`ppo-tune confirm` makes them"
        )
    for text in [*notes(config), *inputs.notes]:
        note(text)


def _trials(config: StudyConfig) -> str:
    """How many trials there are, or what else ends the search."""
    search = config.search
    limits = [] if config.n_trials is None else [f"{config.n_trials}"]
    if search.max_episodes is not None:
        limits.append(f"until {search.max_episodes:,} episodes pay for no more")
    if search.max_seconds is not None:
        limits.append(f"until {search.max_seconds:g} seconds are over")
    return " or ".join(limits)
