"""Score against the searched values."""
