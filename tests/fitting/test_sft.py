# mypy: ignore-errors
"""Fitting a language model to prompts with responses."""

import json
import math
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel

from ppo_tune.config.fitting import SFTConfig
from ppo_tune.data.examples import read_pairs
from ppo_tune.errors import DataError, ModelError
from ppo_tune.fitting.new_model import build_tokenizer
from ppo_tune.fitting.rows import cut_prompts, hold_out
from ppo_tune.fitting.sft import SFTResult, fit_sft
from ppo_tune.seeding import generator
from tests.conftest import WORDS, save_tiny_model, tiny_tokenizer

TINY = {"layers": 1, "width": 16, "heads": 2, "tokens": "words", "learning_rate": 0.02, "batch_size": 8}
OPENINGS = ("say", "tell", "sing", "shout", "write", "spell", "read", "call")
ECHO = [(f"{opening} {word}", f"{word} {word}") for opening in OPENINGS for word in WORDS]
"""The response says the prompt's second word twice."""


def fit(pairs, out: Path, *, base: Path | None = None, progress=lambda _: None, **config) -> SFTResult:
    settings = SFTConfig(**{**TINY, **config})
    return fit_sft(pairs, out, settings, base=str(base) if base else None, progress=progress)


def probabilities(folder: Path, text: str) -> dict[str, float]:
    """Of every word after a text, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    logits = model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1].detach()
    return {tokenizer.decode(i): float(p) for i, p in enumerate(logits.softmax(-1))}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def same_weights(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls_with_every_pass_over_the_data(tmp_path):
    losses = [
        fit(ECHO, tmp_path / str(epochs), epochs=epochs).heldout_nats_per_token for epochs in (1, 3, 10)
    ]

    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.2 < math.log(len(WORDS)) / 3


def test_the_model_says_what_it_was_shown_and_stops(tmp_path):
    fit(ECHO, tmp_path, epochs=10)

    assert probabilities(tmp_path, "say c")["c"] > 0.7
    assert probabilities(tmp_path, "say c c")["c"] > 0.7
    assert probabilities(tmp_path, "say c c c")["<eos>"] > 0.7


def test_prompts_are_read_and_not_learned(tmp_path):
    fit([("say x", f"{word}") for word in WORDS] * 8, tmp_path, epochs=5)

    assert probabilities(tmp_path, "say")["x"] < 0.1  # it always follows, but within the prompt


def test_the_held_out_loss_is_the_mean_over_response_tokens_with_the_stop_token(tmp_path):
    result = fit([("say a b", "c d e")] * 20, tmp_path, epochs=1, learning_rate=1e-3)

    said = [("say a b", "c"), ("say a b c", "d"), ("say a b c d", "e"), ("say a b c d e", "<eos>")]
    nats = [-math.log(probabilities(tmp_path, text)[word]) for text, word in said]
    assert result.heldout_nats_per_token == pytest.approx(sum(nats) / 4, abs=1e-4)


def test_a_long_response_counts_more_than_a_short_one(tmp_path):
    pairs = [("say", "a"), ("say", "b c d e f g")] * 10

    result = fit(pairs, tmp_path, epochs=1, learning_rate=1e-12, heldout_fraction=0.9)

    nats = -math.log(probabilities(tmp_path, "say")["a"]) - math.log(
        probabilities(tmp_path, "say a")["<eos>"]
    )
    long = ["say", "b", "c", "d", "e", "f", "g", "<eos>"]
    nats_long = sum(
        -math.log(probabilities(tmp_path, " ".join(long[:i]))[long[i]]) for i in range(1, len(long))
    )
    # Of the 18 held-out pairs some are short and the rest long: tokens are averaged, not responses.
    means = [(n * nats + (18 - n) * nats_long) / (2 * n + 7 * (18 - n)) for n in range(8, 11)]
    assert min(abs(result.heldout_nats_per_token - mean) for mean in means) < 1e-4


def test_held_out_examples_are_not_learned_from(tmp_path):
    rng = random.Random(0)
    noise = [(f"say {i}", rng.choice(WORDS)) for i in range(100)]

    result = fit(noise, tmp_path, epochs=10, heldout_fraction=0.5)

    assert result.examples == 50
    assert result.heldout_nats_per_token > math.log(len(WORDS)) / 2  # a word by chance, then the stop token


def test_the_prompts_of_the_held_out_examples_are_not_learned_from(tmp_path):
    noise = [(f"say {i}", word) for i in range(20) for word in WORDS[:5]]

    split = hold_out([prompt for prompt, _ in noise], 0.3, generator("split"))
    result = fit(noise, tmp_path, epochs=1, heldout_fraction=0.3)

    sides = [{noise[i][0] for i in side} for side in (split.train, split.heldout)]
    assert (len(sides[0]), len(sides[1]), sides[0] & sides[1]) == (14, 6, set())
    assert sorted(split.train + split.heldout) == list(range(100))
    assert result.examples == 70


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=12), st.floats(0.01, 0.99))
def test_no_prompt_is_on_both_sides_and_neither_side_is_empty(prompts, fraction):
    split = hold_out(prompts, fraction, generator("split"))

    assert sorted(split.train + split.heldout) == list(range(len(prompts)))
    assert split.train and split.heldout
    shared = {prompts[i] for i in split.train} & {prompts[i] for i in split.heldout}
    assert (shared == set()) == (len(set(prompts)) > 1)
    assert bool(split.notes) == bool(shared)


def held_out_by_lists(prompts, fraction, rng) -> tuple[list[int], list[int], list[int]]:
    """Rows to learn from, rows kept apart and the numbers of their prompts, as lists and a dictionary say it."""
    alone = len({*prompts}) == 1
    rows = {}
    for i, prompt in enumerate(prompts):
        rows.setdefault(i if alone else prompt, []).append(i)
    groups = list(rows.values())
    order = torch.randperm(len(groups), generator=rng).tolist()
    n = max(1, int(len(groups) * fraction))
    heldout, train = ([i for number in part for i in groups[number]] for part in (order[:n], order[n:]))
    return train, heldout, [number for number in order[:n] for _ in groups[number]]


@given(
    st.lists(st.sampled_from(["a", "b", "c\ud800", "d", "e" * 99, ""]), min_size=2, max_size=30),
    st.floats(0.01, 0.99),
)
def test_the_split_is_that_of_lists_in_memory(prompts, fraction):
    split = hold_out(prompts, fraction, generator("split"))

    found = split.train.tolist(), split.heldout.tolist(), split.prompts.tolist()
    assert found == held_out_by_lists(prompts, fraction, generator("split"))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("base", [False, True])
def test_a_fit_to_a_file_is_that_to_a_list_to_the_bit(again, base, tmp_path):
    pairs = [(prompt, f"{prompt} {response}" if again else response) for prompt, response in ECHO]
    lines = (json.dumps({"prompt": prompt, "response": response}) + "\n" for prompt, response in pairs)
    (tmp_path / "a.jsonl").write_text("".join(lines), encoding="utf-8")
    model = save_tiny_model(tmp_path / "base") if base else None
    results = [
        fit(rows, tmp_path / name, base=model, epochs=2)
        for name, rows in (("list", pairs), ("file", read_pairs(tmp_path / "a.jsonl").rows))
    ]

    assert results[0] == results[1]
    assert any("it is cut there" in note for note in results[0].notes) == again
    for file in ("model.safetensors", "tokenizer.json", "fit.json"):
        assert (tmp_path / "list" / file).read_bytes() == (tmp_path / "file" / file).read_bytes()


def test_rows_of_one_prompt_are_held_out_with_a_note(tmp_path):
    result = fit([("say", word) for word in WORDS], tmp_path, epochs=1, heldout_fraction=0.3)

    assert result.examples == 10
    assert result.notes == (
        "all rows have one prompt, so what is held out are rows of it and says nothing of other prompts",
    )


def test_a_response_that_holds_its_prompt_again_is_cut_with_a_note(tmp_path):
    whole = [(prompt, f"{prompt} {response}") for prompt, response in ECHO]

    results = [fit(pairs, tmp_path / str(i), epochs=2) for i, pairs in enumerate((whole, ECHO))]

    assert results[0].notes == (
        "104 of 104 rows hold their prompt again at the beginning of the responses; it is cut there",
    )
    assert results[1].notes == ()
    assert results[0].heldout_nats_per_token == results[1].heldout_nats_per_token
    assert same_weights(tmp_path / "0", tmp_path / "1")


def test_where_few_responses_begin_with_their_prompt_they_stay():
    rows = [("say", "say it"), ("tell", "it"), ("sing", "a song")]

    kept, notes = cut_prompts(rows)

    assert kept == rows
    assert notes == (
        "1 of 3 rows hold their prompt again at the beginning of the responses; they are taken as they stand, for the "
        "others do not",
    )


def test_a_prompt_is_cut_from_each_response_that_holds_it_though_the_others_of_its_row_do_not():
    rows = [
        ("q?", "q? a", "q? b"),
        ("r?", "r? c", " r? f"),
        ("s?", "s? d", "e"),
        ("t?", "u", "v"),
        ("", "w", "x"),
    ]

    kept, notes = cut_prompts(rows)

    assert kept == [
        ("q?", " a", " b"),
        ("r?", " c", " r? f"),
        ("s?", " d", "e"),
        ("t?", "u", "v"),
        ("", "w", "x"),
    ]
    assert notes == (
        "3 of 5 rows hold their prompt again at the beginning of the responses; it is cut there",
    )


def test_preferences_of_which_only_the_chosen_text_holds_the_prompt_are_cut():
    rows = [("q?", "q? a", "b"), ("r?", "r? c", "d")]

    assert cut_prompts(rows)[0] == [("q?", " a", "b"), ("r?", " c", "d")]


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    base = save_tiny_model(tmp_path / "base")
    tiny_tokenizer(eos_token=None).save_pretrained(base)

    with pytest.raises(ModelError) as caught:
        fit([("a", "b")] * 4, tmp_path / "out", base=base)

    assert str(caught.value) == (
        f"the tokenizer of '{base}' has no end-of-sequence token, so a model fitted with it could not learn to stop; "
        "set its eos_token and save it"
    )
    assert not (tmp_path / "out").exists()


def test_the_result_counts_parameters_and_examples(tmp_path):
    result = fit(ECHO[:40], tmp_path, epochs=1, heldout_fraction=0.25)

    assert result.examples == 30
    assert result.parameters == AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters()


def test_the_folder_is_an_ordinary_model_with_room_to_ramble(tmp_path):
    longest = [("say", " ".join("a" * 99))]

    fit(ECHO[:10] + longest, tmp_path, epochs=1)

    config = AutoModelForCausalLM.from_pretrained(tmp_path).config
    assert config.n_positions == 192  # 101 tokens, half as many again, in whole steps of 64
    assert (config.n_layer, config.n_embd, config.n_head) == (1, 16, 2)
    assert (config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) == (0, 0, 0)


def test_the_same_seed_gives_the_same_model_whatever_was_drawn_before(tmp_path):
    fit(ECHO[:20], tmp_path / "a", epochs=1, seed=3)
    torch.rand(5)
    fit(ECHO[:20], tmp_path / "b", epochs=1, seed=3)
    fit(ECHO[:20], tmp_path / "c", epochs=1, seed=4)

    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize(
    ("family", "dropout"), [("gpt2", {"resid_pdrop": 0.1}), ("opt", {"dropout": 0.1})], ids=["gpt2", "opt"]
)
def test_the_same_seed_gives_the_same_model_from_a_base_with_dropout(family, dropout, tmp_path):
    base = save_tiny_model(tmp_path / "base", family, **dropout)

    for name in ("a", "b"):
        fit([("a b", "c d")] * 20, tmp_path / name, base=base, epochs=1)

    assert same_weights(tmp_path / "a", tmp_path / "b")


def test_fitting_leaves_the_global_random_numbers_alone(tmp_path):
    before = torch.get_rng_state()

    fit(ECHO[:20], tmp_path, epochs=1)

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_an_existing_model_is_fitted_further(family, tmp_path):
    base = save_tiny_model(tmp_path / "base", family)
    pairs = [(f"{opening} {word}", f"{word} b") for word in "cdefgh" for opening in "abijklm"]

    result = fit(pairs, tmp_path / "out", base=base, epochs=16, learning_rate=0.01)

    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.model_type == family
    assert result.heldout_nats_per_token < 1.0 < math.log(len(WORDS)) / 2
    assert probabilities(tmp_path / "out", "a e")["e"] > 0.6


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_examples_are_refused(n, tmp_path):
    with pytest.raises(DataError) as caught:
        fit(ECHO[:n], tmp_path)

    assert str(caught.value) == f"at least 2 prompts with responses are needed, but got {n}"


def test_an_example_longer_than_the_context_is_refused(tmp_path):
    base = save_tiny_model(tmp_path / "base")
    pairs = [("a", "b")] * 5 + [(" ".join("a" * 20), " ".join("b" * 15))]

    with pytest.raises(DataError) as caught:
        fit(pairs, tmp_path / "out", base=base)

    assert str(caught.value) == (
        "`tokens <= 32`, the model's context, must hold for a prompt with its response, but got 36; 1 of 6 "
        "examples are longer, the first begins 'a a a a a a a a a a a a a a a a a a a a'; take too_long: "
        "drop or cut (--too-long)"
    )
    assert not (tmp_path / "out").exists()


def test_no_encoder_decoder_is_made_of_a_decoder(tmp_path):
    base = save_tiny_model(tmp_path / "base")
    (base / "model.safetensors").unlink()

    with pytest.raises(ModelError) as refused:
        fit(ECHO, tmp_path / "out", base=base, architecture="t5")

    assert str(refused.value) == (
        f"architecture: t5 is an encoder–decoder, but model folder {str(base)!r} holds a causal language model (gpt2), "
        "which stays one; leave out `architecture`, or `base` for a new model"
    )
    assert not (tmp_path / "out").exists()


def test_a_base_that_does_not_say_how_its_decoder_begins_is_refused_before_its_weights(tmp_path):
    base = save_tiny_model(tmp_path / "base", "t5", decoder_start_token_id=None)
    (base / "model.safetensors").unlink()

    with pytest.raises(
        ModelError, match=r"does not say with which token its decoder begins; put decoder_start_"
    ):
        fit(ECHO, tmp_path / "out", base=base)


def test_a_base_with_the_tokenizer_of_another_model_is_told(tmp_path):
    base = save_tiny_model(tmp_path / "base")
    tiny_tokenizer(eos_token="m").save_pretrained(base)

    notes = fit(ECHO, tmp_path / "out", base=base, epochs=1).notes

    told = f"the tokenizer of {str(base)!r} ends a text by 'm', number 14, and its generation_config.json or"
    assert any(note.startswith(told) for note in notes)


def test_a_base_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        fit(ECHO, tmp_path / "out", base=tmp_path / "nowhere")


def test_a_base_whose_name_is_nearly_right_is_asked_back_without_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("ppo_tune.models.loading.cached_file", None)
    save_tiny_model(tmp_path / "base")

    with pytest.raises(ModelError, match=rf"no such folder .*; did you mean '{tmp_path / 'base'}'\?"):
        fit(ECHO, tmp_path / "out", base=tmp_path / "bsae")


def test_progress_rises_to_one(tmp_path):
    seen: list[float] = []

    fit(ECHO[:20], tmp_path, epochs=2, progress=lambda step: seen.append(step.done))

    assert seen == sorted(seen)
    assert len(seen) == 2 * math.ceil(19 / 8)
    assert seen[-1] == 1.0


def test_a_word_tokenizer_knows_every_word_and_marks_the_others():
    tokenizer = build_tokenizer(["b a", "c! a"], SFTConfig(**TINY))

    assert tokenizer.decode(tokenizer("a b c!")["input_ids"]) == "a b c!"
    assert tokenizer("a z")["input_ids"][1] == tokenizer.unk_token_id
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<eos>", "<pad>")


@pytest.mark.parametrize("text", ["plain words", "Ünïcödé — “quotes” 你好 🙂", "two  spaces\nand lines"])
def test_a_byte_tokenizer_gives_any_text_back(text):
    tokenizer = build_tokenizer(["some plain words"] * 5, SFTConfig(vocab_size=300))

    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_byte_tokenizer_has_the_size_it_was_given():
    texts = [f"word{i} and word{i + 1}" for i in range(500)]

    assert len(build_tokenizer(texts, SFTConfig(vocab_size=400))) == 400


def test_a_model_that_was_saved_wrongly_is_an_error_that_names_its_folder(tmp_path, monkeypatch):
    right = GPT2LMHeadModel.save_pretrained

    def save_another(model, folder):
        right(GPT2LMHeadModel(model.config), folder)

    monkeypatch.setattr(GPT2LMHeadModel, "save_pretrained", save_another)

    with pytest.raises(
        ModelError, match=f"'{tmp_path}' was written, but loaded again it is not what was trained"
    ):
        fit(ECHO, tmp_path, epochs=1)


def test_a_fit_says_what_it_took_from_the_loss_of_its_base_on_how_many_prompts(tmp_path):
    base = save_tiny_model(tmp_path / "base")
    pairs = [(f"{opening} {word}", f"{word} b") for word in "cdefgh" for opening in "abijklm"] * 2

    result = fit(pairs, tmp_path / "out", base=base, epochs=8, learning_rate=0.01, heldout_fraction=0.2)

    before = fit(pairs, tmp_path / "x", base=base, epochs=1, learning_rate=1e-12, heldout_fraction=0.2)
    low, high = result.gain_interval
    assert (result.heldout_examples, result.heldout_prompts) == (16, 8)
    assert result.nats_before == pytest.approx(before.heldout_nats_per_token, abs=1e-5)
    assert low < result.nats_before - result.heldout_nats_per_token < high
    assert result.interval[0] < result.heldout_nats_per_token < result.interval[1]
    assert low > 0
    facts = json.loads((tmp_path / "out" / "fit.json").read_text(encoding="utf-8"))
    assert facts == {
        "kind": "sft", "examples": 68, "heldout_examples": 16, "heldout_prompts": 8,
        "nats_per_token": result.heldout_nats_per_token, "nats_per_token_interval": [*result.interval],
        "nats_per_token_before": result.nats_before, "gain_interval": [low, high], "notes": [],
        "files": sorted({path.name for path in (tmp_path / "out").iterdir()} - {"fit.json"}),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("after", "gain", "told"),
    [
        (2.0, (0.5, 1.5), None),
        (
            2.9,
            (-0.1, 0.3),
            "the held-out loss cannot be told from that before the fit, 3.000 nats per token: it fell by -0.100 to "
            "0.300; give more examples, more epochs or another learning_rate",
        ),
        (
            3.5,
            (-0.7, -0.3),
            "the held-out loss rose from 3.000 to 3.500 nats per token, so responses to new prompts are less likely "
            "than before; take fewer epochs or a lower learning_rate",
        ),
    ],
)
def test_a_loss_that_did_not_fall_is_said(after, gain, told):
    result = SFTResult(1, 1, after, (), 40, 40, (0.0, 9.0), 3.0, gain)

    assert result.warnings == (() if told is None else (told,))


def test_few_held_out_prompts_are_said(tmp_path):
    result = fit(ECHO, tmp_path, epochs=8)

    assert result.warnings == (
        "5 held-out prompts say little of the loss, which 30 or more would; give more rows, or a larger "
        "heldout_fraction",
    )


def test_a_fit_that_diverges_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(ModelError) as caught:
        fit(ECHO, tmp_path, learning_rate=1e30)

    assert str(caught.value) == "the fit diverged, so no model was written; lower learning_rate"
    assert [*tmp_path.iterdir()] == []
