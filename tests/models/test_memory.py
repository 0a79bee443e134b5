# mypy: ignore-errors
"""Work that does not fit into memory is halved, rows first, then trials, and nothing is done twice or left out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppo_tune.models.memory import Memory, MemoryChunks, is_out_of_memory

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def do(chunks: MemoryChunks, trials: int, rows: int, *, room: int) -> list[tuple[int, int]]:
    """The cells that were done, by work that has room for so many at once."""
    done = []

    def work(some: slice, part: slice) -> list[tuple[int, int]]:
        cells = [(i, j) for i in range(some.start, some.stop) for j in range(part.start, part.stop)]
        if len(cells) > room:
            raise FULL
        return cells

    for some, part, cells in chunks.run(work, trials=trials, rows=rows):
        assert len(cells) == (some.stop - some.start) * (part.stop - part.start)
        done += cells
    return done


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 90), st.none() | st.integers(1, 12))
def test_every_cell_is_done_once(trials, rows, room, limit):
    done = do(MemoryChunks(rows=limit), trials, rows, room=room)

    assert sorted(done) == [(i, j) for i in range(trials) for j in range(rows)]


def test_rows_are_halved_before_trials():
    chunks = MemoryChunks()

    do(chunks, 4, 8, room=9)
    assert chunks == MemoryChunks(rows=2, trials=None)

    do(chunks, 4, 8, room=3)
    assert chunks == MemoryChunks(rows=1, trials=2)


def test_what_fitted_is_kept_for_the_next_time():
    chunks = MemoryChunks()
    do(chunks, 2, 8, room=4)
    tries = []

    list(chunks.run(lambda some, part: tries.append((some, part)), trials=2, rows=8))

    assert [part.stop - part.start for _, part in tries] == [2, 2, 2, 2]


def test_one_response_of_one_trial_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        do(MemoryChunks(), 3, 5, room=0)


def test_another_error_is_no_reason_to_try_again():
    def work(some: slice, part: slice) -> None:
        raise RuntimeError("a shape is wrong")

    chunks = MemoryChunks()
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        list(chunks.run(work, trials=2, rows=2))
    assert chunks == MemoryChunks()


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (FULL, True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_memory_is_told_from_mistakes(error, is_one):
    assert is_out_of_memory(error) is is_one


def test_a_micro_batch_limits_passes_and_not_decoding():
    assert Memory.with_rows(4) == Memory(decoding=MemoryChunks(), passes=MemoryChunks(rows=4))
