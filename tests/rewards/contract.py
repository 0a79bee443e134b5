# mypy: ignore-errors
"""What every reward keeps, whatever it likes: one law each, called with a reward that needs no model.

The rows have references, an empty response, a word that no rule knows, and letters beyond ASCII.
"""

import copy

import pytest
import torch

from ppo_tune.rewards import Reward

PROMPTS = ("my printer is loud", "my router is dead", "my phone is slow", "my café is closed")
RESPONSES = ("so sorry . please clean the fan .", "", "thank you", "désolé — 对不起")
COLUMNS = {
    "references": [
        ["please clean the fan ."],
        ["charge the battery"],
        ["restart it", "thank you"],
        ["désolé"],
    ],
    "number": [1, 2, 3, 4],
    "tests": [["assert True"]] * 4,
}


def each_response_gets_one_finite_number(reward: Reward) -> None:
    """A tensor of shape (N,), float32, on the CPU."""
    scores = reward(PROMPTS, RESPONSES, COLUMNS)

    assert scores.shape == (4,)
    assert scores.dtype == torch.float32
    assert scores.device.type == "cpu"
    assert scores.isfinite().all()


def scores_tell_responses_apart(reward: Reward) -> None:
    """What a response says matters."""
    assert reward(PROMPTS, RESPONSES, COLUMNS).unique().numel() > 1


def scores_come_in_the_order_of_the_responses(reward: Reward) -> None:
    """Turning the rows around turns the scores around."""
    backwards = {name: values[::-1] for name, values in COLUMNS.items()}

    scores = reward(PROMPTS[::-1], RESPONSES[::-1], backwards)

    assert scores.flip(0).equal(reward(PROMPTS, RESPONSES, COLUMNS))


def a_response_scores_the_same_alone_and_among_others(reward: Reward) -> None:
    """The batch is a matter of speed only, up to the rounding of a model beside longer texts."""
    together = reward(PROMPTS, RESPONSES, COLUMNS).tolist()

    alone = [
        reward([PROMPTS[i]], [RESPONSES[i]], {name: [values[i]] for name, values in COLUMNS.items()}).item()
        for i in range(4)
    ]

    assert alone == pytest.approx(together, rel=1e-5, abs=1e-5)


def the_same_rows_score_the_same_twice(reward: Reward) -> None:
    """No memory, no dice."""
    assert reward(PROMPTS, RESPONSES, COLUMNS).equal(reward(PROMPTS, RESPONSES, COLUMNS))


def what_is_judged_is_left_unchanged(reward: Reward) -> None:
    """Lists go in and come out as they were."""
    prompts, responses, columns = list(PROMPTS), list(RESPONSES), copy.deepcopy(COLUMNS)

    reward(prompts, responses, columns)

    assert (prompts, responses, columns) == (list(PROMPTS), list(RESPONSES), COLUMNS)


def no_rows_get_no_scores(reward: Reward) -> None:
    """An empty batch is a batch."""
    assert reward([], [], {name: [] for name in COLUMNS}).shape == (0,)


def a_reward_says_what_it_is(reward: Reward) -> None:
    """Its name begins every message about it."""
    assert str(reward).startswith("reward ")


LAWS = (
    each_response_gets_one_finite_number,
    scores_tell_responses_apart,
    scores_come_in_the_order_of_the_responses,
    a_response_scores_the_same_alone_and_among_others,
    the_same_rows_score_the_same_twice,
    what_is_judged_is_left_unchanged,
    no_rows_get_no_scores,
    a_reward_says_what_it_is,
)
