"""Judges through a real small search, its report, its export and its training; and an objective of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from ppo_tune.config.study import StudyConfig
from ppo_tune.export import export_study
from ppo_tune.files import read_json, read_json_lines
from ppo_tune.reporting import write_report
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.heldout import read_untrained
from ppo_tune.search.results import ranked_trials
from ppo_tune.search.winner import best_config
from ppo_tune.training.full_length import train
from tests.search.one_worker import Search

RED = {"name": "rule", "include": {"red": 1.0}}
NO_RED = {"name": "rule", "avoid": {"red": 1.0}}
SHORT = {"name": "rule", "length": {"low": 1, "high": 2}}
LONG = {"name": "rule", "length": {"low": 4, "high": 4}}

Maker = Callable[..., StudyConfig]


def searched(config: StudyConfig, out: Path, *, n_trials: int = 2) -> tuple[Search, list[FrozenTrial]]:
    """A search of so many trials in this process."""
    short = config.model_copy(update={"search": config.search.model_copy(update={"n_trials": n_trials})})
    search = Search(short, out / "runs" / config.name, places=2)
    return search, search.run()


def without_clock(trial: FrozenTrial) -> dict[str, Any]:
    """What is stored of a trial, but for what the clock says."""
    facts = {name: value for name, value in trial.user_attrs.items() if name != "seconds"}
    facts["curve"] = [{k: v for k, v in point.items() if k != "seconds"} for point in facts["curve"]]
    return {**facts, "value": trial.value, "params": trial.params}


def test_the_short_form_of_a_judge_searches_as_the_long_one_to_the_bit(
    make_study: Maker, tmp_path: Path
) -> None:
    short = make_study(task={"gold": SHORT}, space=SEEN)
    long = make_study(task={"judges": {"gold": SHORT}}, space=SEEN)

    both = [searched(config, tmp_path / form) for form, config in (("short", short), ("long", long))]

    found = [[without_clock(trial) for trial in trials] for _, trials in both]
    assert found[0] == found[1]
    assert found[0][0]["heldout/gold"] != found[0][0]["heldout/score"]
    bases = [read_json(tmp_path / form / "runs" / "small" / "base.json") for form in ("short", "long")]
    assert bases[0] == bases[1]


SEEN = {"learning_rate": {"type": "categorical", "choices": [1e-4, 0.03]}}
"""A space in which one trial learns next to nothing and the other much."""


def test_two_judges_come_through_search_report_export_and_training(make_study: Maker, tmp_path: Path) -> None:
    config = make_study(task={"judges": {"gold": SHORT, "safety": NO_RED}}, space=SEEN)

    search, trials = searched(config, tmp_path)
    folder = tmp_path / "runs" / "small"
    page = write_report(search.study, search.config, folder, tmp_path / "report", markdown=True)
    made = export_study("small", out=tmp_path).files
    result = train(best_config(search.study, search.config), out=tmp_path / "trained")

    for trial in trials:
        seen = TrialFacts(trial).heldout
        assert seen is not None
        assert list(seen.judges) == ["gold", "safety"]
        assert all(len(judge.by_prompt) == 6 for judge in seen.judges.values())
        logged = list(read_json_lines(folder / "trials" / f"{trial.number:04d}" / "metrics.jsonl"))[-1]
        assert {"heldout/safety", "heldout/safety_standard_error", "heldout/gold"} <= logged.keys()
        samples = read_json(folder / "trials" / f"{trial.number:04d}" / "samples.json")
        assert {*samples[0]} == {"prompt", "response", "score", "gold", "safety"}
    html = page.read_text(encoding="utf-8")
    for title in ("Reward up, gold down?", "Reward up, safety down?", "How far is too far, by safety?"):
        assert title in html
    assert "safety change" in html
    header = (tmp_path / "report" / "trials.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith("number,role,ending,score,gold,safety,kl,")
    for name, judge in (("hacking.csv", "gold"), ("hacking-safety.csv", "safety")):
        assert f"{judge}_change" in (tmp_path / "report" / name).read_text(encoding="utf-8").splitlines()[0]
    assert {"score", "gold", "safety"} <= json.loads(made["metrics.json"]).keys()
    assert "    safety:\n" in made["best.yaml"]
    assert list(result.after.judges) == ["gold", "safety"]
    card = (result.model / "README.md").read_text(encoding="utf-8")
    assert f"| safety score (never used in training) | {result.before.judges['safety'].mean:.3f} ±" in card
    assert "A rising score with a falling gold or safety score means" in card
    claimed = read_json(tmp_path / "trained" / "evaluation.json")
    assert claimed["after"]["safety"] == result.after.judges["safety"].mean


def test_trials_are_ranked_by_the_objective_while_ppo_maximizes_the_reward(
    make_study: Maker, tmp_path: Path
) -> None:
    """PPO learns to answer at length, which the objective punishes: the better a trial learns, the worse it ranks."""
    config = make_study(
        task={"reward": RED, "objective": NO_RED},
        space=SEEN,
        ppo={"episodes": 128},
        search={"sampler": "grid"},
    )

    search, trials = searched(config, tmp_path, n_trials=3)

    base = read_untrained(tmp_path / "runs" / "small")
    assert base is not None
    by_rate: dict[float, tuple[float, float]] = {}
    for trial in trials:
        seen = TrialFacts(trial).heldout
        assert seen is not None
        assert trial.value == seen.score
        by_rate[trial.params["learning_rate"]] = seen.score, seen.by("reward").mean
    (idle, idle_reward), (learned, learned_reward) = by_rate[1e-4], by_rate[0.03]
    assert learned_reward > max(idle_reward, base.heldout.by("reward").mean)
    assert learned < idle
    assert ranked_trials(search.study)[0].params["learning_rate"] == 1e-4
    assert base.score_std == pytest.approx(search.trial_pack.score_std)
    rewards = base.heldout.by("reward").by_prompt
    mean = sum(rewards) / len(rewards)
    assert base.score_std == pytest.approx(
        (sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1)) ** 0.5
    )


def test_the_page_of_an_objective_says_so_and_shows_the_reward_beside(
    make_study: Maker, tmp_path: Path
) -> None:
    config = make_study(task={"reward": RED, "objective": NO_RED, "gold": SHORT}, space=SEEN)
    search, _ = searched(config, tmp_path)

    page = write_report(search.study, search.config, tmp_path / "runs" / "small", tmp_path / "report")

    html = page.read_text(encoding="utf-8")
    assert "Objective up, gold down?" in html
    assert "reward down?" not in html
    assert "its reward and gold scores and KL there" in html
    assert "task.objective" in html
