"""The confirmation seen closely: every config on every fresh seed, with intervals and probabilities."""

from typing import Any

import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.drawing import BLUE, GREEN, GREY, RED, layout
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Section
from ppo_tune.search.certainty import bootstrap_interval, interquartile_mean
from ppo_tune.search.race import Candidate, Confirmation

COLUMNS = (
    "config", "outcome", "seeds", "mean", "iqm", "iqm_low", "iqm_high", "gain", "gain_low", "gain_high",
    "beats_default", "beats_runner_up", "search_score", "drop", "kl",
)  # fmt: skip
DECIMALS = dict.fromkeys(
    ("mean", "iqm", "iqm_low", "iqm_high", "beats_default", "beats_runner_up", "search_score", "drop"), 3
)

COLOURS = {"winner": GREEN, "best so far": GREEN, "dropped": GREY}
"""Of a config by its outcome, unless it is the default; others are blue."""


def sections(record: StudyRecord) -> list[Section]:
    """One section, or none before a confirmation."""
    if (confirmation := record.confirmation) is None:
        return []
    table, reading = confirmation_table(confirmation), confirmation_reading(confirmation)
    figure, decimals = confirmation_figure(confirmation, table), DECIMALS | record.judge_decimals(table)
    words = "Mean score over the unseen prompts. Runs with the same seed drew the same random numbers."
    scores = table[["config", *(name for name in table if str(name).startswith("seed "))]]
    seeds = Section("seeds", "Seed by seed", words, table=scores)
    return [
        Section("confirmation", "On fresh seeds", reading, figure, table, summary=seeds, decimals=decimals)
    ]


def confirmation_table(confirmation: Confirmation) -> pd.DataFrame:
    """One row per config, best first.

    Columns: config; outcome (winner, best so far, default, in the race, dropped, over the KL budget); seeds; mean over
    seeds and prompts; iqm, the interquartile mean over seeds, with its bootstrap interval; gain over the default (over
    the untrained model where the default leaves the KL budget) with its interval, widened for the best of so many;
    beats_default and beats_runner_up, the probability that the true mean is higher; search_score; drop, what the
    search had promised more; kl in nats per response; the means of the judges; failed, the runs that did
    not complete; the mean score on each fresh seed, on which all configs drew the same random numbers.
    """
    outcome = confirmation.outcome
    rival = confirmation.default if outcome.rival == "default" else None
    second = runner_up(confirmation)
    judges = tuple(confirmation.base_judges) or ("gold",)
    rows: list[dict[str, Any]] = []
    for candidate in ranked(confirmation):
        low, high = bootstrap_interval(candidate.seed_means)
        is_rival = rival is not None and candidate.is_default
        found = (
            None
            if is_rival
            else confirmation.compare(candidate, rival, comparisons=len(confirmation.challengers))
        )
        single = None if is_rival else confirmation.compare(candidate, rival)
        other = None if second is None or candidate is second else confirmation.compare(candidate, second)
        rows.append({
            "config": name_of(candidate),
            "outcome": outcome_of(confirmation, candidate),
            "seeds": len(candidate.runs),
            "mean": candidate.mean,
            "iqm": float(interquartile_mean(candidate.seed_means)),
            "iqm_low": low,
            "iqm_high": high,
            "gain": None if found is None else found.mean,
            "gain_low": None if found is None else found.low,
            "gain_high": None if found is None else found.high,
            "beats_default": None if single is None else single.probability,
            "beats_runner_up": None if other is None else other.probability,
            "search_score": candidate.search_score,
            "drop": None if candidate.search_score is None else candidate.search_score - candidate.mean,
            "kl": candidate.kl,
            **{name: candidate.judged(name) for name in judges},
            "failed": candidate.failures,
            **by_seed(candidate),
        })  # fmt: skip
    seeds = [f"seed {i + 1}" for i in range(confirmation.n_seeds)]
    return pd.DataFrame(rows, columns=[*COLUMNS, *judges, "failed", *seeds])


def ranked(confirmation: Confirmation) -> list[Candidate]:
    """The configs that ran, the best first."""
    return sorted((c for c in confirmation.candidates if c.runs), key=lambda c: -c.mean)


def by_seed(candidate: Candidate) -> dict[str, str]:
    """The mean score on each fresh seed, with its ending where the run did not complete."""
    return {
        f"seed {run.seed_index + 1}": f"{run.scores.mean():.3f}"
        + ("" if run.completed else f" ({run.ending})")
        for run in candidate.runs
    }


def runner_up(confirmation: Confirmation) -> Candidate | None:
    """The second best within the KL budget on all fresh seeds, the default included; None if there is none."""
    finished = [
        c
        for c in ranked(confirmation)
        if len(c.runs) >= confirmation.n_seeds and c.is_within(confirmation.kl_budget)
    ]
    return finished[1] if len(finished) > 1 else None


def name_of(candidate: Candidate) -> str:
    """What a person calls a config."""
    return f"default (trial {candidate.number})" if candidate.is_default else f"trial {candidate.number}"


def outcome_of(confirmation: Confirmation, candidate: Candidate) -> str:
    """What became of a config in the race."""
    if candidate.number == confirmation.outcome.winner:
        return "best so far" if confirmation.outcome.kind == "likely" else "winner"
    if not candidate.is_within(confirmation.kl_budget):
        return "over the KL budget"
    if len(candidate.runs) < confirmation.n_seeds:
        return "in the race" if candidate in confirmation.racing() else "dropped"
    return "default" if candidate.is_default else "confirmed"


def confirmation_figure(confirmation: Confirmation, table: pd.DataFrame) -> go.Figure:
    """Every seed as a dot, the mean as a bar with the interval of the interquartile mean; best on top."""
    figure = go.Figure()
    by_name = {name_of(c): c for c in confirmation.candidates}
    for row in table.iloc[::-1].to_dict("records"):
        candidate = by_name[row["config"]]
        colour = COLOURS.get(row["outcome"], BLUE)
        if candidate.is_default and row["outcome"] != "winner":
            colour = RED
        label = (
            row["config"]
            if row["outcome"] in ("confirmed", "default")
            else f"{row['config']}<br>{row['outcome']}"
        )
        figure.add_scatter(
            x=[round(float(run.scores.mean()), 4) for run in candidate.runs], y=[label] * len(candidate.runs),
            mode="markers", showlegend=False, opacity=0.75,
            marker={"color": colour, "size": 8,
                    "symbol": ["circle" if run.completed else "x" for run in candidate.runs]},
            customdata=[[run.seed_index + 1, run.ending] for run in candidate.runs],
            hovertemplate="seed %{customdata[0]}, %{customdata[1]}<br>score %{x:.3f}<extra></extra>",
        )  # fmt: skip
        reach = {} if len(candidate.runs) < 2 else {
            "type": "data", "symmetric": False, "array": [max(0.0, row["iqm_high"] - row["iqm"])],
            "arrayminus": [max(0.0, row["iqm"] - row["iqm_low"])], "color": colour, "thickness": 2, "width": 6,
        }  # fmt: skip
        figure.add_scatter(
            x=[row["iqm"]], y=[label], mode="markers", showlegend=False, error_x=reach or None,
            marker={"color": colour, "symbol": "line-ns-open", "size": 22, "line": {"width": 3, "color": colour}},
            customdata=[[row["iqm_low"], row["iqm_high"]]],
            hovertemplate="interquartile mean %{x:.3f}<br>%{customdata[0]:.3f} to %{customdata[1]:.3f}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(
        x=float(confirmation.base.mean()), line={"color": GREY, "dash": "dot", "width": 2},
        annotation={"text": "untrained", "font": {"color": GREY}, "yanchor": "top"},
    )  # fmt: skip
    layout(figure, "score on unseen prompts", "")
    figure.update_layout(height=130 + 52 * len(table), hovermode="closest")
    return figure


def confirmation_reading(confirmation: Confirmation) -> str:
    """How it was done."""
    n = len(confirmation.challengers)
    dropped = sum(
        len(c.runs) < confirmation.n_seeds and c not in confirmation.racing()
        for c in confirmation.challengers
    )
    runs = sum(len(c.runs) for c in confirmation.candidates)
    race = f"; {dropped} were dropped when they could not win any more" if dropped else ""
    best = f"The best {n} of the search" if n > 1 else "The best of the search"
    allowance = f" that allow for choosing the best of {n}" if n > 1 else ""
    against = "the default" if confirmation.outcome.rival == "default" else "the untrained model"
    return (
        f"{best} and the default config, trained again on up to {confirmation.n_seeds} seeds and "
        f"scored on {len(confirmation.base)} prompts that the search never saw: {runs} runs{race}. A dot is a seed, a "
        f"bar the interquartile mean with its 95 % bootstrap interval. Gains are paired with {against} by seed and "
        f"prompt, with 95 % intervals{allowance}."
    )
