"""The embedded tasks by their names."""

from typing import Any

from ppo_tune.config.tasks import EmbeddedName
from ppo_tune.tasks.world import World
from ppo_tune.tasks.worlds import code, dialogue, summarize, support, translate


def world_of(name: EmbeddedName) -> World[Any]:
    """The world of an embedded task."""
    match name:
        case "code":
            return code.WORLD
        case "dialogue":
            return dialogue.WORLD
        case "summarize":
            return summarize.WORLD
        case "support":
            return support.WORLD
        case "translate":
            return translate.WORLD
