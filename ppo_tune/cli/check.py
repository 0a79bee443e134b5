"""The command that validates a study file."""

from ppo_tune.cli.settings import read_settings
from ppo_tune.cli.terminal import HugeGrid, Name, Seed, Settings, StudyFile, note, say
from ppo_tune.config.blocks import StudyConfig
from ppo_tune.config.methods import LEAST
from ppo_tune.config.study_file import load_study, notes
from ppo_tune.data.draws import milestone_draws
from ppo_tune.data.user_files import check_user_files
from ppo_tune.search.budget import expected_trials, trial_cost


def check(
    file: StudyFile, yes: HugeGrid = False, settings: Settings = None, seed: Seed = None, name: Name = None
) -> None:
    """Validate a study file, count its trials and estimate the work; loads no model."""
    config = load_study(file, allow_huge_grid=yes, seed=seed, name=name, settings=read_settings(settings))
    inputs = check_user_files(config)
    prompts = inputs.prompts
    episodes, search = config.ppo.episodes, config.search
    say(f"{file} is a valid study.")
    say(f"  task       {config.task.title}")
    when = {name: f" (when {condition})" for name, condition in config.space.conditions.items()}
    say(f"  searched   {', '.join(name + when.get(name, '') for name in config.space)}")
    if config.constraints:
        say(f"  where      {', '.join(config.constraints)}")
    say(
        f"  trials     {_trials(config)}, by {search.sampler}, pruned by {search.pruner}; the default is trial 0"
        + ("" if search.warm_start is None else f", then the best configs of study {search.warm_start}")
    )
    say(f"  episodes   {episodes:,} per trial, {_in_all(config)}")
    if prompts is not None:
        draws = milestone_draws(config)
        few, used = (
            min(n, prompts["heldout"]) for n in (draws.on_the_way or draws.n_prompts, draws.n_prompts)
        )
        say(
            f"  prompts    {prompts['train']:,} to train on, {prompts['heldout']:,} held out, of which {few:,} "
            f"score a trial at a milestone and {used:,} at its end, {prompts['confirmation']:,} for confirmation"
        )
    say(f"  scored at  {', '.join(f'{e:,}' for e in config.milestone_episodes())} episodes")
    worth = expected_trials(config) * trial_cost(config)
    size = search.confirmation(worth)
    if size.top:
        left = " where pruning leaves enough" if "auto" in (search.confirm_top, search.confirm_seeds) else ""
        say(
            f"  confirmed  the best {size.top} and the default, on {size.seeds} fresh seeds{left}: at most {size.runs} "
            f"runs, {size.runs * episodes:,} episodes"
        )
    elif search.confirm_top:
        say(
            f"  confirmed  not: a quarter of what about {worth:.0f} whole trials take does not pay for {LEAST.runs} "
            "runs; `ppo-tune confirm` makes them"
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


def _in_all(config: StudyConfig) -> str:
    """How many episodes the search takes, or with its confirmation may take."""
    if config.search.max_episodes is not None:
        return f"about {config.search.max_episodes:,} in all"  # the last trial begins where half of it fits
    if config.n_trials is None:
        return "as many as the seconds allow"
    cost, most = trial_cost(config), config.n_trials * config.ppo.episodes
    pruned = "" if cost == 1 else f"about {cost * most:,.0f} in all where pruning ends trials, "
    return f"{pruned}at most {most:,}{'' if pruned else ' in all'}"
