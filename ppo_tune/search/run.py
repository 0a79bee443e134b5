"""Search a study or confirm its best, from Python: make or open the store, hold the study's lock, run the workers."""

from dataclasses import dataclass
from pathlib import Path

from optuna.study import Study
from optuna.trial import TrialState

from ppo_tune.calling import argument
from ppo_tune.config.methods import Size
from ppo_tune.config.notes import notes
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.writing import SEARCH, study_text
from ppo_tune.data.user_files import check_user_files, with_paths_from
from ppo_tune.data.user_functions import held_by
from ppo_tune.errors import PPOTuneError
from ppo_tune.events import Event, Watcher
from ppo_tune.files import make_folder, write_text
from ppo_tune.plurals import counted
from ppo_tune.search.beforehand import look_beforehand
from ppo_tune.search.budget import Budget, begun_trials, episodes_of, expected_trials, trials_worth
from ppo_tune.search.confirmation import ConfirmationPlan, confirmation_of, open_confirmation
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.holding import only_search
from ppo_tune.search.in_process import InProcess
from ppo_tune.search.local_workers import LocalWorkers, number_of_workers
from ppo_tune.search.next_steps import NextSteps
from ppo_tune.search.pack_size import MIN_ROUNDS
from ppo_tune.search.plan import Plan, SearchPlan
from ppo_tune.search.results import STATES, best_trials, count_endings, ranked_trials
from ppo_tune.search.storage import (
    check_same,
    close_lost_trials,
    create_study,
    has_study,
    load_study_from,
    storage_url,
)
from ppo_tune.search.supervisor import Supervisor
from ppo_tune.search.warm_start import MOST, warm_start
from ppo_tune.search.workers import Channel, Worker, Workers


@dataclass
class SearchResult:
    """A study when its search ended.

    Attributes:
        study: Optuna's object.
        interrupted: Whether the user stopped it before its end.
        folder: Where its files are.
    """

    study: Study
    interrupted: bool
    folder: Path

    @property
    def endings(self) -> dict[str, int]:
        """How many trials ended in which way."""
        return count_endings(self.study)


def run_search(
    config: StudyConfig,
    *,
    out: Path | str = ".",
    storage: str | None = None,
    workers: int | None = None,
    watch: Watcher = lambda _: None,
    confirm: bool = True,
) -> SearchResult:
    """Run a study to the end of its budget, or go on with it; then confirm its best few.

    Workers are fresh Python processes, which know nothing of the script or notebook that calls it.

    Args:
        config: The experiment.
        out: Folder that gets `runs/<study>/`.
        storage: URL of an Optuna store; None keeps SQLite beside the trials.
        workers: Processes; None takes one per GPU, or one per core without a GPU.
        watch: Told of everything that happens.
        confirm: Whether the best few and the default run again at the end; see `run_confirmation`.

    Returns:
        The study.

    Raises:
        PPOTuneError: If something cannot be used, another search of the study is running here, or every trial
            fails for the same reason.
        WorkerError: If a worker met a bug.
    """
    n_workers = number_of_workers(workers)
    folder = StudyFolder(make_folder(StudyFolder.of(Path(out), config.name).path))
    inputs = check_user_files(config)
    url = storage or storage_url(Path(out), config.name)
    held = held_rewards(config)
    n_workers = 1 if held else n_workers
    with only_search(folder, config.name), LocalWorkers(train_trials) as processes:
        for text in look_beforehand(None if held else processes, config):
            watch({"kind": "note", "text": text})
        config, short = _with_total(config, url)
        study = create_study(config, url, inputs.hashes, warm_start(config, storage=storage, out=out))
        write_text(
            folder.written(config.name),
            study_text(with_paths_from(config, folder.path), _goes_on(config, folder)),
        )
        close_lost_trials(study, folder.identity())
        watch(_opened(study))
        kept = StudyFacts(study).warm_start
        told = [] if kept is None else [kept.told]
        for note in [*notes(config), *short, *told, *held, *crowding(config, n_workers), *inputs.notes]:
            watch({"kind": "note", "text": note})
        budget = Budget.of(config if confirm else unconfirmed(config), study)
        session = _Session(study, url, folder, None if held else processes, watch)
        interrupted = session.search(SearchPlan(config, n_workers, budget))
        elsewhere = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))  # another machine's
        if confirm and not interrupted and not elsewhere:
            size = budget.confirmation(study)
            if not size.top and config.search.confirm_top != 0:
                StudyFacts(study).unconfirmed = "seconds" if budget.is_by_seconds(study) else "episodes"
            interrupted = session.confirm(config, ConfirmationPlan(config, n_workers, budget), size)
    return SearchResult(study, interrupted, folder.path)


def run_confirmation(
    config: StudyConfig,
    *,
    out: Path | str = ".",
    storage: str | None = None,
    workers: int | None = None,
    watch: Watcher = lambda _: None,
) -> SearchResult:
    """Run the best few of a study and the default config on fresh seeds and unseen prompts, or go on with it.

    Workers are fresh Python processes, which know nothing of the script or notebook that calls it.

    Args:
        config: The experiment; `search.confirm_top` and `search.confirm_seeds` say how much is done.
        out: Folder that holds `runs/<study>/`.
        storage: URL of an Optuna store; None takes SQLite beside the trials.
        workers: Processes; None takes one per GPU, or one per core without a GPU.
        watch: Told of everything that happens.

    Returns:
        The study.

    Raises:
        PPOTuneError: If there is no such study, nothing to confirm, or something cannot be used.
        WorkerError: If a worker met a bug.
    """
    n_workers = number_of_workers(workers)
    url = storage or storage_url(Path(out), config.name)
    study = load_study_from(url, config.name)
    folder = StudyFolder(make_folder(StudyFolder.of(Path(out), config.name).path))
    if not best_trials(study):
        raise PPOTuneError(
            f"study {config.name!r} has nothing to confirm: no trial besides the default was completed within the "
            f"KL budget of {config.search.kl_budget:g} nats; run more trials with "
            f"{argument('n_trials')}"
        )
    with only_search(folder, config.name), LocalWorkers(train_trials) as processes:
        check_same(study, config, check_user_files(config).hashes)
        size = config.search.confirmation(trials_worth(study, config), asked=True)
        held = held_rewards(config)
        for note in held:
            watch({"kind": "note", "text": note})
        plan = ConfirmationPlan(config, 1 if held else n_workers)
        session = _Session(study, url, folder, None if held else processes, watch)
        interrupted = session.confirm(config, plan, size)
    return SearchResult(study, interrupted, folder.path)


def _with_total(config: StudyConfig, url: str) -> tuple[StudyConfig, list[str]]:
    """The experiment with a total of no less than the trials that there are, and what is to be said of that."""
    begun = begun_trials(load_study_from(url, config.name)) if has_study(url, config.name) else 0
    if config.n_trials is None or config.n_trials >= begun:
        return config, []
    search = config.search.model_copy(update={"n_trials": begun})
    told = f"{begun} trials have begun, more than n_trials {config.n_trials}: it stays at {begun}, and none is added"
    return config.model_copy(update={"search": search}), [told]


def _goes_on(config: StudyConfig, folder: StudyFolder) -> str:
    """What goes on with a study that was searched from its file, or from objects of a session."""
    steps = NextSteps.of(config, folder.path)
    return steps.search if steps.lone else SEARCH


def unconfirmed(config: StudyConfig) -> StudyConfig:
    """The experiment without its confirmation, which then need not be paid for."""
    return config.model_copy(update={"search": config.search.model_copy(update={"confirm_top": 0})})


@dataclass(frozen=True)
class _Session:
    """Work on a study, on this machine and under its lock.

    Attributes:
        study: Optuna's object.
        url: Of its store.
        folder: Where its files are.
        workers: Those of the search, and then of the confirmation; None trains in this process.
        watch: Told of everything that happens.
    """

    study: Study
    url: str
    folder: StudyFolder
    workers: Workers | None
    watch: Watcher

    def search(self, plan: SearchPlan) -> bool:
        """Search, and note what ended that; says whether the user stopped it."""
        facts = StudyFacts(self.study)
        facts.ended, facts.unconfirmed = "", ""
        interrupted = self._train(plan, self.study, self.folder.path)
        if not interrupted:
            facts.ended = plan.budget.why_over(self.study)
        if facts.ended:
            self.watch({"kind": "over", "text": facts.ended})
        return interrupted

    def confirm(self, config: StudyConfig, plan: ConfirmationPlan, size: Size) -> bool:
        """Confirm so many; says whether the user stopped it."""
        if not size.top or not best_trials(self.study):
            return False
        StudyFacts(self.study).unconfirmed = ""
        opened = open_confirmation(self.study, config, size)
        close_lost_trials(opened, self.folder.identity())
        self.watch({"kind": "confirming", "remaining": plan.remaining(opened), "done": _over(opened)})
        interrupted = self._train(plan, opened, make_folder(self.folder.confirmation.path))
        if plan.budget.is_late and confirmation_of(opened, config).outcome.kind == "unfinished":
            StudyFacts(self.study).unconfirmed = "over"
            again = f"{NextSteps.of(config, self.folder.path).confirm()} goes on with it"
            self.watch(
                {"kind": "note", "text": f"the seconds were over before the confirmation was: {again}"}
            )
        return interrupted

    def _train(self, plan: Plan, study: Study, folder: Path) -> bool:
        """Train a plan's trials; says whether the user stopped it."""
        search = self.folder.identity()
        if self.workers is None:
            return InProcess(plan, study, self.url, folder, search, self.watch).run()
        return Supervisor(self.workers, plan, study, self.url, folder, search, self.watch).run()


def train_trials(worker: Worker, channel: Channel) -> None:
    """The work of a study's workers: train trials of the plan until none is left or a stop is asked for."""
    from ppo_tune.search.worker import train  # torch is loaded where models are, and not in the supervisor

    train(worker, channel)


def held_rewards(config: StudyConfig) -> list[str]:
    """What a study names that lives in this session alone, one sentence each; such a study trains in this process."""
    functions = {named.place: named.value for named in config.names() if named.kind == "function"}
    held = {place: held_by(name) for place, name in functions.items()}
    return [
        f"{place.removesuffix('.function')}: {one.label} {one.reason}, so one worker trains in this process; import it "
        "from a file of its own, and several can"
        for place, one in held.items()
        if one is not None
    ]


def crowding(config: StudyConfig, workers: int) -> list[str]:
    """A note where so many trials run at once that the sampler proposes most of them without any result."""
    proposes_nothing = config.search.warm_start is not None and expected_trials(config) <= MOST + 1
    if (
        config.search.sampler.learns_after is None
        or workers == 1
        or workers * MIN_ROUNDS <= expected_trials(config)
        or proposes_nothing
    ):
        return []
    return [
        f"{workers} workers propose at once, and {counted(expected_trials(config), 'trial', 'are')} less than "
        f"{MIN_ROUNDS} rounds of them: {config.search.sampler} can learn little; take fewer {argument('workers')} or "
        f"more {argument('n_trials')}"
    ]


def _opened(study: Study) -> Event:
    """What a study held when it was opened: trials over by ending, their episodes, and the best of them."""
    best = next(iter(ranked_trials(study)), None)
    found = (best.number, best.value, best.params) if best else None
    episodes = sum(map(episodes_of, study.get_trials(deepcopy=False)))
    return {"kind": "opened", "done": _over(study), "episodes": episodes, "best": found}


def _over(study: Study) -> dict[str, int]:
    """How many trials are over, by ending."""
    return {name: n for name, n in count_endings(study).items() if name in STATES}
