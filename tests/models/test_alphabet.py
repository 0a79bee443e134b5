# mypy: ignore-errors
"""Tokens that the tokenizer does not have are never said, and nothing is learned from them."""

import shutil

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from ppo_tune.config.model import ModelConfig
from ppo_tune.models import Policy, Prompts, load_policy
from ppo_tune.models.alphabet import Alphabet
from ppo_tune.trainer.compiling import CompiledPass
from ppo_tune.trainer.experience import estimate_advantages
from ppo_tune.trainer.loss import gradients
from ppo_tune.trainer.rollout import collect
from ppo_tune.trainer.update import Run, improve_policy
from tests.conftest import (
    EOS,
    PAD,
    UNKNOWN,
    VOCABULARY,
    make_sequences,
    prompts_for,
    small_config,
    stir,
    tiny_model,
    tiny_tokenizer,
    uniforms_for,
)

WIDTH = 24
"""Of the output layer; the tokenizer has 16 tokens."""

PROMPTS = [[5], [2, 3, 4, 5, 6], [7, 8, 9]]
RESPONSES = [[4, 0], [3, 1, 2, 9], [6, 6, 0]]
HOLES = (3, 11)


def tokenizer_with_holes() -> PreTrainedTokenizerFast:
    """Sixteen ids, of which two have no token."""
    vocabulary = {word: i for i, word in enumerate(VOCABULARY) if i not in HOLES}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": EOS, "unk_token": UNKNOWN, "pad_token": PAD}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


TOKENIZERS = {"whole": (tiny_tokenizer, range(16)),
              "holes": (tokenizer_with_holes, [i for i in range(16) if i not in HOLES])}  # fmt: skip
by_tokenizer = pytest.mark.parametrize("which", TOKENIZERS)


def wide_policy(
    which: str, family: str = "gpt2", *, lora_rank: int | None = 4, **changes
) -> tuple[Policy, list[int]]:
    """A stirred policy with more outputs than tokens, and the ids that can be said."""
    tokenizer, known = TOKENIZERS[which]
    policy = Policy(
        tiny_model(family, vocab_size=WIDTH, **changes), tokenizer(), ModelConfig(lora_rank=lora_rank)
    )
    return stir(policy), list(known)


def masked_by_hand(family: str, ids: list[int], known: list[int], temperature: float) -> Tensor:
    """Log-probabilities of every token after each of `ids` by the untrained model, in float64."""
    with torch.no_grad():
        logits = tiny_model(family, vocab_size=WIDTH).eval()(torch.tensor([ids])).logits[0].double()
    masked = torch.full_like(logits, -torch.inf)
    masked[:, known] = logits[:, known]
    return (masked / temperature).log_softmax(-1)


@by_tokenizer
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_what_is_said_and_the_reference_are_softmaxes_of_masked_logits(which, temperature, family):
    policy, known = wide_policy(which, family)
    policy.rows.values.zero_()
    prompts = prompts_for(PROMPTS)

    sequences, said = policy.generate(prompts, uniforms_for(1, 3, 6), temperature=temperature, places=[0])
    again = policy.evaluate(sequences, temperature=temperature, places=[0], with_entropy=True)
    reference = policy.reference(sequences, temperature=temperature)

    for row, prompt in enumerate(PROMPTS):
        response = sequences.response_ids[0, row][sequences.response_mask[0, row]].tolist()
        n = len(response)
        expected = masked_by_hand(family, prompt + response, known, temperature)[len(prompt) - 1 : -1]
        probabilities = expected.exp()
        entropy = -(probabilities * expected.where(probabilities > 0, 0)).sum(-1).float()
        picked = expected[range(n), response].float()
        for logprobs in (said.logprobs, again.logprobs, reference):
            assert_close(logprobs[0, row, :n], picked, atol=1e-5, rtol=0)
        for found in (said.entropy, again.entropy):
            assert_close(found[0, row, :n], entropy, atol=1e-5, rtol=0)


@by_tokenizer
def test_a_token_without_a_text_is_never_sampled(which):
    policy, known = wide_policy(which)
    policy.stop_ids = policy.stop_ids[:0]
    uniforms = ((torch.arange(4000) + 0.5) / 4000)[None, :, None]
    prompts = prompts_for([PROMPTS[1]] * 4000)

    sequences, _ = policy.generate(prompts, uniforms, temperature=3.0, places=[0])

    assert set(sequences.response_ids.flatten().tolist()) == set(known)


@by_tokenizer
def test_the_divergence_of_a_policy_from_its_reference_is_that_of_the_masked_distributions(which):
    """The mean of log-ratios over samples is the KL of what is sampled from, summed exactly."""
    policy, known = wide_policy(which)
    n = 4000
    uniforms = ((torch.arange(n) + 0.5) / n)[None, :, None]
    sequences, said = policy.generate(prompts_for([PROMPTS[1]] * n), uniforms, temperature=1.0, places=[0])
    sampled = float((said.logprobs - policy.reference(sequences, temperature=1.0)).mean())

    every = make_sequences([PROMPTS[1]] * len(known), [[token] for token in known])
    with torch.no_grad():
        logprobs = policy.evaluate(every, temperature=1.0, places=[0]).logprobs[0, :, 0].double()
    reference = policy.reference(every, temperature=1.0)[0, :, 0].double()

    assert float(logprobs.exp().sum()) == pytest.approx(1, abs=1e-6)
    assert float(reference.exp().sum()) == pytest.approx(1, abs=1e-6)
    assert sampled == pytest.approx(float((logprobs.exp() * (logprobs - reference)).sum()), abs=2e-3)


@by_tokenizer
@pytest.mark.parametrize("lora_rank", [4, None])
def test_gradients_are_finite_and_nothing_is_learned_of_tokens_without_a_text(which, lora_rank):
    policy, known = wide_policy(which, "llama", lora_rank=lora_rank, tie_word_embeddings=False)
    sequences = make_sequences(PROMPTS, [[4, 0], [4, 1, 2, 9], [6, 6, 0]])
    seen = policy.evaluate(sequences, temperature=0.7, places=[0], with_entropy=True)

    loss = torch.where(sequences.response_mask, seen.logprobs + seen.entropy, 0.0).sum()
    loss.backward()

    assert policy.rows.grads.isfinite().all()
    assert policy.rows.grads.any()
    if lora_rank is None:
        gradient = policy.model.get_output_embeddings().weight.grad
        unknown = [i for i in range(WIDTH) if i not in known]
        assert not gradient[unknown].any()
        assert gradient[known].any(-1).all()


@pytest.mark.guard
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="no C++ compiler on this machine; Debian's package is `g++`"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own, of torch's own
def test_the_compiled_pass_learns_the_same():
    learned = []
    for compiled in (False, True):
        policy, _ = wide_policy("holes", n_layer=1)
        config = small_config(ent_coef=0.1)
        prompts = prompts_for(PROMPTS + PROMPTS[:1])
        rollout = collect(policy, prompts, uniforms_for(1, 4, 6), temperature=1.0, places=[0])
        scores = torch.tensor([[1.0, 0.0, -1.0, 0.5]])
        experience = estimate_advantages([0], rollout, scores, [config], [0.1], [1.0])
        optimizer = torch.optim.SGD([policy.rows.row(0)], lr=0.1)
        improve_policy(
            policy, experience, {0: Run(config, 0, optimizer, 0.1)}, temperature=1.0,
            learn=CompiledPass(policy, 5, 6) if compiled else gradients,
        )  # fmt: skip
        learned.append(policy.rows.values.clone())

    assert_close(learned[1], learned[0], atol=1e-5, rtol=1e-4)


def test_where_every_output_has_its_token_logits_are_left_as_they_are():
    logits = torch.randn(2, 3, 16)

    assert Alphabet(tiny_tokenizer(), [0], 16).cut(logits) is logits


def test_an_output_layer_that_is_narrower_than_the_tokenizer_is_left_as_it_is():
    logits = torch.randn(2, 12)

    assert Alphabet(tiny_tokenizer(), [0], 12).cut(logits) is logits


def test_a_stop_token_needs_no_text():
    logits = torch.zeros(1, WIDTH)

    said = Alphabet(tiny_tokenizer(), [0, 18], WIDTH).cut(logits)

    assert said[0].isfinite().nonzero()[:, 0].tolist() == [*range(16), 18]
    assert said[0].isneginf().nonzero()[:, 0].tolist() == [16, 17]


def test_a_token_that_the_tokenizers_class_makes_up_is_none_of_its_tokens(tmp_path):
    """Loaded as a Qwen2 tokenizer, one without an unknown token gets it, behind its last."""
    vocabulary = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocabulary, [])), eos_token=EOS, pad_token=PAD
    )
    config = Qwen2Config(
        vocab_size=WIDTH, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16, max_position_embeddings=32, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    policy = load_policy(ModelConfig(name=str(tmp_path), lora_rank=2), device=torch.device("cpu"))

    assert len(policy.tokenizer) == 17
    uniforms = ((torch.arange(500) + 0.5) / 500)[None, :, None]
    ids = policy.generate(
        Prompts(*(x.expand(1, 500, -1) for x in (prompts_for([[5]]).ids, prompts_for([[5]]).mask))),
        uniforms, temperature=1.0, places=[0],
    )[0].response_ids  # fmt: skip
    assert int(ids.max()) == 15


def test_a_token_that_a_user_added_is_one():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<turn>"], special_tokens=True)

    assert Alphabet(tokenizer, [0], WIDTH).size == 17
