"""The command that validates a study file."""

from ppo_tune.cli.terminal import HugeGrid, StudyFile, note, say
from ppo_tune.config.methods import LEAST
from ppo_tune.config.study_file import load_study, notes
from ppo_tune.data.user_files import check_user_files


def check(file: StudyFile, yes: HugeGrid = False) -> None:
    """Validate a study file, count its trials and estimate the work; loads no model."""
    config = load_study(file, allow_huge_grid=yes)
    inputs = check_user_files(config)
    prompts = inputs.prompts
    n, episodes = config.n_trials, config.ppo.episodes
    say(f"{file} is a valid study.")
    say(f"  task       {config.task.title}")
    say(f"  searched   {', '.join(config.space)}")
    say(
        f"  trials     {n}, by {config.search.sampler}, pruned by {config.search.pruner}; the default is trial 0"
    )
    say(f"  episodes   {episodes:,} per trial, at most {n * episodes:,} in all")
    if prompts is not None:
        used = min(config.task.heldout_prompts, prompts["heldout"])
        say(
            f"  prompts    {prompts['train']:,} to train on, {prompts['heldout']:,} held out, of which {used:,} "
            f"score every trial, {prompts['confirmation']:,} for confirmation"
        )
    say(f"  scored at  {', '.join(f'{e:,}' for e in config.milestone_episodes())} episodes")
    size = config.search.confirmation(n)
    if size.top:
        left = (
            " where pruning leaves enough"
            if "auto" in (config.search.confirm_top, config.search.confirm_seeds)
            else ""
        )
        say(
            f"  confirmed  the best {size.top} and the default, on {size.seeds} fresh seeds{left}: at most {size.runs} "
            f"runs, {size.runs * episodes:,} episodes"
        )
    elif config.search.confirm_top:
        say(
            f"  confirmed  not: a quarter of {n} trials' episodes does not pay for {LEAST.runs} runs; "
            "`ppo-tune confirm` makes them"
        )
    for text in [*notes(config), *inputs.notes]:
        note(text)
