"""From the best config to a file for training."""
