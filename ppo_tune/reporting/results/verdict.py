"""Who won, by how much, and how sure that is: the sentences that a reader sees first."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.results import confirmed, fidelity
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.reporting.values.edges import at_edge
from ppo_tune.search.certainty import Gain, seeds_for
from ppo_tune.search.race import Candidate, Confirmation

MIN_COMPLETED = 5
"""Below this many completed trials besides the default, the best of them says little about the space."""


def chapter(record: StudyRecord) -> Chapter:
    """The confirmation, what the search saw, and whether its short runs can be trusted."""
    n_prompts = record.base.get("n_prompts", record.config.task.heldout_prompts)
    reading = (
        f"In the search, one seed each: means over the same {n_prompts} held-out prompts with the same sampling "
        "noise; ± is the standard error over prompts, KL is in nats per response."
    )
    data = {"name": record.config.name, "has_winner": record.winner is not None}
    seen = Section("table", "What the search saw", reading, table=results_table(record), template="next.html.jinja",
                   data=data)  # fmt: skip
    sections = [*confirmed.sections(record), seen]
    if len(record.trials):
        sections.append(fidelity.section(record))
    return Chapter("results", "Results", tuple(sections))


def results_table(record: StudyRecord) -> pd.DataFrame:
    """Untrained model, default and winner side by side, as the search scored them.

    Columns: what, score, score_error (the standard error over prompts), gold, kl, response_tokens, eos_rate.
    """
    sources: dict[str, Mapping[str, Any]] = {"untrained model": record.base}
    if record.baseline is not None:
        sources[f"default config (trial {record.baseline.number})"] = record.baseline.user_attrs
    if record.winner is not None and not record.default_won:
        sources[f"winner (trial {record.winner.number})"] = record.winner.user_attrs
    names = {
        "score": "score", "score_error": "score_standard_error", "gold": "gold", "kl": "kl_per_sequence",
        "response_tokens": "response_tokens", "eos_rate": "eos_rate",
    }  # fmt: skip
    rows = [
        {"what": what, **{name: source.get(f"heldout/{key}") for name, key in names.items()}}
        for what, source in sources.items()
        if source
    ]
    return pd.DataFrame(rows, columns=["what", *names]).astype(dict.fromkeys(names, float))


def headline(record: StudyRecord) -> list[str]:
    """The verdict: one sentence that decides, then what it rests on."""
    confirmation = record.confirmation
    if confirmation is None or confirmation.outcome.kind == "unfinished":
        return [*_unconfirmed(record), *_edges(record)]
    if confirmation.outcome.kind == "better":
        return [*_better(record, confirmation), *_edges(record)]
    return _no_better(record, confirmation)


def is_warning(record: StudyRecord) -> bool:
    """Whether the verdict is one to be careful with: nothing won, or the winner exploits the reward."""
    confirmation = record.confirmation
    if record.winner is None:
        return True
    if confirmation is None or confirmation.outcome.kind == "unfinished":
        return _gold_fell(record)
    if confirmation.outcome.kind == "no_better":
        return True
    change = confirmation.gold_change(confirmation.candidate(record.winner.number))
    return change is not None and change.mean < 0


def _better(record: StudyRecord, confirmation: Confirmation) -> list[str]:
    verdict, budget = confirmation.outcome, confirmation.kl_budget
    assert verdict.best is not None
    assert verdict.gain is not None
    best = confirmation.candidate(verdict.best)
    rival = "the default config" if verdict.rival == "default" else "the untrained model"
    sentences = [
        f"Trial {best.number} beats {rival} by {_interval(verdict.gain)} on {confirmation.n_seeds} fresh seeds and "
        f"{len(confirmation.base)} unseen prompts."
    ]
    if verdict.rival == "untrained":
        sentences.append(f"The default config itself leaves the KL budget of {budget:g} nats.")
    sentences.append(
        f"It scores {best.mean:.3f} there, at {best.kl:.2f} of {budget:g} nats of KL{_failed(best)}."
    )
    sentences += _in_the_search(confirmation, best)
    sentences += _gold(confirmation, best)
    sentences += _runner_up(confirmation, best)
    return sentences


def _no_better(record: StudyRecord, confirmation: Confirmation) -> list[str]:
    verdict, budget = confirmation.outcome, confirmation.kl_budget
    rival = "the default config" if verdict.rival == "default" else "the untrained model"
    goes_on = (
        "The default config is what gets exported." if verdict.winner is not None else "Nothing is exported."
    )
    if verdict.best is None or verdict.gain is None:
        return [
            f"No better than {rival}: of the best of the search, none stayed within the KL budget of {budget:g} nats "
            "on fresh seeds.",
            goes_on,
            "A lower learning_rate or a higher kl_coef in the space would keep more of it within the budget.",
        ]
    best = confirmation.candidate(verdict.best)
    n = len(confirmation.challengers)
    sentences = [
        f"No better than {rival}: the best of {n} confirmed, trial {best.number}, gains {_interval(verdict.gain)} on "
        f"{confirmation.n_seeds} fresh seeds and {len(confirmation.base)} unseen prompts.",
        goes_on,
    ]
    sentences += _in_the_search(confirmation, best)
    sentences.append(_what_more_would_buy(record, confirmation, best, verdict.gain))
    return sentences


def _what_more_would_buy(
    record: StudyRecord, confirmation: Confirmation, best: Candidate, found: Gain
) -> str:
    """What to do about a gain that cannot be told from zero."""
    completed = sum(t.value is not None for t in record.trials)
    if completed <= MIN_COMPLETED:
        return (
            f"Not enough evidence: only {completed} trials were completed; more trials (--n-trials) are the way to a "
            "better one."
        )
    if found.mean <= 0:
        return "More seeds would not change that; a wider space or longer trials might."
    default = confirmation.default if confirmation.outcome.rival == "default" else None
    n = len(best.runs) if default is None else min(len(best.runs), len(default.runs))
    rival = confirmation.base + 0 * best.scores[:n] if default is None else default.scores[:n]
    seeds = seeds_for(found.mean, best.scores[:n], rival, comparisons=len(confirmation.challengers))
    if seeds is None:
        return "More seeds alone would not show so small a gain; more prompts or a wider space might."
    return (
        f"If that gain is real, about {seeds} seeds would show it: "
        f"ppo-tune confirm {record.config.name} --seeds {seeds}."
    )


def _unconfirmed(record: StudyRecord) -> list[str]:
    """What the search alone can say."""
    budget = record.config.search.kl_budget
    if record.winner is None:
        return [f"No trial has been completed within the KL budget of {budget:g} nats yet."]
    score, kl = record.winner.user_attrs["heldout/score"], record.winner.user_attrs["heldout/kl_per_sequence"]
    sentences = [
        f"Not confirmed: trial {record.winner.number} scored {score:.3f} in the search, at {kl:.2f} of {budget:g} nats "
        "of KL."
    ]
    if record.default_won:
        sentences.append("It is the default config: the search found nothing better.")
    else:
        default = record.baseline.user_attrs.get("heldout/score") if record.baseline is not None else None
        start = record.base.get("heldout/score")
        gains = [f"{score - default:+.3f} over the default config"] if default is not None else []
        gains += [f"{score - start:+.3f} over the untrained model"] if start is not None else []
        sentences += [f"That is {' and '.join(gains)}."] if gains else []
    if _gold_fell(record):
        fell = record.base["heldout/gold"] - record.winner.user_attrs["heldout/gold"]
        sentences.append(
            f"Careful: its gold score, which the search never saw, fell by {fell:.3f} against the untrained model. "
            "The reward is being exploited; look at its responses."
        )
    running = record.confirmation
    if running is not None:
        done = sum(len(c.runs) for c in running.candidates)
        sentences.append(f"Its confirmation is not finished: {done} runs on fresh seeds are done.")
    sentences.append(
        "It is the best of many on one seed each, which is partly luck; ppo-tune confirm "
        f"{record.config.name} runs the best few and the default on fresh seeds."
    )
    return sentences


def _gold_fell(record: StudyRecord) -> bool:
    """Whether the gold score of the winner's trial is below that of the untrained model."""
    before = record.base.get("heldout/gold")
    after = record.winner.user_attrs.get("heldout/gold") if record.winner is not None else None
    return before is not None and after is not None and after < before


def _gold(confirmation: Confirmation, best: Candidate) -> list[str]:
    change = confirmation.gold_change(best)
    if change is None:
        return []
    if change.high < 0:
        return [
            f"Careful: its gold score, which the search never saw, fell by {_interval(change, sign=-1)} against the "
            "untrained model. The reward is being exploited; look at its responses."
        ]
    default = confirmation.default
    beside = confirmation.gold_change(default) if default is not None else None
    other = "" if beside is None else f"; the default's by {beside.mean:+.2f}"
    if change.low > 0:
        return [f"Its gold score, which the search never saw, rose by {_interval(change)}{other}."]
    return [
        f"Its gold score, which the search never saw, changed by {_interval(change)}{other}: no clear change."
    ]


def _runner_up(confirmation: Confirmation, best: Candidate) -> list[str]:
    second = confirmed.runner_up(confirmation)
    found = confirmation.compare(best, second) if second is not None else None
    if second is None or found is None:
        return []
    name = "the default config" if second.is_default else f"trial {second.number}"
    return [
        f"The runner-up is {name}; the winner is the better of the two with probability {found.probability:.2f}."
    ]


def _in_the_search(confirmation: Confirmation, best: Candidate) -> list[str]:
    """What the search had promised, for the drop is what luck and the choice of prompts had added."""
    if best.search_score is None:
        return []
    default = confirmation.default
    if default is None or default.search_score is None:
        return [f"In the search, on other prompts, it had scored {best.search_score:.3f}."]
    lead = best.search_score - default.search_score
    return [
        f"In the search, on other prompts, it had scored {best.search_score:.3f} and led the default by {lead:+.2f}."
    ]


def _failed(best: Candidate) -> str:
    return (
        f"; {best.failures} of its {len(best.runs)} runs failed and count as untrained"
        if best.failures
        else ""
    )


def _interval(found: Gain, sign: int = 1) -> str:
    low, high = sorted((sign * found.low, sign * found.high))
    plus = "+" if sign == 1 else ""
    return f"{sign * found.mean:{plus}.2f} (95 % interval {low:{plus}.2f} to {high:{plus}.2f})"


def _edges(record: StudyRecord) -> list[str]:
    """What stands at the edge of its range."""
    names = at_edge(record)
    if not names or record.default_won:
        return []
    return [f"Its {' and '.join(names)} stands at the edge of the range searched: the best may lie outside."]
