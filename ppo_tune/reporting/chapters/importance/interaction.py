"""Whether the best value of one hyperparameter depends on another, for the two that matter most."""

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from ppo_tune.reporting.analysis.evidence import Sample
from ppo_tune.reporting.axes import Axis
from ppo_tune.reporting.drawing import ROLE_STYLES, fences, layout, roles_in
from ppo_tune.reporting.section import Section

MIN_TRIALS = 20
"""With fewer, two hyperparameters at once are beyond what trials can show."""

CELLS = 12
"""Into how many the range of a number is divided."""

GROUPS = 3
"""Into how many groups of equal size a number divides the trials, to ask whether two depend on each other."""

SHUFFLES = 999
"""Shuffled remainders behind the probability."""

MAX_POINTS = 300
"""Trials on top of the contour."""

LEVEL = 0.05
"""Combinations that explain what shuffled remainders explain less often than this are no chance."""


def sections(sample: Sample, pair: tuple[str, str], points: pd.DataFrame, seed: int) -> list[Section]:
    """Whether two hyperparameters depend on each other, with a contour if they do; nothing with too few trials.

    Args:
        sample: The trials with their scores.
        pair: Names of the two.
        points: The same trials: number, role.
        seed: Of the shuffles.
    """
    names = [axis.name for axis in sample.axes]
    both, title = (names.index(pair[0]), names.index(pair[1])), f"{pair[0]} and {pair[1]} together"
    is_searched = ~np.isnan(sample.places[:, both]).any(axis=1)
    if is_searched.sum() < MIN_TRIALS:
        return []
    sample, points = sample.searching(*both), points[is_searched]
    alone, added, chance = explained(sample, both, seed)
    reading = interaction_reading(pair, len(sample.target), alone, added, chance)
    if chance >= LEVEL:
        return [Section("interaction", title, reading)]
    figure, table = interaction_figure(sample, both, points), interaction_table(sample, both)
    return [Section("interaction", title, reading, figure, table, decimals={"trials": 1})]


def smoothed(sample: Sample, pair: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The mean score in the cells of two axes, smoothed over neighbouring values, and the weight of the trials there.

    A trial's weight falls with its distance by a normal curve as wide as Scott's rule says for two numbers; between
    choices nothing is smoothed. Scores far out count as the fence does. Cells that hold less than one trial's
    weight are NaN.

    Returns:
        Both of shape (cells of the first axis, cells of the second).
    """
    scores = sample.target.clip(*fences(pd.Series(sample.target)))
    first, second = (
        _nearness(sample.axes[j], cell_middles(sample.axes[j]), sample.places[:, j]) for j in pair
    )
    trials = first @ second.T
    return np.where(trials >= 1, (first * scores) @ second.T / np.maximum(trials, 1e-9), np.nan), trials


def interaction_table(sample: Sample, pair: tuple[int, int]) -> pd.DataFrame:
    """The cells of `smoothed` that are not blank.

    Columns: the two hyperparameters (values in the middle of a cell; choices as text), score, trials (their weight).
    """
    x_axis, y_axis = (sample.axes[j] for j in pair)
    x, y = cell_middles(x_axis), cell_middles(y_axis)
    scores, trials = smoothed(sample, pair)
    return pd.DataFrame(
        [
            (_value(x_axis, x[a]), _value(y_axis, y[b]), scores[a, b], trials[a, b])
            for a, b in np.argwhere(trials >= 1)
        ],
        columns=[x_axis.name, y_axis.name, "score", "trials"],
    )


def cell_middles(axis: Axis) -> np.ndarray:
    """Where the cells of an axis have their middles: every value of a few, else evenly from end to end."""
    if axis.choices or 0 < axis.n_values <= CELLS:
        return np.linspace(0, 1, axis.n_values) if axis.n_values > 1 else np.array([0.5])
    return np.linspace(0, 1, CELLS)


def _nearness(axis: Axis, middles: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How much each trial counts in each cell; shape (cells, n)."""
    apart = middles[:, np.newaxis] - places
    if axis.choices:
        return np.asarray(np.abs(apart) < 1e-9, dtype=float)
    width = np.sqrt(1 / 12) * len(places) ** (-1 / 6)  # 1 / 12 is the variance of a uniform draw
    return np.asarray(np.exp(-0.5 * (apart / width) ** 2))


def _value(axis: Axis, place: float) -> object:
    return str(axis.value_at(place)) if axis.choices else axis.value_at(place)


def explained(sample: Sample, pair: tuple[int, int], seed: int) -> tuple[float, float, float]:
    """What two hyperparameters explain of the score: each by itself, what their combination adds, and its chance.

    Trials are put into groups by each; a sum of one number for each group is fitted first, then a number for each
    combination. The chance is how often that adds as much when what the sum leaves over is shuffled (Freedman and
    Lane, 1983).

    Returns:
        Share of variance by the sum, share that the combination adds, and the probability of as much by chance.
    """
    groups = [_groups(sample.axes[j], sample.places[:, j]) for j in pair]
    one_hot = [group[:, np.newaxis] == np.unique(group) for group in groups]
    alone = _basis(np.concatenate(one_hot, axis=1).astype(float))
    combined = (one_hot[0][:, :, np.newaxis] & one_hot[1][:, np.newaxis]).reshape(len(sample.target), -1)
    together = _basis(combined.astype(float))
    scores = sample.target.clip(*fences(pd.Series(sample.target)))
    total = float(((scores - scores.mean()) ** 2).sum())
    left = scores - alone @ (alone.T @ scores)
    if total <= 0 or left @ left <= 1e-9 * total:
        return float(total > 0), 0.0, 1.0
    rng = np.random.default_rng(seed)
    versions = np.stack([left, *(rng.permutation(left) for _ in range(SHUFFLES))])
    rests = versions - versions @ alone @ alone.T
    gains = ((rests @ together) ** 2).sum(axis=1) / (rests**2).sum(axis=1)
    chance = float(np.mean(gains >= gains[0] - 1e-9))
    return 1 - float(left @ left) / total, float(gains[0] * (left @ left)) / total, chance


def _groups(axis: Axis, places: np.ndarray) -> np.ndarray:
    """The group of each trial: its choice, or the third of the trials that its number falls into."""
    if axis.choices:
        return places
    return np.searchsorted(np.quantile(places, np.arange(1, GROUPS) / GROUPS), places)


def _basis(columns: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span the same."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * sizes[0]])


def interaction_reading(pair: tuple[str, str], n: int, alone: float, added: float, chance: float) -> str:
    """Whether the two depend on each other, and how far that can be trusted."""
    first, second = pair
    verdict, colours = (
        f"No sign that the best {second} depends on {first}; a weak dependence would not show.",
        "",
    )
    if chance < LEVEL:
        verdict = f"Which {second} is best depends on {first}: choose them together."
        colours = " Colours are means over neighbouring trials, blank where there are none."
    return (
        f"{verdict} Each by itself, they explain {100 * alone:.0f} % of the variance of the score over {n} trials, "
        f"those beyond the KL budget being the worst, and their combination {100 * added:.0f} % more; shuffling does "
        f"as much in {100 * chance:.0f} % of cases.{colours}"
    )


def interaction_figure(sample: Sample, pair: tuple[int, int], points: pd.DataFrame) -> go.Figure:
    """Mean score over two hyperparameters, with the trials on top; lines between numbers, cells between choices."""
    x_axis, y_axis = (sample.axes[j] for j in pair)
    figure = go.Figure()
    trace = go.Heatmap if x_axis.choices or y_axis.choices else go.Contour
    figure.add_trace(trace(
        x=cell_middles(x_axis), y=cell_middles(y_axis), z=smoothed(sample, pair)[0].T.round(4), name="mean score",
        colorscale="Cividis", colorbar={"title": {"text": "score"}, "thickness": 12}, hoverinfo="skip",
        **({} if trace is go.Heatmap else {"ncontours": 8}),
    ))  # fmt: skip
    add_points(figure, sample, pair, points)
    layout(figure, x_axis.name, y_axis.name)
    for update, axis in ((figure.update_xaxes, x_axis), (figure.update_yaxes, y_axis)):
        at, names = axis.ticks()
        update(tickvals=at, ticktext=names, range=[-0.04, 1.04] if not axis.choices else None, showgrid=False)
    return figure.update_layout(hovermode="closest", height=440)


def add_points(figure: go.Figure, sample: Sample, pair: tuple[int, int], points: pd.DataFrame) -> None:
    """The trials on top, not all if they are many; winner and default last."""
    places, axes = sample.places[:, pair], [sample.axes[j] for j in pair]
    every = max(1, -(-len(points) // MAX_POINTS))
    for role in ("", *roles_in(points)):
        chosen = np.flatnonzero(points["role"] == role)[:: 1 if role else every]
        colour, symbol = ROLE_STYLES.get(role, ("rgba(255, 255, 255, 0.75)", "circle"))
        said = [
            "<br>".join(
                f"{axis.name} {axis.text_at(place)}" for axis, place in zip(axes, places[i], strict=True)
            )
            + f"<br>score {sample.target[i]:.3f}"
            for i in chosen
        ]
        figure.add_scatter(
            x=places[chosen, 0].round(4), y=places[chosen, 1].round(4), mode="markers", name=role or "trials",
            marker={"color": colour, "symbol": symbol, "size": 15 if role else 6,
                    "line": {"color": "white" if role else "black", "width": 1}},
            showlegend=bool(role) and len(chosen) > 0, text=said, customdata=points["number"].iloc[chosen],
            hovertemplate="trial %{customdata}<br>%{text}<extra></extra>",
        )  # fmt: skip
