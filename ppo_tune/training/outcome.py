"""What a training leaves: a model folder with its card, the adapter, and what the judges say of the folder.

Nothing is said of a model in memory: what was written is loaded again, compared with it, and measured as anyone would
measure it.
"""

from pathlib import Path

import torch

from ppo_tune.calling import argument, command
from ppo_tune.config.judges import REWARD
from ppo_tune.config.run import TrainConfig
from ppo_tune.data.draws import measured_on
from ppo_tune.errors import ModelError, OutOfMemoryError
from ppo_tune.events import Watcher
from ppo_tune.files import write_json, write_text
from ppo_tune.models import save_adapter, save_merged
from ppo_tune.models.adapter_folders import find_adapter
from ppo_tune.models.answers import draw_uniforms
from ppo_tune.models.layout import TokenLayout
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

    An adapter that cannot be merged is written with the tokenizer instead of a model.

    Where it did not begin untrained, the card says with what it `began`.

    Raises:
        ModelError: If the model folder holds something else than the policy.
        OutOfMemoryError: If there is no room for a second model.
        TrialError: If the model or its reward fails.
    """
    episodes, policy = work.trainer.runs[0].episodes, work.policy
    result = result_in(folder, config)
    if policy.adapters is not None:
        save_adapter(policy, 0, folder / "adapter")
    if policy.adapters is None or policy.adapters.can_merge:
        save_merged(policy, 0, result)
    else:
        policy.tokenizer.save_pretrained(result)
    _read_back(work, config, folder, watch)
    work.trainer.drop(0)  # its optimizer's memory is wanted for the second model
    after = _measure(work, config, result)
    _write_claim(policy.layout, config, folder, episodes, before, after, began)
    return after


def result_in(folder: Path, config: TrainConfig) -> Path:
    """The folder within a training's that holds what it came to: a model, or an adapter that cannot be merged."""
    return folder / ("adapter" if config.model.adapter == "prefix" else "model")


def _read_back(work: Assembly, config: TrainConfig, folder: Path, watch: Watcher) -> None:
    """Load what was written as others do, and compare it with the policy; raises ModelError if it is another."""
    prompts = work.evaluator.prompts
    batch = prompts.batch(range(min(READ_BACK, len(prompts))))
    rng = generator(config.seed, "read back")
    said = say(work.policy, 0, batch, draw_uniforms(len(batch.ids), config.ppo.max_new_tokens, rng))
    result, notes = result_in(folder, config), list[str | None]()
    if result.name == "model":
        try:
            notes.append(model_note(result, said))
        except ModelError as error:
            raise ModelError(
                f"{error}; the training is kept in {folder / 'checkpoints'}, and {argument('resume', 'True')} writes "
                "the model again"
            ) from error
    if work.policy.adapters is not None:
        notes.append(adapter_note(work.policy, folder / "adapter", said))
    short = str(work.policy.model.dtype).removeprefix("torch.")
    if work.policy.model.dtype != torch.float32 and result.name == "model":
        notes.append(
            f"{result} holds float32 weights, for {short} would round part of what was learned away; load "
            "it in float32"
        )
    for note in notes:
        if note is not None:
            watch({"kind": "note", "text": note})


def _measure(work: Assembly, config: TrainConfig, model: Path) -> Evaluation:
    """What `ppo-tune evaluate` says of a saved model, with its KL to the one that the training began with."""
    try:
        adapter = find_adapter(str(model))
        saved = load_to_judge(str(model), work.task, config, work.policy.device, adapter)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"the trained model is saved in {model}, but there is no memory to load it beside the one in training; "
            f"measure it with {command('evaluate')}, or go on with {argument('resume', 'True')} where there is more"
        ) from error
    return judge(claim_evaluator(saved, work.task, config), reference=work.policy)


def _write_claim(
    layout: TokenLayout,
    config: TrainConfig,
    folder: Path,
    episodes: int,
    before: Evaluation,
    after: Evaluation,
    began: str,
) -> None:
    """The model's card, and what the judges said of both models."""
    base = config.model.name or f"the {config.task.title} task's own model"
    n_prompts = len(after.samples)
    claim = {"split": after.split, "n_prompts": n_prompts, "measured_on": measured_on(after.split, n_prompts)}
    watched = [name for name in after.judges if name != REWARD] or ["gold"]
    result, named = result_in(folder, config), config.model.name
    card = render(
        "model_card.md.jinja", config=config, episodes=episodes, base=base, before=before, after=after,
        watched=watched, began=began, measured_on=claim["measured_on"], versions=versions(),
        task_type=layout.task_type, auto=layout.auto.__name__, is_adapter=result.name == "adapter",
        on_hub=named is not None and not Path(named).is_dir(),
    )  # fmt: skip
    write_text(result / "README.md", card)
    write_json(folder / "evaluation.json", {**claim, "before": before.as_dict(), "after": after.as_dict()})
