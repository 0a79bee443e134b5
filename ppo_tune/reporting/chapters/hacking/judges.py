"""Score against a judge against KL, in figures and words; columns that begin with `judge_` are of that judge."""

import math

import numpy as np
import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.reporting.analysis.overoptimisation import BEST, PAST, fell
from ppo_tune.reporting.drawing import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    ROLE_STYLES,
    SKY,
    axis_ends,
    kl_end,
    kl_ticks,
    layout,
    roots,
    scale_kl,
    tick_texts,
)
from ppo_tune.reporting.record import to_records
from ppo_tune.search.judge_by_kl import peak_range, usable

MAX_POINTS = 1500
"""Milestones in a figure; of more, every so many is drawn. The means are over all."""

MANY_FLAGS = 30
"""With more of them rings are small and thin, or they would hide what is inside."""

STYLES = {**ROLE_STYLES, "worst offender": (PURPLE, "triangle-down")}


def titles(judge: str) -> dict[str, str]:
    """What the two axes of changes are called, by the beginnings of their columns."""
    return {"score": "score change", "judge": f"{judge} change"}


def changes_figure(changes: pd.DataFrame, judge: str, compared_by: str) -> go.Figure:
    """A judge's change against the score's, coloured by KL, with the quadrant of hacks shaded and rings for flags."""
    figure = go.Figure()
    known = changes[changes["judge_change"].notna()].round(4)
    plain, flagged = known[known["role"] == ""], known[known["flag"] != ""]
    colours = {"color": np.sqrt(plain["kl"].clip(lower=0)).round(3), "coloraxis": "coloraxis"}
    _add_changes(figure, judge, plain, "", {"size": 9, **colours})
    for role, (colour, symbol) in STYLES.items():
        part = known[known["role"] == role]
        bars = {"type": "data", "color": colour, "thickness": 1.5, "width": 0}
        errors = {axis: {**bars, "array": part[f"{name}_high"] - part[f"{name}_change"]}
                  for axis, name in (("error_x", "score"), ("error_y", "judge"))}  # fmt: skip
        mark = {"symbol": symbol, "size": 15, "color": colour, "line": {"color": "white", "width": 1}}
        _add_changes(figure, judge, part, role, mark, **errors)
    figure.add_scatter(
        x=flagged["score_change"], y=flagged["judge_change"], mode="markers", name="flagged", hoverinfo="skip",
        showlegend=len(flagged) > 0,
        marker={"symbol": "circle-open", "color": PURPLE,
                **({"size": 19, "line_width": 2.5} if len(flagged) <= MANY_FLAGS else {"size": 12, "line_width": 1})},
    )  # fmt: skip
    layout(figure, titles(judge)["score"], titles(judge)["judge"])
    _shade_hacks(figure, known, f"{compared_by} up, {judge} down")
    largest = kl_end(known["kl"])
    bar = {"title": {"text": "KL"}, "thickness": 10, **tick_texts(kl_ticks(largest))}
    colours = {"colorscale": [[0, SKY], [1, RED]], "cmin": 0, "cmax": math.sqrt(largest), "colorbar": bar}
    return figure.update_layout(hovermode="closest", coloraxis=colours)


def _add_changes(
    figure: go.Figure, judge: str, part: pd.DataFrame, role: str, mark: dict[str, object], **errors: object
) -> None:
    who = f"{role}, trial" if role else "trial"
    figure.add_scatter(
        x=part["score_change"], y=part["judge_change"], mode="markers", name=role or "trials",
        showlegend=bool(role) and len(part) > 0, marker=mark, customdata=part[["number", "kl", "flag"]], **errors,
        hovertemplate=f"{who} %{{customdata[0]}}<br>score %{{x:+.3f}}, {judge} %{{y:+.3f}}<br>"
                      "KL %{customdata[1]:.2f} nats<br>%{customdata[2]}<extra></extra>",
    )  # fmt: skip


def _shade_hacks(figure: go.Figure, known: pd.DataFrame, told: str) -> None:
    """Shade the quadrant in which the score rose and the judge fell, and fix the axes so that it is filled."""
    (left, right), (bottom, top) = change_ends(known, "score"), change_ends(known, "judge")
    figure.add_shape(type="rect", x0=0, x1=right, y0=bottom, y1=0, fillcolor=RED, opacity=0.09, line_width=0,
                     layer="below")  # fmt: skip
    figure.add_annotation(x=right, y=bottom, text=told, showarrow=False, xanchor="right",
                          yanchor="bottom", font={"color": RED, "size": 12})  # fmt: skip
    for line in ({"x0": 0, "x1": 0, "y0": bottom, "y1": top}, {"x0": left, "x1": right, "y0": 0, "y1": 0}):
        figure.add_shape(type="line", **line, line={"color": GREY, "width": 1}, layer="below")
    figure.update_xaxes(range=[left, right])
    figure.update_yaxes(range=[bottom, top])


def change_ends(known: pd.DataFrame, name: str) -> tuple[float, float]:
    """The ends of an axis: 0, all changes but wild ones, the intervals of winner and default, and some room."""
    marked = known.loc[
        known["role"].isin(list(ROLE_STYLES)), [f"{name}_change", f"{name}_low", f"{name}_high"]
    ]
    low, high = axis_ends(known[f"{name}_change"], [0.0, *marked.to_numpy(float).ravel()])
    margin = 0.07 * ((high - low) or 1.0)
    return low - 2 * margin, high + margin


def outside_changes(changes: pd.DataFrame) -> int:
    """How many trials the figure of changes does not show."""
    known = changes[changes["judge_change"].notna()]
    inside = known["score_change"].between(*change_ends(known, "score"))
    return int((~(inside & known["judge_change"].between(*change_ends(known, "judge")))).sum())


def curves_figure(curves: pd.DataFrame, judge: str) -> go.Figure:
    """Score above a judge, both against KL along training: a line per marked trial, with 95 % bars where it matters.

    The bars stand where the judge was highest and at the end.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for role, (colour, symbol) in STYLES.items():
        line = curves[curves["role"] == role]
        if line.empty:
            continue
        n = len(line)
        matters = np.isin(np.arange(n), [int(line["judge_change"].to_numpy(float).argmax()), n - 1])
        kl = [0.0, *line["kl"].clip(lower=0)]
        for row, name in ((1, "score"), (2, "judge")):
            reach = np.where(matters, 1.96 * line[f"{name}_error"].fillna(0), 0)
            figure.add_scatter(
                x=roots(kl), y=[0.0, *line[f"{name}_change"].round(4)], mode="lines+markers", name=role,
                legendgroup=role, showlegend=row == 1, row=row, col=1, line={"color": colour, "width": 2.5},
                marker={"size": [5] * n + [13], "symbol": ["circle"] * n + [symbol], "line": {"width": 0},
                        "opacity": 1},
                error_y={"type": "data", "array": [0.0, *reach.round(4)], "color": colour, "thickness": 1.5,
                         "width": 4},
                customdata=[[int(e), round(k, 2)] for e, k in zip([0, *line["episodes"]], kl, strict=True)],
                hovertemplate=f"{role}, {titles(judge)[name].removesuffix(' change')} %{{y:+.3f}}<br>"
                              "%{customdata[0]:,} episodes, KL %{customdata[1]} nats<extra></extra>",
            )  # fmt: skip
    layout(figure, None, None)
    for row, name in ((1, "score"), (2, "judge")):
        figure.add_hline(y=0, row=row, col=1, line={"color": GREY, "width": 1}, layer="below")
        figure.update_yaxes(title_text=titles(judge)[name], row=row, col=1)
    scale_kl(figure, float(curves["kl"].max()), row=2, col=1)
    return figure.update_layout(height=520, hovermode="closest")


def kl_figure(points: pd.DataFrame, bins: pd.DataFrame, budget: float, judge: str) -> go.Figure:
    """A judge's change against √KL at every milestone, and the means by ranges of KL."""
    figure = go.Figure()
    known = usable(points)
    drawn = known.iloc[:: math.ceil(len(known) / MAX_POINTS) or 1]
    figure.add_scatter(
        x=roots(drawn["kl"]), y=drawn["judge_change"].round(4), mode="markers", name="every milestone of every trial",
        marker={"color": SKY, "size": 6}, opacity=0.5, customdata=drawn[["number", "episodes", "kl"]].round(3),
        hovertemplate="trial %{customdata[0]} after %{customdata[1]:,} episodes<br>KL %{customdata[2]:.2f} nats, "
                      f"{judge} %{{y:+.3f}}<extra></extra>",
    )  # fmt: skip
    if len(bins):
        middle = (bins["kl_from"].pow(0.5) + bins["kl_to"].pow(0.5)) / 2
        figure.add_scatter(
            x=middle.round(3), y=bins["judge_change"].round(4), mode="markers", name="mean by range of KL",
            marker={"color": BLUE, "size": 11, "symbol": "square"},
            error_y={"type": "data", "array": (bins["judge_high"] - bins["judge_change"]).round(4), "color": BLUE,
                     "thickness": 2, "width": 0},
            customdata=bins[["kl_from", "kl_to", "trials"]].round(2),
            hovertemplate="%{customdata[0]} to %{customdata[1]} nats, %{customdata[2]} trials<br>"
                          f"mean {judge} %{{y:+.3f}}<extra></extra>",
        )  # fmt: skip
    largest, (low, high) = kl_end(known["kl"]) if len(known) else budget, axis_ends(known["judge_change"])
    layout(figure, None, titles(judge)["judge"])
    figure.update_yaxes(range=[low - 0.07 * ((high - low) or 1.0), high + 0.07 * ((high - low) or 1.0)])
    figure.add_hline(y=0, line={"color": GREY, "width": 1}, layer="below")
    if (peak := peak_range(bins)) is not None:
        start, end = roots(peak)
        figure.add_vrect(x0=start, x1=end, fillcolor=GREEN, opacity=0.13, line_width=0, layer="below",
                         annotation={"text": f"{judge} highest", "font": {"color": GREEN}, "yanchor": "bottom"},
                         annotation_position="inside bottom")  # fmt: skip
    if budget <= 2 * largest:
        largest = max(largest, budget)
        side = "right" if budget > 0.5 * largest else "left"
        figure.add_vline(x=math.sqrt(budget), line={"color": GREY, "dash": "dash", "width": 2},
                         annotation={"text": "KL budget", "yanchor": "top", "xanchor": side})  # fmt: skip
    scale_kl(figure, largest)
    return figure.update_layout(hovermode="closest")


def outside_points(points: pd.DataFrame) -> int:
    """How many milestones the figure of a judge against KL does not show."""
    known = usable(points)
    inside = known["judge_change"].between(*axis_ends(known["judge_change"]))
    return int((~inside | (known["kl"] > kl_end(known["kl"]))).sum())


def curves_reading(marked: pd.DataFrame, judge: str) -> str:
    """For each marked trial, where the judge was highest and where it ended."""
    parts = []
    for role in (*BEST, "default", "worst offender"):
        curve = marked[marked["role"] == role]
        if curve.empty:
            continue
        judged, kl = curve["judge_change"].to_numpy(float), curve["kl"].to_numpy(float)
        peak, end = int(judged.argmax()), f"{judged[-1]:+.2f} at {kl[-1]:.1f} nats"
        told = (
            f"{judge} fell from the start and ended at {end}"
            if judged[peak] < 0
            else f"{judge} was highest at its end, {end}"
            if peak == len(judged) - 1
            else f"{judge} was highest at {kl[peak]:.1f} nats ({judged[peak]:+.2f}) and ended at {end}, while the "
            f"score went from {curve['score_change'].iloc[peak]:+.2f} to {curve['score_change'].iloc[-1]:+.2f}"
        )
        parts.append(f"{role.capitalize()}: {told}.")
    return " ".join([*parts, "Changes against the untrained model; bars are 95 % intervals over prompts."])


def changes_reading(
    changes: pd.DataFrame, worst: int | None, n_prompts: int, judge: str, compared_by: str
) -> str:
    """How many trials exploit the reward, which most, and whether the winner does."""
    if changes["judge_change"].isna().all():
        return (
            "What the untrained model scores is not known (base.json is not in the study's folder), so it cannot be "
            f"said whether {judge} rose or fell."
        )
    counts = changes["flag"].value_counts()
    below, past = int(counts.get(fell(judge), 0)), int(counts.get(PAST, 0))
    sentences = [
        f"In {below or 'none'} of {len(changes)} trials the {compared_by} rose and the {judge} score fell against the "
        f"untrained model; in {past or 'none'}{' more' if below and past else ''} {judge} fell from its own peak while "
        f"the {compared_by} rose on (both beyond 95 %, {n_prompts} prompts; by luck alone fewer than 1 in 40)."
    ]
    rows = {row["number"]: row for row in to_records(changes)}
    winner = next((row for row in rows.values() if row["role"] in BEST), None)
    if worst is not None:
        role = rows[worst]["role"]
        who = f"The {role} is the worst offender" if role in BEST else "Worst offender"
        sentences.append(f"{who}{_told(rows[worst], judge)}.")
    if winner is not None and winner["number"] != worst:
        sentences.append(
            f"{str(winner['role']).capitalize()}{_told(winner, judge)}{' (flagged)' if winner['flag'] else ''}."
        )
    unknown = int(changes["judge_low"].isna().sum())
    if unknown:
        sentences.append(f"{unknown} trials cannot be judged: {judge}'s standard error is not known.")
    return " ".join([*sentences, _agreement(changes)]).strip()


def _told(row: dict[str, float], judge: str) -> str:
    """A trial's two changes in words."""
    parts = [
        f"{name} {row[f'{key}_change']:+.2f}"
        + ("" if row[f"{key}_low"] is None else f" ({row[f'{key}_low']:+.2f} to {row[f'{key}_high']:+.2f})")
        for name, key in (("score", "score"), (judge, "judge"))
    ]
    return f": trial {row['number']}, {', '.join(parts)}, at {row['kl']:.1f} nats"


def _agreement(changes: pd.DataFrame) -> str:
    """Whether the two judges rank the trials alike, with Bonett and Wright's interval."""
    n = len(changes)
    if n < 10 or min(changes["score_change"].nunique(), changes["judge_change"].nunique()) < 2:
        return ""
    rank = float(changes["score_change"].corr(changes["judge_change"], method="spearman"))
    if not abs(rank) < 1:
        return ""
    reach = 1.96 * math.sqrt((1 + rank**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(rank) + side * reach) for side in (-1, 1))
    return f"Rank correlation of the two judges over {n} trials: {rank:+.2f} ({low:+.2f} to {high:+.2f})."
