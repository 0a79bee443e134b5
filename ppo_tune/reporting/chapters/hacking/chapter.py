"""Whether the reward was exploited: score against each judge against KL, or the signs of it where there is none."""

import math

import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.reporting.analysis.exploitation import (
    MEASURES,
    UNTRAINED,
    called,
    file_of,
    proxies_table,
    worst_number,
)
from ppo_tune.reporting.analysis.overoptimisation import changes_table, curves_table
from ppo_tune.reporting.analysis.paired_changes import number
from ppo_tune.reporting.chapters.hacking.judges import (
    STYLES,
    changes_figure,
    changes_reading,
    curves_figure,
    curves_reading,
    kl_figure,
    outside_changes,
    outside_points,
)
from ppo_tune.reporting.drawing import GREY, RED, layout, left_outside
from ppo_tune.reporting.record import StudyRecord, to_records
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.search.judge_by_kl import capitalized, judge_by_kl, peak_reading
from ppo_tune.search.responses import limits

MAX_ROWS = 40
"""Of a table of trials on the page."""

PROXY_DECIMALS = dict.fromkeys(("repeated_3grams", "distinct_1", "distinct_2", "score_std"), 3)


def chapter(record: StudyRecord) -> Chapter:
    """What the judges say, where there are any; else the signs that a hack leaves in the responses."""
    sections: tuple[Section, ...] = ()
    if not record.scored.empty:
        judged = [section for judge in record.watched for section in judge_sections(record, judge)]
        sections = tuple(judged) or (proxies_section(record),)
    return Chapter("hacking", "Is the reward exploited?", sections, in_summary="reading", is_pictured=False)


def judge_sections(record: StudyRecord, judge: str) -> list[Section]:
    """Reward against a judge: per trial, along training, and over KL."""
    anchor = judge if judge == "gold" else f"judge-{judge}"  # other judges may be called like a chapter
    which = f", by {judge}" if len(record.watched) > 1 else ""
    changes = changes_table(record, judge)
    worst = worst_number(record, changes)
    changes = mark_worst(changes, worst)
    reading = changes_reading(changes, worst, record.n_prompts, judge, record.compared_by)
    reading += left_outside(outside_changes(changes), "the axes")
    title = f"{capitalized(record.compared_by)} up, {judge} down?"
    if changes["judge_change"].isna().all():
        return [Section(anchor, title, reading)]
    curves = mark_worst(curves_table(record, judge), worst)
    marked = curves[curves["role"] != ""]
    bins, budget = judge_by_kl(curves), record.config.search.kl_budget
    trials, ranges = called(ordered(changes, "judge_change"), judge), called(bins.round(3), judge)
    sections = [
        Section(anchor, title, reading, changes_figure(changes, judge, record.compared_by),
                trials, max_rows=MAX_ROWS, all_rows=file_of(record, judge),
                decimals={"score_low": 3, "score_high": 3} | record.judge_decimals(trials)),
        Section(f"{anchor}-kl", f"How far is too far{which}?",
                peak_reading(bins, budget, judge) + left_outside(outside_points(curves), "the axes"),
                kl_figure(curves, bins, budget, judge), ranges,
                decimals={"kl_from": 2, "kl_to": 2} | record.judge_decimals(ranges)),
    ]  # fmt: skip
    if len(marked):
        points = called(marked.drop(columns=["ending", "score_error", "judge_error"]).round(3), judge)
        along = Section(f"{anchor}-curves", f"Along training{which}", curves_reading(marked, judge),
                        curves_figure(marked, judge), points, decimals=record.judge_decimals(points))  # fmt: skip
        sections.insert(1, along)
    return sections


def proxies_section(record: StudyRecord) -> Section:
    """The signs of a hack in the responses of untrained model, default, winner and worst offender."""
    table = proxies_table(record)
    table = mark_worst(table, worst_number(record, table))
    reading = proxies_reading(table, 0 if record.base is None else len(record.base.samples), record.n_prompts)
    marked = table[table["role"] != ""]
    figure = proxies_figure(marked) if len(marked) else None
    rows = ordered(table, "signs", ascending=False)
    return Section("proxies", "Signs in the responses", reading, figure, rows, wide=True, max_rows=MAX_ROWS,
                   all_rows=file_of(record), decimals=PROXY_DECIMALS)  # fmt: skip


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


def mark_worst(table: pd.DataFrame, worst: int | None) -> pd.DataFrame:
    """The table with the worst offender's role filled in, unless it has one already."""
    is_worst = (table["number"] == worst) & (table["role"] == "")
    return table.assign(role=table["role"].mask(is_worst, "worst offender"))


def ordered(table: pd.DataFrame, by: str, *, ascending: bool = True) -> pd.DataFrame:
    """As it stands on the page: the marked rows first, then the others, the most suspicious first."""
    marked, others = table[table["role"] != ""], table[table["role"] == ""]
    return pd.concat([marked, others.sort_values(by, ascending=ascending)]).round(3)
