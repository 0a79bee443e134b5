"""`python -m ppo_tune` is `ppo-tune`."""

from ppo_tune.cli import main

main()
