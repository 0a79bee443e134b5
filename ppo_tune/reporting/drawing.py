"""What all figures share: colours, marks and margins.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; a mark's shape says the same
as its colour. Backgrounds are left out, so that the page decides between light and dark.
"""

from collections.abc import Mapping

import pandas as pd
from plotly import graph_objects as go

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C8C8C",
)  # fmt: skip

ENDING_COLOURS: Mapping[str, str] = {
    "completed": BLUE, "pruned": GREY, "kl_limit": ORANGE, "diverged": RED, "reward_error": PURPLE,
    "out_of_memory": PURPLE, "crashed": PURPLE, "running": SKY,
}  # fmt: skip
ROLE_STYLES: Mapping[str, tuple[str, str]] = {"winner": (GREEN, "star"), "default": (RED, "diamond")}


def add_roles(figure: go.Figure, frame: pd.DataFrame, x: str, y: str) -> None:
    """Mark winner and default on top of everything."""
    for role, (colour, symbol) in ROLE_STYLES.items():
        part = frame[frame["role"] == role]
        figure.add_scatter(
            x=part[x], y=part[y], mode="markers", name=role,
            marker={"color": colour, "symbol": symbol, "size": 15, "line": {"color": "white", "width": 1}},
            customdata=part["number"], hovertemplate=f"{role}, trial %{{customdata}}<extra></extra>",
        )  # fmt: skip


def layout(figure: go.Figure, x_title: str | None, y_title: str | None) -> go.Figure:
    """What all figures share; colours of text and grid are the page's business."""
    figure.update_layout(
        template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", height=400,
        font={"family": "system-ui, sans-serif", "size": 13}, margin={"l": 60, "r": 20, "t": 20, "b": 55},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
    )  # fmt: skip
    figure.update_xaxes(zeroline=False, automargin=True)
    figure.update_yaxes(zeroline=False, automargin=True)
    if x_title is not None:
        figure.update_xaxes(title_text=x_title)
    if y_title is not None:
        figure.update_yaxes(title_text=y_title)
    return figure


def short(value: object) -> str:
    """A value with the digits that matter."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
