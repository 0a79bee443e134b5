# mypy: ignore-errors
"""The reward that is a user's own function, and what is wrong with some of them."""

from pathlib import Path
from textwrap import dedent

import pytest
import torch

from ppo_tune.config.rewards import PythonRewardConfig
from ppo_tune.data import user_functions
from ppo_tune.data.user_functions import hold
from ppo_tune.errors import ConfigError, RewardError
from ppo_tune.rewards import Reward, make_reward
from tests.rewards import contract

PROMPTS, RESPONSES = ("first prompt", "second prompt"), ("good", "bad")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, so that messages name short paths."""
    monkeypatch.chdir(tmp_path)


def function(source: str, name: str = "reward.py:score") -> Reward:
    """The reward of a function in a file of this text."""
    Path("reward.py").write_text(dedent(source), encoding="utf-8")
    return make_reward(PythonRewardConfig(name="python", function=name), torch.device("cpu"))


def refusal(source: str, name: str = "reward.py:score") -> str:
    """The message with which a file is refused."""
    with pytest.raises(ConfigError) as caught:
        function(source, name)
    return str(caught.value)


def failure(body: str) -> str:
    """The message with which the scores of a function of this body are refused."""
    reward = function(f"def score(prompts, responses):\n    {body}\n")
    with pytest.raises(RewardError) as caught:
        reward(PROMPTS, RESPONSES, {})
    return str(caught.value)


@pytest.mark.parametrize("law", contract.LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_contract(law):
    law(function("def score(prompts, responses, **columns): return [len(r) for r in responses]"))


@pytest.mark.parametrize("law", contract.LAWS, ids=lambda law: law.__name__)
def test_a_function_that_empties_what_it_is_given_keeps_the_contract(law):
    source = """
        def score(prompts, responses, references, number, tests):
            scores = [len(r) for r in responses]
            for given in (prompts, responses, references, number, tests):
                given.clear()
            return scores
        """

    law(function(source))


def test_the_function_is_told_everything_by_name():
    reward = function(
        """
        def score(prompts, responses, number, references):
            assert prompts == ["first prompt", "second prompt"]
            assert responses == ["good", "bad"]
            assert references == [["x"], []]
            return [10 * n for n in number]
        """
    )

    scores = reward(PROMPTS, RESPONSES, {"number": [1, 2], "references": [["x"], []]})

    assert scores.tolist() == [10.0, 20.0]


def test_columns_that_are_called_like_an_argument_do_not_replace_it():
    reward = function("def score(prompts, responses): return [float(r == 'good') for r in responses]")

    scores = reward(PROMPTS, RESPONSES, {"responses": ["x", "y"], "prompts": ["x", "y"]})

    assert scores.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("return [1, 0]", id="ints"),
        pytest.param("return (True, False)", id="bools"),
        pytest.param("import torch; return torch.tensor([1.0, 0.0])", id="tensor"),
        pytest.param("import numpy; return numpy.array([1.0, 0.0])", id="array"),
        pytest.param("yield from (1.0, 0.0)", id="generator"),
    ],
)
def test_whatever_holds_one_number_per_response_is_accepted(body):
    reward = function(f"def score(prompts, responses):\n    {body}\n")

    assert reward(PROMPTS, RESPONSES, {}).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("count", "numbers"), [(0, "[]"), (1, "[1.0]"), (3, "[1.0, 2.0, 3.0]")])
def test_a_wrong_count_is_told(count, numbers):
    assert failure(f"return {numbers}") == (
        f"reward function reward.py:score must return one number per response, but got {count} for 2 "
        "responses"
    )


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_told_with_its_sample(number):
    assert failure(f"return [1.0, float('{number}')]") == (
        f"reward function reward.py:score must return finite numbers, but got {number} for prompt "
        "'second prompt', response 'bad'"
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("pass", "None ('NoneType' object is not iterable)", id="nothing"),
        pytest.param("return 1.0", "1.0 ('float' object is not iterable)", id="one number"),
        pytest.param(
            "return [1.0, None]",
            "[1.0, None] (float() argument must be a string or a real number, not 'NoneType')",
            id="a hole",
        ),
        pytest.param(
            "return ['2.0', '1.0']",
            "['2.0', '1.0'] ('2.0' is text, not a number; convert it with float())",
            id="text",
        ),
        pytest.param(
            "return {'good': 1.0, 'bad': 0.0}",
            "{'good': 1.0, 'bad': 0.0} (a dict has no order that says which number is whose)",
            id="a dict",
        ),
        pytest.param(
            "return {1.0}", "{1.0} (a set has no order that says which number is whose)", id="a set"
        ),
        pytest.param(
            "return dict(good=1.0).keys()",
            "dict_keys(['good']) (a dict_keys has no order that",
            id="keys of a dict",
        ),
        pytest.param("return b'12'", "b'12' (its characters are no scores)", id="bytes"),
    ],
)
def test_what_is_no_list_of_numbers_is_told(body, expected):
    message = f"reward function reward.py:score must return a list of numbers, but got {expected}"

    assert failure(body).startswith(message)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("return [1e39, 0.0]", id="more than a float32 holds"),
        pytest.param("return [10**400, 0.0]", id="more than a float holds"),
        pytest.param("return '12'", id="digits"),
        pytest.param(
            "return type('Odd', (), {'__iter__': lambda self: 1 / 0})()", id="an answer that cannot be read"
        ),
        pytest.param("import torch; return torch.zeros(2, 2)", id="two numbers per response"),
        pytest.param("yield {}[responses[0]]", id="an error while it is read"),
    ],
)
def test_no_answer_of_a_function_is_a_bug_of_ours_or_an_infinite_score(body):
    assert failure(body).startswith("reward function reward.py:score ")


def test_an_exception_is_told_with_the_sample_that_raises_it():
    assert failure("return [1 / (r != 'bad') for r in responses]") == (
        "reward function reward.py:score raised ZeroDivisionError: division by zero for prompt "
        "'second prompt', response 'bad'"
    )


@pytest.mark.parametrize("number", ["1e30", "-1e30", "1.1e15"])
def test_a_number_whose_square_float32_cannot_hold_is_told_as_too_large(number):
    assert failure(f"return [{number}, 0.0]") == (
        f"reward function reward.py:score must return numbers of 1e+15 at most, whose squares float32 can add up, but "
        f"got {float(number):g} for prompt 'first prompt', response 'good'; divide the reward"
    )


def test_a_large_number_whose_square_float32_holds_is_accepted():
    reward = function("def score(prompts, responses): return [1e15, -1e15]")

    assert reward(PROMPTS, RESPONSES, {}).square().sum().isfinite()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param("import sys; sys.exit(0)", "SystemExit: 0", id="with success"),
        pytest.param("raise SystemExit", "SystemExit", id="without a word"),
        pytest.param(
            "import sys; [sys.exit('no key') for r in responses if r == 'bad']",
            "SystemExit: no key",
            id="one",
        ),
    ],
)
def test_a_reward_that_ends_the_program_has_failed(body, told):
    guilty = "second prompt', response 'bad" if "bad" in body else "first prompt', response 'good"

    assert failure(body) == f"reward function reward.py:score raised {told} for prompt '{guilty}'"


def test_an_interrupt_inside_a_reward_stays_an_interrupt():
    reward = function("def score(prompts, responses): raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        reward(PROMPTS, RESPONSES, {})


def test_an_exception_that_no_sample_raises_alone_is_told_as_such():
    assert failure("return [1 / (2 - len(responses))]") == (
        "reward function reward.py:score raised ZeroDivisionError: division by zero for 2 responses "
        "together, though for none of them alone"
    )


def test_the_columns_of_the_guilty_sample_are_those_it_is_told_with():
    reward = function("def score(prompts, responses, number): return [1 / n for n in number]")

    with pytest.raises(RewardError, match="for prompt 'second prompt', response 'bad'"):
        reward(PROMPTS, RESPONSES, {"number": [1, 0]})


def test_an_exception_keeps_its_cause():
    reward = function("def score(prompts, responses): raise OSError('no disk')")

    with pytest.raises(RewardError) as caught:
        reward(PROMPTS, RESPONSES, {})

    assert isinstance(caught.value.__cause__, OSError)


def test_a_long_sample_is_cut():
    reward = function("def score(prompts, responses): return [float('nan')]")

    with pytest.raises(RewardError) as caught:
        reward(["a" * 1000], ["b" * 1000], {})

    assert "a" * 199 + "…, response" in str(caught.value)
    assert len(str(caught.value)) < 550


def test_a_missing_file_is_told_with_the_folder_that_was_searched(tmp_path):
    assert refusal("", "other.py:score") == (
        f"reward.function: no such file 'other.py' (looked in {tmp_path})"
    )


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("x = 1", id="nothing"),
        pytest.param("score = 1", id="a number"),
        pytest.param("def Score(): pass", id="another case"),
    ],
)
def test_a_file_without_the_function_is_told(source):
    assert refusal(source) == "reward.function: reward.py has no function 'score'"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("def score(:", "SyntaxError: invalid syntax (reward.py, line 1)", id="syntax"),
        pytest.param("import nowhere", "ModuleNotFoundError: No module named 'nowhere'", id="import"),
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="exception"),
    ],
)
def test_a_file_that_cannot_be_imported_tells_why(source, expected):
    assert refusal(source) == f"reward.function: reward.py cannot be imported: {expected}"


def test_a_file_that_ends_the_program_cannot_be_imported():
    assert refusal("import sys; sys.exit(3)").startswith(
        "reward.function: reward.py cannot be imported: SystemExit"
    )


def test_a_file_may_define_a_dataclass_with_postponed_annotations():
    reward = function(
        """
        from __future__ import annotations
        from dataclasses import dataclass

        @dataclass
        class Weights:
            good: float = 2.0

        def score(prompts, responses):
            return [Weights().good * (r == "good") for r in responses]
        """
    )

    assert reward(PROMPTS, RESPONSES, {}).tolist() == [2.0, 0.0]


def test_two_files_of_one_name_are_two_rewards():
    for folder, number in (("a", 1), ("b", 2)):
        Path(folder).mkdir()
        Path(folder, "reward.py").write_text(f"N = {number}\ndef score(prompts, responses): return [N]")
    configs = [PythonRewardConfig(name="python", function=f"{folder}/reward.py:score") for folder in "ab"]

    rewards = [make_reward(config, torch.device("cpu")) for config in configs]

    assert [reward(["p"], ["r"], {}).item() for reward in rewards] == [1.0, 2.0]


class Held(Reward):
    """Scores by length; lives in this session."""

    def score(self, prompts, responses, columns):
        return [float(len(response)) for response in responses]


def test_an_object_of_this_session_is_the_reward_itself_and_a_function_is_called_by_what_it_is_called():
    def lengths(prompts, responses, **columns):
        if "bad" in responses:
            raise ValueError("bad")
        return [len(response) for response in responses]

    reward = Held()
    held = [
        hold("one.py:score", user_functions.Held(reward, "Held", "is lone")),
        hold("two.py:score", user_functions.Held(lengths, "lengths", "is lone")),
    ]

    def made(name):
        return make_reward(PythonRewardConfig(name="python", function=name), torch.device("cpu"))

    assert len(held) == 2
    assert made("one.py:score") is reward
    assert made("two.py:score")(["p"], ["good"], {}).tolist() == [4.0]
    with pytest.raises(RewardError) as caught:
        made("two.py:score")(PROMPTS, RESPONSES, {})
    assert str(caught.value) == (
        "reward function lengths raised ValueError: bad for prompt 'second prompt', response 'bad'"
    )
