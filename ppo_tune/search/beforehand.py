"""What the first worker's process looks at before there is a study: torch is loaded there, and not in its parent."""

from collections.abc import Callable
from typing import TypeVar

from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import scorers
from ppo_tune.errors import PPOTuneError
from ppo_tune.events import Event
from ppo_tune.search.local_workers import LocalWorkers
from ppo_tune.search.supervisor import WorkerError
from ppo_tune.search.workers import Channel, Failed, Refused

T = TypeVar("T")


def needs_look(config: StudyConfig) -> bool:
    """Whether a study needs anything beside what the embedded task builds."""
    return bool(config.model.name or scorers(config.task) or config.model.compile is True)


def look_beforehand(processes: LocalWorkers | None, config: StudyConfig) -> list[str]:
    """Look at all that a study needs without the weights of any model.

    Args:
        processes: Whose first process is to look; None looks in this one, which alone has what it holds.
        config: The experiment.

    Returns:
        What is to be known of what scores responses, one sentence each; the workers say the rest.

    Raises:
        PPOTuneError: If something cannot be used.
        WorkerError: If the process met a bug.
    """
    if not needs_look(config):
        return []
    if processes is None:
        from ppo_tune.trainer.checks import check_run  # torch is loaded where models are

        return [*check_run(config).of_scorers]
    return [event["text"] for event in answers(processes, _look, config)]


def _look(config: StudyConfig, channel: Channel) -> None:
    from ppo_tune.trainer.checks import check_run  # torch is loaded here, and not in the parent

    for text in check_run(config).of_scorers:
        channel.send({"kind": "note", "text": text})


def answers(processes: LocalWorkers, work: Callable[[T, Channel], None], given: T) -> list[Event]:
    """The events that some work sends, done by the process of the first worker to be.

    Raises:
        PPOTuneError: If something cannot be used.
        WorkerError: If the process met a bug.
    """
    found: list[Event] = []
    for message in processes.beforehand(work, given):
        match message:
            case Refused():
                raise PPOTuneError(message.message)
            case Failed():
                raise WorkerError(f"a worker met a bug; please report it:\n{message.traceback}")
            case dict():
                found.append(message)
    return found
