"""The user's files as rows, prompts, functions and hashes; loads no model."""
