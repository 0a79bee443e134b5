"""What workers do that train nothing; imports little, for every worker does so anew."""

import os
import time

from ppo_tune.search.workers import Channel, Worker


def act(worker: Worker, channel: Channel) -> None:
    """Do what the worker's URL says, and no more."""
    channel.send({"kind": "begun", "pid": os.getpid(), "given": given(worker)})
    match worker.url:
        case "count":
            for i in range(100):
                channel.send({"kind": "counted", "i": i})
        case "die":
            os._exit(0)
        case "fail":
            raise ValueError("a bug")
        case "wait":
            while not channel.stop_requested():
                time.sleep(0.01)
            channel.send({"kind": "stopping", "still": channel.stop_requested()})
        case "hang":
            time.sleep(3600)


def given(worker: Worker) -> tuple[object, ...]:
    """What a worker was started with, as plain data."""
    plan = worker.plan
    facts = (
        type(plan).__name__,
        plan.config.model_dump_json(),
        plan.workers,
    )
    return (worker.owner, worker.index, worker.url, worker.folder, worker.trials, worker.pack, *facts)
