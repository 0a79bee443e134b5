# mypy: ignore-errors
"""The policy: what it samples, when a response ends, what it says of given responses, and its reference."""

import copy

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from torch.testing import assert_close

from ppo_tune.config.model import ModelConfig
from ppo_tune.models import Policy, Prompts
from ppo_tune.models.causal import cache_name, positions
from ppo_tune.models.context import context_length
from ppo_tune.models.decoding import sample_tokens
from ppo_tune.models.layout import stop_tokens
from ppo_tune.seeding import generator
from tests.conftest import (
    EOS,
    VOCABULARY,
    make_sequences,
    prompts_for,
    stir,
    stirred_policy,
    tiny_model,
    tiny_policy,
    tiny_tokenizer,
    uniforms_for,
)

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9]]
RESPONSES = [[4, 0], [3, 1, 2, 9], [6, 6, 0]]
BLOOM = {"hidden_size": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.2}
ALWAYS_FIRST, ALWAYS_LAST = 1e-9, 1.0  # the stop token is the first of the vocabulary


def next_token(model, ids: list[int], temperature: float = 1.0) -> Tensor:
    """Probabilities of the token after `ids`, as transformers alone has them."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1].double()
    return (logits / temperature).softmax(-1)


def uniforms_choosing(model, prompt: list[int], response: list[int]) -> list[float]:
    """Numbers that make a model say this response: each the middle of its token's share of (0, 1]."""
    chosen = []
    for t, token in enumerate(response):
        probabilities = next_token(model, prompt + response[:t])
        chosen.append(float(probabilities[:token].sum() + probabilities[token] / 2))
    return chosen


def generated(policy: Policy, prompts: list[list[int]], uniforms: Tensor | list, temperature: float = 1.0):
    """Responses of place 0."""
    rows = torch.as_tensor(uniforms)[None]
    sequences, _ = policy.generate(prompts_for(prompts), rows, temperature=temperature, places=[0])
    return sequences[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_every_token_gets_its_share_of_the_uniform_numbers(temperature):
    grid = (torch.arange(4000) + 0.5) / 4000
    expected = 4000 * next_token(tiny_model().eval(), PROMPTS[1], temperature)

    tokens = generated(tiny_policy(), [PROMPTS[1]] * 4000, grid[:, None], temperature).response_ids

    counts = tokens.flatten().bincount(minlength=len(VOCABULARY))
    assert (
        counts - expected
    ).abs().max() < 1.01  # an interval holds its length in grid points, give or take 1


def test_sampling_frequencies_are_the_softmax():
    uniforms = uniforms_for(1, 4000, 1)[0]
    expected = 4000 * next_token(tiny_model().eval(), PROMPTS[1], 0.7)

    tokens = generated(tiny_policy(), [PROMPTS[1]] * 4000, uniforms, 0.7).response_ids

    counts = tokens.flatten().bincount(minlength=len(VOCABULARY))
    assert chisquare(counts, expected.numpy() * 4000 / float(expected.sum())).pvalue > 0.01


def test_a_response_is_sampled_token_by_token_from_what_came_before():
    policy = tiny_policy()
    model = tiny_model().eval()
    uniforms = [uniforms_choosing(model, p, [3, 1, 2, 9]) for p in PROMPTS]

    sequences = generated(policy, PROMPTS, uniforms)

    assert sequences.response_ids.tolist() == [[3, 1, 2, 9]] * 3


def test_the_same_uniform_numbers_give_the_same_samples():
    policy = tiny_policy(places=2)
    uniforms = uniforms_for(1, 3, 8).expand(2, -1, -1)

    first, _ = policy.generate(prompts_for(PROMPTS, 2), uniforms, temperature=1.0, places=[0, 1])
    second, _ = policy.generate(prompts_for(PROMPTS, 2), uniforms, temperature=1.0, places=[0, 1])

    assert torch.equal(first.response_ids, second.response_ids)
    assert torch.equal(first.response_ids[0], first.response_ids[1])


def test_what_a_trial_samples_depends_on_its_own_uniform_numbers_alone():
    policy = stirred_policy(places=2)
    uniforms, others = uniforms_for(2, 3, 8), uniforms_for(2, 3, 8, seed=1)
    mixed = torch.stack([uniforms[0], others[1]])

    sequences, _ = policy.generate(prompts_for(PROMPTS, 2), uniforms, temperature=1.0, places=[0, 1])
    changed, _ = policy.generate(prompts_for(PROMPTS, 2), mixed, temperature=1.0, places=[0, 1])

    length = min(sequences.response_ids.shape[-1], changed.response_ids.shape[-1])
    assert torch.equal(sequences.response_ids[0, :, :length], changed.response_ids[0, :, :length])
    assert not torch.equal(sequences.response_ids[1, :, :length], changed.response_ids[1, :, :length])


@pytest.mark.parametrize(
    ("uniform", "token"),
    [
        pytest.param(2.0**-24, 1, id="least"),
        pytest.param(0.5, 1, id="at a boundary"),
        pytest.param(0.5000001, 3, id="above a boundary"),
        pytest.param(1.0, 3, id="greatest"),
    ],
)
def test_a_token_of_probability_zero_is_never_sampled(uniform, token):
    distribution = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).log()

    assert sample_tokens(distribution, torch.tensor([uniform])).tolist() == [token]


def test_rounding_of_the_distribution_loses_no_uniform_number():
    short = torch.tensor([[0.25, 0.25, 0.25, 0.2499]]).log()  # sums to less than 1
    long = torch.tensor([[0.25, 0.25, 0.25, 0.2501]]).log()

    assert sample_tokens(short, torch.tensor([1.0])).tolist() == [3]
    assert sample_tokens(long, torch.tensor([1.0])).tolist() == [3]


def test_not_a_number_still_gives_a_token():
    tokens = sample_tokens(torch.full((2, 5), torch.nan), torch.tensor([0.5, 1.0]))

    assert ((tokens >= 0) & (tokens < 5)).all()


@pytest.mark.parametrize("pad_token", [None, EOS], ids=["no pad token", "pad is the stop token"])
def test_padding_needs_no_token_of_its_own(pad_token):
    policy = tiny_policy(tokenizer=tiny_tokenizer(pad_token=pad_token))
    usual = generated(tiny_policy(), PROMPTS, uniforms_for(1, 3, 12)[0])

    sequences = generated(policy, PROMPTS, uniforms_for(1, 3, 12)[0])

    assert torch.equal(sequences.response_ids, usual.response_ids)
    assert torch.equal(sequences.response_mask, usual.response_mask)
    assert torch.equal(sequences.ended, usual.ended)


@pytest.mark.parametrize("pad_token", [None, EOS, "<pad>"])
def test_a_response_that_starts_with_the_stop_token_has_length_one(pad_token):
    policy = tiny_policy(tokenizer=tiny_tokenizer(pad_token=pad_token))
    uniforms = [[ALWAYS_FIRST] * 3, [ALWAYS_LAST] * 3]

    sequences = generated(policy, PROMPTS[:2], uniforms)

    assert sequences.response_ids[0, 0] == 0
    assert sequences.response_mask.tolist() == [[True, False, False], [True, True, True]]
    assert sequences.ended.tolist() == [True, False]


def test_a_response_ends_with_its_first_stop_token_and_holds_it():
    model = tiny_model().eval()
    uniforms = [uniforms_choosing(model, PROMPTS[0], [3, 0, 5, 0]), [ALWAYS_LAST] * 4]

    sequences = generated(tiny_policy(), PROMPTS[:2], uniforms)

    assert sequences.response_ids[0, :2].tolist() == [3, 0]
    assert sequences.response_mask[0].tolist() == [True, True, False, False]
    assert sequences.ended.tolist() == [True, False]


def test_a_response_at_the_length_limit_keeps_its_last_token_and_has_not_ended():
    model = tiny_model().eval()
    uniforms = [uniforms_choosing(model, PROMPTS[1], [3, 4, 5])]

    sequences = generated(tiny_policy(), PROMPTS[1:2], uniforms)

    assert sequences.response_ids.tolist() == [[3, 4, 5]]
    assert sequences.response_mask.all()
    assert not sequences.ended.any()


def test_responses_are_cut_to_the_longest():
    model = tiny_model().eval()
    uniforms = [
        uniforms_choosing(model, PROMPTS[0], [3, 0, 5, 5, 5]),
        uniforms_choosing(model, PROMPTS[1], [3, 4, 0, 5, 5]),
    ]

    sequences = generated(tiny_policy(), PROMPTS[:2], uniforms)

    assert sequences.response_ids.shape == (2, 3)
    assert sequences.ended.all()


def test_a_stop_token_in_the_prompt_ends_nothing():
    sequences = generated(tiny_policy(), [[0, 5], [2, 0]], [[ALWAYS_LAST] * 2] * 2)

    assert sequences.response_mask.all()
    assert not sequences.ended.any()


@pytest.mark.parametrize("stop", [0, 7, 9])
def test_every_stop_token_that_the_model_names_ends_a_response(stop):
    model = tiny_model()
    model.generation_config.eos_token_id = [7, 9]
    policy = Policy(model, tiny_tokenizer(), ModelConfig(lora_rank=1))
    uniforms = [uniforms_choosing(tiny_model().eval(), PROMPTS[1], [3, stop, 4])]

    sequences = generated(policy, PROMPTS[1:2], uniforms)

    assert sequences.response_ids.tolist() == [[3, stop]]
    assert sequences.ended.all()


@pytest.mark.parametrize(
    ("named", "eos_token", "expected"),
    [
        pytest.param([9, 7], EOS, [0, 7, 9], id="several"),
        pytest.param(7, EOS, [0, 7], id="one"),
        pytest.param(None, EOS, [0], id="the tokenizer's alone"),
        pytest.param(7, None, [7], id="the model's alone"),
        pytest.param(None, None, [], id="none"),
    ],
)
def test_stop_tokens_are_those_of_the_tokenizer_and_of_the_model(named, eos_token, expected):
    model = tiny_model()
    model.generation_config.eos_token_id = named

    assert stop_tokens(model, tiny_tokenizer(eos_token=eos_token)) == expected


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_value_is_the_head_on_the_last_hidden_state_before_its_token(family):
    policy = tiny_policy(family, places=2)
    policy.rows["value_head.weight"].data.normal_(generator=generator("head"))
    policy.rows["value_head.bias"].data.copy_(torch.tensor([0.3, -0.7]))
    hidden = tiny_model(family).eval()(torch.tensor([[7, 8, 9, 6, 6, 0]]), output_hidden_states=True)
    last = hidden.hidden_states[-1][0, 2:-1]

    values = policy.evaluate(
        make_sequences(PROMPTS, RESPONSES, places=2), temperature=0.5, places=[0, 1]
    ).values

    weight = policy.rows["value_head.weight"]
    assert_close(values[0, 2, :3], last @ weight[0] + 0.3, atol=1e-5, rtol=0)
    assert_close(values[1, 2, :3], last @ weight[1] - 0.7, atol=1e-5, rtol=0)


def test_an_untrained_value_head_says_zero():
    values = tiny_policy().evaluate(make_sequences(PROMPTS, RESPONSES), temperature=1.0, places=[0]).values

    assert not values.any()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_entropy_is_that_of_the_scaled_distribution(temperature):
    probabilities = next_token(tiny_model().eval(), PROMPTS[1], temperature)
    sequences = make_sequences(PROMPTS, RESPONSES)

    entropy = (
        tiny_policy().evaluate(sequences, temperature=temperature, places=[0], with_entropy=True).entropy
    )

    expected = -(probabilities * probabilities.log()).sum()
    assert_close(entropy[0, 1, 0].double(), expected, atol=1e-5, rtol=0)


def test_entropy_is_computed_only_when_asked_for():
    seen = tiny_policy().evaluate(make_sequences(PROMPTS, RESPONSES), temperature=1.0, places=[0])

    assert seen.entropy is None


def test_positions_count_from_the_first_real_token():
    mask = torch.tensor([[False, False, True, True, True], [True, True, True, False, False]])

    assert positions(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 2, 2]]


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_the_context_is_what_the_model_can_read(family):
    assert context_length(tiny_model(family)) == 32


ROBERTA = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 32, "initializer_range": 0.2, "is_decoder": True, "pad_token_id": 3,
}  # fmt: skip


LONG_ROPE = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 16, "max_position_embeddings": 48, "original_max_position_embeddings": 12,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4,
    },
}  # fmt: skip
DYNAMIC_ROPE = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("family", "sizes", "expected"),
    [
        pytest.param("mpt", {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 20}, 20, id="named otherwise"),
        pytest.param("xlnet", {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}, None, id="-1 for none"),
        pytest.param("roberta", ROBERTA, 28, id="positions up to that of padding are reserved"),
        pytest.param("phi3", LONG_ROPE, 12, id="beyond it the longest text of a batch decides how all are read"),
        pytest.param("llama", {"rope_parameters": DYNAMIC_ROPE, "max_position_embeddings": 24}, 24, id="or there"),
    ],
)  # fmt: skip
def test_the_context_is_what_is_left_of_the_positions(family, sizes, expected):
    assert context_length(tiny_model(family, **sizes)) == expected


def test_a_text_begins_behind_the_position_of_padding():
    policy = tiny_policy("roberta", **ROBERTA)
    model = tiny_model("roberta", **ROBERTA).eval()
    prompts, responses = [[5], [2, 12, 4, 5, 6]], [[4, 0], [1] * 23]
    reference = policy.reference(make_sequences(prompts, responses), temperature=1.0)

    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        with torch.no_grad():  # 28 tokens, as many as there is room for
            logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1)[range(len(response)), response]
        assert_close(reference[0, row, : len(response)], expected, atol=1e-5, rtol=0)


def test_a_family_without_positions_has_no_limit_and_needs_none():
    policy = stirred_policy("bloom", **BLOOM)
    batch = make_sequences(PROMPTS, RESPONSES)

    together = policy.evaluate(batch, temperature=1.0, places=[0]).logprobs

    alone = policy.evaluate(make_sequences(PROMPTS[:1], RESPONSES[:1]), temperature=1.0, places=[0]).logprobs
    assert policy.layout.room_for_prompts(0) is None
    assert_close(together[0, 0, :2], alone[0, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", [5, 9])
def test_more_padding_on_the_left_changes_no_sample(width):
    policy = stirred_policy()
    narrow = prompts_for(PROMPTS)
    missing = width - narrow.ids.shape[-1]
    wide = Prompts(
        torch.nn.functional.pad(narrow.ids, (missing, 0), value=3),
        torch.nn.functional.pad(narrow.mask, (missing, 0), value=False),
    )

    expected, seen = policy.generate(narrow, uniforms_for(1, 3, 8), temperature=1.0, places=[0])
    sequences, seen_wide = policy.generate(wide, uniforms_for(1, 3, 8), temperature=1.0, places=[0])

    assert torch.equal(sequences.response_ids, expected.response_ids)
    assert_close(seen_wide.logprobs, seen.logprobs, atol=1e-5, rtol=0)


def test_a_broken_place_leaves_the_others_as_they_were():
    policy = stirred_policy(places=3)
    uniforms = uniforms_for(3, 3, 8)
    whole, said = policy.generate(prompts_for(PROMPTS, 3), uniforms, temperature=1.0, places=[0, 1, 2])

    policy.rows.values[1] = torch.nan
    broken, said_broken = policy.generate(
        prompts_for(PROMPTS, 3), uniforms, temperature=1.0, places=[0, 1, 2]
    )

    assert torch.equal(broken.response_ids[[0, 2]], whole.response_ids[[0, 2]])
    assert torch.equal(said_broken.logprobs[[0, 2]], said.logprobs[[0, 2]])
    assert torch.equal(said_broken.values[[0, 2]], said.values[[0, 2]])
    assert said_broken.logprobs[1].isnan().all()


def test_log_probabilities_are_float32_under_bfloat16_weights():
    model = tiny_model().to(torch.bfloat16)
    policy = Policy(copy.deepcopy(model), tiny_tokenizer(), ModelConfig(lora_rank=4))
    sequences = make_sequences([PROMPTS[1]], [RESPONSES[1]])
    logits = model.eval()(torch.tensor([PROMPTS[1] + RESPONSES[1]])).logits[0, 4:-1].detach()

    logprobs = policy.evaluate(sequences, temperature=0.7, places=[0]).logprobs[0, 0]
    reference = policy.reference(sequences, temperature=0.7)[0, 0]

    picked = (range(4), RESPONSES[1])
    assert_close(logprobs, (logits.float() / 0.7).log_softmax(-1)[picked], atol=1e-6, rtol=0)
    assert_close(reference, (logits.float() / 0.7).log_softmax(-1)[picked], atol=1e-6, rtol=0)
    assert (logprobs - (logits / 0.7).log_softmax(-1)[picked].float()).abs().max() > 1e-4


def test_trainable_numbers_are_float32_under_bfloat16_weights():
    policy = Policy(tiny_model().to(torch.bfloat16), tiny_tokenizer(), ModelConfig(lora_rank=4))
    stir(policy)
    seen = policy.evaluate(make_sequences(PROMPTS, RESPONSES), temperature=1.0, places=[0])

    (seen.logprobs.sum() + seen.values.square().sum()).backward()

    assert seen.values.dtype == torch.float32
    assert {view.dtype for view in policy.rows.views.values()} == {torch.float32}
    assert policy.rows.grads.dtype == torch.float32
    assert policy.rows.grads.any()


def test_with_all_weights_trained_the_reference_is_a_frozen_copy():
    policy = tiny_policy(lora_rank=None)
    sequences = make_sequences(PROMPTS, RESPONSES)
    before = policy.reference(sequences, temperature=1.0)

    stir(policy)

    assert torch.equal(policy.reference(sequences, temperature=1.0), before)
    assert not torch.isclose(policy.evaluate(sequences, temperature=1.0, places=[0]).logprobs, before).any()


def test_with_all_weights_trained_a_reset_goes_back_to_the_reference():
    policy = tiny_policy(lora_rank=None)
    sequences = make_sequences(PROMPTS, RESPONSES)
    stir(policy)

    policy.reset(0, generator("fresh"))

    seen = policy.evaluate(sequences, temperature=1.0, places=[0])
    assert torch.equal(seen.logprobs, policy.reference(sequences, temperature=1.0))
    assert not seen.values.any()


def test_all_weights_are_trained_for_one_trial_only():
    with pytest.raises(AssertionError, match="one trial at a time"):
        tiny_policy(lora_rank=None, places=2)


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_model_is_given_its_cache_under_the_name_it_knows(name):
    assert cache_name({"input_ids": ..., name: ..., "use_cache": ...}) == name


def test_all_weights_stay_in_their_one_place():
    """Timing asks for a size that is there already, of packs and of compiling."""
    policy = tiny_policy(lora_rank=None)
    rows = policy.rows

    policy.resize(1)

    assert policy.rows is rows
    with pytest.raises(AssertionError, match="one trial at a time"):
        policy.resize(2)
