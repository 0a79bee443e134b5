"""AdaLoRA adapters: a low-rank adapter as A·diag(E)·B, whose ranks move to the layers where they matter.

Each layer begins with half as much rank again as it has on average in the end. After an optimizer step the parts of
all layers of a trial are ranked by their importance, and those beyond a budget, which falls from the one to the other,
have their factor in E set to zero. A and B are kept close to orthogonal. All is as in PEFT, to the order of its steps.

Paper: Zhang et al., 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", arXiv:2303.10512.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ppo_tune.models.lora import Bottleneck, LowRank
from ppo_tune.models.rows import ParameterRows

SMOOTHING = 0.85
"""Of the moving averages of importance and of its uncertainty, the paper's β₁ and β₂."""

ORTHOGONALITY = 0.5
"""Weight of the mean distance of all A and B from orthogonal ones, PEFT's default."""

INITIAL_STD = 0.02
"""Standard deviation of the first A and B."""


@dataclass
class Budget:
    """How much rank a trial has in all layers together, and what is known of where it matters.

    Attributes:
        steps: Optimizer steps of the whole trial.
        importance: Moving average of |weight · gradient| of each number of the trial.
        uncertainty: That of how far this moves.
        kept: By layer, which of its parts are kept; none before it is decided for good.
        step: Optimizer steps done.
    """

    steps: int
    importance: Tensor
    uncertainty: Tensor
    kept: Tensor | None = None
    step: int = 0

    @property
    def warmup(self) -> int:
        """Steps before anything is taken away."""
        return self.steps // 10

    @property
    def settled(self) -> int:
        """The step at which the ranks are as they stay; before it are all but three tenths of the steps."""
        return self.steps - 3 * self.steps // 10

    def at(self, step: int, first: int, last: int) -> int:
        """The budget of a step between warmup and the end, which falls by the cube."""
        share = 1 - (step - self.warmup) / (self.settled - self.warmup)
        return int((first - last) * share**3 + last)


class Allocated(LowRank):
    """AdaLoRA adapters; arguments and errors are those of `LowRank`."""

    def __init__(
        self,
        model: PreTrainedModel,
        usual: Bottleneck,
        idle: Sequence[nn.Module] = (),
        head: nn.Module | None = None,
        *,
        varies: bool = False,
    ) -> None:
        super().__init__(model, usual, idle, head, varies=varies)
        self._budgets: dict[int, Budget] = {}

    def hold(self, rows: ParameterRows) -> None:
        """Have the numbers of all places here; no trial is under way."""
        super().hold(rows)
        self._budgets = {}

    def shapes(self) -> dict[str, torch.Size]:
        """Shape of each tensor of one trial: A is (in, R), B is (R, out), E (R,)."""
        factors = {f"{name}.E": torch.Size((self.usual.width,)) for name in self.layers}
        return super().shapes() | factors

    @torch.no_grad()
    def reset(self, place: int, rng: torch.Generator, own: Bottleneck | None = None) -> None:
        """Start a place afresh: A and B normal, E zero, so that the adapter does nothing yet."""
        self.become(place, own)
        self._budgets.pop(place, None)
        assert self.rows is not None
        width = self.of(place).width
        for name in self.layers:
            a, b = self.rows[f"{name}.A"][place], self.rows[f"{name}.B"][place]
            for matrix, filled in ((a, a[:, :width]), (b, b[:width])):
                matrix.zero_()
                filled.copy_(torch.empty(filled.shape).normal_(std=INITIAL_STD, generator=rng))
            self.rows[f"{name}.E"][place].zero_()

    def do_nothing(self, place: int) -> bool:
        """Whether every E of a place is zero, as after a reset."""
        assert self.rows is not None
        return not any(bool(self.rows[f"{name}.E"][place].any()) for name in self.layers)

    def begin(self, place: int, steps: int) -> None:
        """A trial of so many optimizer steps starts in a place."""
        assert self.rows is not None
        nothing = torch.zeros_like(self.rows.values[place])
        self._budgets[place] = Budget(steps, nothing, nothing.clone())

    @torch.no_grad()
    def before_step(self, place: int) -> None:
        """Add to a trial's gradient that of the mean distance of its A and B from orthogonal ones."""
        rows, width = self.rows, self.of(place).width
        assert rows is not None
        for name in self.layers:
            for part in "AB":
                view = rows[f"{name}.{part}"]
                assert view.grad is not None
                matrix, gradient = (
                    t[place] if part == "A" else t[place].T for t in (view.detach(), view.grad)
                )
                matrix, gradient = matrix[:, :width], gradient[:, :width]
                off = matrix.T @ matrix - torch.eye(width, device=matrix.device)
                distance = torch.linalg.matrix_norm(off).clamp(min=1e-12)
                gradient += ORTHOGONALITY / len(self.layers) * (matrix @ off) / distance

    @torch.no_grad()
    def after_step(self, place: int) -> None:
        """Say what matters by the gradient of the step that was made, and take away what is beyond the budget."""
        assert self.rows is not None
        budget, width = self._budgets[place], self.of(place).width
        budget.step += 1
        if budget.step < budget.settled:
            now = (self.rows.values[place] * self.rows.grads[place]).abs()
            budget.importance.lerp_(now, 1 - SMOOTHING)
            budget.uncertainty.lerp_((now - budget.importance).abs(), 1 - SMOOTHING)
        if budget.warmup < budget.step <= budget.settled and budget.importance.any():
            first, last = (r * len(self.layers) for r in (width, self.of(place).rank))
            budget.kept = self._most_important(place, first - budget.at(budget.step, first, last))
            self._take_away(place, budget.kept)
        elif budget.step > budget.settled and budget.kept is not None:
            self._take_away(place, budget.kept)

    def _most_important(self, place: int, out: int) -> Tensor:
        """Which parts of each layer are kept where so many of all layers go, (layers, r)."""
        budget, width = self._budgets[place], self.of(place).width
        score = budget.importance * budget.uncertainty
        assert self.rows is not None
        parts = self.rows.cut(score)
        found = torch.stack(
            [
                parts[f"{name}.E"][:width]
                + parts[f"{name}.A"][:, :width].mean(0)
                + parts[f"{name}.B"][:width].mean(1)
                for name in self.layers
            ]
        )
        return found > torch.kthvalue(found.flatten(), out).values

    def _take_away(self, place: int, kept: Tensor) -> None:
        assert self.rows is not None
        width = self.of(place).width
        for name, stays in zip(self.layers, kept, strict=True):
            self.rows[f"{name}.E"].detach()[place, :width].mul_(stays)

    def state(self, place: int) -> dict[str, Tensor]:
        """What is known of where rank matters, beyond the numbers of the place."""
        budget = self._budgets[place]
        found = {
            "step": torch.tensor(budget.step),
            "importance": budget.importance,
            "uncertainty": budget.uncertainty,
        }
        return found if budget.kept is None else {**found, "kept": budget.kept}

    def restore(self, place: int, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of a trial that was begun."""
        budget = self._budgets[place]
        budget.step, budget.kept = int(state["step"]), state.get("kept")
        budget.importance.copy_(state["importance"])
        budget.uncertainty.copy_(state["uncertainty"])

    def delta(self, name: str, place: int) -> Tensor:
        """What a place's adapter adds to a layer's weight, shape (in, out)."""
        assert self.rows is not None
        a, e, b = (self.rows[f"{name}.{part}"].detach()[place] for part in "AEB")
        return self.of(place).scale * (a @ (e[:, None] * b))

    def to_peft(self, place: int) -> dict[str, Tensor]:
        """What every layer has, of the place's own initial width: A (r, in), E (r, 1) and B (out, r)."""
        assert self.rows is not None
        tensors, width, found = self.rows.split(place), self.of(place).width, {}
        for name in self.layers:
            found[f"{name}.lora_A"] = tensors[f"{name}.A"][:, :width].T.contiguous()
            found[f"{name}.lora_E"] = tensors[f"{name}.E"][:width, None]
            found[f"{name}.lora_B"] = tensors[f"{name}.B"][:width].T.contiguous()
        return found

    def from_peft(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What every layer has."""
        found = {f"{name}.{part}": tensors[f"{name}.lora_{part}"].T for name in self.layers for part in "AEB"}
        return {name: tensor[0] if name.endswith(".E") else tensor for name, tensor in found.items()}

    def peft_config(self, place: int) -> dict[str, Any]:
        """Ranks, scale and schedule. What was taken away has zeros in E, so there is no pattern of ranks to say."""
        own, budget = self.of(place), self._budgets.get(place)
        schedule = (
            (1, 0, 0) if budget is None else (budget.steps, budget.warmup, budget.steps - budget.settled)
        )
        return {
            "peft_type": "ADALORA", "init_r": own.width, "target_r": own.rank, "lora_alpha": own.alpha,
            **dict(zip(("total_step", "tinit", "tfinal"), schedule, strict=True)),
            "beta1": SMOOTHING, "beta2": SMOOTHING, "orth_reg_weight": ORTHOGONALITY, "lora_dropout": 0.0,
            "bias": "none",
        }  # fmt: skip

    def _matrices(self, name: str) -> tuple[Tensor, Tensor]:
        """A, and B with the factors of E in it, of the places at work."""
        a, b = super()._matrices(name)
        return a, self.of_those_at_work(f"{name}.E")[..., None] * b
