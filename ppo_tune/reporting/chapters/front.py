"""Score against KL: the best score that each KL budget could have bought."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.analysis.paired_changes import Change, change, judged_base, judged_config
from ppo_tune.reporting.drawing import (
    GREEN,
    GREY,
    RED,
    SKY,
    add_roles,
    axis_ends,
    kl_end,
    layout,
    left_outside,
    roots,
    scale_kl,
)
from ppo_tune.reporting.record import StudyRecord, chosen_instead, to_records, with_judges
from ppo_tune.reporting.section import Chapter, Section

MAX_DRAWN = 600
"""Trials of a kind in the figure; of more, every so many is drawn, the front always."""

UNTRAINED = -1
"""Stands for a trial's number where the untrained model is the best."""

BUDGETS = ("budget", "best", "score", "score_error", "kl", "gain", "gain_low", "gain_high")


def chapter(record: StudyRecord) -> Chapter:
    """Score against KL."""
    return Chapter("front", "Score against KL", _sections(record), in_summary="reading", is_pictured=True)


def _sections(record: StudyRecord) -> tuple[Section, ...]:
    scored, budget = record.scored, record.config.search.kl_budget
    if scored.empty:
        return ()
    front, budgets = front_table(record), budgets_table(record)
    said = (
        budgets_reading(budgets, budget),
        _chosen(record, budgets),
        front_reading(record.table, front, budget),
    )
    reading, figure = " ".join(filter(None, said)), front_figure(scored, front, budget)
    decimals = record.judge_decimals(budgets)
    return (Section("front-trials", "", reading, figure, budgets.round(3), decimals=decimals),)


def _chosen(record: StudyRecord, budgets: pd.DataFrame) -> str:
    """Which trial is gone on with, where that is not the best of the search within the budget."""
    own = set(budgets[budgets["budget"] == record.config.search.kl_budget]["best"])
    if record.winner is None or f"trial {record.winner.number}" in own:
        return ""
    if not record.verdict.confirmed and "untrained model" in own:
        return ""
    return chosen_instead(record.best_role, record.winner.number)


def front_table(record: StudyRecord) -> pd.DataFrame:
    """What nothing beats: no other completed trial scores at least as much at no more KL.

    Trials of one config are one, with their means, and go by the number of the first. Those beyond the search's KL
    budget count too. Others than completed ones do not, for their score is not of the full length. The untrained
    model, where it is known, is where the front begins.

    Columns: number (see `UNTRAINED`), kl, score, the judges, by rising KL.
    """
    numbers = ["score", *record.judge_columns]
    first = record.table["number"].map({n: config.first.number for n, config in record.configs.items()})
    completed = record.table.groupby(first, sort=False)[["kl", *numbers]].mean()
    points = [
        {"number": int(row["number"]), "kl": max(row["kl"], 0.0), **{name: row[name] for name in numbers}}
        for row in completed.reset_index(names="number").to_dict("records")
    ]
    base = judged_base(record)
    if not math.isnan(base.means["score"]):
        points.append({"number": UNTRAINED, "kl": 0.0, **base.means})
    rows: list[dict[str, float]] = []
    for point in sorted(points, key=lambda point: (point["kl"], -point["score"])):
        if not rows or point["score"] > rows[-1]["score"]:
            rows.append(point)
    return pd.DataFrame(rows, columns=["number", "kl", *numbers]).astype(
        {"number": int, **dict.fromkeys(["kl", *numbers], float)}
    )


def budgets_of(budget: float, front: pd.DataFrame) -> list[float]:
    """A few KL budgets: the study's own, its halves down to the front's first trial, its doubles up to the last."""
    trained = front[front["number"] != UNTRAINED]["kl"]
    if trained.empty:
        return [budget]
    found = [budget]
    while len(found) < 4 and found[0] / 2 >= trained.min():
        found.insert(0, found[0] / 2)
    while len(found) < 6 and found[-1] < trained.max():
        found.append(found[-1] * 2)
    return found


def budgets_table(record: StudyRecord) -> pd.DataFrame:
    """The best score at KL ≤ b for a few b.

    Columns: budget, number, score, score_error (standard error over prompts), the judges, kl, and the gain
    over the budget before it, with its 95 % interval over prompts, and those of the judges. The first gain is that
    over the untrained model.
    """
    front = front_table(record)
    before, rows = judged_base(record), list[dict[str, Any]]()
    for budget in budgets_of(record.config.search.kl_budget, front):
        within = front[front["kl"] <= budget]
        if within.empty:
            continue
        number = int(within["number"].iloc[-1])
        name = "untrained model" if number == UNTRAINED else f"trial {number}"
        best = (
            judged_base(record)
            if number == UNTRAINED
            else judged_config(record, record.configs[number].trials)
        )
        is_same = bool(rows) and rows[-1]["best"] == name
        gain = Change(0.0, 0.0) if is_same else change(before, best, "score")
        rows.append({"budget": budget, "best": name, "score": best.means["score"], "score_error": best.errors["score"],
                     **{name: best.means[name] for name in record.judge_columns}, "kl": best.kl, "gain": gain.value,
                     "gain_low": gain.low, "gain_high": gain.high,
                     **{f"{name}_gain": best.means[name] - before.means[name] for name in record.judge_columns},
                     })  # fmt: skip
        before = best
    columns = with_judges(record, BUDGETS, after="score_error")
    return pd.DataFrame(rows, columns=[*columns, *(f"{name}_gain" for name in record.judge_columns)])


def front_figure(trials: pd.DataFrame, front: pd.DataFrame, kl_budget: float) -> go.Figure:
    """Score against KL at each trial's last milestone, the front as a line of steps, and the budget."""
    figure = go.Figure()
    scored = trials[trials["score"].notna()]
    is_complete = scored["ending"] == "completed"
    parts = {
        "completed": (scored[is_complete], {"color": SKY, "size": 8, "opacity": 0.8}),
        "not completed, at its last score": (
            scored[~is_complete],
            {"color": GREY, "size": 7, "symbol": "x", "opacity": 0.55},
        ),
    }
    for name, (part, mark) in parts.items():
        drawn = part.iloc[:: math.ceil(len(part) / MAX_DRAWN) or 1]
        figure.add_scatter(
            x=roots(drawn["kl"]), y=drawn["score"].round(4), mode="markers", name=name, showlegend=len(drawn) > 0,
            marker=mark, customdata=pd.DataFrame({0: drawn["number"], 1: drawn["kl"].round(2), 2: drawn["ending"]}),
            hovertemplate="trial %{customdata[0]}, %{customdata[2]}<br>KL %{customdata[1]:.2f} nats<br>score %{y:.3f}"
                          "<extra></extra>",
        )  # fmt: skip
    largest, (low, high) = front_ends(scored, front, kl_budget)
    _add_front(figure, front, largest)
    add_roles(figure, scored.assign(root=roots(scored["kl"])), "root", "score")
    figure.add_vline(
        x=math.sqrt(kl_budget), line={"color": RED, "dash": "dash", "width": 2},
        annotation={"text": "KL budget", "font": {"color": RED}, "yanchor": "top",
                    "xanchor": "right" if kl_budget > 0.5 * largest else "left"},
    )  # fmt: skip
    layout(figure, None, "held-out score")
    margin = 0.06 * ((high - low) or 1.0)
    figure.update_yaxes(range=[low - margin, high + margin])
    scale_kl(figure, largest)
    figure.update_layout(hovermode="closest")
    return figure


def front_ends(
    scored: pd.DataFrame, front: pd.DataFrame, kl_budget: float
) -> tuple[float, tuple[float, float]]:
    """The largest KL and the ends of the scores that are shown.

    Marked trials, the budget and the front up to there are always inside, wild trials are not.
    """
    marked = scored[scored["role"] != ""]
    largest = max(kl_end(scored["kl"], marked["kl"]), kl_budget)
    return largest, axis_ends(
        scored["score"], [*marked["score"], *front.loc[front["kl"] <= largest, "score"]]
    )


def _add_front(figure: go.Figure, front: pd.DataFrame, largest: float) -> None:
    """The best score at no more than each KL: steps that go on to the right end."""
    if front.empty:
        return
    end = pd.DataFrame({"kl": [max(largest, front["kl"].iloc[-1])], "score": [front["score"].iloc[-1]]})
    steps = pd.concat([front, end])
    names = [
        "the untrained model" if number == UNTRAINED else f"trial {number}" for number in front["number"]
    ]
    figure.add_scatter(
        x=roots(steps["kl"]), y=steps["score"].round(4), mode="lines+markers", name="best score at no more KL",
        line={"color": GREEN, "shape": "hv", "width": 2.5}, marker={"size": [9] * len(front) + [0], "color": GREEN},
        customdata=[[name, round(kl, 2)] for name, kl in zip([*names, names[-1]], steps["kl"], strict=True)],
        hovertemplate="%{customdata[0]}<br>KL %{customdata[1]:.2f} nats<br>score %{y:.3f}<extra></extra>",
    )  # fmt: skip


def front_reading(trials: pd.DataFrame, front: pd.DataFrame, budget: float) -> str:
    """What the front is made of, and how many trials left the budget."""
    beyond = int(((trials["kl"] > budget) | (trials["ending"] == "kl_limit")).sum())
    completed = int((trials["ending"] == "completed").sum())
    trained = int((front["number"] != UNTRAINED).sum())
    made = (
        f"{trained} of {completed} completed trials are on the front: no other scores as much at no more KL."
        if trained
        else "No completed trial scores more than the untrained model, so there is no front yet."
        if completed
        else "No trial is completed yet, so there is no front."
    )
    scored = trials[trials["score"].notna()]
    largest, (low, high) = front_ends(scored, front, budget)
    n_outside = int(((scored["kl"] > largest) | ~scored["score"].between(low, high)).sum())
    return (
        f"{made} Trials that were not completed (crosses) are not compared: their score is not of the full length. "
        f"{beyond} of {len(trials)} trials went beyond {budget:g} nats.{left_outside(n_outside, 'the axes')}"
    )


def budgets_reading(table: pd.DataFrame, budget: float) -> str:
    """What the study's own KL budget bought, what half of it would have, and what twice."""
    rows = to_records(table)
    place = next((i for i, row in enumerate(rows) if row["budget"] == budget), None)
    if place is None or rows[place]["best"] == "untrained model":
        return ""
    own = rows[place]
    sentences = [f"Within {budget:g} nats the search's best is {own['best']} with {own['score']:.3f}."]
    if place > 0:
        half = rows[place - 1]["budget"]
        sentences.append(f"Doubling the budget from {half:.3g} to {budget:.3g} nats bought {_bought(own)}.")
    elif own["gain"] is not None:
        sentences.append(f"That is {_bought(own)} over the untrained model.")
    if place + 1 < len(rows):
        twice = rows[place + 1]
        sentences.append(
            f"Twice the budget, {twice['budget']:.3g} nats, where the search does not look for its best, bought "
            f"{_bought(twice)}."
        )
    return " ".join(sentences)


def _bought(row: Mapping[str, Any]) -> str:
    """A gain in words, with what became of the judges."""
    if row["gain"] == 0:
        return "nothing"
    interval = "" if row["gain_low"] is None else f" (95 % {row['gain_low']:+.2f} to {row['gain_high']:+.2f})"
    gains = {name.removesuffix("_gain"): value for name, value in row.items() if name.endswith("_gain")}
    told = " and ".join(f"{value:+.2f} of {judge}" for judge, value in gains.items() if value is not None)
    return f"{row['gain']:+.2f}{interval}{told and f', and {told}'}"
