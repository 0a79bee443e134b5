"""Checkpoints of one trial: a folder is whole and verified, or it is not used.

A folder is written beside, with the hash of each file, and renamed when it is complete; the last two are
kept, and a damaged one is passed over for the one before it. There are no random states to keep: all
random numbers follow from the seed and the iteration.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ppo_tune.calling import argument
from ppo_tune.errors import StorageError
from ppo_tune.files import content_hash, read_json, write_json
from ppo_tune.rewards import LearningReward
from ppo_tune.trainer.trainer import PPOTrainer
from ppo_tune.training.folders import checkpoints_in

logger = logging.getLogger(__name__)

KEPT = 2
_MANIFEST, _FACTS, _TENSORS = "manifest.json", "trial.json", "trial.safetensors"
_OPTIMIZER, _REWARD, _ADAPTERS = "optimizer.", "reward.", "adapters."


def save_checkpoint(trainer: PPOTrainer, place: int, folder: Path, kept: int = KEPT) -> Path:
    """Write all that a trial is at this moment; so many checkpoints stay in its folder, the new one included."""
    run = trainer.runs[place]
    final = folder / f"episodes-{run.episodes:010d}"
    draft = folder / f".{final.name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    tensors = {"values": trainer.policy.rows.values[place].clone()}
    (parameter,) = run.optimizer.param_groups[0]["params"]
    for name, value in run.optimizer.state.get(parameter, {}).items():
        tensors[f"{_OPTIMIZER}{name}"] = torch.as_tensor(value).detach().clone()
    if isinstance(reward := trainer.rewards[place], LearningReward):
        tensors |= {f"{_REWARD}{name}": value.detach().clone() for name, value in reward.state().items()}
    if (adapters := trainer.policy.adapters) is not None:
        tensors |= {
            f"{_ADAPTERS}{name}": value.detach().clone() for name, value in adapters.state(place).items()
        }
    save_file(tensors, draft / _TENSORS)
    floats = {"kl_coef": run.kl_coef.hex(), "score_std": run.score_std.hex()}
    write_json(draft / _FACTS, {"iteration": run.iteration, "tokens": run.tokens, **floats})
    write_json(draft / _MANIFEST, {name: content_hash(draft / name) for name in (_TENSORS, _FACTS)})
    shutil.rmtree(final, ignore_errors=True)
    draft.replace(final)
    for old in checkpoints_in(folder)[:-kept]:
        shutil.rmtree(old)
    return final


def load_checkpoint(trainer: PPOTrainer, place: int, folder: Path) -> None:
    """Put a started trial where its newest whole checkpoint was.

    Raises:
        StorageError: If there is none.
    """
    for path in reversed(checkpoints_in(folder)):
        if not _is_whole(path):
            logger.warning("checkpoint %s is damaged; taking the one before it", path)
            continue
        _restore(trainer, place, path)
        return
    raise StorageError(
        f"there is no whole checkpoint in {folder} to resume from; start without {argument('resume')}"
    )


def _is_whole(path: Path) -> bool:
    try:
        manifest = read_json(path / _MANIFEST)
        return all(content_hash(path / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError):
        return False


def _restore(trainer: PPOTrainer, place: int, path: Path) -> None:
    run = trainer.runs[place]
    tensors, facts = load_file(path / _TENSORS, device=str(trainer.policy.device)), read_json(path / _FACTS)
    trainer.policy.rows.values[place].copy_(tensors["values"])
    run.iteration, run.tokens = facts["iteration"], facts["tokens"]
    run.kl_coef = float.fromhex(facts["kl_coef"])
    run.score_std = float.fromhex(facts.get("score_std", "0x1p+0"))  # 0.1.0 kept values in the score's unit
    (parameter,) = run.optimizer.param_groups[0]["params"]
    run.optimizer.state[parameter] = _part(tensors, _OPTIMIZER)
    if (adapters := trainer.policy.adapters) is not None:
        adapters.restore(place, _part(tensors, _ADAPTERS))
    if isinstance(reward := trainer.rewards[place], LearningReward):
        reward.restore(_part(tensors, _REWARD))


def _part(tensors: Mapping[str, Tensor], owner: str) -> dict[str, Tensor]:
    """The tensors of one owner, by its own names."""
    return {name.removeprefix(owner): tensor for name, tensor in tensors.items() if name.startswith(owner)}
