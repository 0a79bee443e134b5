"""What the models of an embedded task are built from."""

import hashlib
from collections.abc import Mapping

import pytest

from ppo_tune.data.prompts import split_of
from ppo_tune.tasks.recipe import asked, seeds_of
from ppo_tune.tasks.worlds.support import WORLD, Message

OFTEN_HELD_OUT = 64
"""As many held-out prompts score a policy, if nothing else is asked for."""


def messages(seed: int) -> Mapping[str, Message]:
    return asked(WORLD, seed, "gpt2")


def test_the_world_of_seed_0_is_the_one_that_was_alone_before_there_were_seeds() -> None:
    written = hashlib.sha256("\n".join(messages(0)).encode()).hexdigest()

    assert written[:16] == "aec293782609f859"
    assert seeds_of(0) == (0, 1)


def test_no_two_worlds_draw_from_one_seed() -> None:
    drawn = [seed for world in range(100) for seed in seeds_of(world)]

    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_world_has_the_same_messages_and_scores_policies_by_others(seed: int) -> None:
    def scored(seed: int) -> set[str]:
        return {*[text for text in messages(seed) if split_of(text) == "heldout"][:OFTEN_HELD_OUT]}

    assert messages(seed) == messages(0)  # as mappings, whatever their order
    assert len(scored(seed) & scored(0)) < OFTEN_HELD_OUT / 2
