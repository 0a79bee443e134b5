"""What a training leaves: a model folder with its card, the adapter, and what the judges say of the folder.

Nothing is said of a model in memory: what was written is loaded again, compared with it, and measured as anyone would
measure it.
"""

from pathlib import Path

import torch

from ppo_tune.config.judges import REWARD
from ppo_tune.config.run import TrainConfig
from ppo_tune.data.draws import measured_on
from ppo_tune.errors import ModelError, OutOfMemoryError
from ppo_tune.events import Watcher
from ppo_tune.files import write_json, write_text
from ppo_tune.models import save_adapter, save_merged
from ppo_tune.models.answers import draw_uniforms
from ppo_tune.models.memory import is_out_of_memory
from ppo_tune.models.read_back import adapter_note, model_note, say
from ppo_tune.seeding import generator
from ppo_tune.templates import render
from ppo_tune.trainer.assembly import Assembly, claim_evaluator, judge, load_to_judge
from ppo_tune.trainer.evaluation import Evaluation
from ppo_tune.versions import versions

READ_BACK = 8
"""Held-out prompts on which a saved model is compared with the policy."""


def leave(
    work: Assembly, config: TrainConfig, folder: Path, before: Evaluation, watch: Watcher, *, began: str = ""
) -> Evaluation:
    """Write model, adapter and claim of the trained policy, and say what the model that was written is worth.

    Where it did not begin untrained, the card says with what it `began`.

    Raises:
        ModelError: If the model folder holds something else than the policy.
        OutOfMemoryError: If there is no room for a second model.
        TrialError: If the model or its reward fails.
    """
    episodes = work.trainer.runs[0].episodes
    save_merged(work.policy, 0, folder / "model")
    if work.policy.adapters is not None:
        save_adapter(work.policy, 0, folder / "adapter")
    _read_back(work, config, folder, watch)
    work.trainer.drop(0)  # its optimizer's memory is wanted for the second model
    after = _measure(work, config, folder / "model")
    _write_claim(config, folder, episodes, before, after, began)
    return after


def _read_back(work: Assembly, config: TrainConfig, folder: Path, watch: Watcher) -> None:
    """Load what was written as others do, and compare it with the policy; raises ModelError if it is another."""
    prompts = work.evaluator.prompts
    batch = prompts.batch(range(min(READ_BACK, len(prompts))))
    rng = generator(config.seed, "read back")
    said = say(work.policy, 0, batch, draw_uniforms(len(batch.ids), config.ppo.max_new_tokens, rng))
    try:
        notes = [model_note(folder / "model", said)]
    except ModelError as error:
        raise ModelError(
            f"{error}; the training is kept in {folder / 'checkpoints'}, and --resume writes the model again"
        ) from error
    if work.policy.adapters is not None:
        notes.append(adapter_note(work.policy, folder / "adapter", said))
    short = str(work.policy.model.dtype).removeprefix("torch.")
    if work.policy.model.dtype != torch.float32:
        notes.append(
            f"{folder / 'model'} holds float32 weights, for {short} would round part of what was learned away; load "
            "it in float32"
        )
    for note in notes:
        if note is not None:
            watch({"kind": "note", "text": note})


def _measure(work: Assembly, config: TrainConfig, model: Path) -> Evaluation:
    """What `ppo-tune evaluate` says of a saved model, with its KL to the one that the training began with."""
    try:
        saved = load_to_judge(str(model), work.task, config, work.policy.device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"the trained model is saved in {model}, but there is no memory to load it beside the one in training; "
            "measure it with ppo-tune evaluate, or go on with --resume where there is more"
        ) from error
    return judge(claim_evaluator(saved, work.task, config), reference=work.policy)


def _write_claim(
    config: TrainConfig, folder: Path, episodes: int, before: Evaluation, after: Evaluation, began: str
) -> None:
    """The model's card, and what the judges said of both models."""
    base = config.model.name or f"the {config.task.title} task's own model"
    n_prompts = len(after.samples)
    claim = {"split": after.split, "n_prompts": n_prompts, "measured_on": measured_on(after.split, n_prompts)}
    watched = [name for name in after.judges if name != REWARD] or ["gold"]
    card = render(
        "model_card.md.jinja", config=config, episodes=episodes, base=base, before=before, after=after,
        watched=watched, began=began, measured_on=claim["measured_on"], versions=versions(),
    )  # fmt: skip
    write_text(folder / "model" / "README.md", card)
    write_json(folder / "evaluation.json", {**claim, "before": before.as_dict(), "after": after.as_dict()})
