# mypy: ignore-errors
"""Fitting a reward model to preferences."""

import json
import math
import random
import re
import statistics
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from scipy.stats import binomtest
from transformers import AutoModelForSequenceClassification

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.data.labelled import read_labels
from ppo_tune.errors import DataError, ModelError
from ppo_tune.fitting.intervals import wilson
from ppo_tune.fitting.quality import rights
from ppo_tune.fitting.reward_model import (
    RewardTrainingResult,
    fit_reward,
    sample_base,
)
from ppo_tune.rewards.preference import PreferenceReward
from ppo_tune.rewards.score_format import read_format
from tests.conftest import WORDS, save_tiny_model, tiny_tokenizer

TINY = {
    "epochs": 3, "learning_rate": 0.01, "batch_size": 16, "base_samples": 40, "max_new_tokens": 6,
    "template": "{prompt} {response}", "heldout_fraction": 0.2,
}  # fmt: skip


MANY = tuple(f"{first} {second}" for first in "defgh" for second in "ijk")


def obvious(n: int, *, prompts: tuple[str, ...] = ("d e", "f", "g h i")) -> list[tuple[str, str, str]]:
    """The chosen response holds an `a`, the rejected one a `c`; the other words are chance."""
    rng = random.Random(0)
    others = WORDS[4:]

    def response(word: str) -> str:
        words = [word, *rng.choices(others, k=rng.randint(1, 4))]
        rng.shuffle(words)
        return " ".join(words)

    return [(rng.choice(prompts), response("a"), response("c")) for _ in range(n)]


def fit(
    preferences, base: Path | str, out: Path, *, progress=lambda _: None, **config
) -> RewardTrainingResult:
    return fit_reward(
        preferences, str(base), out, RewardTrainingConfig(**{**TINY, **config}), progress=progress
    )


def test_a_fit_to_a_file_is_that_to_a_list_to_the_bit(tmp_path):
    base = save_tiny_model(tmp_path / "base")
    rows = obvious(60, prompts=MANY)
    lines = (json.dumps(dict(zip(("prompt", "chosen", "rejected"), row, strict=True))) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text("".join(lines), encoding="utf-8")
    results = [
        fit(given, base, tmp_path / name, epochs=1)
        for name, given in (("list", rows), ("file", read_labels(tmp_path / "a.jsonl").rows))
    ]

    assert results[0] == results[1]
    for file in ("model.safetensors", "reward.json", "fit.json"):
        assert (tmp_path / "list" / file).read_bytes() == (tmp_path / "file" / file).read_bytes()


def load(folder: Path) -> PreferenceReward:
    return PreferenceReward(PreferenceRewardConfig(name="preference", model=str(folder)), torch.device("cpu"))


def same_weights(first: Path, second: Path) -> bool:
    one, other = (
        AutoModelForSequenceClassification.from_pretrained(folder).state_dict() for folder in (first, second)
    )
    return all(torch.equal(one[name], other[name]) for name in one)


def test_an_obvious_preference_is_learned(model_folder, tmp_path):
    result = fit(obvious(300, prompts=MANY), model_folder, tmp_path / "reward")

    reward = load(tmp_path / "reward")
    scores = reward(["d i", "d i", "h k", "h k"], ["a k", "c k", "l a", "l c"], {}).tolist()
    assert result.accuracy > 0.9
    assert result.examples + result.heldout_pairs == 300
    assert scores[0] > scores[1] + 1
    assert scores[2] > scores[3] + 1


def test_accuracy_is_measured_on_preferences_that_were_not_learned_from(model_folder, tmp_path):
    rng = random.Random(0)
    noise = [("d", " ".join(rng.choices(WORDS, k=4)), " ".join(rng.choices(WORDS, k=4))) for _ in range(60)]

    result = fit(noise, model_folder, tmp_path / "reward", epochs=10, heldout_fraction=0.5)

    assert result.examples == 30
    assert 0.2 < result.accuracy < 0.8


def test_accuracy_is_the_share_of_held_out_preferences_it_gets_right(model_folder, tmp_path):
    mostly, rarely = ("d", "a", "c"), ("d", "c", "a")

    result = fit([mostly] * 30 + [rarely] * 10, model_folder, tmp_path / "reward", heldout_fraction=0.95)

    # It can only get all of one kind right; of the 38 held out, at most two of either kind are missing.
    scores = load(tmp_path / "reward")(["d", "d"], ["a", "c"], {})
    right = 30 if scores[0] > scores[1] else 10
    assert right - 2 <= round(result.accuracy * 38, 4) <= right
    assert result.examples == 2


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_samples_of_the_base_model_get_mean_zero_and_deviation_one(family, tmp_path):
    base = save_tiny_model(tmp_path / "base", family)
    fit(obvious(60, prompts=("d e",)), base, tmp_path / "reward")
    samples = sample_base(str(base), ["d e"], RewardTrainingConfig(**TINY))

    scores = load(tmp_path / "reward")(*map(list, zip(*samples, strict=True)), {}).tolist()

    assert statistics.mean(scores) == pytest.approx(0.0, abs=1e-4)
    assert statistics.stdev(scores) == pytest.approx(1.0, abs=1e-4)


def test_the_result_tells_mean_and_deviation_before_centring(model_folder, tmp_path):
    result = fit(obvious(60, prompts=("d e",)), model_folder, tmp_path / "reward")

    written = read_format(tmp_path / "reward")
    assert written.gain == pytest.approx(1 / result.base_std)
    assert written.bias == pytest.approx(-result.base_mean / result.base_std)
    assert (written.template, written.append_eos) == ("{prompt} {response}", True)
    assert written.accuracy == result.accuracy


def test_samples_are_as_many_as_asked_for_and_take_the_prompts_in_turn(model_folder):
    samples = sample_base(
        str(model_folder), ["d e", "f"], RewardTrainingConfig(**{**TINY, "base_samples": 5})
    )

    assert [prompt for prompt, _ in samples] == ["d e", "f", "d e", "f", "d e"]
    assert all(len(response.split()) <= 6 for _, response in samples)
    assert len({response for _, response in samples}) > 1


def test_many_samples_are_not_the_same_ones_again(model_folder):
    samples = sample_base(str(model_folder), ["d e"], RewardTrainingConfig(**{**TINY, "base_samples": 300}))

    assert len(samples) == 300
    assert samples[:44] != samples[256:]


def test_the_same_seed_gives_the_same_reward_model(model_folder, tmp_path):
    results = [
        fit(obvious(40), model_folder, tmp_path / name, seed=seed, epochs=1)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]

    assert results[0] == results[1] != results[2]
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize(
    ("family", "dropout"),
    [
        ("gpt2", {"resid_pdrop": 0.1, "attn_pdrop": 0.1, "embd_pdrop": 0.1}),
        ("opt", {"dropout": 0.1, "attention_dropout": 0.1}),
        ("llama", {"attention_dropout": 0.1}),
    ],
    ids=["gpt2", "opt", "llama"],
)
def test_dropout_of_the_base_model_is_off(family, dropout, tmp_path):
    base = save_tiny_model(tmp_path / "base", family, **dropout)

    for name in ("a", "b"):
        fit(obvious(40), base, tmp_path / name, epochs=1)

    assert same_weights(tmp_path / "a", tmp_path / "b")


def test_a_base_whose_pad_token_is_its_stop_token_is_fitted(tmp_path):
    base = save_tiny_model(tmp_path / "base")
    config = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    (base / "tokenizer_config.json").write_text(
        json.dumps({**config, "pad_token": "<eos>"}), encoding="utf-8"
    )

    result = fit(obvious(200), base, tmp_path / "reward")

    assert load(tmp_path / "reward").tokenizer.pad_token == "<eos>"
    assert result.accuracy > 0.9


def test_a_base_without_a_pad_token_is_fitted(tmp_path):
    base = save_tiny_model(tmp_path / "base")
    config = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    (base / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": None}), encoding="utf-8")

    result = fit(obvious(200), base, tmp_path / "reward")

    assert result.accuracy > 0.9


def test_of_prompts_longer_than_the_context_the_end_is_learned_from(model_folder, tmp_path):
    rng = random.Random(0)
    prompts = [" ".join(rng.choices(WORDS[4:], k=35)) for _ in range(200)]  # the context is 32

    result = fit([(p, "a", "c") for p in prompts], model_folder, tmp_path / "reward", too_long="cut")

    assert result.accuracy > 0.9


def test_a_prompt_that_leaves_no_room_for_a_response_is_refused(model_folder, tmp_path):
    pairs = [*obvious(20), (" ".join("d" * 29), "a", "c")] * 3

    with pytest.raises(
        DataError, match=r"`tokens <= 32`.* with an answer of the base, .* but got 35; 3 of 63"
    ):
        fit(pairs, model_folder, tmp_path / "reward")


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_preferences_are_refused(n, model_folder, tmp_path):
    with pytest.raises(DataError) as caught:
        fit(obvious(n), model_folder, tmp_path / "reward")

    assert str(caught.value) == f"at least 2 rows are needed, but got {n}"


def test_a_base_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        fit(obvious(10), tmp_path / "nowhere", tmp_path / "reward")


def test_a_fit_that_diverges_is_refused_and_writes_nothing(model_folder, tmp_path):
    with pytest.raises(
        ModelError, match="the fit diverged, so no reward model was written; lower learning_rate"
    ):
        fit(obvious(60), model_folder, tmp_path / "reward", learning_rate=1e30)

    assert not (tmp_path / "reward").exists()


def test_progress_rises_to_one(model_folder, tmp_path):
    seen: list[float] = []

    fit(obvious(50), model_folder, tmp_path / "reward", progress=lambda step: seen.append(step.done))

    assert seen == sorted(seen)
    assert len(seen) == 3 * math.ceil(40 / 16)
    assert seen[-1] == 1.0


def test_the_prompts_of_held_out_preferences_are_not_learned_from(model_folder, tmp_path):
    pairs = [(f"{prompt}", f"a {other}", f"c {other}") for prompt in MANY for other in "lm"]

    result = fit(pairs, model_folder, tmp_path / "reward", epochs=1)

    assert (result.examples, result.heldout_pairs) == (24, 6)  # 12 and 3 prompts of two pairs each


@pytest.mark.parametrize(("right", "n"), [(197, 400), (300, 400), (10, 10), (0, 10), (1, 1)])
def test_the_interval_is_wilsons(right, n):
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")

    assert wilson(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_equal_scores_count_half():
    chosen, rejected = torch.tensor([1.0, 2.0, 3.0, 0.0]), torch.tensor([1.0, 1.0, 3.0, 5.0])

    assert rights(chosen, rejected).tolist() == [0.5, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("right", "told"),
    [
        pytest.param(197, "cannot be told from chance, 0.5", id="at chance"),
        pytest.param(219, "cannot be told from chance, 0.5", id="hardly above"),
        pytest.param(160, "prefers what was judged worse", id="below"),
        pytest.param(300, None, id="above"),
    ],
)
def test_a_reward_model_at_chance_is_said_to_be(right, told):
    result = RewardTrainingResult(
        "pairs", 3600, 400, right / 400, wilson(right / 400, 400), 400, 400, 0.0, 1.0
    )

    assert (result.warning or "None").startswith(f"the reward model {told}" if told else "None")


def test_accuracy_its_pairs_and_its_interval_stand_beside_the_model(model_folder, tmp_path):
    pairs = [(f"{prompt} {i}", chosen, rejected) for i, (prompt, chosen, rejected) in enumerate(obvious(60))]
    result = fit(pairs, model_folder, tmp_path / "reward")

    written = json.loads((tmp_path / "reward" / "reward.json").read_text(encoding="utf-8"))
    assert written["heldout_pairs"] == result.heldout_pairs == 60 - result.examples
    assert (written["accuracy_low"], written["accuracy_high"]) == result.interval
    assert result.interval == wilson(result.accuracy, result.heldout_pairs)


def test_responses_that_hold_their_prompt_again_are_fitted_without_it(model_folder, tmp_path):
    pairs = obvious(60, prompts=MANY)
    whole = [(prompt, f"{prompt} {chosen}", f"{prompt} {rejected}") for prompt, chosen, rejected in pairs]

    results = [fit(given, model_folder, tmp_path / str(i)) for i, given in enumerate((pairs, whole))]

    assert same_weights(tmp_path / "0", tmp_path / "1")
    assert results[1].notes == (
        "60 of 60 rows hold their prompt again at the beginning of the responses; it is cut there",
    )


def test_prompts_and_responses_that_become_one_word_are_told(model_folder, tmp_path):
    pairs = obvious(60, prompts=MANY)

    glued = fit(pairs, model_folder, tmp_path / "a", template="{prompt}{response}")
    spaced = fit(
        [(p, f" {c}", f" {r}") for p, c, r in pairs],
        model_folder,
        tmp_path / "b",
        template="{prompt}{response}",
    )

    border = repr((pairs[0][0] + pairs[0][1])[:40])
    assert glued.notes == (
        f"prompt and response are read without a space between them, as in {border}; if responses are to begin with "
        "one, fit with the template '{prompt} {response}' (--template)",
    )
    assert spaced.notes == ()


def test_a_template_that_is_none_is_refused_before_any_model_is_loaded(tmp_path):
    rule = "must hold {response}, and {prompt} if need be, and nothing else in braces, but got '{prompt} {answer}'"

    with pytest.raises(ValidationError, match=re.escape(rule)):
        fit(obvious(10), tmp_path / "nowhere", tmp_path / "reward", template="{prompt} {answer}")


def test_a_base_without_an_end_of_sequence_is_fitted_and_its_reader_told(tmp_path):
    base = save_tiny_model(tmp_path / "base")
    tiny_tokenizer(eos_token=None).save_pretrained(base)

    fit(obvious(60, prompts=MANY), base, tmp_path / "reward")

    assert not read_format(tmp_path / "reward").append_eos


def test_the_interval_is_by_prompt_where_held_out_preferences_share_one(model_folder, tmp_path):
    pairs = [(prompt, f"a {other}", f"c {other}") for prompt in MANY for other in WORDS[3:]]

    result = fit(pairs, model_folder, tmp_path / "reward")

    facts = json.loads((tmp_path / "reward" / "fit.json").read_text(encoding="utf-8"))
    assert (result.heldout_pairs, result.heldout_prompts) == (30, 3)
    assert (
        result.interval[0] < wilson(result.accuracy, 30)[0]
    )  # ten preferences of a prompt say less than ten of ten prompts
    assert result.warnings[-1].startswith("3 held-out prompts say little of the accuracy")
    assert {key: facts[key] for key in facts if key not in ("curve", "base_mean", "base_std")} == {
        "kind": "reward", "labels": "pairs", "examples": 120, "heldout_examples": 30, "heldout_pairs": 30,
        "heldout_prompts": 3, "accuracy": result.accuracy, "interval": [*result.interval],
        "rank_correlation": 2 * result.accuracy - 1, "calibration_error": result.calibration_error, "across": False,
        "agreement": None, "attributes": [], "teacher": None, "loss": result.loss, "notes": [],
        "files": sorted({path.name for path in (tmp_path / "reward").iterdir()} - {"fit.json"}),
    }  # fmt: skip
    assert [point["rows"] for point in facts["curve"]] == [30, 60, 120]
    assert facts["curve"][-1]["accuracy"] == result.accuracy
    assert 0 < result.loss < math.log(2)


def test_texts_beyond_the_context_are_counted(model_folder, tmp_path):
    long = " ".join("a" * 31)  # with the end of the sequence 33 tokens behind a prompt of one word
    pairs = [*obvious(20, prompts=MANY), ("d", long, "c"), ("d", "a", long), ("d", long[:-2], "c")]

    result = fit(pairs, model_folder, tmp_path / "reward", too_long="drop")

    assert result.notes == ("2 of 23 rows have more than 32 tokens, the model's context: 2 were dropped",)


def test_many_texts_are_scored_in_passes_that_fit_into_memory(model_folder, tmp_path, monkeypatch):
    whole = fit(obvious(60, prompts=MANY), model_folder, tmp_path / "a")
    monkeypatch.setattr("ppo_tune.fitting.scorer.TOKENS_AT_ONCE", 40)

    parts = fit(obvious(60, prompts=MANY), model_folder, tmp_path / "b")

    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert parts.accuracy == whole.accuracy
    assert (parts.base_mean, parts.base_std) == pytest.approx((whole.base_mean, whole.base_std), rel=1e-5)
