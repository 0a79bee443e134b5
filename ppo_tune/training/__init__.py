"""One config at full length: checkpoints, resume, and the model folder that is left."""
