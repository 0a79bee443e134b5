"""Whether a model is what training takes it for, found by letting it speak; no kind of model is named here.

Training takes for granted that a text is as likely alone as beside a longer one, in one pass as token by token, and
whatever comes after it. A model of which that is not true can be trained, and every number of the training is wrong.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ppo_tune.errors import ModelError
from ppo_tune.models.decoding import PolicyOutput
from ppo_tune.models.layout import TokenLayout
from ppo_tune.models.text import Prompts, Sequences, pad_left

LONG, SHORT = 7, 2
"""Tokens of the two prompts."""

N_ROWS, LENGTH = 4, 3
"""Responses to each prompt, and their tokens."""


@dataclass(frozen=True)
class Tolerance:
    """How far two readings of one text may lie apart, in nats per token, mean over some rows.

    Attributes:
        most: Never more than this.
        share: Of what another prompt changes. A model of nearly equal logits says hardly anything else whatever it
            has read, and so a mistake in reading is small too.
        rounding: Of the spread of the logits, which is what their rounding grows with.
    """

    most: float
    share: float
    rounding: float

    def of(self, effect: float, spread: float) -> float:
        """The bound where another prompt changes so much, and log-probabilities of all tokens are so far spread."""
        return min(self.most, max(self.share * effect, self.rounding * spread))

    @property
    def untrained(self) -> float:
        """The bound between a policy and its reference while they are equal by construction, mean of a rollout."""
        return self.most / 10


TOLERANCES = {
    torch.float64: Tolerance(1e-2, 5e-3, 1e-4),
    torch.float32: Tolerance(1e-2, 5e-3, 1e-4),
    torch.float16: Tolerance(0.1, 0.1, 4e-3),
    torch.bfloat16: Tolerance(0.3, 0.5, 3e-2),
}
"""By the format of the products.

Sixty sound families of random weights on a CPU differ by 3e-5 at most in float32, 1.4e-3 in float16, and in bfloat16
6.4e-2 where a state is carried and 7e-4 elsewhere; another prompt changes 0.03 to 2.3 nats. Unsound ones: 0.08 to 1.1.
"""


@torch.no_grad()
def examine(
    sample: Callable[[Prompts, Tensor], tuple[Sequences, PolicyOutput]],
    score: Callable[[Sequences], PolicyOutput],
    long: Sequence[int],
    short: Sequence[int],
    plain: Tensor,
    tolerance: Tolerance,
    name: str,
    way_out: str = "choose another language model",
) -> None:
    """Have a model answer two prompts of different length, and read its answers again in other ways.

    It is heard as in a training, by adapters that do nothing yet.

    Args:
        sample: From prompts (1, B, P) and uniforms (1, B, T) to responses of full length and their log-probabilities.
        score: From sequences (1, B, ·) to the log-probabilities of the response tokens.
        long: Token ids of a prompt.
        short: Of a shorter one.
        plain: Log-probability of each token after the long prompt, (V,), by the model left to itself.
        tolerance: That of the format of its products.
        name: What it is called in an error.
        way_out: What an error has its user do.

    Raises:
        ModelError: If it does not say the same of the same text.
    """
    prompts = pad_left([long] * N_ROWS + [short] * N_ROWS, plain.device)
    sequences, said = sample(prompts[None], _uniforms())
    sampled, together = said.logprobs, score(sequences).logprobs
    first, second = sequences[:, :N_ROWS], sequences[:, N_ROWS:].cut(SHORT, LENGTH)
    swapped = Sequences(second.prompts, first.response_ids, first.response_mask, first.ended)
    effect = (score(swapped).logprobs - together[:, :N_ROWS])[..., 1:].abs().mean()
    if not together.isfinite().all():
        raise ModelError(f"{name} cannot be trained: what it says is not finite; {way_out}")
    allowed = tolerance.of(float(effect), float(plain[plain.isfinite()].std()))
    findings = (
        ("it says something else each time", together, score(sequences).logprobs),
        ("what it says of a token depends on those after it", together[..., :1], sampled[..., :1]),
        (
            "its tokens are not at the positions where it expects them",
            sampled[:, :N_ROWS, :1],
            plain[first.response_ids[..., :1]],
        ),
        ("left padding changes what it says", together[:, N_ROWS:], score(second).logprobs),
        ("writing token by token, it does not remember what it has read", sampled, together),
    )
    for reason, one, other in findings:
        gap = _gap(one, other)
        if not gap <= allowed:  # NaN is beyond it too
            raise ModelError(
                f"{name} cannot be trained: {reason} (the same tokens' log-probabilities differ by {gap:.2g} nats, "
                f"and {allowed:.2g} is allowed); {way_out}"
            )


@torch.no_grad()
def examine_pack(
    score: Callable[[Sequences, Sequence[int]], Tensor],
    prompt: Sequence[int],
    plain: Tensor,
    tolerance: Tolerance,
    name: str,
) -> None:
    """Have two places of a pack that differ read one text together, and each alone.

    Args:
        score: From sequences (k, B, ·) and k places to the log-probabilities of the response tokens.
        prompt: Token ids of the text.
        plain: Log-probability of each token after it, (V,).
        tolerance: That of the format of the products.
        name: What the model is called in an error.

    Raises:
        ModelError: If one place hears the other.
    """
    ids = torch.tensor(list(prompt), device=plain.device).expand(2, N_ROWS, -1)
    real = torch.ones_like(ids, dtype=torch.bool)
    both = Sequences(Prompts(ids, real), ids, real, torch.zeros_like(real[..., 0]))
    together, alone = score(both, (0, 1)), torch.cat([score(both[:1], (place,)) for place in (0, 1)])
    allowed = tolerance.of(float((alone[0] - alone[1]).abs().mean()), float(plain[plain.isfinite()].std()))
    gap = _gap(together, alone)
    if not gap <= allowed:
        raise ModelError(
            f"{name} cannot be trained in a pack: its layers do not keep the texts of a batch apart (log-probabilities "
            f"of one trial differ by {gap:.2g} nats beside another, and {allowed:.2g} is allowed); set search.pack: 1"
        )


def require_reference(logprobs: Tensor, reference: Tensor, mask: Tensor, tolerance: Tolerance) -> None:
    """See that a policy that nothing was taught yet is its reference, whatever `examine` may have missed.

    Log-probabilities of sampled tokens under both, (..., T); the mask is True at real tokens.

    Raises:
        ModelError: If their distance is more than rounding.
    """
    gap = float((logprobs - reference)[mask].abs().mean())
    if gap > tolerance.untrained:
        raise ModelError(
            f"the policy is still untrained, and yet the log-probabilities of its first responses are {gap:.2g} nats "
            f"per token from those of its reference, and {tolerance.untrained:.2g} is allowed: this model does not say "
            "the same of the same text, so no KL of it can be trusted; choose another language model"
        )


def _gap(one: Tensor, other: Tensor) -> float:
    """Mean distance over the rows, of the column where it is greatest: (1, B, T) twice."""
    return float((one - other).abs().mean((0, 1)).max())


def _uniforms() -> Tensor:
    """Numbers in (0, 1], evenly spread, shape (1, 2·N_ROWS, LENGTH)."""
    n = 2 * N_ROWS * LENGTH
    golden = (5**0.5 - 1) / 2
    return 1 - (torch.arange(n) * golden).frac().view(1, 2 * N_ROWS, LENGTH)


def two_prompts(tokenizer: PreTrainedTokenizerBase, n_known: int) -> tuple[list[int], list[int]]:
    """A long and a short prompt of ordinary tokens, for an embedding of `n_known` rows."""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    known = range(min(len(tokenizer), n_known))
    ordinary = [i for i in known if i not in special] or known
    chosen = [ordinary[(2 * i + 1) * len(ordinary) // (2 * (LONG + SHORT))] for i in range(LONG + SHORT)]
    return chosen[:LONG], chosen[LONG:]


@contextmanager
def own_failures(name: str, kind: str | None = None) -> Iterator[None]:
    """What a model's own code raises over a short text, that it was to judge or to answer, becomes a refusal.

    Messages call it by its name, and by the kind of language model that it was taken for; None for a judge.
    """
    try:
        yield
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()
        found = f"it fails with {type(error).__name__}{': ' + reason[0] if reason else ''}"
        if kind is None:
            raise ModelError(
                f"{name} cannot judge: scoring a short text, {found}; choose another reward model"
            ) from error
        raise ModelError(
            f"{name} cannot be trained: reading and writing a short text as {kind}, {found}; choose "
            "another language model"
        ) from error


@torch.no_grad()
def read_plainly(layout: TokenLayout, prompt: Sequence[int]) -> tuple[Tensor, list[nn.Module]]:
    """Logits of what follows a prompt, (V,), by a model left to itself; and the parts of it that were not called.

    A member of a list, such as an expert, is no such part, for another text may call it.
    """
    called: set[nn.Module] = set()
    modules = layout.model.modules()
    hooks = [module.register_forward_pre_hook(lambda m, _: called.add(m)) for module in modules]
    try:
        logits = layout.next_logits(prompt)
    finally:
        for hook in hooks:
            hook.remove()
    return logits, list(_never_called(layout.model, called))


def _never_called(parent: nn.Module, called: set[nn.Module]) -> Iterator[nn.Module]:
    """The largest parts below a module in which nothing was called."""
    is_list = isinstance(parent, nn.ModuleList | nn.ModuleDict)
    for child in parent.children():
        if any(module in called for module in child.modules()):
            yield from _never_called(child, called)
        elif not is_list and not isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield child
