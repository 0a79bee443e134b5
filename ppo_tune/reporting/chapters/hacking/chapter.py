"""Whether the reward was exploited: score against gold against KL, or the signs of it where there is no gold."""

import pandas as pd

from ppo_tune.reporting.analysis.exploitation import worst_number
from ppo_tune.reporting.analysis.overoptimisation import changes_table, curves_table, has_gold
from ppo_tune.reporting.analysis.proxies import proxies_table
from ppo_tune.reporting.chapters.hacking.gold_figures import (
    changes_figure,
    curves_figure,
    kl_figure,
    outside_changes,
    outside_points,
)
from ppo_tune.reporting.chapters.hacking.overoptimisation import changes_reading, curves_reading
from ppo_tune.reporting.chapters.hacking.proxies import proxies_figure, proxies_reading
from ppo_tune.reporting.drawing import left_outside
from ppo_tune.reporting.record import StudyRecord
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.search.gold_curve import fit_gold, gold_by_kl, peak_reading

MAX_ROWS = 40
"""Of a table of trials on the page."""

ALL_ROWS = "hacking.csv"
"""The file beside the page that has all of them; see `exploitation.trials_table`."""

TITLE = "Is the reward exploited?"


def chapter(record: StudyRecord) -> Chapter:
    """What the gold judge says, where there is one; else the signs that a hack leaves in the responses."""
    if record.scored.empty:
        return Chapter("hacking", TITLE, ())
    sections = gold_sections(record) if has_gold(record) else (proxies_section(record),)
    return Chapter("hacking", TITLE, sections)


def gold_sections(record: StudyRecord) -> tuple[Section, ...]:
    """Reward against gold: per trial, along training, and over KL."""
    changes = changes_table(record)
    worst = worst_number(record, changes)
    changes = mark_worst(changes, worst)
    reading = changes_reading(changes, worst, record.n_prompts)
    reading += left_outside(outside_changes(changes), "the axes")
    if changes["gold_change"].isna().all():
        return (Section("gold", "Reward up, gold down?", reading),)
    curves = mark_worst(curves_table(record), worst)
    marked = curves[curves["role"] != ""]
    fit, budget = fit_gold(curves), record.config.search.kl_budget
    bins = gold_by_kl(curves, fit)
    sections = [
        Section("gold", "Reward up, gold down?", reading, changes_figure(changes),
                ordered(changes, "gold_change"), max_rows=MAX_ROWS, all_rows=ALL_ROWS),
        Section("gold-kl", "How far is too far?",
                peak_reading(fit, bins, budget) + left_outside(outside_points(curves), "the axes"),
                kl_figure(curves, fit, bins, budget), bins.round(3)),
    ]  # fmt: skip
    if len(marked):
        along = Section("gold-curves", "Along training", curves_reading(marked), curves_figure(marked),
                        marked.drop(columns=["ending", "score_error", "gold_error"]).round(3))  # fmt: skip
        sections.insert(1, along)
    return tuple(sections)


def proxies_section(record: StudyRecord) -> Section:
    """The signs of a hack in the responses of untrained model, default, winner and worst offender."""
    table = proxies_table(record)
    table = mark_worst(table, worst_number(record, table))
    reading = proxies_reading(table, 0 if record.base is None else len(record.base.samples), record.n_prompts)
    marked = table[table["role"] != ""]
    figure = proxies_figure(marked) if len(marked) else None
    rows = ordered(table, "signs", ascending=False)
    return Section("proxies", "Signs in the responses", reading, figure, rows, wide=True, max_rows=MAX_ROWS,
                   all_rows=ALL_ROWS)  # fmt: skip


def mark_worst(table: pd.DataFrame, worst: int | None) -> pd.DataFrame:
    """The table with the worst offender's role filled in, unless it has one already."""
    is_worst = (table["number"] == worst) & (table["role"] == "")
    return table.assign(role=table["role"].mask(is_worst, "worst offender"))


def ordered(table: pd.DataFrame, by: str, *, ascending: bool = True) -> pd.DataFrame:
    """As it stands on the page: the marked rows first, then the others, the most suspicious first."""
    marked, others = table[table["role"] != ""], table[table["role"] == ""]
    return pd.concat([marked, others.sort_values(by, ascending=ascending)]).round(3)
