"""Speed only: without this folder every result stays the same."""
