# mypy: ignore-errors
"""One text, one score: in a batch, alone and by plain transformers, for encoders and for decoders."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.models.fast.kernels import settle
from ppo_tune.rewards.preference import PreferenceReward, raw_outputs
from tests.conftest import FAMILIES, VOCABULARY, tiny_tokenizer

CPU = torch.device("cpu")
ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 34,
    "initializer_range": 0.5,
}
DECODER = {**FAMILIES["llama"], "initializer_range": 0.5}
JUDGES = {
    "bert": ENCODER,
    "roberta": ENCODER,
    "electra": {**ENCODER, "embedding_size": 16},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "initializer_range": 0.5},
    "modernbert": {**ENCODER, "global_attn_every_n_layers": 2, "local_attention": 4},
    "deberta-v2": {**ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "gpt2": {**FAMILIES["gpt2"], "initializer_range": 0.5},
    "llama": DECODER,
    "gemma2": {**DECODER, "head_dim": 8, "sliding_window": 4},
    "qwen3": {**DECODER, "head_dim": 8},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.5},
}
"""Sizes of a tiny judge of each family; weights are large enough that a wrong mask shows in bfloat16 too."""

ONE_LENGTH = ["a b c d e", "f g h i j", "k l m a c"]
MIXED = ["a b c d e", "f", "g h i", "k l m a c d e f"]

judges = pytest.mark.parametrize("kind", JUDGES)
batches = pytest.mark.parametrize("texts", [ONE_LENGTH, MIXED], ids=["one length", "mixed lengths"])


def judge(kind: str, dtype: torch.dtype) -> PreTrainedModel:
    """A random judge as transformers builds it."""
    special = {"vocab_size": len(VOCABULARY), "eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 15}
    config = AutoConfig.for_model(kind, **{**special, "num_labels": 1, **JUDGES[kind]})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForSequenceClassification.from_config(config).eval().to(dtype)


@torch.no_grad()
def plain(kind: str, texts: list[str], dtype: torch.dtype) -> torch.Tensor:
    """What transformers says of each text, read alone."""
    model, tokenizer = judge(kind, dtype), tiny_tokenizer()
    rows = [torch.tensor([tokenizer(text)["input_ids"]]) for text in texts]
    return torch.stack([model(row, attention_mask=torch.ones_like(row)).logits[0, 0] for row in rows]).float()


@torch.no_grad()
def ours(kind: str, texts: list[str], dtype: torch.dtype) -> torch.Tensor:
    return raw_outputs(settle(judge(kind, dtype), CPU), tiny_tokenizer(), texts, append_eos=False)[:, 0]


@batches
@judges
def test_a_text_has_one_score_in_a_batch_alone_and_by_transformers(kind, texts):
    expected = plain(kind, texts, torch.float32)

    together = ours(kind, texts, torch.float32)
    alone = torch.cat([ours(kind, [text], torch.float32) for text in texts])

    assert (together - expected).abs().max() < 1e-4
    assert (alone - expected).abs().max() < 1e-4
    assert expected.max() - expected.min() > 0.05


@batches
@judges
def test_in_bfloat16_it_is_as_far_from_the_exact_score_as_transformers_is(kind, texts):
    exact = plain(kind, texts, torch.float32)
    rounding = max(0.03, 2 * float((plain(kind, texts, torch.bfloat16) - exact).abs().max()))

    together = ours(kind, texts, torch.bfloat16)
    alone = torch.cat([ours(kind, [text], torch.bfloat16) for text in texts])

    assert (together - exact).abs().max() < rounding
    assert (alone - exact).abs().max() < rounding


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_an_encoders_folder_is_read_as_transformers_reads_it(kind, tmp_path: Path):
    judge(kind, torch.float32).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    reward = PreferenceReward(PreferenceRewardConfig(name="preference", model=str(tmp_path)), CPU)

    scores = reward(["a b c", "f g h"], [" d e", " i j"], {})

    assert scores.tolist() == pytest.approx(plain(kind, ONE_LENGTH[:2], torch.float32).tolist(), abs=1e-4)


@pytest.mark.parametrize("kind", ["roberta", "bert", "llama"])
def test_a_text_beyond_what_a_judge_can_read_is_cut_there(kind):
    """RoBERTa's kind counts positions from behind the pad token's: it reads 34 - 16 = 18 tokens here, not 34."""
    usable = {"roberta": 34 - 16, "bert": 34, "llama": 32}[kind]
    long = " ".join(["b"] * 30 + ["c d e f g h i j"] * 4)
    end = " ".join(long.split()[-usable:])

    assert ours(kind, [long, "a b"], torch.float32)[0] == pytest.approx(
        float(plain(kind, [end], torch.float32)), abs=1e-4
    )
