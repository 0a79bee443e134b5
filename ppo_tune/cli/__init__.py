"""The command line: each command is a few lines over the Python API."""

import sys

from rich.text import Text

from ppo_tune.cli import searching, studies, study_compare, study_export, study_views, training
from ppo_tune.cli.terminal import EXIT_INTERRUPTED, EXIT_MISTAKE, app, errors
from ppo_tune.errors import PPOTuneError, TrialError

__all__ = ["main", "searching", "studies", "study_compare", "study_export", "study_views", "training"]


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2."""
    try:
        app(standalone_mode=True)
    except (PPOTuneError, TrialError) as error:
        errors.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(EXIT_MISTAKE)
    except KeyboardInterrupt:
        errors.print("stopped")
        sys.exit(EXIT_INTERRUPTED)
