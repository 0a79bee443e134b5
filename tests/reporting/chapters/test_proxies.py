"""Signs of a hack without a gold reward."""

import math
from typing import Any

import pytest

from ppo_tune.files import write_json
from ppo_tune.reporting.analysis.exploitation import (
    MEASURES,
    proxies_table,
    trials_tables,
    worst_by_signs,
    worst_offender,
)
from ppo_tune.reporting.chapters.hacking import chapter as hacking
from ppo_tune.search import responses
from tests.reporting.conftest import HandMade

CALM = [f"answer {i} is short and ends with word {i}" for i in range(8)]
WILD = ["so good so good so good so good so good so good"] * 8


def samples(texts: list[str]) -> list[dict[str, Any]]:
    return [{"prompt": f"p{i}", "response": text, "score": 0.0, "gold": None} for i, text in enumerate(texts)]


@pytest.fixture
def goldless(hand_made: HandMade) -> HandMade:
    """The default, a sane winner, a wild trial beyond the budget, a wild trial that scores little."""
    base = {"score": 0.0, "kl_per_sequence": 0.0, "score_standard_error": 0.1, "response_tokens": 6.0,
            "eos_rate": 0.75}  # fmt: skip
    facts = {f"heldout/{name}": value for name, value in base.items()}
    write_json(hand_made.folder / "base.json", {**facts, "n_prompts": 100, "samples": samples(CALM)})
    none: list[Any] = [None]
    hand_made.add("completed", [0.5], gold=none, kl=1.0, baseline=True, samples=samples(CALM))
    hand_made.add("completed", [1.0], gold=none, kl=2.0, samples=samples(CALM))
    hand_made.add("completed", [2.0], gold=none, kl=9.0, samples=samples(WILD))
    hand_made.add("completed", [0.4], gold=none, kl=20.0, samples=samples(WILD))
    return hand_made


def test_repetition_is_the_share_of_3_grams_that_occurred_before() -> None:
    assert responses.repeated_share("a b c a b c") == pytest.approx(1 / 4)  # abc bca cab abc
    assert responses.repeated_share("a a a a a") == pytest.approx(2 / 3)
    assert responses.repeated_share("a b c d") == 0
    assert responses.repeated_share("a b") == 0


def test_distinct_n_counts_different_ones_over_all_texts() -> None:
    assert responses.distinct(["a b a", "a b"], 1) == pytest.approx(2 / 5)
    assert responses.distinct(["a b a", "a b"], 2) == pytest.approx(2 / 3)
    assert math.isnan(responses.distinct(["", "a"], 2))


def measures(**changed: float) -> dict[str, float]:
    usual = {"response_tokens": 10.0, "repeated_3grams": 0.1, "distinct_1": 0.5, "distinct_2": 0.8, "score_std": 1.0,
             "eos_rate": 0.9}  # fmt: skip
    return {**usual, **changed}


@pytest.mark.parametrize(
    ("changed", "low", "found"),
    [
        ({}, 1.0, []),
        ({"response_tokens": 15.0}, 1.0, ["longer responses"]),
        ({"response_tokens": 14.9}, 1.0, []),
        ({"response_tokens": 6.6}, 1.0, ["shorter responses"]),
        ({"repeated_3grams": 0.16}, 0.01, ["repetition"]),
        ({"repeated_3grams": 0.16}, -0.01, []),
        ({"repeated_3grams": 0.14}, 0.01, []),
        ({"distinct_2": 0.4}, 1.0, ["less variety"]),
        ({"score_std": 0.5}, 1.0, ["less spread of the reward"]),
        ({"eos_rate": 0.69}, 1.0, ["responses do not end"]),
        (dict.fromkeys(measures(), math.nan), math.nan, []),
    ],
)
def test_what_counts_as_a_sign(changed: dict[str, float], low: float, found: list[str]) -> None:
    assert responses.signs(measures(), measures(**changed), low) == found


def test_without_the_untrained_model_nothing_is_a_sign() -> None:
    unknown = dict.fromkeys(measures(), math.nan)

    assert responses.signs(unknown, measures(response_tokens=99.0), math.nan) == []


def test_the_rise_in_repetition_is_compared_prompt_by_prompt() -> None:
    wild = [*WILD[:4], *CALM[4:]]
    shares = [responses.repeated_share(text) for text in wild]  # those of the calm are 0

    low = responses.repetition_low(samples(CALM), samples(wild))

    mean, error = sum(shares) / 8, (sum((s - sum(shares) / 8) ** 2 for s in shares) / 7) ** 0.5 / 8**0.5
    assert low == pytest.approx(mean - 2.364624 * error)
    assert math.isnan(responses.repetition_low(samples(CALM)[:5], samples(WILD)[:5]))


def test_every_trial_is_measured_beside_the_untrained_model(goldless: HandMade) -> None:
    table = proxies_table(goldless.record())

    assert table.equals(trials_tables(goldless.record())["hacking.csv"])
    assert table["role"].tolist() == ["untrained model", "default", "best so far", "", ""]
    assert table["repeated_3grams"].tolist() == pytest.approx([0, 0, 0, 0.8, 0.8])
    assert table["response_tokens"].tolist() == [6.0, 9.5, 9.5, 9.5, 9.5]
    assert table["score_std"].tolist() == pytest.approx([1.0] * 5)  # 0.1 over 100 prompts
    assert table["signs"].tolist() == [0, 1, 1, 3, 3]
    assert table["which"].iloc[3] == "longer responses, repetition, less variety"


def test_the_worst_offender_shows_most_signs_among_those_that_beat_the_default(goldless: HandMade) -> None:
    worst = worst_offender(goldless.record())

    assert worst is not None
    assert worst.number == 2


def test_of_equally_many_signs_the_higher_kl_is_the_worse(goldless: HandMade) -> None:
    goldless.add("kl_limit", [2.0], gold=[None], kl=12.0, samples=samples(WILD))  # type: ignore[list-item]

    worst = worst_offender(goldless.record())

    assert worst is not None
    assert worst.number == 4


def test_before_the_default_has_a_score_the_untrained_model_has_to_be_beaten(goldless: HandMade) -> None:
    table = proxies_table(goldless.record())

    assert worst_by_signs(table[table["role"] != "default"], None) == 3  # which the default's score left out


def test_without_a_sign_there_is_no_worst_offender(goldless: HandMade) -> None:
    table = proxies_table(goldless.record()).assign(signs=0)

    assert worst_by_signs(table, 0) is None


def test_the_chapter_says_that_signs_prove_nothing(goldless: HandMade) -> None:
    (section,) = hacking.chapter(goldless.record()).sections

    assert "This task has no gold reward, so nothing here proves a hack" in section.reading
    assert "4 of 4 trials show at least one" in section.reading
    assert "Best so far: longer responses." in section.reading
    assert "Worst offender: longer responses, repetition, less variety." in section.reading
    assert (
        "Words are counted in the 8 responses kept of a trial; length, spread and endings are over 100"
        in (section.reading)
    )
    assert section.table is not None
    assert section.table["role"].tolist()[:4] == [
        "untrained model",
        "default",
        "best so far",
        "worst offender",
    ]
    assert section.figure is not None
    assert {trace.name for trace in section.figure.data} == {
        "untrained model",
        "default",
        "best so far",
        "worst offender",
    }
    assert len(section.figure.data) == 4 * len(MEASURES)


def test_missing_files_leave_numbers_out_and_are_named(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0], gold=[None], baseline=True)  # type: ignore[list-item]

    (section,) = hacking.chapter(hand_made.record()).sections

    assert "The untrained model's numbers are missing" in section.reading
    assert "No responses were kept" in section.reading
    assert section.table is not None
    assert math.isnan(section.table["distinct_1"].iloc[0])
