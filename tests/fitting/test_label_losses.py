"""The losses of labels: the reference's numbers to all printed digits, and what holds of any numbers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax
from torch.testing import assert_close

from ppo_tune.fitting.label_losses import Ties, class_loss, pair_log_probs, pair_loss, rating_loss
from ppo_tune.rewards.links import ordered_log_probs

LEADS = st.lists(st.floats(-60, 60), min_size=1, max_size=5).map(
    lambda x: torch.tensor(x, dtype=torch.double)
)
NO_TIE = torch.tensor([False])
MODELS: list[tuple[Ties, float]] = [("rao_kupper", math.log(2)), ("davidson", 0.0)]


def number(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.double)


@pytest.mark.parametrize(
    ("lead", "expected", "tolerance"),
    [
        pytest.param(0.0, 0.693147, 5e-7, id="V10 undecided"),
        pytest.param(1.0, 0.313262, 5e-7, id="V10 right"),
        pytest.param(-1.0, 1.313262, 5e-7, id="V10 wrong"),
        pytest.param(-50.0, 50.0, 1e-12, id="V10 surely wrong"),
        pytest.param(50.0, 1.93e-22, 5e-25, id="V10 surely right"),
        pytest.param(-1e4, 1e4, 0.0, id="out of reach of exp"),
    ],
)
def test_the_loss_of_a_pair_is_as_published(lead: float, expected: float, tolerance: float) -> None:
    loss = pair_loss(pair_log_probs(number(lead), "half"), NO_TIE)

    assert loss.item() == pytest.approx(expected, rel=0.0, abs=tolerance)


@given(LEADS)
def test_the_loss_of_a_pair_is_the_cross_entropy_of_its_lead(leads: torch.Tensor) -> None:
    loss = pair_loss(pair_log_probs(leads, "half"), torch.zeros(len(leads), dtype=torch.bool))

    expected = binary_cross_entropy_with_logits(leads, torch.ones_like(leads), reduction="none")
    assert_close(loss, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("ties", "parameter", "win", "lose", "tie"),
    [
        ("rao_kupper", math.log(2), 0.526688, 0.183450, 0.289862),
        ("davidson", 0.0, 0.471776, 0.211983, 0.316241),
    ],
)
def test_models_that_know_ties_are_as_published(
    ties: Ties, parameter: float, win: float, lose: float, tie: float
) -> None:
    found = pair_log_probs(number(0.8), ties, torch.tensor(parameter, dtype=torch.double)).exp()

    assert found[0].tolist() == pytest.approx([win, lose, tie], rel=0, abs=5e-7)


@pytest.mark.parametrize(
    ("lead", "tied", "noise", "expected"),
    [(0.8, True, 0.0, 0.771101), (0.0, True, 0.0, math.log(2)), (0.8, False, 0.1, 0.451101)],
    ids=["a tie", "an even tie", "noise"],
)
def test_half_a_win_of_each_and_noise_are_as_published(
    lead: float, tied: bool, noise: float, expected: float
) -> None:
    loss = pair_loss(pair_log_probs(number(lead), "half"), torch.tensor([tied]), noise)

    assert loss.item() == pytest.approx(expected, rel=0, abs=5e-7)


@given(LEADS, st.sampled_from(MODELS), st.floats(0.05, 3))
def test_a_pair_ends_in_one_of_three_ways_and_its_loss_has_a_slope_however_large_the_lead(
    leads: torch.Tensor, model: tuple[Ties, float], parameter: float
) -> None:
    leads = leads.clone().requires_grad_(True)

    found = pair_log_probs(leads, model[0], torch.tensor(parameter, dtype=torch.double))

    assert_close(found.exp().sum(-1), torch.ones(len(leads), dtype=torch.double))
    for column in found.unbind(-1):
        (slope,) = torch.autograd.grad(column.sum(), leads, retain_graph=True)
        assert slope.isfinite().all()
    (slope,) = torch.autograd.grad(found[:, 1].sum(), leads)
    assert (slope.abs() > 0.4)[leads > 10].all()  # who is surely wrong learns


def test_a_pair_turned_round_has_the_probabilities_turned_round() -> None:
    for ties, parameter in MODELS:
        one, other = (
            pair_log_probs(number(lead), ties, torch.tensor(parameter, dtype=torch.double))[0]
            for lead in (0.7, -0.7)
        )
        assert_close(one[[1, 0, 2]], other)


@pytest.mark.parametrize(
    ("error", "huber", "expected"), [(1.5, True, 1.0), (1.5, False, 1.125), (-0.5, True, 0.125)]
)
def test_the_loss_of_a_rating_is_as_published(error: float, huber: bool, expected: float) -> None:
    assert rating_loss(torch.tensor([[error]]), torch.zeros(1, 1), huber=huber).item() == expected


def test_a_missing_rating_costs_nothing_and_teaches_nothing() -> None:
    said = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)

    loss = rating_loss(said, torch.tensor([[0.0, math.nan], [math.nan, math.nan]]))
    loss.sum().backward()

    assert loss.tolist() == [0.5, 0.0]
    assert said.grad is not None
    assert said.grad.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_ordered_classes_are_as_published() -> None:
    found = ordered_log_probs(number(0.3), torch.tensor([-1.0, 1.0], dtype=torch.double))

    assert found.exp()[0].tolist() == pytest.approx([0.214165, 0.454023, 0.331812], rel=0, abs=5e-7)
    assert (found.exp()[0] @ torch.arange(3, dtype=torch.double)).item() == pytest.approx(1.117647, abs=5e-7)
    assert class_loss(found, torch.tensor([2])).item() == pytest.approx(1.103186, rel=0, abs=5e-7)


def test_classes_without_an_order_are_as_published() -> None:
    found = log_softmax(torch.tensor([[0.2, 0.5, 1.1]], dtype=torch.double), -1)

    assert class_loss(found, torch.tensor([2])).item() == pytest.approx(0.6705852, rel=0, abs=5e-8)


@given(LEADS, st.lists(st.floats(0.01, 5), min_size=1, max_size=4))
def test_ordered_classes_add_up_and_have_a_slope_everywhere(leads: torch.Tensor, gaps: list[float]) -> None:
    leads = leads.clone().requires_grad_(True)
    thresholds = torch.tensor([-1.0, *gaps], dtype=torch.double).cumsum(0)

    found = ordered_log_probs(leads, thresholds)

    assert_close(found.exp().sum(-1), torch.ones(len(leads), dtype=torch.double))
    assert found.isfinite().all()
    (slope,) = torch.autograd.grad(found[:, 0].sum(), leads)
    assert (slope < -0.9)[leads > 20].all()  # the worst class against a score that is far too high
