"""One contract for every kind of label: it is learned, its model is read as it was fitted, and its numbers are true."""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.rewards import PreferenceRewardConfig, Reads
from ppo_tune.data.labelled import READERS
from ppo_tune.data.labels import ClassLabels, Kind, Labels, PairLabels, RatingLabels
from ppo_tune.errors import DataError, ModelError
from ppo_tune.export import Sources
from ppo_tune.export.reward_file import score_source
from ppo_tune.files import read_json
from ppo_tune.fitting.heads import HEADS
from ppo_tune.fitting.loop import Step
from ppo_tune.fitting.reward_model import RewardTrainingResult, fit_reward, sample_base
from ppo_tune.rewards.preference import PreferenceReward
from tests.conftest import WORDS, save_tiny_model
from tests.export.winners import winner

TINY: dict[str, Any] = {
    "epochs": 3, "learning_rate": 0.01, "batch_size": 16, "base_samples": 40, "max_new_tokens": 6,
    "template": "{prompt} {response}", "heldout_fraction": 0.2, "learning_curve": False,
}  # fmt: skip

PROMPTS = [" ".join(words) for words in product("defg", "hijk", "lmno")]

Case = tuple[list[tuple[str, ...]], Labels]


def response(word: str, rng: random.Random) -> str:
    """Words by chance around one that says how good it is."""
    words = [word, *rng.choices(WORDS[4:], k=rng.randint(1, 3))]
    rng.shuffle(words)
    return " ".join(words)


def alone(words: str, n: int, seed: int = 0) -> tuple[list[tuple[str, ...]], list[str]]:
    """Rows of one response each, and the word that says how good it is."""
    rng = random.Random(seed)
    said = rng.choices(words, k=n)
    return [(rng.choice(PROMPTS), response(word, rng)) for word in said], said


def pairs(n: int = 300) -> Case:
    rng = random.Random(0)
    rows: list[tuple[str, ...]] = [
        (rng.choice(PROMPTS), response("a", rng), response("c", rng)) for _ in range(n)
    ]
    return rows, PairLabels.plain(n)


def ties(n: int = 300) -> Case:
    """One pair in six is a tie of two alike."""
    rows, _ = pairs(n)
    rng = random.Random(1)
    tied = np.arange(n) % 6 == 0
    both = [(prompt, response("a", rng), response("a", rng)) for prompt, *_ in rows]
    mixed = [even if tie else row for row, even, tie in zip(rows, both, tied, strict=True)]
    return mixed, PairLabels(None, np.where(tied, 0.0, 0.5), tied)


def ratings(n: int = 400) -> Case:
    rows, said = alone("abc", n)
    return rows, RatingLabels(None, ("rating",), np.array([["cba".index(word) * 2.0 + 1] for word in said]))


def attributes(n: int = 400) -> Case:
    """The first attribute likes an `a`, the second a `c`, and one rating in five is missing."""
    rows, said = alone("abc", n)
    values = np.array([["cba".index(word), "abc".index(word)] for word in said], float)
    values[::5, 0] = np.nan
    return rows, RatingLabels(None, ("true", "kind"), values)


def ordered(n: int = 400) -> Case:
    rows, said = alone("abc", n)
    return rows, ClassLabels(None, ("bad", "fair", "good"), np.array(["cba".index(w) for w in said]), 2, True)


def unordered(n: int = 400) -> Case:
    rows, said = alone("abc", n)
    return rows, ClassLabels(
        None, ("sad", "happy", "angry"), np.array(["bac".index(w) for w in said]), 1, False
    )


def thumbs(n: int = 400) -> Case:
    rows, said = alone("ac", n)
    return rows, ClassLabels(None, ("false", "true"), np.array(["ca".index(word) for word in said]), 1, True)


def commented(n: int = 600, *, labelled: int = 2) -> Case:
    """One row in so many has a class, all have a comment, and the class is a word of it."""
    rows, said = alone("ac", n)
    rng = random.Random(6)
    comments = [
        " ".join(rng.sample([{"a": "b", "c": "d"}[word], *rng.choices("fgh", k=2)], 3)) for word in said
    ]
    classes = np.array(["ca".index(w) if i % labelled == 0 else -1 for i, w in enumerate(said)])
    return rows, ClassLabels(None, ("no", "yes"), classes, 1, True, comments=np.array(comments, object))


def commented_ratings(n: int = 600) -> Case:
    rows, labels = commented(n)
    assert isinstance(labels, ClassLabels)
    values = np.where(labels.classes < 0, np.nan, labels.classes * 4.0 + 1)[:, None]
    return rows, RatingLabels(None, ("rating",), values, comments=labels.comments)


CASES: list[Callable[[], Case]] = [
    pairs, ties, ratings, ordered, unordered, thumbs, commented, commented_ratings,
]  # fmt: skip
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("base"))


def fit(case: Case, base: Path, out: Path, **config: Any) -> RewardTrainingResult:
    rows, labels = case
    return fit_reward(rows, str(base), out, RewardTrainingConfig(**{**TINY, **config}), labels=labels)


def load(folder: Path, **how: Any) -> PreferenceReward:
    return PreferenceReward(
        PreferenceRewardConfig(name="preference", model=str(folder), **how), torch.device("cpu")
    )


def scored(folder: Path, responses: Sequence[str], **how: Any) -> list[float]:
    return load(folder, **how)(["d h l"] * len(responses), list(responses), {}).tolist()


def means(folder: Path, words: str, **how: Any) -> list[float]:
    """The mean score of responses with each of these words."""
    rng = random.Random(9)
    return [statistics.mean(scored(folder, [response(w, rng) for _ in range(64)], **how)) for w in words]


def test_every_kind_has_a_reader_and_a_head() -> None:
    assert {*READERS} == {*HEADS} == {*get_args(Kind)}
    assert {labels.kind for _, labels in (case() for case in CASES)} == {*get_args(Kind)}


@every_case
def test_what_is_obvious_is_learned_and_scores_what_the_base_says_around_0(
    case: Callable[[], Case], base: Path, tmp_path: Path
) -> None:
    result = fit(case(), base, tmp_path / "reward")

    good, bad = scored(tmp_path / "reward", ["a k", "c k"])
    samples = sample_base(str(base), [row[0] for row in case()[0]], RewardTrainingConfig(**TINY))
    assert good > bad + 1
    assert result.accuracy > 0.9
    assert result.warning is None
    assert not result.across
    prompts, responses = zip(*samples, strict=True)
    own = load(tmp_path / "reward")(prompts, responses, {}).tolist()
    assert abs(statistics.mean(own)) < 2  # of other prompts than those that fixed the scale
    assert 0.3 < statistics.stdev(own) < 3


def exported(reward: PreferenceRewardConfig) -> Callable[..., list[float]]:
    """The function `score` of an exported script."""
    imports, body = score_source(winner(sources=Sources("m", reward, ())))
    scope: dict[str, Any] = {"__name__": "exported", "__file__": "exported.py"}
    exec("\n".join([*imports, body]), scope)
    score: Callable[..., list[float]] = scope["score"]
    return score


CAN_READ: dict[str, tuple[Reads, ...]] = {
    "ordered": get_args(Reads), "thumbs": get_args(Reads), "commented": get_args(Reads),
    "unordered": ("score", "probability", "log_probability"),
}  # fmt: skip
"""What is read of a model of classes; of any other its score alone."""


@every_case
def test_an_exported_reward_reads_it_as_we_do_and_what_it_does_not_know_is_refused(
    case: Callable[[], Case], base: Path, tmp_path: Path
) -> None:
    fit(case(), base, tmp_path / "reward", epochs=1)
    texts = ["a k", "b", "c k"]

    for reads in get_args(Reads):
        reward = PreferenceRewardConfig(name="preference", model=str(tmp_path / "reward"), reads=reads)
        if reads in CAN_READ.get(case.__name__, ("score",)):
            expected = PreferenceReward(reward, torch.device("cpu"))(["d h l"] * 3, texts, {}).tolist()
            assert exported(reward)(["d h l"] * 3, texts) == pytest.approx(expected, abs=1e-4)
        else:
            with pytest.raises(ModelError, match=r"leave out `reads|read another"):
                PreferenceReward(reward, torch.device("cpu"))


def test_an_attribute_can_score_alone(base: Path, tmp_path: Path) -> None:
    result = fit(attributes(), base, tmp_path / "reward")

    true, kind = (scored(tmp_path / "reward", ["a k", "c k"], label=name) for name in ("true", "kind"))
    both = scored(tmp_path / "reward", ["a k", "c k"])
    assert true[0] > true[1] + 1
    assert kind[1] > kind[0] + 1
    assert abs(both[0] - both[1]) < abs(true[0] - true[1])
    assert dict(result.attributes)["true"].accuracy > 0.9
    assert dict(result.attributes)["kind"].accuracy > 0.9
    reward = PreferenceRewardConfig(name="preference", model=str(tmp_path / "reward"), label="kind")
    assert exported(reward)(["d h l"] * 2, ["a k", "c k"]) == pytest.approx(kind, abs=1e-4)


def test_an_attribute_that_is_not_rated_is_refused(base: Path, tmp_path: Path) -> None:
    fit(attributes(), base, tmp_path / "reward", epochs=1)

    with pytest.raises(ModelError) as caught:
        load(tmp_path / "reward", label="short")

    assert str(caught.value) == (
        f"reward model '{tmp_path / 'reward'}': `label` must be one of the attributes it rates, true, kind, but got "
        "'short'"
    )


TRUTH = {"a": 0.85, "c": 0.3}
"""How often a response with such a word is called good."""


def test_thumbs_come_true_as_often_as_the_model_says(base: Path, tmp_path: Path) -> None:
    rows, said = alone("ac", 3000)
    rng = random.Random(2)
    labels = ClassLabels(None, ("no", "yes"), np.array([rng.random() < TRUTH[w] for w in said], int), 1, True)

    result = fit((rows, labels), base, tmp_path / "reward", epochs=4, learning_rate=3e-3)

    assert means(tmp_path / "reward", "ac", reads="probability") == pytest.approx([0.85, 0.3], abs=0.07)
    assert result.calibration_error < 0.08


def test_ordered_classes_come_true_as_often_as_the_model_says(base: Path, tmp_path: Path) -> None:
    """Drawn from a latent score of 1 or -1 with logistic noise, cut at -0.5 and 1."""
    rows, said = alone("ac", 3000)
    rng = random.Random(3)

    def drawn(word: str) -> int:
        u = rng.random()
        latent = (1.0 if word == "a" else -1.0) + math.log(u / (1 - u))
        return (latent > -0.5) + (latent > 1)

    labels = ClassLabels(None, ("bad", "fair", "good"), np.array([drawn(word) for word in said]), 2, True)

    result = fit((rows, labels), base, tmp_path / "reward", epochs=4, learning_rate=3e-3)

    low, high = read_json(tmp_path / "reward" / "reward.json")["link"]["thresholds"]
    probability = means(tmp_path / "reward", "ac", reads="probability")
    assert probability == pytest.approx([0.5, 1 / (1 + math.exp(2.0))], abs=0.07)
    assert high - low == pytest.approx(1.5, abs=0.3)
    assert result.calibration_error < 0.08


def test_pairs_come_true_as_often_as_the_lead_says(base: Path, tmp_path: Path) -> None:
    rows, _ = pairs(3000)
    rng = random.Random(4)
    drawn = [row if rng.random() < 0.8 else (row[0], row[2], row[1]) for row in rows]

    result = fit((drawn, PairLabels.plain(3000)), base, tmp_path / "reward", epochs=4, learning_rate=3e-3)

    a, c = means(tmp_path / "reward", "ac")
    assert (a - c) * result.base_std == pytest.approx(math.log(4), abs=0.5)
    assert result.accuracy == pytest.approx(0.8, abs=0.06)
    assert result.calibration_error < 0.08


@pytest.mark.parametrize("model", ["rao_kupper", "davidson"])
def test_models_that_know_ties_learn_how_frequent_they_are(model: str, base: Path, tmp_path: Path) -> None:
    """Of pairs that are alike two in three are ties."""
    rng = random.Random(5)
    rows: list[tuple[str, ...]] = [
        (rng.choice(PROMPTS), response("a", rng), response("a", rng)) for _ in range(900)
    ]
    labels = PairLabels(None, np.zeros(900), np.arange(900) % 3 > 0)

    losses = [
        fit((rows, labels), base, tmp_path / name, ties=name, epochs=3).loss for name in (model, "half")
    ]

    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 6))
    assert losses[0] == pytest.approx(entropy, abs=0.1)
    assert losses[1] == pytest.approx(math.log(2), abs=0.05)  # which knows no third way to end


def test_a_margin_asks_for_a_larger_lead_and_a_scale_for_more_of_it(base: Path, tmp_path: Path) -> None:
    rows, _ = pairs(200)
    leads = {}
    for name, margin, how in (
        ("none", 0.0, "subtract"),
        ("margin", 3.0, "subtract"),
        ("scale", 3.0, "scale"),
    ):
        labels = PairLabels(None, np.full(200, margin), np.zeros(200, bool))
        result = fit((rows, labels), base, tmp_path / name, margins=how, epochs=1)
        a, c = means(tmp_path / name, "ac")
        leads[name] = (a - c) * result.base_std
    assert leads["margin"] > leads["none"]


def test_a_share_of_noise_bounds_the_lead(base: Path, tmp_path: Path) -> None:
    leads = {}
    for noise in (0.0, 0.2):
        result = fit(pairs(), base, tmp_path / str(noise), label_noise=noise, epochs=6)
        a, c = means(tmp_path / str(noise), "ac")
        leads[noise] = (a - c) * result.base_std
    assert leads[0.2] == pytest.approx(math.log(4), abs=0.7)  # where its loss is least
    assert leads[0.0] > leads[0.2] + 1


@every_case
def test_a_learning_curve_is_measured_on_the_same_rows_and_ends_with_the_fit(
    case: Callable[[], Case], base: Path, tmp_path: Path
) -> None:
    rows, labels = case()
    steps: list[Step] = []
    config = RewardTrainingConfig(**{**TINY, "learning_curve": True, "epochs": 1})

    result = fit_reward(rows, str(base), tmp_path / "on", config, labels=labels, progress=steps.append)
    without = fit(case(), base, tmp_path / "off", epochs=1)

    n = result.examples
    assert [point.rows for point in result.curve] == [n // 4, n // 2, n]
    assert (result.curve[-1].accuracy, result.curve[-1].interval) == (result.accuracy, result.interval)
    assert [step.number for step in steps] == [*range(1, steps[-1].steps + 1)]
    assert (tmp_path / "on" / "model.safetensors").read_bytes() == (
        tmp_path / "off" / "model.safetensors"
    ).read_bytes()
    assert without.curve == ()


@pytest.mark.parametrize(
    ("rows", "labels", "told"),
    [
        (
            [("p", "a")] * 2,
            PairLabels.plain(2),
            "pairs judge 2 responses, so each row must have a prompt and 2, but row",
        ),
        (
            [("p", "a", "b")] * 2,
            PairLabels.plain(3),
            "there must be a label for each row, but got 3 for 2 rows",
        ),
        (
            [("p", "a")] * 2,
            ClassLabels(None, ("bad", "good"), np.ones(2, int), 1, True),
            "all labels are 'good', and one class alone says nothing",
        ),
    ],
)
def test_labels_that_do_not_fit_their_rows_are_refused_before_anything_is_loaded(
    rows: list[tuple[str, ...]], labels: Labels, told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        fit_reward(rows, "no/such-model", tmp_path / "reward", labels=labels)

    assert str(caught.value).startswith(told)
    assert not (tmp_path / "reward").exists()


def test_held_out_labels_that_are_all_the_same_say_nothing_of_the_model(base: Path, tmp_path: Path) -> None:
    rows, _ = thumbs(40)
    lone = ClassLabels(None, ("false", "true"), np.array([1, *[0] * 39]), 1, True)
    lone_is_learned_from = 3  # a seed by which the one good response is not held out

    result = fit((rows, lone), base, tmp_path / "reward", epochs=1, seed=lone_is_learned_from)

    assert (result.accuracy, result.interval, result.heldout_pairs) == (0.5, (0.0, 1.0), 0)
    assert result.warning is not None
    assert result.warning.startswith("no two held-out responses were judged differently")
    assert result.warnings == (result.warning,)
