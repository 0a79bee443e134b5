"""A study with everything that can go wrong in it, and a thousand trials of ten hyperparameters.

    python -m tests.reporting.nasty FOLDER     about a minute; then: ppo-tune report nasty --out FOLDER

Every ending with its reason, hostile texts, a parameter that never varies, values beyond all measure, files that
are missing or torn, a trial that runs and one that waits. The same numbers every time.
"""

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import EmbeddedTaskConfig
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.results import STATES
from ppo_tune.search.storage import storage_url

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\x1b[31m"
)
NASTY_TEXTS = (
    HOSTILE,
    "\x00\x07\x1b]0;owned\x07\x9b2J a bell, a title, a screen",
    "invoice \u202egpj.exe\u202c and \u2066isolated\u2069",
    "",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "مرحبا بالعالم، שלום עולם 123",
    "{{ 7 * 7 }} {% raw %} ${window.x} <%= 1 %>",
    "[x](javascript:alert(1)) | a | b | @someone https://example.com/ ![p](http://example.com/p.png)\n```\n# h",
    "&lt;b&gt; &amp;amp; <b>bold</b> <style>*{display:none}</style> <svg onload=alert(1)>",
    "x" * 5_000,
    "word " * 20_000,  # 100 kB
    "]]> --> */ '); DROP TABLE trials; --\u2028\u2029",
)
"""What models and users may write; one of them is 100 kB long."""

SHORT = 9
"""The first of them are short."""

ENDINGS = (
    "completed", "pruned", "pruned", "completed", "kl_limit", "pruned", "completed", "diverged", "pruned", "completed",
    "reward_error", "pruned", "completed", "out_of_memory", "pruned", "completed", "crashed", "lost", "pruned",
    "preempted",
)  # fmt: skip
"""One after the other, again and again."""

BEGAN = datetime(2026, 1, 5, 9)
BUDGET = 3.0


def nasty_config() -> StudyConfig:
    """Ten hyperparameters, one of which has a single value."""
    space = {
        "learning_rate": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
        "gamma": {"type": "float", "low": 0.9, "high": 1.0},
        "gae_lambda": {"type": "float", "low": 0.8, "high": 1.0},
        "clip_range": {"type": "float", "low": 0.05, "high": 0.4},
        "kl_coef": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
        "batch_size": {"type": "categorical", "choices": [8, 16, 32, 64]},
        "ppo_epochs": {"type": "int", "low": 1, "high": 8},
        "whiten_rewards": {"type": "categorical", "choices": [False, True]},
        "vf_coef": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
        "kl_estimator": {"type": "categorical", "choices": ["k1"]},
    }
    return StudyConfig(
        name="nasty",
        task=EmbeddedTaskConfig(name="support"),
        ppo=PPOConfig(episodes=2560),
        space=Space.model_validate(space),
        search=SearchConfig(n_trials=1000, milestones=10, kl_budget=BUDGET),
    )


def build(folder: Path, storage: str | None = None, n_trials: int = 1000) -> tuple[Study, StudyConfig]:
    """The study, with its trials' files below `folder`.

    Args:
        folder: The study's own.
        storage: URL of a store; None keeps the study in memory.
        n_trials: How many trials began.
    """
    config = nasty_config()
    study = optuna.create_study(direction="maximize", study_name=config.name, storage=storage)
    study.set_user_attr("config", config.model_dump(mode="json"))
    study.set_user_attr("inputs", {})
    rng = np.random.default_rng(7)
    trials = [_trial(config, number, n_trials, rng) for number in range(n_trials)]
    study.add_trials([*trials, _waiting(config, n_trials)])
    for trial in trials:
        _write_files(folder / "trials" / f"{trial.number:04d}", trial, rng)
    base = _heldout(-0.5, 0.2, 0.0, rng) | {"n_prompts": 64, "samples": list(_samples(0, rng))}
    (folder / "base.json").write_text(json.dumps(base))
    return study, config


def _trial(config: StudyConfig, number: int, n_trials: int, rng: np.random.Generator) -> FrozenTrial:
    ending = "completed" if number == 0 else ENDINGS[number % len(ENDINGS)]
    ending = "running" if number == n_trials - 1 else ending
    params = config.baseline if number == 0 else _values(rng)
    curve = _curve(params, ending, number, rng)
    attrs: dict[str, Any] = {
        "config": config.ppo.with_params(params).model_dump(), "curve": curve, "host": "machine", "pid": 1 + number % 2,
        **({"baseline": True} if number == 0 else {}),
    }  # fmt: skip
    last = curve[-1] if curve else None
    if ending != "running":
        attrs |= {
            "ending": ending, "reason": _reason(ending, number), "episodes": last["episodes"] if last else 64,
            "tokens": 10**13 if number == 40 else 12 * 256 * len(curve),
            "seconds": 1e7 if number == 41 else 2.0 * len(curve),
            **(_heldout(last["score"], last["gold"], last["kl"], rng) if last else {}),
        }  # fmt: skip
    start = BEGAN + timedelta(seconds=10 * number)
    kl = last["kl"] if last and ending in ("completed", "pruned") else 2 * BUDGET
    state = STATES.get(ending, TrialState.RUNNING)
    return FrozenTrial(
        number=number, trial_id=number, state=state, value=last["score"] if last and ending == "completed" else None,
        datetime_start=start, datetime_complete=None if ending == "running" else start + timedelta(seconds=20),
        params=params, distributions=config.space.distributions(), user_attrs=attrs,
        system_attrs={} if ending == "running" else {"constraints:kl_per_sequence": kl - BUDGET},
        intermediate_values={i: point["score"] for i, point in enumerate(curve, start=1)},
    )  # fmt: skip


def _waiting(config: StudyConfig, number: int) -> FrozenTrial:
    return FrozenTrial(
        number=number, trial_id=number, state=TrialState.WAITING, value=None, datetime_start=None,
        datetime_complete=None, params={}, distributions={}, user_attrs={}, intermediate_values={},
        system_attrs={"fixed_params": config.baseline},
    )  # fmt: skip


def _values(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "learning_rate": float(10 ** rng.uniform(-6, -1)),
        "gamma": float(rng.uniform(0.9, 1.0)),
        "gae_lambda": float(rng.uniform(0.8, 1.0)),
        "clip_range": float(rng.uniform(0.05, 0.4)),
        "kl_coef": float(10 ** rng.uniform(-4, 0)),
        "batch_size": int(rng.choice([8, 16, 32, 64])),
        "ppo_epochs": int(rng.integers(1, 9)),
        "whiten_rewards": bool(rng.integers(2)),
        "vf_coef": float(10 ** rng.uniform(-2, 0)),
        "kl_estimator": "k1",
    }


def _curve(
    params: dict[str, Any], ending: str, number: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Better the nearer the learning rate is to 1e-3; trials that end early have shorter curves."""
    lengths = {
        "completed": 10,
        "running": 4,
        "diverged": number % 3,
        "crashed": 0,
        "lost": 2,
        "out_of_memory": 0,
    }
    length = lengths.get(ending, 1 + number % 6)
    skill = 1.0 - 0.25 * (np.log10(params["learning_rate"]) + 3) ** 2
    scores = skill * (1 - 0.7 ** np.arange(1, length + 1)) + 0.1 * rng.normal(size=length)
    kls = 0.5 / params["kl_coef"] ** 0.4 * np.arange(1, length + 1) / 10
    scores[-1:] = {42: -1e6, 43: 1e6}.get(number, float(scores[-1]) if length else 0.0)
    kls[-1:] = {43: 1e5, 44: 1e5}.get(number, float(kls[-1]) if length else 0.0)
    return [
        {
            "episodes": 256 * (i + 1), "score": float(scores[i]), "gold": float(scores[i] - 0.3 * kls[i]),
            "kl": float(kls[i]), "seconds": 2.0 * (i + 1), "score_error": 0.1, "gold_error": 0.1,
            "response_tokens": 12.0,
        }
        for i in range(length)
    ]  # fmt: skip


def _heldout(score: float, gold: float, kl: float, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "heldout/score": score, "heldout/score_standard_error": 0.1, "heldout/gold": gold,
        "heldout/gold_standard_error": 0.1,
        "heldout/kl_per_sequence": kl, "heldout/response_tokens": 12.0, "heldout/eos_rate": 0.7,
        "scores": (score + rng.normal(size=64)).round(5).tolist(),
        "golds": (gold + rng.normal(size=64)).round(5).tolist(),
    }  # fmt: skip


def _reason(ending: str, number: int) -> str:
    reasons = {
        "pruned": f"score 0.123 after {256 * (1 + number % 6)} episodes, behind the others",
        "diverged": "the policy loss is nan after 192 episodes",
        "kl_limit": "KL 71.3 beyond 6 nats per sequence after 512 episodes",
        "reward_error": f"ValueError: {NASTY_TEXTS[number // len(ENDINGS) % SHORT]}",
        "out_of_memory": "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 79.15 GiB total capacity)",
        "crashed": "its worker died 3 times (signal 9)",
    }
    return reasons.get(ending, "")


def _samples(number: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    texts = NASTY_TEXTS if number % 50 == 0 else NASTY_TEXTS[:SHORT]  # else the files would fill a disk
    for i in range(24):
        prompt = NASTY_TEXTS[i % len(NASTY_TEXTS)] if i < 12 else f"prompt {i}"
        response = texts[(i + number) % len(texts)] if i % 2 else f"answer {number} to {i}"
        yield {
            "prompt": prompt[:2000],
            "response": response,
            "score": float(rng.normal()),
            "gold": float(rng.normal()),
        }


def _write_files(folder: Path, trial: FrozenTrial, rng: np.random.Generator) -> None:
    """What the trainer leaves behind; every seventh trial has lost it, every eleventh holds torn lines."""
    if trial.number and trial.number % 7 == 0:
        return
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(trial.user_attrs["config"]))
    if trial.user_attrs["curve"]:
        (folder / "samples.json").write_text(json.dumps(list(_samples(trial.number, rng))))
    lines = [json.dumps(_iteration(i)) for i in range(1, 4 * len(trial.user_attrs["curve"]) + 1)]
    torn = ['{"episodes": 64, "tok', ""] if trial.number % 11 == 0 else []
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in [*torn, *lines]))


def _iteration(i: int) -> dict[str, float]:
    return {
        "episodes": 64 * i, "tokens": 700 * i, "objective/score_mean": 0.02 * i, "objective/score_std": 1.0,
        "objective/kl_per_sequence": 0.05 * i, "objective/kl_coef": 0.1, "policy/loss": -0.004,
        "policy/approx_kl_per_token": 0.0003, "policy/clip_fraction": 0.02, "policy/entropy_per_token": 0.5,
        "policy/gradient_norm": 0.1, "policy/optimizer_steps": 8, "value/loss": 0.2,
        "value/explained_variance": 0.01 * i, "response/tokens_mean": 10.5, "response/eos_rate": 0.8,
        "time/rollout_seconds": 0.13, "time/learning_seconds": 0.14, "time/seconds": 0.5 * i,
    }  # fmt: skip


def main(out: Path) -> None:
    """Write the study where `ppo-tune report nasty --out` finds it."""
    config = nasty_config()
    folder = StudyFolder.of(out, config.name).path
    folder.mkdir(parents=True)
    build(folder, storage_url(out, config.name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
