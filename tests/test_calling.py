"""What a message speaks of is called as whoever asks gives it."""

import os
import subprocess
import sys

from ppo_tune.calling import argument, by_command, command, is_by_command, place_of, setting


def test_python_is_told_arguments_and_functions() -> None:
    assert place_of("n_trials") == "n_trials"
    assert place_of("out", python="outs") == "outs"
    assert argument("n_trials") == "`n_trials`"
    assert argument("resume", "True") == "`resume=True`"
    assert setting("ppo.episodes") == "settings['ppo.episodes']"
    assert command("search") == "`ppo_tune.run_search`"


def test_a_command_is_told_flags_and_commands_and_so_are_its_workers() -> None:
    asks = "from ppo_tune.calling import *; print(is_by_command())"

    with by_command(), by_command():
        assert place_of("n_trials") == place_of("n_trials", python="other") == "--n-trials"
        assert argument("n_trials") == "--n-trials"
        assert argument("resume", "True") == "--resume"
        assert setting("ppo.episodes") == "--set ppo.episodes"
        assert command("search") == "`ppo-tune search`"
        worker = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)

    assert worker.stdout == "True\n"
    assert not is_by_command()
    assert "PPO_TUNE_BY_COMMAND" not in os.environ
