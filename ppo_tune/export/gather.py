"""What an export says of a study's winner: its config, what was measured of it, and where it comes from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from ppo_tune.config.judges import REWARD
from ppo_tune.config.study import StudyConfig
from ppo_tune.export.base import Sources, Winner
from ppo_tune.export.enclosures import Enclosing
from ppo_tune.export.native import ADVICE
from ppo_tune.search.certainty import bootstrap_interval, interquartile_mean
from ppo_tune.search.facts import StudyFacts, TrialFacts
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.heldout import HeldOut
from ppo_tune.search.race import Confirmation
from ppo_tune.search.verdict import Verdict, judge, read_facts
from ppo_tune.search.winner import completed_trial, full_length
from ppo_tune.versions import versions

Z_95 = 1.96
"""Standard errors on either side of a mean that hold 95 % of a normal distribution."""


def winner_of(
    study: Study,
    config: StudyConfig,
    *,
    out: Path,
    with_sources: bool,
    number: int | None = None,
    copy_models: bool = False,
) -> Winner:
    """What is known of a study's winner, or of another of its trials.

    Args:
        study: The search.
        config: The experiment.
        out: Holds the study's folder.
        with_sources: Whether model, reward and prompts are wanted as another trainer finds them; else as ours does, by
            a config that names them by their places in the export's folder.
        number: Of a completed trial; None takes the winner.
        copy_models: Let folders of models go along as copies.

    Raises:
        PPOTuneError: If there is no winner, or no such trial.
    """
    facts = read_facts(study, config, StudyFolder.of(out, config.name).path)
    trial = facts.winner if number is None else completed_trial(study, number)
    best, verdict = full_length(trial, config), judge(facts)
    assert trial is not None, "there is one, or that is refused"
    seen = TrialFacts(trial).heldout
    assert seen is not None, "a trial to go on with was scored"
    if number is not None and (facts.winner is None or number != facts.winner.number):
        verdict = replace(
            verdict, sentence=f"Trial {number} was chosen by hand. {verdict.sentence}", advice=""
        )
    # Those asked for, or all there were.
    n_prompts = config.task.heldout_prompts if facts.base is None else facts.base.n_prompts
    trained_on = seen.judges.get(REWARD)  # where that is not what trials are compared by
    error = seen.score_error if trained_on is None else trained_on.error
    here, from_here = "" if with_sources else "./", best
    enclosing = Enclosing(copy_models=copy_models, inputs=StudyFacts(study).inputs, here=here)
    if with_sources:
        sources = _sources(config, enclosing)
    else:
        best = enclosing.block(best)
        sources = Sources(enclosures=enclosing.enclosures, notes=tuple(enclosing.notes))
    return Winner(
        config=best,
        searched=tuple(trial.params),
        provenance=provenance(config, trial, verdict),
        metrics={**_measured(seen, n_prompts), **confirmed(facts.confirmation, trial.number)},
        response_tokens=seen.response_tokens,
        score_std=None if error is None else error * n_prompts**0.5,
        sources=sources,
        from_here=from_here,
    )


def provenance(config: StudyConfig, trial: FrozenTrial, verdict: Verdict) -> dict[str, str]:
    """What a trial's config is worth and where it comes from, as an export's first lines tell it."""
    facts = TrialFacts(trial)
    seen, by, objective = facts.heldout, "one draw, by which it was chosen", config.task.objective
    other = "" if objective is None or objective == config.task.reward else objective.name
    told = {
        "verdict": verdict.sentence,
        ADVICE: verdict.advice,
        "from": f"study {config.name}, trial {trial.number}, {facts.episodes} episodes long",
        "score in the search": ""
        if seen is None
        else f"{seen.score:.4f}, at {seen.kl:z.2f} nats of KL: {by}",
        "scored by": other and f"task.objective ({other}), not the reward that PPO maximizes",
        "made with": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    return {name: text for name, text in told.items() if text}


def _measured(seen: HeldOut, n_prompts: int) -> dict[str, Any]:
    """What the search saw of the trial; scores with their intervals over prompts."""
    found: dict[str, Any] = {}
    judged = [(name, judge.mean, judge.error) for name, judge in seen.judges.items()]
    for name, mean, error in (("score", seen.score, seen.score_error), *judged):
        if mean is not None and error is not None:
            found[name] = {
                "mean": mean,
                "standard_error": error,
                "interval": [mean - Z_95 * error, mean + Z_95 * error],
                "over": f"95 % interval over {n_prompts} held-out prompts, one seed",
            }
        elif mean is not None:
            found[name] = mean
    others = {"kl_per_sequence": seen.kl, "response_tokens": seen.response_tokens, "eos_rate": seen.eos_rate}
    return {**found, **others}


def confirmed(confirmation: Confirmation | None, number: int) -> dict[str, Any]:
    """What fresh seeds and unseen prompts say of a trial; nothing before they are asked."""
    if confirmation is None:
        return {}
    candidate = next((c for c in confirmation.candidates if c.number == number and len(c.runs) > 1), None)
    if candidate is None:
        return {}
    means, outcome = candidate.seed_means, confirmation.outcome
    found: dict[str, Any] = {
        "confirmed_score": {
            "mean": float(interquartile_mean(means)),
            "interval": list(bootstrap_interval(means)),
            "over": f"interquartile mean with its 95 % interval, {len(means)} fresh seeds, unseen prompts",
            "by_seed": means.tolist(),
        },
        "confirmed_kl_per_sequence": candidate.kl,
    }
    if outcome.gain is not None and outcome.best == number:
        found[f"gain_over_{outcome.rival}"] = {
            "mean": outcome.gain.mean,
            "interval": [outcome.gain.low, outcome.gain.high],
            "over": "95 % interval over seeds and prompts, for the best of those confirmed",
        }
    return found


def _sources(config: StudyConfig, enclosing: Enclosing) -> Sources:
    """Model, reward and prompts for another trainer; ours finds them itself, and need not wait for torch."""
    from ppo_tune.export.sources import read_sources

    return read_sources(config, enclosing)
