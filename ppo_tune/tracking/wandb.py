"""Weights & Biases: one run per training, grouped by study, on this disk only unless the user says otherwise.

`wandb sync runs/<study>/wandb/offline-run-*` uploads later what lies here. Nothing but the numbers, the
hyperparameters and the ending is recorded: no console, no code, no facts about the machine.
"""

import os
from collections.abc import Mapping

import wandb

from ppo_tune.tracking.base import Logger, Tracked


class WandB(Logger):
    """Writes below `wandb/` in the tracked folder; with WANDB_MODE=online in the environment, to the server."""

    def __init__(self, tracked: Tracked) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its crash reports would go over the network
        quiet = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "ppo-tune",
            group=tracked.study,
            name=f"{tracked.study}-{tracked.name}",
            config=dict(tracked.config),
            dir=tracked.folder,
            mode=None if os.environ.get("WANDB_MODE") else "offline",  # None: what the environment says
            reinit="create_new",  # a pack trains several at once
            settings=quiet,
        )
        self._run.define_metric("*", step_metric="episodes")

    def log(self, episodes: int, numbers: Mapping[str, float]) -> None:
        """One row, drawn over the episodes."""
        self._run.log({"episodes": episodes, **numbers})

    def finish(self, ending: str, *, failed: bool) -> None:
        """Note how it ended, and close."""
        self._run.summary["ending"] = ending
        self._run.finish(exit_code=int(failed))
