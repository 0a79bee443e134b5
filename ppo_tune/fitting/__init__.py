"""Fit a base model to texts, or a reward model to preferences."""
