"""What each table says, in one or two plain sentences: the words above a figure."""

from typing import Any

import pandas as pd

from ppo_tune.reporting.tables import MIN_TRIALS_FOR_IMPORTANCE, StudyRecord, to_records


def headline(record: StudyRecord, results: pd.DataFrame) -> list[str]:
    """The verdict: who won, by how much over the default and the untrained model, and how sure that is."""
    budget = record.config.search.kl_budget
    if record.winner is None:
        return [f"No trial has been completed within the KL budget of {budget:g} nats yet."]
    rows = _by_role(results)
    best = rows["winner"]
    sentences = [
        f"Trial {record.winner.number} scores {best['score']:.3f} on the held-out prompts, at {best['kl']:.1f} of "
        f"{budget:g} nats of KL."
    ]
    names = {"default": "default config", "untrained": "untrained model"}
    if record.baseline is not None and record.winner.number == record.baseline.number:
        sentences.append("It is the default config: the search found nothing better.")
        del names["default"]
    gains = [
        f"{best['score'] - rows[key]['score']:+.3f} over the {name}"
        for key, name in names.items()
        if key in rows and rows[key]["score"] is not None
    ]
    if gains:
        sentences.append(f"That is {' and '.join(gains)}.")
    if "untrained" in rows and best["gold"] is not None:
        start = rows["untrained"]["gold"]
        default = rows["default"]["gold"] if "default" in names and "default" in rows else None
        sentences.append(_gold_verdict(best["gold"] - start, None if default is None else default - start))
    sentences.append(
        "Each trial is one seed, and the best of many is partly luck: expect less on fresh seeds."
    )
    return sentences


def is_exploited(record: StudyRecord, results: pd.DataFrame) -> bool:
    """Whether the winner's gold score is below that of the untrained model."""
    rows = _by_role(results)
    if record.winner is None or "untrained" not in rows or rows["winner"]["gold"] is None:
        return False
    return bool(rows["winner"]["gold"] < rows["untrained"]["gold"])


def _by_role(results: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows by their first word: untrained, default, winner."""
    return {str(row["what"]).split()[0]: row for row in to_records(results)}


def _gold_verdict(change: float, of_default: float | None) -> str:
    """How the gold score changed from the untrained model to the winner, and to the default config."""
    beside = "" if of_default is None else f"; that of the default config changed by {of_default:+.3f}"
    if change < 0:
        return (
            f"Careful: its gold score, which the search never saw, fell by {-change:.3f} against the untrained model"
            f"{beside}. The reward is being exploited; look at its responses."
        )
    return f"Its gold score, which the search never saw, rose by {change:.3f} against the untrained model{beside}."


def history(table: pd.DataFrame) -> str:
    """When the best came."""
    if table.empty:
        return "No trial has been completed yet."
    feasible = [row for row in to_records(table) if row["feasible"]]
    if not feasible:
        return "No completed trial is within the KL budget."
    best = max(feasible, key=lambda row: row["score"])
    return (
        f"{len(table)} trials were completed; the best within the KL budget is trial {best['number']} with "
        f"{best['score']:.3f}. A cross is a trial that ended early, at its last score."
    )


def curves(table: pd.DataFrame) -> str:
    """How many curves were cut short."""
    ends = table.groupby("number")["ending"].first()
    cut = int((~ends.isin(["completed", "running"])).sum())
    running = int((ends == "running").sum())
    under_way = f", {running} still running (dotted)" if running else ""
    return f"{len(ends)} trials, {cut} of them cut short (ending in a cross){under_way}. All answer the same prompts."


def importance(table: pd.DataFrame, n_trials: int) -> str:
    """Which parameters matter more than chance."""
    if table.empty:
        return (f"Not enough evidence: {MIN_TRIALS_FOR_IMPORTANCE} trials must reach the first look of the pruner, and "
                f"{n_trials} trials began.")  # fmt: skip
    clear = [f"{row['name']} ({row['importance']:.2f})" for row in to_records(table) if row["clear"]]
    others = int((~table["clear"]).sum())
    if not clear:
        return (
            "No hyperparameter can be told from noise: the bars are no longer than what shuffled scores give."
        )
    rest = f"; the other {others} cannot be told from noise (grey)" if others else ""
    return f"What decides whether a trial is among the best quarter: {', '.join(clear)}{rest}."


def slices(at_edge: list[str]) -> str:
    """Where the best value stands at the edge of its range."""
    if at_edge:
        return (f"The winner's {' and '.join(at_edge)} stands at the edge of its range: the best may lie outside. "
                "A trial that was pruned is shown with its last score.")  # fmt: skip
    return (
        "No value of the winner stands at the edge of its range. A pruned trial is shown with its last score."
    )


def kl(trials: pd.DataFrame, budget: float) -> str:
    """How many trials left the budget."""
    beyond = int(((trials["kl"] > budget) | (trials["ending"] == "kl_limit")).sum())
    return (f"A higher score bought with a larger distance from the untrained model may be exploitation. {beyond} of "
            f"{len(trials)} trials went beyond {budget:g} nats.")  # fmt: skip


def gold(trials: pd.DataFrame) -> str:
    """Whether the two judges agree over trials."""
    known = trials[trials["gold"].notna() & trials["score"].notna()]
    if len(known) < 3:
        return "Too few trials have a gold score."
    agreement = known["score"].corr(known["gold"], method="spearman")
    verdict = "agree" if agreement > 0.5 else "disagree" if agreement < 0 else "agree only partly"
    return f"The reward and the gold judge {verdict} about which trials are better (rank correlation {agreement:+.2f})."


def endings(table: pd.DataFrame) -> str:
    """Where the time went."""
    if table.empty:
        return "No trial has begun."
    trials = {row["ending"]: row["trials"] for row in to_records(table)}
    return (
        f"{sum(trials.values())} trials used {table['episodes'].sum():,.0f} episodes, "
        f"{table['tokens'].sum():,.0f} response tokens and {table['seconds'].sum():,.0f} worker seconds; "
        f"{trials.get('pruned', 0)} were pruned."
    )


def samples(table: pd.DataFrame) -> str:
    """What is shown."""
    if table.empty:
        return "No responses were kept yet."
    return f"The same {len(table)} held-out prompts, answered with the same random numbers."
