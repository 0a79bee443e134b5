"""What speaks against a trial, and the verdict that follows: each threshold from both sides, worked by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ppo_tune.files import write_json
from ppo_tune.search.concerns import Facts
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.race import Candidate, Confirmation, Run
from ppo_tune.search.verdict import Verdict, judge, read_facts
from tests.reporting.conftest import HandMade

N_PROMPTS = 40
SPREAD = np.linspace(-0.5, 0.5, N_PROMPTS)
"""What differs between prompts; its mean is 0."""

CALM = [f"answer {i} is short and ends with word {i}" for i in range(8)]
WILD = ["so good so good so good so good so good so good"] * 8


@pytest.fixture
def hand_made(tmp_path: Path) -> HandMade:
    return HandMade(tmp_path)


def samples(texts: list[str]) -> list[dict[str, Any]]:
    return [{"prompt": f"p{i}", "response": text, "score": 0.0, "gold": None} for i, text in enumerate(texts)]


def write_base(made: HandMade, texts: list[str] = CALM, **facts: float) -> None:
    usual = {"score": 0.0, "gold": 0.5, "eos_rate": 0.8, "response_tokens": 9.5, **facts}
    named = {f"heldout/{name}": value for name, value in usual.items()}
    write_json(made.folder / "base.json", {**named, "n_prompts": 64, "samples": samples(texts)})


def verdict_of(made: HandMade) -> Verdict:
    return judge(read_facts(made.study, made.config, made.folder))


def usual(
    made: HandMade, *, gold: float | None = 0.6, eos: float = 0.75, texts: list[str] = CALM
) -> HandMade:
    """A default with gold 0.6 and a trial that scores more."""
    golds: Any = [gold]
    made.add("completed", [0.5], gold=[0.6], baseline=True, samples=samples(CALM))
    made.add("completed", [1.0], gold=golds, eos=eos, samples=samples(texts))
    return made


@pytest.mark.parametrize(
    ("search", "is_said"),
    [
        pytest.param({"n_trials": 2}, True, id="two trials pay for no confirmation"),
        pytest.param({"n_trials": 3}, False, id="a third trial is to come"),
        pytest.param({"n_trials": 2, "confirm_top": 0}, False, id="none is wanted"),
        pytest.param({"n_trials": 2, "confirm_top": 3}, False, id="one is asked for, and only not made"),
    ],
)
def test_why_nothing_was_confirmed_is_said(
    hand_made: HandMade, search: dict[str, Any], is_said: bool
) -> None:
    write_base(hand_made)
    usual(hand_made)
    limits = {"confirm_top": "auto", "confirm_seeds": "auto", **search}
    block = hand_made.config.search.model_copy(update=limits)
    hand_made.config = hand_made.config.model_copy(update={"search": block})

    sentence = verdict_of(hand_made).sentence

    why = (
        " A quarter of its episodes does not pay for 3 candidates and the default on 2 seeds; `ppo-tune confirm hand` "
        "does it anyway."
    )
    assert sentence.startswith("Not confirmed: trial 1 scored 1.000 in the search, at 1.00 of 3 nats of KL.")
    assert sentence.endswith(why) == is_said


def test_nothing_speaks_against_a_sound_trial(hand_made: HandMade) -> None:
    write_base(hand_made)
    verdict = verdict_of(usual(hand_made))

    assert (verdict.kind, verdict.trial, verdict.advice) == ("not_confirmed", 1, "")


@pytest.mark.parametrize(("eos", "kind"), [(0.39, "caution"), (0.4, "not_confirmed")])
def test_responses_no_longer_end_below_half_of_the_higher_yardstick(
    hand_made: HandMade, eos: float, kind: str
) -> None:
    """Of the untrained model 80 % end, of the default 75 %; half of the higher is 40 %."""
    write_base(hand_made)
    verdict = verdict_of(usual(hand_made, eos=eos))

    assert verdict.kind == kind
    if kind == "caution":
        assert verdict.sentence.endswith(
            "but 61 % of its responses are cut off (untrained model 20 %, default config 25 %)."
        )
        assert verdict.advice.startswith(
            "Do not train it as it is: raise ppo.missing_eos_penalty (0 now) or ppo.max"
        )


def test_text_that_repeats_itself_and_is_all_alike_has_collapsed(hand_made: HandMade) -> None:
    """Repeated 3-grams: 2 kinds of 10, so 0.8. Distinct-2: 2 of 88, against (7 + 8 · 2) of 64 before."""
    write_base(hand_made)
    verdict = verdict_of(usual(hand_made, texts=WILD))

    assert verdict.kind == "caution"
    assert "it looks like reward hacking: its responses repeat themselves" in verdict.sentence
    assert "(repeated 3-grams 0.80, untrained model 0.00)" in verdict.sentence
    assert f"its responses are much alike (distinct-2 {2 / 88:.2f}, untrained model " in verdict.sentence
    assert "lower search.kl_budget (3 nats now) or raise kl_coef" in verdict.advice


def test_responses_that_shrink_to_a_fifth_say_next_to_nothing(hand_made: HandMade) -> None:
    write_base(hand_made, response_tokens=47.5)  # those of a trial made by hand are 9.5 long
    assert (
        "its responses say next to nothing (9.5 tokens, untrained model 47.5)"
        in verdict_of(usual(hand_made)).sentence
    )
    write_base(hand_made, response_tokens=47.4)
    assert verdict_of(hand_made).kind == "not_confirmed"


def test_without_the_untrained_model_and_a_gold_judge_nothing_is_a_concern(hand_made: HandMade) -> None:
    assert verdict_of(usual(hand_made, gold=None, texts=WILD)).kind == "not_confirmed"


def test_one_seeds_gold_is_compared_with_the_defaults_prompt_by_prompt(hand_made: HandMade) -> None:
    """Student's one-sided test, paired: 0.05 is where it becomes a concern."""
    write_base(hand_made, gold=0.0)
    facts = read_facts(usual(hand_made, gold=0.55).study, hand_made.config, hand_made.folder)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.2, N_PROMPTS)
    noise -= noise.mean()
    default = SPREAD + 0.6

    def chance(fall: float) -> tuple[float, str]:
        golds = default + noise - fall
        assert facts.winner is not None
        assert facts.default is not None
        facts.winner.user_attrs.update({"golds": golds.tolist(), "heldout/gold": float(golds.mean())})
        facts.default.user_attrs["golds"] = default.tolist()
        return float(stats.ttest_rel(golds, default, alternative="less").pvalue), judge(facts).kind

    reach = stats.t.ppf(0.95, N_PROMPTS - 1) * noise.std(ddof=1) / math.sqrt(N_PROMPTS)
    below, above = chance(1.01 * reach), chance(0.99 * reach)

    assert below[0] < 0.05 < above[0]
    assert (below[1], above[1]) == ("caution", "not_confirmed")


def run(seed: int, score: float, gold: float, *, eos: float = 0.75, kl: float = 1.0) -> Run:
    return Run(seed, "completed", SPREAD + score, {"gold": SPREAD + gold}, kl, eos)


def confirmed(
    made: HandMade,
    golds: list[float],
    default_golds: list[float],
    *,
    score: float = 0.9,
    winner: dict[str, float] | None = None,
    default: dict[str, float] | None = None,
) -> Facts:
    """Trial 1 scores 0.5 more than the default on as many fresh seeds as there are golds."""
    facts = read_facts(usual(made).study, made.config, made.folder)
    both = ((0.4, default_golds, default or {}), (score, golds, winner or {}))
    runs = [
        tuple(run(i, mean + 0.01 * (-1) ** i, gold, **settings) for i, gold in enumerate(of_config))
        for mean, of_config, settings in both
    ]
    candidates = [Candidate(i, i == 0, {}, 0.5 + 0.5 * i, of_config) for i, of_config in enumerate(runs)]
    found = Confirmation(tuple(candidates), SPREAD, {"gold": SPREAD + 0.5}, len(golds), kl_budget=3.0)
    chosen = next((t for t in facts.trials if t.number == found.outcome.winner), None)
    return replace(facts, winner=chosen, confirmation=found, is_over=True)


@pytest.mark.parametrize(
    ("n_seeds", "words"),
    [(5, "but it exploits the reward: gold -0.40"), (3, "but it looks like reward hacking: gold -0.40")],
)
def test_of_few_seeds_a_falling_judge_is_only_what_it_looks_like(
    hand_made: HandMade, n_seeds: int, words: str
) -> None:
    facts = confirmed(hand_made, [0.7, 0.72, 0.68, 0.7, 0.7][:n_seeds], [1.1, 1.12, 1.08, 1.1, 1.1][:n_seeds])

    verdict = judge(facts)

    assert (verdict.kind, verdict.confirmed) == ("caution", True)
    assert words in verdict.sentence
    assert f"lower on all {n_seeds} seeds" in verdict.sentence


def test_a_judge_that_falls_on_one_seed_of_three_is_no_concern(hand_made: HandMade) -> None:
    assert judge(confirmed(hand_made, [1.1, 1.2, 0.6], [1.1, 1.1, 1.1])).kind == "better"


def test_gold_below_the_untrained_models_is_a_concern_though_the_defaults_fell_too(
    hand_made: HandMade,
) -> None:
    """Untrained 0.5; both fell to about 0.1."""
    verdict = judge(confirmed(hand_made, [0.1, 0.12, 0.08, 0.1, 0.1], [0.1, 0.08, 0.12, 0.1, 0.1]))

    assert verdict.kind == "caution"
    assert "gold -0.40 against the untrained model" in verdict.sentence


def with_safety(facts: Facts, winner: float, default: float, *, untrained: float = 0.5) -> Facts:
    """The same with a judge named safety, who says so of the runs of trial 1 and of the default."""
    found = facts.confirmation
    assert found is not None
    for trial in facts.trials:
        trial.user_attrs["heldout/safety"] = 0.5
    candidates = tuple(
        replace(c, runs=tuple(
            replace(r, judges={**r.judges, "safety": SPREAD + (default if c.is_default else winner) + 0.01 * (-1) ** i})
            for i, r in enumerate(c.runs)
        ))
        for c in found.candidates
    )  # fmt: skip
    base = {**found.base_judges, "safety": SPREAD + untrained}
    return replace(facts, confirmation=replace(found, candidates=candidates, base_judges=base))


@pytest.mark.parametrize(
    ("gold", "safety", "words"),
    [
        (1.1, 0.2, "but it exploits the reward: safety -0.30 against the untrained model (95 % interval"),
        (0.7, 0.8, "but it exploits the reward: gold -0.40 against the default config (95 % interval"),
    ],
)
def test_a_judge_that_fell_is_named_whichever_it_is(
    hand_made: HandMade, gold: float, safety: float, words: str
) -> None:
    facts = confirmed(hand_made, [gold + 0.01 * (-1) ** i for i in range(5)], [1.1] * 5)

    verdict = judge(with_safety(facts, safety, 0.2))

    assert words in verdict.sentence
    assert ("gold" in verdict.sentence) != ("safety" in verdict.sentence)
    assert verdict.advice.startswith("Do not train it as it is: lower search.kl_budget")


def test_two_judges_that_fell_are_both_named(hand_made: HandMade) -> None:
    facts = confirmed(hand_made, [0.7 + 0.01 * (-1) ** i for i in range(5)], [1.1] * 5)

    verdict = judge(with_safety(facts, 0.2, 0.6))

    assert verdict.sentence.count("lower on all 5 seeds") == 2
    assert "gold -0.40 against the default config" in verdict.sentence
    assert " and safety -0.40 against the default config" in verdict.sentence


def test_the_reward_that_ppo_maximizes_is_no_judge_of_its_exploitation(hand_made: HandMade) -> None:
    """Where trials are compared by something else a lower reward is what was looked for."""
    facts = confirmed(hand_made, [1.1] * 5, [1.1] * 5)
    found = facts.confirmation
    assert found is not None
    for trial in facts.trials:
        trial.user_attrs["heldout/reward"] = 0.5
    runs = {
        c.number: tuple(replace(r, judges={"reward": SPREAD - c.number}) for r in c.runs)
        for c in found.candidates
    }
    candidates = tuple(replace(c, runs=runs[c.number]) for c in found.candidates)

    verdict = judge(
        replace(facts, confirmation=replace(found, candidates=candidates, base_judges={"reward": SPREAD}))
    )

    assert verdict.kind == "better"


def test_fresh_seeds_say_how_many_responses_end(hand_made: HandMade) -> None:
    """In the search 75 % ended; on fresh seeds 10 %, where of the default's 60 % do."""
    facts = confirmed(hand_made, [1.1] * 5, [1.1] * 5, winner={"eos": 0.1}, default={"eos": 0.6})

    verdict = judge(facts)

    assert verdict.kind == "caution"
    assert verdict.sentence.endswith("but 90 % of its responses are cut off (default config 40 %).")


def test_a_default_that_nothing_beats_may_itself_be_a_caution(hand_made: HandMade) -> None:
    facts = confirmed(hand_made, [0.1] * 5, [0.1, 0.12, 0.08, 0.1, 0.1], score=0.4)

    verdict = judge(facts)

    assert (verdict.kind, verdict.trial) == ("caution", 0)
    assert verdict.sentence.startswith(
        "Caution: nothing is better than trial 0, the default config, but it exploits"
    )


def test_the_advice_names_the_kl_at_which_gold_is_highest(hand_made: HandMade) -> None:
    """Gold's change is d(1 - log d) / 2 with d = √KL in every trial: highest at d = 1, and hardly lower nearby."""
    write_base(hand_made, gold=0.5)
    facts = confirmed(hand_made, [0.7] * 5, [1.1] * 5)
    for _ in range(8):
        hand_made.add("pruned", [0.1])
    trials = hand_made.study.get_trials(deepcopy=False)[2:]
    for i, trial in enumerate(trials):
        trial.user_attrs["curve"] = [
            {
                "episodes": 128,
                "kl": kl,
                "score": 1.0,
                "gold": 0.5 + math.sqrt(kl) * (1 - 0.5 * math.log(kl)) / 2,
                **dict.fromkeys(("seconds", "score_error", "gold_error", "response_tokens"), 1.0),
            }
            for kl in np.geomspace(0.05, 8, 9) * (1 + 0.01 * i)
        ]
    facts = replace(facts, trials=trials)

    assert (
        "lower search.kl_budget (3 nats now; gold is highest between 0.7 and 1.3 nats) or raise kl_coef"
        in judge(facts).advice
    )


def test_nothing_within_the_budget_on_fresh_seeds_leaves_nothing_to_go_on_with(hand_made: HandMade) -> None:
    beyond = {"kl": 3.5}
    verdict = judge(confirmed(hand_made, [1.1] * 5, [1.1] * 5, winner=beyond, default=beyond))

    assert (verdict.kind, verdict.trial, verdict.confirmed) == ("nothing_feasible", None, True)
    assert "none stayed within the KL budget of 3 nats on fresh seeds" in verdict.sentence
    assert "so nothing is exported" in verdict.sentence
    assert verdict.advice.startswith("In a new study lower learning_rate")


def test_a_search_that_was_over_before_a_trial_had_ended_is_given_more(hand_made: HandMade) -> None:
    hand_made.study.enqueue_trial(hand_made.config.baseline)
    StudyFacts(hand_made.study).ended = "max_seconds 1 ended the search"

    found = verdict_of(hand_made)

    assert (found.kind, found.trial) == ("nothing_feasible", None)
    assert found.sentence == "No trial was completed: the search was over before one had ended."
    assert found.advice == "Give it more: `ppo-tune extend hand` with --trials, --episodes or --seconds."
