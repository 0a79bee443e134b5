"""How likely one of k programs is to pass all its tests, judged by more than k of them.

Paper: Chen et al., 2021, "Evaluating Large Language Models Trained on Code", arXiv:2107.03374, equation 1.
"""

from math import comb


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate of the probability that at least one of k responses is correct: 1 - C(n-c, k) / C(n, k).

    Args:
        n: Responses to one prompt.
        c: How many of them are correct.
        k: How many may be tried, n at most.

    Raises:
        ValueError: Unless `0 <= c <= n` and `1 <= k <= n`.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"`0 <= c <= n` and `1 <= k <= n` must hold, but got n={n}, c={c}, k={k}")
    return 1 - comb(n - c, k) / comb(n, k)
