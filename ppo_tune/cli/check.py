"""The command that validates a study file."""

from ppo_tune.cli.terminal import HugeGrid, StudyFile, note, say
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
    if config.search.confirm_top:
        top, seeds = config.search.confirm_top, config.search.confirm_seeds
        say(
            f"  confirmed  the best {top} and the default, on {seeds} fresh seeds: at most {(top + 1) * seeds} runs, "
            f"{(top + 1) * seeds * episodes:,} episodes"
        )
    for text in [*notes(config), *inputs.notes]:
        note(text)
