"""Where a training keeps its checkpoints; knows nothing of what they hold."""

from pathlib import Path


def checkpoints_in(folder: Path) -> list[Path]:
    """All complete checkpoints, oldest first."""
    return sorted(folder.glob("episodes-*"))
