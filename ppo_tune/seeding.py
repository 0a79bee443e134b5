"""From a seed and a purpose to random numbers.

Every random stream has a name: (study seed, trial number, iteration, purpose). A stream is never carried
from one iteration to the next, so a trial draws the same numbers alone, in a pack, on another worker and
after a resume, and nothing about randomness has to be stored in a checkpoint.

Knows nothing of studies or trials: the caller says what the parts mean.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on their order.

    Args:
        parts: What the stream is for, such as `derive_seed(study_seed, trial_number, "init")`.

    Returns:
        An integer in [0, 2**63).
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str) -> "torch.Generator":
    """A fresh CPU generator for the stream named by `parts`; see `derive_seed`."""
    import torch  # who only derives seeds need not wait for it

    return torch.Generator().manual_seed(derive_seed(*parts))
