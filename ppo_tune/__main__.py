"""`python -m ppo_tune` is `ppo-tune`."""

import shlex
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C while it is loaded is answered as everywhere."""
    try:
        from ppo_tune.cli import main as run
    except KeyboardInterrupt:
        again = shlex.join(["ppo-tune", *sys.argv[1:]])
        sys.stderr.write(f"Stopped. Nothing was begun. Go on with: {again}\n")
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
