# mypy: ignore-errors
"""The reward of readable rules."""

import pytest
import torch

from ppo_tune.config.rewards import LengthRule, RuleRewardConfig
from ppo_tune.rewards import Reward, make_reward
from ppo_tune.rewards.rule import length_score
from tests.rewards import contract


def rule(**rules: object) -> Reward:
    """The reward of these rules."""
    return make_reward(RuleRewardConfig(name="rule", **rules), torch.device("cpu"))


def score(response: str, **rules: object) -> float:
    """What these rules say of one response."""
    return rule(**rules)(["a prompt"], [response], {}).item()


@pytest.mark.parametrize("law", contract.LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_contract(law):
    law(rule(include={"fan": 1.0, "désolé": 0.5}, avoid={"sorry": 2.0}, length=LengthRule(low=2, high=4)))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param("we are sorry", 1.5, id="mentioned"),
        pytest.param("sorry sorry sorry", 1.5, id="mentioned thrice"),
        pytest.param("Sorry, thank you!", 3.5, id="both, whatever the case"),
        pytest.param("a sorrysome thank", 0.0, id="parts of words"),
        pytest.param("thankyou", 0.0, id="a phrase is words with white space between"),
    ],
)
def test_what_is_mentioned_earns_its_weight_once(response, expected):
    assert score(response, include={"sorry": 1.5, "thank you": 2.0}) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param("no problem", -0.5, id="once"),
        pytest.param("no, No and NO", -1.5, id="at each use"),
        pytest.param("nothing to note", 0.0, id="parts of words"),
    ],
)
def test_what_should_be_avoided_costs_its_weight_at_each_use(response, expected):
    assert score(response, avoid={"no": 0.5}) == expected


@pytest.mark.parametrize("phrase", ["thank you", "  thank   you ", "thank\nyou\n"])
@pytest.mark.parametrize("response", ["thank you", "Thank\nyou!", "oh thank  \t you", "thank\u00a0you"])
def test_a_phrase_is_found_whatever_white_space_it_and_the_response_have(response, phrase):
    assert score(response, include={phrase: 2.0}) == 2.0
    assert score(f"{response} {response}", avoid={phrase: 0.5}) == -1.0


def test_white_space_in_a_phrase_frees_no_end_of_it():
    assert score("thank  yours, unthank\nyou", include={" thank  you ": 1.0}) == 0.0
    assert score("我\n迟到了", include={" 我  迟到": 1.0}) == 1.0


def test_a_phrase_is_no_pattern():
    assert score("costs a.b", include={"a.b": 1.0, "a+": 1.0}) == 1.0
    assert score("costs axb aa", include={"a.b": 1.0, "a+": 1.0}) == 0.0


@pytest.mark.parametrize(
    ("n_words", "expected"),
    [
        pytest.param(4, 2.0, id="shortest"),
        pytest.param(8, 2.0, id="longest"),
        pytest.param(2, 1.5, id="two too few"),
        pytest.param(10, 1.5, id="two too many"),
        pytest.param(0, 1.0, id="nothing"),
        pytest.param(24, -2.0, id="sixteen too many"),
        pytest.param(1000, -2.0, id="no worse than minus the weight"),
    ],
)
def test_each_word_outside_the_range_costs_the_weight_over_the_longest(n_words, expected):
    assert length_score(n_words, LengthRule(low=4, high=8, weight=2.0)) == pytest.approx(expected)


def test_rules_add_up():
    found = score(
        "sorry sorry but no",
        include={"sorry": 1.0},
        avoid={"no": 0.25},
        length=LengthRule(low=1, high=2, weight=4.0),
    )

    assert found == 1.0 - 0.25 + 0.0  # two words beyond a longest of two: the length earns nothing
