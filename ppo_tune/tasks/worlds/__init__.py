"""The embedded tasks by their names."""

from typing import Any

from ppo_tune.config.tasks import EmbeddedName
from ppo_tune.tasks.world import World
from ppo_tune.tasks.worlds import dialogue, support


def world_of(name: EmbeddedName) -> World[Any]:
    """The world of an embedded task."""
    match name:
        case "support":
            return support.WORLD
        case "dialogue":
            return dialogue.WORLD
