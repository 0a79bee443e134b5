"""How one goes on with a study is a command, or what works in the session that has its reward."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from ppo_tune.search.next_steps import NextSteps, flags_of


def test_with_a_reward_that_any_process_has_it_is_a_command() -> None:
    steps = NextSteps("mine")

    assert steps.confirm() == "`ppo-tune confirm mine`"
    assert steps.confirm(seeds=7) == "`ppo-tune confirm mine --seeds 7`"
    assert steps.search == "`ppo-tune extend mine`"
    assert steps.extend == "`ppo-tune extend mine` with --trials, --episodes or --seconds"
    assert steps.more_trials == "--n-trials"
    assert steps.train_there == steps.name_it("best.yaml") == ""


def test_with_a_reward_of_a_session_it_is_what_works_there() -> None:
    steps, there = NextSteps("mine", "score"), "in the Python session of its reward (score)"

    assert steps.confirm() == f"`study.confirm()` {there}"
    assert steps.confirm(seeds=7) == f"`study.confirm(seeds=7)` {there}"
    assert steps.search == f"`ppo_tune.tune` with the same arguments {there}"
    assert steps.extend == f"`ppo_tune.tune` with a larger n_trials, max_episodes or max_seconds {there}"
    assert steps.more_trials == "a larger n_trials"
    named = steps.name_it("best.yaml")
    assert named == (
        "put score into a file of your own, and name that in best.yaml instead of what stands for it (task: reward: "
        "function: my_rewards.py:score)"
    )
    assert steps.train_there == f"`ppo_tune.train(study.best)` {there}; for `ppo-tune train` {named}"


def test_a_folder_with_any_name_is_given_on_as_a_shell_reads_it() -> None:
    assert shlex.split(flags_of(None, Path("50% a?b #c $x größe"))) == ["--out", "50% a?b #c $x größe"]


def test_a_store_given_by_hand_is_given_on_without_its_password() -> None:
    assert flags_of(None, Path()) == ""
    assert flags_of("postgresql+psycopg://me:secret@host/all", Path("my runs")) == (
        " --out 'my runs' --storage 'postgresql+psycopg://me:***@host/all'"
    )
    assert flags_of("postgresql+psycopg://host/all?user=me&password=secret", Path()) == (
        " --storage 'postgresql+psycopg://host/all?password=***&user=me'"
    )


WINNER = Path("reports/mine/best.yaml")


@pytest.mark.parametrize(
    ("state", "expected"),
    [("running", "report"), ("elsewhere", "report"), ("died", "extend"), ("stopped", "extend")],
)
@pytest.mark.parametrize("advice", ["", "Lower it."])
@pytest.mark.parametrize("to_confirm", [True, False])
def test_a_study_that_is_not_over_is_gone_on_with_or_looked_at(
    state: str, expected: str, advice: str, to_confirm: bool
) -> None:
    steps = NextSteps("mine", state=state, advice=advice, to_confirm=to_confirm, flags=" --out o")

    assert steps.next(WINNER) == f"ppo-tune {expected} mine --out o"
    assert steps.first == f"`ppo-tune {expected} mine --out o`"


def test_of_a_study_that_is_over_the_advice_comes_before_a_confirmation_and_that_before_a_training() -> None:
    over = NextSteps("mine", advice="Lower it.", to_confirm=True)

    assert over.next(WINNER) == "Lower it."
    assert replace(over, advice="").next(WINNER) == "ppo-tune confirm mine"
    sure = replace(over, advice="", to_confirm=False)
    assert sure.next(WINNER) == "ppo-tune train reports/mine/best.yaml"
    assert sure.next(None) == "ppo-tune report mine"
    assert over.first == sure.first == ""


def test_what_only_a_session_can_do_is_said_as_it_is() -> None:
    steps = NextSteps("mine", "score", to_confirm=True)

    assert steps.next(WINNER) == steps.confirm()
    assert replace(steps, to_confirm=False).next(WINNER) == steps.train_there
