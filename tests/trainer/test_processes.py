# mypy: ignore-errors
"""One process alone, and how the rows of many come together; real processes: equivalence/test_processes.py."""

import pytest
import torch
from torch import Tensor

from ppo_tune.errors import ConfigError
from ppo_tune.trainer.processes import AcceleratedProcesses, ProcessGroup


class FakeAccelerator:
    """One of several processes; `gather` gives the rows of all, one process after the other."""

    process_index = 1

    def __init__(self, *everyone: Tensor) -> None:
        self.everyone = everyone
        self.num_processes = len(everyone)

    def gather(self, rows: Tensor) -> Tensor:
        assert torch.equal(rows, self.everyone[self.process_index])
        assert rows.is_contiguous()
        return torch.cat(self.everyone)


def test_alone_there_is_nothing_to_share():
    processes, rows = ProcessGroup(), torch.arange(6).view(3, 2)
    total = rows.clone()

    processes.add_up(total)

    assert (processes.rank, processes.size) == (0, 1)
    assert torch.equal(processes.gather(rows), rows)
    assert torch.equal(total, rows)


def test_a_process_knows_its_rank_and_how_many_there_are():
    processes = AcceleratedProcesses(FakeAccelerator(torch.zeros(1), torch.zeros(1), torch.zeros(1)))

    assert (processes.rank, processes.size) == (1, 3)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)], ids=["numbers", "vectors", "matrices"])
def test_rows_come_back_in_the_order_they_were_dealt_out(size, shape):
    rows = torch.randn(6, *shape)
    accelerator = FakeAccelerator(*(rows[rank::size] for rank in range(size)))
    accelerator.process_index = size - 1
    processes = AcceleratedProcesses(accelerator)

    assert torch.equal(processes.gather(rows[processes.rank :: processes.size]), rows)


def test_rows_that_are_not_contiguous_are_made_so_before_they_travel():
    rows = torch.arange(12).view(3, 4).T
    processes = AcceleratedProcesses(FakeAccelerator(rows[0::2].contiguous(), rows[1::2].contiguous()))

    assert torch.equal(processes.gather(rows[1::2]), rows)


def test_a_team_of_one_adds_nothing_up():
    accelerator = FakeAccelerator(torch.zeros(1))
    accelerator.process_index = 0
    total = torch.tensor([2.0])

    AcceleratedProcesses(accelerator).add_up(total)

    assert total.tolist() == [2.0]


@pytest.mark.parametrize("rows", [2, 4, 64])
def test_rows_that_can_be_shared_out_evenly_are_accepted(rows):
    processes = AcceleratedProcesses(FakeAccelerator(torch.zeros(1), torch.zeros(1)))

    processes.check_divides("ppo.batch_size", rows)


def test_rows_that_cannot_be_shared_out_evenly_are_refused():
    processes = AcceleratedProcesses(FakeAccelerator(torch.zeros(1), torch.zeros(1)))

    with pytest.raises(ConfigError) as caught:
        processes.check_divides("ppo.batch_size", 7)

    assert str(caught.value) == "ppo.batch_size: must be a multiple of the 2 processes, but got 7"
