"""Signs of a hack where no gold reward can prove one, in words and as a figure."""

import math

import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.reporting.analysis.exploitation import MEASURES, UNTRAINED
from ppo_tune.reporting.analysis.paired_changes import number
from ppo_tune.reporting.chapters.hacking.judge_figures import STYLES
from ppo_tune.reporting.drawing import GREY, RED, layout
from ppo_tune.reporting.record import to_records
from ppo_tune.search.responses import limits


def proxies_reading(table: pd.DataFrame, n_kept: int, n_prompts: int) -> str:
    """What the proxies say, and that they prove nothing."""
    trials = table[table["role"] != UNTRAINED]
    which = {str(row["role"]): row["which"] or "none" for row in trials.to_dict("records")}
    sentences = ["This task has no gold reward, so nothing here proves a hack; these are signs of one."]
    if len(trials) == len(table):
        sentences.append("The untrained model's numbers are missing, so nothing can be compared with it.")
    else:
        showing = int((trials["signs"] > 0).sum())
        sentences.append(f"{showing} of {len(trials)} trials show at least one (a value beyond a red line).")
        sentences += [f"{role.capitalize()}: {which[role]}." for role in STYLES if role in which]
    words = (
        f"Words are counted in the {n_kept} responses kept of a trial" if n_kept else "No responses were kept"
    )
    return " ".join([*sentences, f"{words}; length, spread and endings are over {n_prompts} prompts."])


def proxies_figure(table: pd.DataFrame) -> go.Figure:
    """A small plot per proxy with a mark per model; dotted where the untrained model is, red where a sign begins."""
    figure = make_subplots(rows=2, cols=3, subplot_titles=list(MEASURES.values()), vertical_spacing=0.17,
                           horizontal_spacing=0.07)  # fmt: skip
    models = {row["role"]: row for row in to_records(table)}
    order = [role for role in (UNTRAINED, *STYLES) if role in models]
    base = models.get(UNTRAINED)
    lines = (
        [] if base is None else [(base, GREY), (limits({name: number(base[name]) for name in MEASURES}), RED)]
    )
    for i, name in enumerate(MEASURES):
        place = {"row": i // 3 + 1, "col": i % 3 + 1}
        for position, role in enumerate(order):
            colour, symbol = STYLES.get(role, (GREY, "circle"))
            figure.add_scatter(
                x=[position], y=[models[role][name]], mode="markers", name=role, legendgroup=role,
                showlegend=i == 0, cliponaxis=False, **place, marker={"color": colour, "symbol": symbol, "size": 13},
                hovertemplate=f"{role}: %{{y:.3g}}<extra></extra>",
            )  # fmt: skip
        for values, colour in lines:
            if not math.isnan(value := values.get(name, math.nan)):
                figure.add_hline(
                    y=round(value, 4), line={"color": colour, "dash": "dot", "width": 1.5}, **place
                )
    layout(figure, None, None)
    figure.update_annotations(font_size=13)
    figure.update_xaxes(showticklabels=False, ticks="", showgrid=False, range=[-0.6, len(order) - 0.4])
    figure.update_yaxes(rangemode="tozero", nticks=5)
    return figure.update_layout(height=440, margin={"t": 70, "b": 20}, legend={"y": 1.1}, hovermode="closest")
