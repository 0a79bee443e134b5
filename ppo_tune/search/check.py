"""What can be said of a study before it is begun: every mistake, how much there is to do, and what it takes here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppo_tune.config.methods import Size
from ppo_tune.config.notes import notes
from ppo_tune.config.study import StudyConfig
from ppo_tune.data.prompts import Prompt, Split
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import Mistakes
from ppo_tune.search.beforehand import needs_look
from ppo_tune.search.budget import expected_trials, trial_cost
from ppo_tune.search.local_workers import number_of_workers
from ppo_tune.search.run import crowding, unconfirmed
from ppo_tune.search.storage import check_same, has_study, load_study_from, storage_url
from ppo_tune.search.warm_start import warm_start

if TYPE_CHECKING:
    from ppo_tune.search.measuring import Takes
    from ppo_tune.trainer.checks import Lengths, RunFacts


@dataclass(frozen=True)
class StudyCheck:
    """What is known of a study in which nothing is wrong.

    Attributes:
        name: The study's.
        exists: Whether it was begun before, so that a search goes on with it.
        n_trials: At most so many trials; None where only episodes or seconds end them.
        trials_worth: About so many full trials' worth of episodes the search takes.
        prompts: How many each split has; None for the embedded task.
        lengths: Of the prompts in the model's tokens; None where the task's own model reads them.
        confirmation: How much is confirmed after the search, as far as can be told.
        notes: What may surprise, one sentence each.
        takes: What it takes of this machine; None where that was not measured.
    """

    name: str
    exists: bool
    n_trials: int | None
    trials_worth: float
    prompts: Mapping[Split, int] | None
    lengths: "Lengths | None"
    confirmation: Size
    notes: tuple[str, ...]
    takes: "Takes | None" = None


def check_study(
    config: StudyConfig,
    *,
    out: Path | str = ".",
    storage: str | None = None,
    workers: int | None = None,
    measure: bool = False,
    confirm: bool = True,
) -> StudyCheck:
    """Look at all that a search of a study needs, and say how much it does; begins nothing.

    Prompts are tokenized, and models are known by their configs; their weights are read only if the study is measured.
    Call it under `if __name__ == "__main__":` then, for it is measured in a fresh Python process.

    Args:
        config: The experiment.
        out: Folder that would get `runs/<study>/`.
        storage: URL of an Optuna store; None is SQLite beside the trials. A database gets Optuna's tables.
        workers: Processes; None is one per GPU, or one per core without a GPU.
        measure: Whether to load the models as a worker does, and time an update.
        confirm: Whether the best few and the default are to run again at its end.

    Returns:
        What is known of it.

    Raises:
        PPOTuneError: If something cannot be used, or the study exists and was made by another experiment.
        WorkerError: If a worker that was measured met a bug.
    """
    n_workers, mistakes, exists = number_of_workers(workers), Mistakes(), False
    prompts: list[Prompt] = []
    inputs = check_user_files(config, read=prompts)
    facts: RunFacts | None = None
    if needs_look(config):
        from ppo_tune.trainer.checks import check_run  # seconds to import, for those who need it

        with mistakes.collected():
            facts = check_run(config, prompts or None)
    with mistakes.collected():
        url = storage or storage_url(Path(out), config.name)
        exists = has_study(url, config.name)
        if exists:
            check_same(load_study_from(url, config.name), config, inputs.hashes)
        warm_start(config, storage=storage, out=out)
    mistakes.tell()
    worth = expected_trials(config) * trial_cost(config)
    size = (config if confirm else unconfirmed(config)).search.confirmation(worth)
    if config.n_trials is not None:
        size = replace(size, top=min(size.top, config.n_trials - 1))  # the default is trial 0
    told = () if facts is None else (*facts.of_model, *facts.of_scorers)
    return StudyCheck(
        name=config.name,
        exists=exists,
        n_trials=config.n_trials,
        trials_worth=worth,
        prompts=None
        if inputs.prompts is None
        else {**inputs.prompts, **({} if facts is None else facts.kept)},
        lengths=None if facts is None else facts.lengths,
        confirmation=size,
        notes=(*notes(config), *crowding(config, n_workers), *inputs.notes, *told),
        takes=_measured(config, n_workers, worth, size.runs) if measure else None,
    )


def _measured(config: StudyConfig, workers: int, worth: float, runs: int) -> "Takes":
    from ppo_tune.search.measuring import what_it_takes  # seconds to import, for those who measure

    return what_it_takes(config, workers, worth=worth, runs=runs)
