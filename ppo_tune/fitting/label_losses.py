"""The losses of reward models, one per kind of label, as pure functions on tensors.

N rows, K classes. f is what a head says of a response, Δ = f(first) - f(second) of a pair, σ the logistic function.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Ties = Literal["half", "rao_kupper", "davidson"]
"""What a tie is: half a win of each, or an outcome with a probability of its own."""


def pair_log_probs(lead: Tensor, ties: Ties, tie_parameter: Tensor | None = None) -> Tensor:
    """Log-probabilities that the first response of a pair wins, that the second does, and that neither.

    Bradley–Terry: σ(Δ), σ(-Δ); a tie counts half a win of each, so its place holds the mean of their logarithms.
    Rao–Kupper: σ(Δ - ln θ), σ(-Δ - ln θ) and the rest. Davidson: proportional to e^Δ, 1 and ν e^(Δ/2).

    Args:
        lead: Δ, shape (N,).
        ties: What a tie is.
        tie_parameter: ln θ > 0, or ln ν, a scalar; None for half.

    Returns:
        Shape (N, 3).

    References:
        Rao and Kupper, 1967, "Ties in Paired-Comparison Experiments"; Davidson, 1970, "On Extending the Bradley-Terry
        Model to Accommodate Ties in Paired Comparison Experiments".
    """
    if ties == "half" or tie_parameter is None:
        win, lose = functional.logsigmoid(lead), functional.logsigmoid(-lead)
        return torch.stack([win, lose, (win + lose) / 2], -1)
    if ties == "rao_kupper":
        win, lose = functional.logsigmoid(lead - tie_parameter), functional.logsigmoid(-lead - tie_parameter)
        # 1 - σ(a) - σ(b) = σ(a) σ(b) (e^-(a+b) - 1), and a + b = -2 ln θ
        tie = win + lose + torch.log(torch.expm1(2 * tie_parameter))
        return torch.stack([win, lose, tie], -1)
    logits = torch.stack([lead, torch.zeros_like(lead), lead / 2 + tie_parameter], -1)
    return functional.log_softmax(logits, -1)


def pair_loss(log_probs: Tensor, tied: Tensor, noise: float = 0.0) -> Tensor:
    """-log p of what was chosen, where a share of the labels is the wrong way round.

    -(1 - ε) log p(win) - ε log p(lose), or -log p(tie).

    Args:
        log_probs: That the first, which was chosen, wins, loses or neither: shape (N, 3).
        tied: Whether neither was chosen, (N,).
        noise: ε, from 0 to below 1/2.

    Returns:
        Shape (N,).
    """
    win, lose, tie = log_probs.unbind(-1)
    return torch.where(tied, -tie, -(1 - noise) * win - noise * lose)


def rating_loss(said: Tensor, ratings: Tensor, *, huber: bool = False) -> Tensor:
    """½ e² of each rating, or ½ e² up to |e| = 1 and |e| - ½ beyond; summed over attributes, NaN being none.

    Args:
        said: What the head says of each attribute, (N, A).
        ratings: The same in units of their standard deviation, NaN where missing.
        huber: Whether the loss is linear beyond an error of 1.

    Returns:
        Shape (N,).
    """
    known = ~ratings.isnan()
    error = torch.where(known, said - ratings.nan_to_num(), 0.0)
    size = error.abs()
    loss = torch.where(size <= 1, error.square() / 2, size - 0.5) if huber else error.square() / 2
    return loss.sum(-1)


def class_loss(log_probs: Tensor, classes: Tensor) -> Tensor:
    """-log p of each row's class.

    Args:
        log_probs: Shape (N, K).
        classes: Numbers from 0, (N,).

    Returns:
        Shape (N,).
    """
    return -log_probs.gather(-1, classes.unsqueeze(-1)).squeeze(-1)
