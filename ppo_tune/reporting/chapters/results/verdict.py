"""Who won, by how much, and how sure that is: the sentences that a reader sees first."""

from dataclasses import asdict
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from ppo_tune.config.judges import REWARD
from ppo_tune.export import other_trainers
from ppo_tune.plurals import counted
from ppo_tune.reporting.analysis.edges import at_edge
from ppo_tune.reporting.chapters.results import confirmed
from ppo_tune.reporting.record import StudyRecord, judged, role_of
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.search.certainty import Gain, seeds_for
from ppo_tune.search.facts import TrialFacts
from ppo_tune.search.race import Candidate, Confirmation
from ppo_tune.search.results import TriedConfig, config_of
from ppo_tune.search.verdict import interval, no_better, on

MIN_COMPLETED = 5
"""Below this many completed trials besides the default, the best of them says little about the space."""


def chapter(record: StudyRecord) -> Chapter:
    """The confirmation, and what the search saw."""
    reading = (
        f"In the search, one seed each: means over the same {record.n_prompts} held-out prompts at the end of a trial, "
        "with the same sampling noise; ± is the standard error over prompts, KL is in nats per response."
    )
    data = {
        "name": record.config.name,
        "first": record.next_steps.first,
        "train": record.next_steps.train_there,
        "has_winner": record.winner is not None,
        "advice": record.verdict.advice,
        "trainers": other_trainers(),
    }
    table = results_table(record)
    seen = Section("table", "What the search saw", reading, table=table, template="next.html.jinja", data=data,
                   decimals=record.judge_decimals(table))  # fmt: skip
    sections = (*confirmed.sections(record), seen)
    return Chapter("results", "Results", sections, in_summary="tables", is_pictured=False)


def results_table(record: StudyRecord) -> pd.DataFrame:
    """Untrained model, default and winner side by side, as the search scored them.

    Columns: what, score, score_error (the standard error over prompts), the judges, kl, response_tokens, eos_rate.
    """
    default, winner = record.baseline, None if record.default_won else record.winner
    rows: list[dict[str, Any]] = []
    if record.base is not None:
        start = record.base.heldout
        rows.append({"what": "untrained model", **asdict(start), **judged(record, start)})
    for trial, what in ((default, "default config"), (winner, winner and role_of(record, winner))):
        if trial is not None:
            config = config_of(trial, record.trials)
            so_far = "" if trial.state.is_finished() else ", still running"
            rows.append({"what": f"{what} ({config.name}{so_far})", **_seen(record, config)})
    names = ["score", "score_error", *record.judge_columns, "kl", "response_tokens", "eos_rate"]
    return pd.DataFrame(rows, columns=["what", *names]).astype(dict.fromkeys(names, float))


def _seen(record: StudyRecord, config: TriedConfig) -> dict[str, Any]:
    """What a config came to, for a row of the table: means over its trials."""
    told = [(seen, judged(record, seen)) for t in config.trials if (seen := TrialFacts(t).seen) is not None]
    rows = [{**asdict(seen), **judges} for seen, judges in told]
    if len(rows) < 2:
        return rows[0] if rows else {}
    numbers = pd.DataFrame(rows)[["score", "score_error", "kl", "response_tokens", "eos_rate", *told[0][1]]]
    return {str(name): value for name, value in numbers.astype(float).mean().items()}


def headline(record: StudyRecord) -> list[str]:
    """The verdict: one sentence that decides, then what to do if it is not to go on, then what it rests on."""
    verdict = record.verdict
    first = [verdict.sentence, *([verdict.advice] if verdict.advice else [])]
    if record.winner is None:
        return first
    if not verdict.confirmed:
        return [*first, *_unconfirmed(record, record.winner), *_edges(record)]
    confirmation = record.confirmation
    assert confirmation is not None
    is_better, is_caution = confirmation.outcome.kind == "better", verdict.kind == "caution"
    if is_caution:  # which leaves no room for what was found
        first.append(_gained(confirmation) if is_better else no_better(confirmation))
    if is_better:
        return [*first, *_better(confirmation), *_edges(record)]
    return [*first, *_no_better(record, confirmation)]


def _gained(confirmation: Confirmation) -> str:
    gain = confirmation.outcome.gain
    assert gain is not None
    return f"The gain is {interval(gain)} {on(confirmation)}."


def _better(confirmation: Confirmation) -> list[str]:
    outcome, budget = confirmation.outcome, confirmation.kl_budget
    assert outcome.best is not None
    best = confirmation.candidate(outcome.best)
    beyond = f"The default config itself leaves the KL budget of {budget:g} nats."
    failed = f"; {best.failures} of its {len(best.runs)} runs failed and count as untrained"
    return [
        *([beyond] if outcome.rival == "untrained" else []),
        f"It scores {best.mean:.3f} there, at {best.kl:z.2f} of {budget:g} nats of KL"
        f"{failed if best.failures else ''}.",
        *_in_the_search(confirmation, best),
        *_judges(confirmation, best),
        *_runner_up(confirmation, best),
    ]


def _no_better(record: StudyRecord, confirmation: Confirmation) -> list[str]:
    outcome = confirmation.outcome
    goes_on = "The default config is what gets exported."
    if outcome.best is None or outcome.gain is None:
        return [
            goes_on,
            "A lower learning_rate or a higher kl_coef in the space would keep more of it within the budget.",
        ]
    best = confirmation.candidate(outcome.best)
    return [
        goes_on,
        *_in_the_search(confirmation, best),
        _what_more_would_buy(record, confirmation, best, outcome.gain),
    ]


def _what_more_would_buy(
    record: StudyRecord, confirmation: Confirmation, best: Candidate, found: Gain
) -> str:
    """What to do about a gain that cannot be told from zero."""
    completed = sum(t.value is not None for t in record.trials)
    if completed <= MIN_COMPLETED:
        return (
            f"Not enough evidence: only {counted(completed, 'trial', 'were')} completed; more trials "
            f"({record.next_steps.more_trials}) are the way to a better one."
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
        f"If that gain is real, about {seeds} seeds would show it: {record.next_steps.confirm(seeds=seeds)}."
    )


def _unconfirmed(record: StudyRecord, winner: FrozenTrial) -> list[str]:
    """What the search alone can say."""
    score, sentences = config_of(winner, record.trials).score, []
    if record.default_won:
        sentences.append("The search found nothing better.")
    else:
        default = _default_score(record)
        start = None if record.base is None else record.base.heldout
        gains = [f"{score - default:+.3f} over the default config"] if default is not None else []
        gains += [f"{score - start.score:+.3f} over the untrained model"] if start is not None else []
        sentences += [f"What the search saw is {' and '.join(gains)}."] if gains else []
    running = record.confirmation
    if running is not None and running.outcome.kind == "likely":
        return [*sentences, *_likely(record, running)]
    if running is not None:
        done = sum(len(c.runs) for c in running.candidates)
        sentences.append(f"Its confirmation is not finished: {done} runs on fresh seeds are done.")
    sentences.append(
        f"One seed each is partly luck; {record.next_steps.confirm()} runs the best few and the default on fresh seeds."
    )
    return sentences


def _default_score(record: StudyRecord) -> float | None:
    """What the default config scored in the search, on average if it ran more than once; None where it did not."""
    if record.baseline is None:
        return None
    if record.baseline.number in record.configs:
        return record.configs[record.baseline.number].score
    seen = TrialFacts(record.baseline).heldout
    return None if seen is None else seen.score


def _likely(record: StudyRecord, confirmation: Confirmation) -> list[str]:
    """What to do about a gain that the search expects, too, but fresh seeds cannot tell from zero."""
    outcome = confirmation.outcome
    assert outcome.best is not None and outcome.gain is not None
    best = confirmation.candidate(outcome.best)
    return [
        "Fresh seeds alone cannot tell that gain from zero; it is what gets exported, for the search expects it, too.",
        _what_more_would_buy(record, confirmation, best, outcome.gain),
    ]


def _judges(confirmation: Confirmation, best: Candidate) -> list[str]:
    """How far the judges are from those of the untrained model and of the default config, paired."""
    rivals = {"the untrained model": None, "the default config": confirmation.default}
    sentences = []
    for judge in best.judges:
        changes = {name: confirmation.judge_change(judge, best, rival) for name, rival in rivals.items()
                   if rival is not None or name == "the untrained model"}  # fmt: skip
        told = [
            f"{interval(change)} against {name}" for name, change in changes.items() if change is not None
        ]
        unseen = "" if judge == REWARD else ", which the search never saw,"
        sentences += [f"Its {judge} score{unseen} is {' and '.join(told)}."] if told else []
    return sentences


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


def _edges(record: StudyRecord) -> list[str]:
    """What stands at the edge of its range."""
    names = at_edge(record)
    if not names or record.default_won:
        return []
    return [f"Its {' and '.join(names)} stands at the edge of the range searched: the best may lie outside."]
