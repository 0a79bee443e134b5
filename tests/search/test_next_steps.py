"""How one goes on with a study is a command, or what works in the session that has its reward."""

from ppo_tune.search.next_steps import NextSteps


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
