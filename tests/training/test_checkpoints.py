# mypy: ignore-errors
"""A checkpoint is whole or it is not used; what is restored is all that a trial is."""

import json
from pathlib import Path

import pytest
import torch

from ppo_tune.errors import StorageError
from ppo_tune.trainer.trainer import PPOTrainer
from ppo_tune.training.checkpoints import KEPT, checkpoints_in, load_checkpoint, save_checkpoint
from tests.conftest import LIKES, WordReward, make_toy_task, small_config, stir, tiny_policy

FILES = ["manifest.json", "trial.json", "trial.safetensors"]


def make_trainer(*, places: int = 1, lora_rank: int | None = 4, **config) -> PPOTrainer:
    """A trainer with a trial in every place."""
    policy = tiny_policy(places=places, lora_rank=lora_rank)
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config(**config))
    for place in range(places):
        trainer.start(place, small_config(**config), seed=place)
    return trainer


def saved_after(folder: Path, *iterations: int) -> PPOTrainer:
    """A trainer that saved itself after so many iterations."""
    trainer = make_trainer()
    while trainer.runs[0].iteration < max(iterations, default=0):
        trainer.step()
        if trainer.runs[0].iteration in iterations:
            save_checkpoint(trainer, 0, folder)
    return trainer


def resumed_episodes(folder: Path) -> int:
    """Where a new trainer goes on."""
    trainer = make_trainer()
    load_checkpoint(trainer, 0, folder)
    return trainer.runs[0].episodes


def flip_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("lora_rank", [4, None])
def test_a_restored_trial_is_the_saved_one(lora_rank, tmp_path):
    trainer = make_trainer(lora_rank=lora_rank, kl_target=0.5, kl_horizon=100.0)
    for _ in range(3):
        trainer.step()
    other = make_trainer(lora_rank=lora_rank, kl_target=0.5, kl_horizon=100.0)

    save_checkpoint(trainer, 0, tmp_path)
    load_checkpoint(other, 0, tmp_path)

    run, restored = trainer.runs[0], other.runs[0]
    assert torch.equal(other.policy.rows.values, trainer.policy.rows.values)
    assert (restored.iteration, restored.tokens, restored.kl_coef) == (3, run.tokens, run.kl_coef)
    assert restored.kl_coef != run.config.kl_coef
    state, restored_state = (next(iter(r.optimizer.state.values())) for r in (run, restored))
    assert state.keys() == restored_state.keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(state[name], restored_state[name]) for name in state)


def test_a_trial_is_restored_into_any_place_and_into_no_other(tmp_path):
    trainer, other = make_trainer(places=2), make_trainer(places=3)
    trainer.step()
    before = other.policy.rows.values.clone()

    save_checkpoint(trainer, 1, tmp_path)
    load_checkpoint(other, 2, tmp_path)

    assert torch.equal(other.policy.rows.values[2], trainer.policy.rows.values[1])
    assert torch.equal(other.policy.rows.values[:2], before[:2])
    assert [other.runs[place].iteration for place in range(3)] == [0, 0, 1]


def test_a_trial_that_has_not_stepped_can_be_saved(tmp_path):
    trainer = make_trainer()
    stir(trainer.policy)
    other = make_trainer()

    save_checkpoint(trainer, 0, tmp_path)
    load_checkpoint(other, 0, tmp_path)

    assert torch.equal(other.policy.rows.values, trainer.policy.rows.values)
    assert not other.runs[0].optimizer.state[other.runs[0].optimizer.param_groups[0]["params"][0]]


def test_saving_changes_nothing(tmp_path):
    trainer = saved_after(tmp_path, 1, 2)
    undisturbed = make_trainer()

    for _ in range(2):
        undisturbed.step()

    assert torch.equal(trainer.policy.rows.values, undisturbed.policy.rows.values)


def test_the_newest_checkpoint_is_taken(tmp_path):
    saved_after(tmp_path, 1, 3)

    assert resumed_episodes(tmp_path) == 24


def test_the_last_two_are_kept(tmp_path):
    saved_after(tmp_path, 1, 2, 3, 4)

    assert KEPT == 2
    assert [path.name for path in checkpoints_in(tmp_path)] == ["episodes-0000000024", "episodes-0000000032"]
    assert len(list(tmp_path.iterdir())) == 2


def test_checkpoints_are_ordered_by_number(tmp_path):
    for name in ("episodes-0000001000", "episodes-0000000999", ".episodes-0000002000.draft"):
        (tmp_path / name).mkdir()

    assert [path.name for path in checkpoints_in(tmp_path)] == ["episodes-0000000999", "episodes-0000001000"]


def test_saving_twice_at_the_same_episode_replaces_the_first(tmp_path):
    trainer = saved_after(tmp_path, 1)
    stir(trainer.policy)

    save_checkpoint(trainer, 0, tmp_path)

    other = make_trainer()
    load_checkpoint(other, 0, tmp_path)
    assert torch.equal(other.policy.rows.values, trainer.policy.rows.values)
    assert len(checkpoints_in(tmp_path)) == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("file", FILES)
def test_a_flipped_byte_is_noticed_and_the_checkpoint_before_is_taken(file, share, tmp_path, caplog):
    saved_after(tmp_path, 1, 2)
    path = checkpoints_in(tmp_path)[-1] / file

    flip_byte(path, int(share * path.stat().st_size))

    assert resumed_episodes(tmp_path) == 8
    assert f"checkpoint {path.parent} is damaged; taking the one before it" in caplog.text


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_noticed_and_the_checkpoint_before_is_taken(file, tmp_path):
    saved_after(tmp_path, 1, 2)

    (checkpoints_in(tmp_path)[-1] / file).unlink()

    assert resumed_episodes(tmp_path) == 8


@pytest.mark.parametrize("file", FILES)
def test_a_torn_file_is_noticed_and_the_checkpoint_before_is_taken(file, tmp_path):
    saved_after(tmp_path, 1, 2)
    path = checkpoints_in(tmp_path)[-1] / file

    path.write_bytes(path.read_bytes()[:20])

    assert resumed_episodes(tmp_path) == 8


def test_a_half_written_folder_is_passed_over(tmp_path):
    saved_after(tmp_path, 1)
    draft = tmp_path / ".episodes-0000000016.draft"
    draft.mkdir()
    (draft / "trial.safetensors").write_bytes(b"half")

    assert resumed_episodes(tmp_path) == 8


def test_a_draft_left_behind_is_no_obstacle(tmp_path):
    trainer = saved_after(tmp_path, 1)
    draft = tmp_path / ".episodes-0000000016.draft"
    draft.mkdir()
    (draft / "stray").write_text("from a process that was killed", encoding="utf-8")
    trainer.step()

    save_checkpoint(trainer, 0, tmp_path)

    assert resumed_episodes(tmp_path) == 16
    assert not draft.exists()
    assert not (checkpoints_in(tmp_path)[-1] / "stray").exists()


def test_a_damaged_checkpoint_is_written_anew(tmp_path):
    trainer = saved_after(tmp_path, 1)
    flip_byte(checkpoints_in(tmp_path)[0] / "trial.safetensors", 1000)

    save_checkpoint(trainer, 0, tmp_path)

    assert resumed_episodes(tmp_path) == 8


@pytest.mark.parametrize("damaged", [0, 1, 2], ids=["no folder", "one damaged", "two damaged"])
def test_without_a_whole_checkpoint_there_is_nothing_to_resume(damaged, tmp_path):
    folder = tmp_path / "checkpoints"
    saved_after(folder, *range(1, damaged + 1))
    for path in checkpoints_in(folder):
        flip_byte(path / "trial.safetensors", 1000)

    with pytest.raises(StorageError) as caught:
        resumed_episodes(folder)

    assert str(caught.value) == (
        f"there is no whole checkpoint in {folder} to resume from; start without `resume`"
    )


def test_a_trial_is_left_as_it_was_when_there_is_nothing_to_resume(tmp_path):
    trainer = make_trainer()
    before = trainer.policy.rows.values.clone()

    with pytest.raises(StorageError):
        load_checkpoint(trainer, 0, tmp_path)

    assert torch.equal(trainer.policy.rows.values, before)


def test_a_checkpoint_holds_tensors_and_json_only(tmp_path):
    saved_after(tmp_path, 1)

    folder = checkpoints_in(tmp_path)[0]
    assert sorted(path.name for path in folder.iterdir()) == FILES
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest.keys() == {"trial.json", "trial.safetensors"}


@pytest.mark.slow
def test_a_flipped_byte_in_the_middle_of_a_large_checkpoint_is_noticed(tmp_path):
    policy = tiny_policy(lora_rank=None, vocab_size=1_200_000)  # 77 MB of weights
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config())
    trainer.start(0, small_config(), seed=0)
    path = save_checkpoint(trainer, 0, tmp_path) / "trial.safetensors"

    flip_byte(path, path.stat().st_size // 2)

    with pytest.raises(StorageError, match="no whole checkpoint"):
        load_checkpoint(trainer, 0, tmp_path)
