"""What the trials of a study show, as numbers: what several chapters and the comparison read."""
