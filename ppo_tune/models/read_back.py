"""What was saved, loaded again as others load it, and compared with the model that it was saved from.

A folder that says something else than what was trained looks like any other: nobody would notice.
"""

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ppo_tune.data.model_folders import called
from ppo_tune.errors import ModelError
from ppo_tune.models.alphabet import Alphabet
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.loading import first_line, load_config, load_language_model, load_whole
from ppo_tune.models.policy import Policy
from ppo_tune.models.text import Prompts

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Mean difference of log-probabilities, in nats per token, that rounding explains, by the dtype of the products."""

Row = tuple[list[int], list[int]]
"""Token ids of a prompt and of its response."""


@dataclass(frozen=True)
class Said:
    """Prompts with responses, and what a model says of them.

    Attributes:
        rows: N prompts with their responses.
        logprobs: Log-probability of every response token, one tensor per row.
        tolerance: How far others may be off it, in nats per token.
        alphabet: Those tokens that the model can say; None where it can say all.
    """

    rows: Sequence[Row]
    logprobs: Sequence[Tensor]
    tolerance: float
    alphabet: Alphabet | None = None

    def distance(self, model: torch.nn.Module) -> float:
        """Mean difference of another model's log-probabilities from these, in nats per token; it reads row by row."""
        theirs = logprobs_of(model, self.rows, self.alphabet)
        return float((torch.cat(theirs) - torch.cat(list(self.logprobs))).abs().mean())


def say(policy: Policy, place: int, prompts: Prompts, uniforms: Tensor) -> Said:
    """Let one trial respond to prompts (N, P), by uniforms (N, T) in (0, 1]."""
    batch = prompts[None].to(policy.device)
    with torch.no_grad():
        sequences, _ = policy.generate(batch, uniforms[None], temperature=1.0, places=[place])
        logprobs = policy.evaluate(sequences, temperature=1.0, places=[place]).logprobs[0]
    mask = sequences.response_mask[0]
    texts = zip(prompts.ids, prompts.mask, sequences.response_ids[0], mask, strict=True)
    rows = [(ids[real].tolist(), response[kept].tolist()) for ids, real, response, kept in texts]
    said = [row[kept].cpu() for row, kept in zip(logprobs, mask, strict=True)]
    width = policy.model.get_output_embeddings().weight.shape[0]
    alphabet = Alphabet(policy.tokenizer, policy.stop_ids.tolist(), width)
    return Said(rows, said, TOLERANCES[policy.dtype], alphabet)


@torch.no_grad()
def logprobs_of(
    model: torch.nn.Module, rows: Sequence[Row], alphabet: Alphabet | None = None
) -> list[Tensor]:
    """What a model of transformers or peft says of every response token, each row alone and without padding."""
    config: Any = model.config
    found = []
    for prompt, response in rows:
        logits = layout_of(config).read(model, prompt, response).float().cpu()
        if alphabet is not None:
            logits = alphabet.cut(logits)
        said = logits.log_softmax(-1)
        found.append(said.gather(-1, torch.tensor(response)[:, None])[:, 0])
    return found


def model_note(folder: Path, said: Said, *, draft_of: Path | None = None) -> str | None:
    """Load a saved model by transformers alone, and compare it with what it was saved from.

    Args:
        folder: Holds the model.
        said: What it was saved from says.
        draft_of: The folder that it is to become, which messages name; None if it is that already.

    Returns:
        Why it was not read back; None if it was, and says the same.

    Raises:
        ModelError: If it cannot be loaded, or says something else.
    """
    name, do = called(str(draft_of or folder)), "it was not kept" if draft_of else "do not use it"
    if not _has_room(sum(path.stat().st_size for path in folder.glob("*.safetensors"))):
        return f"{draft_of or folder} was not read back, for there is no memory left for it"
    auto = layout_of(load_config(str(folder))).auto
    model = load_whole(auto, str(folder), f"{name} was written, but cannot be loaded again", dtype="auto")
    distance = said.distance(model)
    if distance <= said.tolerance:
        return None
    raise ModelError(
        f"{name} was written, but loaded again it is not what was trained: its log-probabilities are off by "
        f"{distance:.2g} nats per token, where at most {said.tolerance:g} is rounding; {do}"
    )


def adapter_note(policy: Policy, folder: Path, said: Said) -> str | None:
    """Load a saved adapter by peft, if that is there, and take it away if peft reads it wrongly.

    Returns:
        What its user must know; None if peft reads it rightly.
    """
    unread = f"{folder} was not read back, for"
    if find_spec("peft") is None:
        return f"{unread} peft is not installed"
    if not _has_room(policy.model.get_memory_footprint()):
        return f"{unread} there is no memory left for a second model"
    try:
        base = load_language_model(str(policy.model.name_or_path), policy.model.dtype)
    except ModelError as error:
        return f"{unread} its base cannot be loaded again ({error})"
    fault = _fault_of_adapter(base, folder, said)
    if fault is None:
        return None
    if policy.adapters is not None and not policy.adapters.can_merge:
        return f"{folder} is read by ppo-tune evaluate alone, for {fault}"
    shutil.rmtree(folder)
    return f"no adapter was kept, for {fault}; the model folder holds all that was learned"


def _fault_of_adapter(base: PreTrainedModel, folder: Path, said: Said) -> str | None:
    try:
        with warnings.catch_warnings(action="ignore"):
            from peft import PeftModel

            distance = said.distance(PeftModel.from_pretrained(base, str(folder)).eval())
    except Exception as error:  # whatever it is, others will hear it too
        return f"peft cannot read it ({first_line(error)})"
    if distance <= said.tolerance:
        return None
    return f"peft reads something else in it (log-probabilities off by {distance:.2g} nats per token)"


def _has_room(n_bytes: int) -> bool:
    """Whether main memory holds a model of this size besides all that is there."""
    return 1.2 * n_bytes < psutil.virtual_memory().available
