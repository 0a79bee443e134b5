"""The rules to a larger model, worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.errors import ConfigError
from ppo_tune.export import TARGETS, Scale
from ppo_tune.export.base import TokenFacts
from ppo_tune.export.transfer import at_scale, rules
from tests.export.winners import LOUD, QUICKSTART, WINNERS, reward_model_sources, winner


def texts(name: str) -> dict[str, str]:
    """Rules by what they are about."""
    return {rule.field: f"{rule.text} ({rule.confidence})" for rule in rules(WINNERS[name])}


def test_gae_lambda_sees_as_far_in_a_longer_response() -> None:
    tuned = winner({**QUICKSTART, "gae_lambda": 0.95, "max_new_tokens": 32})

    larger = at_scale(tuned, Scale(response_length=512)).config.ppo

    assert larger.gae_lambda == pytest.approx(0.9969, abs=5e-5)  # 1 - 0.05 · 32 / 512 = 0.996875
    assert (1 - larger.gae_lambda) * 512 == pytest.approx((1 - 0.95) * 32, rel=1e-3)


def test_gamma_discounts_a_whole_response_as_before() -> None:
    tuned = winner({**QUICKSTART, "gamma": 0.99, "max_new_tokens": 32})

    larger = at_scale(tuned, Scale(response_length=64)).config.ppo

    assert larger.gamma == pytest.approx(0.994987)  # the square root of 0.99
    assert larger.gamma**64 == pytest.approx(0.99**32, rel=1e-4)


def test_gamma_1_stays_1() -> None:
    tuned = winner({**QUICKSTART, "gamma": 1.0, "gae_lambda": 1.0})

    larger = at_scale(tuned, Scale(response_length=4096)).config.ppo

    assert (larger.gamma, larger.gae_lambda) == (1.0, 1.0)


def test_the_learning_rate_falls_between_the_fourth_and_the_square_root_of_the_size() -> None:
    tuned = winner({**QUICKSTART, "learning_rate": 1e-3})

    larger = at_scale(tuned, Scale(params_ratio=16)).config.ppo

    assert larger.learning_rate == pytest.approx(1e-3 / 2**1.5, rel=1e-5)  # 16^0.25 = 2, 16^0.5 = 4
    assert larger == tuned.config.ppo.with_params({"learning_rate": larger.learning_rate})


def test_a_kl_target_stays_per_sequence_and_its_length_grows() -> None:
    larger = at_scale(winner(LOUD, response_tokens=7.0), Scale(response_length=28))

    assert larger.config.ppo.kl_target == 6.0
    assert larger.response_tokens == 14.0  # 14 tokens became 28


def test_shorter_responses_never_make_a_negative_lambda() -> None:
    tuned = winner({**QUICKSTART, "gae_lambda": 0.5, "max_new_tokens": 100})

    assert at_scale(tuned, Scale(response_length=10)).config.ppo.gae_lambda == 0.0  # 1 - 0.5 · 10 = -4


@given(st.floats(1e-3, 1e6), st.integers(1, 100_000), st.sampled_from(sorted(WINNERS)))
def test_suggestions_are_legal_values_and_the_winner_is_left_as_it_is(
    ratio: float, length: int, name: str
) -> None:
    before = WINNERS[name].config.model_dump()

    larger = at_scale(WINNERS[name], Scale(ratio, length)).config.ppo

    assert WINNERS[name].config.model_dump() == before
    assert 0 <= larger.gae_lambda <= 1
    assert 0 <= larger.gamma <= 1
    assert larger.learning_rate > 0


def test_the_same_size_suggests_the_same_values() -> None:
    tuned = winner()

    same = at_scale(tuned, Scale(1.0, tuned.config.ppo.max_new_tokens))

    assert same.config == tuned.config


def test_each_rule_says_how_sure_it_is() -> None:
    for name in WINNERS:
        for rule in rules(WINNERS[name]):
            assert "confidence" in rule.confidence


def test_rules_are_told_of_what_is_used() -> None:
    assert {"kl_target", "clip_range_value", "missing_eos_penalty", "whiten_rewards"} <= set(texts("loud"))
    assert not {"kl_target", "clip_range_value", "missing_eos_penalty", "whiten_rewards"} & set(
        texts("quickstart")
    )
    assert "σ'/σ, σ the scores' standard deviation (here 0.8)" in texts("quickstart")["kl_coef"]
    assert "(here" not in texts("nothing known")["kl_coef"]
    assert "from LoRA to full tuning about a tenth" in texts("quickstart")["learning_rate"]
    assert "keep lora_alpha / lora_rank" in texts("quickstart")["learning_rate"]
    assert "keep lora_alpha / √lora_rank" in texts("rank-stabilized")["learning_rate"]
    assert "from full tuning to LoRA about 10 times" in texts("all weights")["learning_rate"]
    vectors = {rule.field: str(rule) for rule in rules(winner(model={"adapter": "ia3"}))}
    assert "from IA³ to LoRA about a tenth, to full tuning about a hundredth" in vectors["learning_rate"]


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        (Scale(10), "a model of 10 times the parameters"),
        (Scale(None, 512), "responses of up to 512 tokens"),
        (Scale(0.5, 7), "a model of 0.5 times the parameters and responses of up to 7 tokens"),
    ],
)
def test_a_scale_in_words(scale: Scale, told: str) -> None:
    assert bool(scale)
    assert str(scale) == told
    assert not Scale()


ROOM = TokenFacts(longest_prompt=20, context=64)


def test_the_same_model_is_not_asked_for_responses_beyond_its_context() -> None:
    tuned = winner(sources=reward_model_sources(tokens=ROOM))

    assert at_scale(tuned, Scale(response_length=44)).config.ppo.max_new_tokens == 44  # 20 + 44 = 64
    with pytest.raises(
        ConfigError,
        match="response_length: prompts of up to 20 tokens and responses of 45 need a context of 65, but that of "
        "models/base is 64; shorten it, or say `params_ratio` for another model",
    ):
        at_scale(tuned, Scale(response_length=45))


@pytest.mark.parametrize("target", ["openrlhf", "verl", "skyrl", "trl"])
def test_another_model_is_said_to_need_a_longer_context(target: str) -> None:
    tuned = winner(sources=reward_model_sources(tokens=ROOM))
    made = TARGETS[target](tuned, Scale(params_ratio=2, response_length=45))

    told = " ".join(line.lstrip("# ") for line in made.files[made.main].splitlines())

    assert (
        "responses of 45 need a context of 65, but that of models/base is 64: name a model with more above"
        in told
    )
    assert "need a context" not in TARGETS[target](tuned, Scale(2, 44)).files[made.main]
