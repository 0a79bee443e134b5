"""Whether PPO itself was sound: what a good, a middling and a bad trial look like while they are trained."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.reporting.chapters.health.trouble import MIN_ITERATIONS, end_of, signs_of_trouble, start_of
from ppo_tune.reporting.drawing import BLUE, GREY, PURPLE, ROLE_STYLES, layout
from ppo_tune.reporting.record import StudyRecord, metrics_of
from ppo_tune.reporting.section import Chapter, Section
from ppo_tune.search.folders import StudyFolder

PANELS = {
    "objective/score_mean": "score",
    "objective/kl_per_sequence": "KL (nats)",
    "policy/entropy_per_token": "entropy (nats)",
    "policy/clip_fraction": "clip fraction",
    "value/explained_variance": "explained variance",
    "response/tokens_mean": "length (tokens)",
    "response/eos_rate": "EOS rate",
}
"""What is drawn, by its name in metrics.jsonl; KL is per response, entropy per token."""

MAX_POINTS = 100
"""Of a line; more cannot be told apart in a panel."""

STYLES = {
    "winner": (ROLE_STYLES["winner"][0], "solid"),
    "best so far": (ROLE_STYLES["winner"][0], "solid"),
    "best": (ROLE_STYLES["winner"][0], "solid"),
    "default": (ROLE_STYLES["default"][0], "dash"),
    "median": (BLUE, "dashdot"),
    "worst": (PURPLE, "dot"),
}
"""Colour and dash of a line by what its trial is; the dash says the same as the colour."""


@dataclass(frozen=True)
class Course:
    """What was logged of one trial while it was trained.

    Attributes:
        role: What the trial is among the others: winner, best so far, best, default, median or worst.
        number: Of the trial.
        lines: One row per iteration: episodes, policy/optimizer_steps and the metrics of `PANELS`; NaN where one
            was not finite.
    """

    role: str
    number: int
    lines: pd.DataFrame

    @property
    def name(self) -> str:
        """How the trial is called on the page."""
        return f"trial {self.number} ({self.role})"


def chapter(record: StudyRecord) -> Chapter:
    """The courses of a few trials, and what is unhealthy about them."""
    return Chapter(
        "dynamics", "Inside the training", _sections(record), in_summary="nothing", is_pictured=False
    )


def _sections(record: StudyRecord) -> tuple[Section, ...]:
    courses = read_courses(record)
    if not courses:
        return ()
    config, budget = record.config.ppo, record.config.search.kl_budget
    reading, figure = dynamics_reading(courses, config, budget), dynamics_figure(courses, config, budget)
    return (Section("ppo", "", reading, figure, dynamics_table(courses)),)


def read_courses(record: StudyRecord) -> list[Course]:
    """The winner, the default, and the median and the worst of the scored trials whose metrics are there.

    Without a winner, the trial with the highest score takes its place.
    """
    courses = []
    for role, trial in choose_trials(record).items():
        lines = pd.DataFrame(
            metrics_of(record, trial), columns=["episodes", "policy/optimizer_steps", *PANELS]
        ).astype(float)
        courses.append(Course(role, trial.number, lines))
    return [course for course in courses if len(course.lines)]


def choose_trials(record: StudyRecord) -> dict[str, FrozenTrial]:
    """Which trials are shown, each once, by what they are among the others; the median is the most middling other."""
    trials = {trial.number: trial for trial in record.trials}
    ranked = [
        number
        for number in record.scored.sort_values(["score", "number"], ascending=[False, True])["number"]
        if StudyFolder(record.folder).trial(number).metrics.is_file()
    ]
    if not ranked:
        return {}
    won = record.winner is not None and record.winner.number in ranked
    first = record.winner.number if won and record.winner is not None else ranked[0]
    chosen = {record.best_role if won else "best": first}
    if record.baseline is not None and record.baseline.number in ranked and record.baseline.number != first:
        chosen["default"] = record.baseline.number
    middle = [place for place, number in enumerate(ranked[:-1]) if number not in chosen.values()]
    if middle:
        chosen["median"] = ranked[min(middle, key=lambda place: abs(place - len(ranked) // 2))]
    if ranked[-1] not in chosen.values():
        chosen["worst"] = ranked[-1]
    return {role: trials[number] for role, number in chosen.items()}


def dynamics_table(courses: list[Course]) -> pd.DataFrame:
    """How each metric began and ended: number, role, measure, start, end, lowest, highest."""
    rows = []
    for course in courses:
        for name, measure in PANELS.items():
            values = course.lines[name]
            rows.append({
                "number": course.number, "role": course.role, "measure": measure, "start": start_of(values),
                "end": end_of(values), "lowest": values.min(), "highest": values.max(),
            })  # fmt: skip
    return pd.DataFrame(rows)


def dynamics_figure(courses: list[Course], config: PPOConfig, kl_budget: float) -> go.Figure:
    """Small multiples: one panel per metric, one line per trial, against episodes."""
    figure = make_subplots(
        rows=4, cols=2, subplot_titles=list(PANELS.values()), shared_xaxes=True, vertical_spacing=0.07,
        horizontal_spacing=0.15,
    )  # fmt: skip
    for i, name in enumerate(PANELS):
        row, column = i // 2 + 1, i % 2 + 1
        for course in courses:
            colour, dash = STYLES[course.role]
            width = 2.5 if course.role in ("winner", "best so far") else 1.75
            line = thin(course.lines[["episodes", name]])
            heights = [float(f"{value:.4g}") for value in line[name]]
            figure.add_scatter(
                x=line["episodes"].astype(int).tolist(), y=heights, mode="lines",
                name=course.name, legendgroup=course.role, showlegend=i == 0, row=row, col=column,
                line={"color": colour, "dash": dash, "width": width},
                hovertemplate=f"{course.name}<br>%{{x:,}} episodes: %{{y:.3g}}<extra></extra>",
            )  # fmt: skip
    lines = pd.concat([course.lines for course in courses])
    limits = {1: kl_budget, 4: 0.0, 5: float(config.max_new_tokens)}
    for i, limit in limits.items():
        if limit > max(1.5 * lines[list(PANELS)[i]].max(), 0.0):
            continue  # so far off that it would flatten the lines
        figure.add_hline(
            y=limit, row=i // 2 + 1, col=i % 2 + 1, line={"color": GREY, "dash": "dot", "width": 1}
        )
    layout(figure, None, None)
    figure.update_annotations(font={"size": 13})
    figure.update_xaxes(range=[0, config.episodes], nticks=4, tickangle=0, tickfont_size=11)
    for row, column in ((4, 1), (3, 2)):
        figure.update_xaxes(title_text="episodes", showticklabels=True, row=row, col=column)
    figure.update_yaxes(nticks=4, tickfont_size=11, rangemode="normal")
    figure.update_layout(height=820, hovermode="closest", legend={"y": 1.06})
    return figure


def dynamics_reading(courses: list[Course], config: PPOConfig, kl_budget: float) -> str:
    """What is unhealthy about the trials shown, with its value; or that nothing is."""
    most = max(len(course.lines) for course in courses)
    point = (
        "an iteration"
        if most <= MAX_POINTS
        else f"the mean of up to {math.ceil(most / MAX_POINTS)} iterations"
    )
    words = f"A point is {point}; dotted lines are the KL budget, zero and the length limit."
    troubled = {course.name: signs_of_trouble(course.lines, config, kl_budget) for course in courses}
    found = [f"{name[0].upper()}{name[1:]}: {'; '.join(signs)}." for name, signs in troubled.items() if signs]
    short = [course.name for course in courses if len(course.lines) < MIN_ITERATIONS]
    if short:
        found.append(
            f"Too few iterations (fewer than {MIN_ITERATIONS}) to say whether training was sound: {', '.join(short)}."
        )
    sound = [course.name for course in courses if course.name not in short and not troubled[course.name]]
    if sound and len(sound) == len(courses):
        found.append(
            "None of these trials shows a sign of trouble: KL, entropy, clip fraction, explained variance, length and "
            "EOS rate stay within bounds."
        )
    return " ".join([words, *found])


def thin(lines: pd.DataFrame) -> pd.DataFrame:
    """Means over neighbouring rows, so many that no more than `MAX_POINTS` are left."""
    if len(lines) <= MAX_POINTS:
        return lines
    return lines.groupby(np.arange(len(lines)) * MAX_POINTS // len(lines)).mean()
