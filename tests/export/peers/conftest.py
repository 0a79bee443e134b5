"""Tests that run in a trainer's own environment, over exports made in ours; elsewhere none of them is collected."""

import os
from pathlib import Path

EXPORTS = "PPO_TUNE_EXPORTS"
"""Names the folder that `python -m tests.export.peers.make FOLDER` has written."""

collect_ignore = (
    [] if EXPORTS in os.environ else [path.name for path in Path(__file__).parent.glob("test_*.py")]
)
