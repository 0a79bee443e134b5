"""Reductions over the real tokens of each trial, (..., B, T) -> (...), and what is scaled by them.

Token values `x` have shape (..., B, T), and so has their mask, True at real tokens; padding may hold anything. A
masked value is replaced, never multiplied by zero: NaN times zero is NaN.
"""

import torch
from torch import Tensor

EPSILON = 1e-8
"""Added to a variance before its square root."""


def masked_sum(x: Tensor, mask: Tensor) -> Tensor:
    """Sum over the real tokens of each trial, shape (...)."""
    return torch.where(mask, x, 0.0).sum((-2, -1))


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens of each trial, shape (...); NaN where a trial has no real token at all."""
    return masked_sum(x, mask) / mask.sum((-2, -1))


def masked_variance(x: Tensor, mask: Tensor) -> Tensor:
    """Population variance over the real tokens of each trial, shape (...); exactly 0 where a trial is constant."""
    return masked_mean(_deviations(x, mask).square(), mask)


def standardize(x: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale the real tokens of each trial to mean 0 and (population) variance 1; zero at padding.

    A constant trial, and one with a single token, becomes 0. See `rescale` for keeping the mean.
    """
    deviations = _deviations(x, mask)
    variance = masked_mean(deviations.square(), mask)[..., None, None]
    return torch.where(mask, deviations * (variance + EPSILON).rsqrt(), 0.0)


def rescale(x: Tensor, mask: Tensor) -> Tensor:
    """Scale the deviations of each trial's real tokens to variance 1 and keep their mean; zero at padding."""
    mean = masked_mean(x, mask)[..., None, None]
    return torch.where(mask, standardize(x, mask) + mean, 0.0)


def _deviations(x: Tensor, mask: Tensor) -> Tensor:
    """Each real token's distance from the mean of its trial, shape (..., B, T), zero at padding.

    Measured from the largest value first: the mean of equal numbers is not always that number, and dividing
    the rounding error by a vanishing spread would make noise of a constant.
    """
    largest = torch.where(mask, x, -torch.inf).detach().amax((-2, -1), keepdim=True)
    shifted = torch.where(mask, x - largest, 0.0)
    return torch.where(mask, shifted - masked_mean(shifted, mask)[..., None, None], 0.0)
