# mypy: ignore-errors
"""Which prompts and random numbers judge a policy: what chose it never says how good it is."""

from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.data.draws import claim_draws, confirmation_draws, measured_on, milestone_draws
from ppo_tune.seeding import derive_seed

TASK = {"name": "support", "heldout_prompts": 16}

seeds = st.integers(0, 2**31)


def study(seed: int) -> StudyConfig:
    return StudyConfig.model_validate({"name": "a", "task": TASK, "space": {}, "search": {"seed": seed}})


def training(seed: int) -> TrainConfig:
    return TrainConfig.model_validate({"task": TASK, "seed": seed})


@given(seed=seeds)
def test_search_confirmation_milestones_and_claim_share_no_random_numbers(seed: int) -> None:
    """A winner carries the seed of its search into its training."""
    searched = {milestone_draws(study(seed)).seed, confirmation_draws(study(seed)).seed}
    trained = {milestone_draws(training(seed)).seed, claim_draws(training(seed)).seed}
    of_training = {
        derive_seed(seed, "train"),
        derive_seed(seed, "confirmation", 0),
        derive_seed(seed, "trial", 0),
    }

    assert len(searched | trained | of_training) == 7


@given(one=seeds, other=seeds)
def test_the_seed_decides_every_one_of_them(one: int, other: int) -> None:
    for draws, config in (
        (milestone_draws, study), (milestone_draws, training), (confirmation_draws, study), (claim_draws, study),
        (claim_draws, training),
    ):  # fmt: skip
        assert (draws(config(one)) == draws(config(other))) == (one == other)


def test_milestones_take_held_out_prompts_and_the_others_four_times_as_many_of_the_confirmation() -> None:
    searched, trained = milestone_draws(study(0)), milestone_draws(training(0))
    assert (searched.split, searched.on_the_way, searched.n_prompts) == ("heldout", 16, 64)
    assert (trained.split, trained.on_the_way, trained.n_prompts) == ("heldout", None, 16)
    assert (confirmation_draws(study(0)).split, confirmation_draws(study(0)).n_prompts) == (
        "confirmation",
        64,
    )
    assert (claim_draws(training(0)).split, claim_draws(training(0)).n_prompts) == ("confirmation", 64)


def test_a_study_and_its_winner_claim_by_the_same_draws() -> None:
    """So the base model of a study, evaluated, is what its winner's training says of it before."""
    assert claim_draws(study(7)) == claim_draws(training(7))


def test_what_was_measured_on_is_said_in_words() -> None:
    assert measured_on("confirmation", 1024) == (
        "1,024 prompts that no milestone answers (the confirmation split), with random numbers that chose nothing"
    )
    assert "so the score is optimistic" in measured_on("heldout", 9)
