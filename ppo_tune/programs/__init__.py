"""Programs that a model writes: run apart from ours, with limits, and judged by unit tests."""
