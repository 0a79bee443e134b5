"""From what a reward model's head says to one number: the latent score or log-odds, or, if asked, a probability.

PPO learns from the first of these: a probability near 1 has no slope left.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ppo_tune.config.rewards import Reads
from ppo_tune.errors import ModelError


def ordered_log_probs(latent: Tensor, thresholds: Tensor) -> Tensor:
    """Log-probabilities of K ordered classes: P(y <= k) = σ(θ_k - f).

    log [σ(b) - σ(a)] = log σ(b) + log σ(-a) + log(1 - e^(a-b)) with b = θ_y - f and a = θ_(y-1) - f, which cancels
    nowhere.

    Args:
        latent: f, shape (N,).
        thresholds: θ, ascending, (K - 1,).

    Returns:
        Shape (N, K).

    Reference:
        McCullagh, 1980, "Regression Models for Ordinal Data".
    """
    below = thresholds - latent.unsqueeze(-1)
    upper, lower = functional.logsigmoid(below), functional.logsigmoid(-below)
    gaps = torch.log(-torch.expm1(thresholds[:-1] - thresholds[1:]))
    return torch.cat([upper[:, :1], upper[:, 1:] + lower[:, :-1] + gaps, lower[:, -1:]], -1)


@dataclass(frozen=True)
class Link:
    """What the H outputs of a head are.

    Attributes:
        classes: Names of K classes; none where the outputs are scores.
        thresholds: Of ordered classes, whose one output is a latent score: θ, ascending, K - 1 of them; else none, and
            each class has an output.
        good: The number of the class to be reached.
        attributes: What each output rates, in units of its standard deviation.
        column: The only output that is read; None reads all.
    """

    classes: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    good: int = 0
    attributes: tuple[str, ...] = ()
    column: int | None = None

    @property
    def outputs(self) -> int:
        """H, of those that are read."""
        if self.classes and not self.thresholds:
            return len(self.classes)
        return max(1, len(self.attributes))

    def log_probs(self, said: Tensor) -> Tensor:
        """Log-probabilities of the classes, (N, H) -> (N, K)."""
        if self.thresholds:
            return ordered_log_probs(said[:, 0], said.new_tensor(self.thresholds))
        return functional.log_softmax(said, -1)

    def score(self, said: Tensor) -> Tensor:
        """The mean over attributes, the latent score, or the log-odds of the class to be reached, (N, H) -> (N,)."""
        if self.outputs == 1 or self.attributes:
            return said.mean(-1)
        others = torch.cat([said[:, : self.good], said[:, self.good + 1 :]], -1)
        return said[:, self.good] - others.logsumexp(-1)

    def expected(self, said: Tensor) -> Tensor:
        """The mean of 0 for the worst class to 1 for the best, with equal steps between, (N, H) -> (N,)."""
        values = torch.linspace(0, 1, len(self.classes), dtype=said.dtype, device=said.device)
        return self.log_probs(said).exp() @ values

    def of_attribute(self, name: str) -> "Link":
        """The link to the score of one attribute alone.

        Raises:
            ModelError: If there is none of that name.
        """
        if self.classes:
            raise ModelError(
                f"its class to be reached is {self.classes[self.good]!r}, by the fit; leave out `label`"
            )
        if name not in self.attributes:
            rated = ", ".join(self.attributes) or "none by name"
            raise ModelError(f"`label` must be one of the attributes it rates, {rated}, but got {name!r}")
        return replace(self, attributes=(name,), column=self.attributes.index(name))

    def check(self, how: Reads, of: str) -> None:
        """Refuse to read a probability where there are no classes.

        Args:
            how: What is to be read.
            of: The model, for messages.

        Raises:
            ModelError: If it is one, or what is expected of classes without an order.
        """
        if how == "score":
            return
        asked = how.replace("_", " ")
        if not self.classes:
            raise ModelError(
                f"{of} has scores and no classes, so it has no {asked} of one; leave out `reads: {how}`"
            )
        if how == "expected" and not self.thresholds:
            raise ModelError(
                f"{of} has classes without an order, so nothing is expected between them; read another"
            )

    def read(self, said: Tensor, how: Reads) -> Tensor:
        """What is asked of a head's outputs, (N, H) -> (N,); see `Reads`."""
        if self.column is not None:
            said = said[:, [self.column]]
        match how:
            case "score":
                return self.score(said)
            case "expected":
                return self.expected(said)
        log_probability = self.log_probs(said)[:, self.good]
        return log_probability if how == "log_probability" else log_probability.exp()
