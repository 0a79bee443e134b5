# mypy: ignore-errors
"""Random streams named by a seed and a purpose."""

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ppo_tune.seeding import derive_seed, generator

parts = st.lists(st.integers(-5, 10**12) | st.from_regex(r"[a-z_]+", fullmatch=True), min_size=1, max_size=4)


@given(parts)
def test_a_seed_has_63_bits(stream):
    seed = derive_seed(*stream)

    assert 0 <= seed < 2**63


@given(parts, parts)
def test_different_streams_have_different_seeds(one, other):
    assume(one != other)

    assert derive_seed(*one) != derive_seed(*other)


def test_the_order_of_the_parts_matters():
    assert derive_seed(1, 2) != derive_seed(2, 1)


def test_two_neighbouring_numbers_are_not_one():
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_a_stream_is_the_same_in_every_process_on_every_machine():
    # printf '7/17/rollout' | sha256sum begins with d24389755db02a75; its first 63 bits
    assert derive_seed(7, 17, "rollout") == 0xD24389755DB02A75 // 2


def test_a_stream_starts_anew_each_time_it_is_asked_for():
    first, second = generator(0, "init"), generator(0, "init")

    drawn = torch.rand(4, generator=first)

    assert drawn.equal(torch.rand(4, generator=second))


def test_another_purpose_draws_other_numbers():
    drawn = torch.rand(4, generator=generator(0, "init"))

    assert not drawn.equal(torch.rand(4, generator=generator(0, "rollout")))


def test_a_stream_leaves_the_global_one_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)

    torch.rand(4, generator=generator(0, "init"))

    assert torch.rand(4).equal(expected)
