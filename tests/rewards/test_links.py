"""From what a head says to one number: by the reference's numbers, and with a slope where a probability has none."""

import math

import pytest
import torch
from torch.testing import assert_close

from ppo_tune.errors import ModelError
from ppo_tune.rewards.links import Link

GOOD = Link(("bad", "fair", "good"), good=2)
ORDERED = Link(("bad", "fair", "good"), (-1.0, 1.0), 2)
THUMBS = Link(("false", "true"), (0.0,), 1)
SAID = torch.tensor([[0.2, 0.5, 1.1]], dtype=torch.double)


def test_classes_without_an_order_are_read_as_published() -> None:
    assert GOOD.log_probs(SAID).exp()[0].tolist() == pytest.approx([0.207923, 0.280667, 0.511409], abs=5e-7)
    assert GOOD.read(SAID, "score").item() == pytest.approx(0.045645, rel=0, abs=5e-7)
    assert GOOD.expected(SAID).item() == pytest.approx(0.651743, rel=0, abs=5e-7)
    assert GOOD.read(SAID, "probability").item() == pytest.approx(0.511409, rel=0, abs=5e-7)


def test_ordered_classes_are_read_by_their_latent_score_unless_asked() -> None:
    said = torch.tensor([[0.3]], dtype=torch.double)

    assert ORDERED.outputs == 1
    assert ORDERED.read(said, "score").item() == 0.3
    assert ORDERED.read(said, "probability").item() == pytest.approx(0.331812, rel=0, abs=5e-7)
    assert ORDERED.read(said, "expected").item() == pytest.approx(1.117647 / 2, rel=0, abs=5e-7)


@pytest.mark.parametrize("link", [THUMBS, ORDERED, GOOD, Link()])
def test_a_score_still_tells_20_from_21_where_a_probability_does_not(link: Link) -> None:
    low, high = (torch.zeros(1, link.outputs) for _ in range(2))
    low[0, -1], high[0, -1] = 20.0, 21.0

    assert (link.read(high, "score") - link.read(low, "score")).item() == pytest.approx(1.0, abs=1e-4)
    if link.classes:
        assert (link.read(high, "probability") - link.read(low, "probability")).item() < 1e-6


def test_the_logarithm_of_a_probability_cancels_nowhere() -> None:
    assert THUMBS.read(torch.tensor([[-80.0]]), "log_probability").item() == -80.0


def test_attributes_are_read_as_their_mean_or_alone() -> None:
    link, said = Link(attributes=("true", "kind")), torch.tensor([[1.0, 3.0]])

    assert link.outputs == 2
    assert link.read(said, "score").item() == 2.0
    assert_close(link.of_attribute("kind").read(said, "score"), torch.tensor([3.0]))


@pytest.mark.parametrize(
    ("link", "how", "told"),
    [
        (
            Link(),
            "probability",
            "m has scores and no classes, so it has no probability of one; leave out `reads: ",
        ),
        (
            GOOD,
            "expected",
            "m has classes without an order, so nothing is expected between them; read another",
        ),
    ],
)
def test_what_a_model_does_not_know_is_not_read(link: Link, how: str, told: str) -> None:
    with pytest.raises(ModelError) as caught:
        link.check(how, "m")  # type: ignore[arg-type]

    assert str(caught.value).startswith(told)


def test_an_attribute_that_is_not_rated_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        Link(attributes=("true", "kind")).of_attribute("short")

    assert str(caught.value) == "`label` must be one of the attributes it rates, true, kind, but got 'short'"


def test_of_two_classes_the_expected_value_is_the_probability() -> None:
    said = torch.tensor([[0.4], [-3.0]])

    assert_close(THUMBS.read(said, "expected"), THUMBS.read(said, "probability"))
    assert THUMBS.read(said, "probability")[0].item() == pytest.approx(1 / (1 + math.exp(-0.4)))


def test_the_class_to_be_reached_is_that_of_the_fit() -> None:
    with pytest.raises(ModelError) as caught:
        GOOD.of_attribute("bad")

    assert str(caught.value) == "its class to be reached is 'good', by the fit; leave out `label`"
