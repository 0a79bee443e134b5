"""What an experiment is: the blocks of a study file, their reading, and every mistake in words."""
