"""A reward that learns is a trial's own: the same alone, packed and resumed, and nothing is compared by it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from ppo_tune.errors import ConfigError, RewardError
from ppo_tune.rewards import LearningReward
from ppo_tune.tasks import Task
from ppo_tune.trainer.trainer import Metrics, PPOTrainer
from ppo_tune.training.checkpoints import load_checkpoint, save_checkpoint
from tests.conftest import LIKES, WordReward, make_toy_task, small_config, tiny_policy
from tests.learning import LearningWords


def task(reward: LearningReward) -> Task:
    return replace(make_toy_task(WordReward(LIKES)), reward=reward)


def trainer(*places: int, of: int = 1, reward: LearningReward | None = None) -> PPOTrainer:
    """Trials in these places, whose seeds are the numbers of their places."""
    made = PPOTrainer(tiny_policy(places=of), task(reward or LearningWords()), small_config())
    for place in places:
        made.start(place, small_config(), seed=place)
    return made


def step(made: PPOTrainer, place: int, iterations: int) -> list[Metrics]:
    history: list[Metrics] = []
    for _ in range(iterations):
        result = made.step()[place]
        assert isinstance(result, dict)
        history.append({name: value for name, value in result.items() if not name.startswith("time/")})
    return history


def state(made: PPOTrainer, place: int) -> dict[str, torch.Tensor]:
    reward = made.rewards[place]
    assert isinstance(reward, LearningReward)
    return dict(reward.state())


def test_it_learns_from_every_rollout_and_says_so() -> None:
    made = trainer(0)

    history = step(made, 0, 3)

    words = [metrics["reward/words"] for metrics in history]
    assert 0 < words[0] < words[1] < words[2] == float(state(made, 0)["said"].sum())


def test_what_it_has_learned_is_what_the_next_rollout_is_scored_by() -> None:
    class Forgetful(LearningWords):
        def for_trial(self, seed: int) -> "Forgetful":
            return Forgetful(seed)

        def score(self, *arguments: object) -> list[float]:
            self.said = torch.zeros_like(self.said)
            return super().score(*arguments)  # type: ignore[arg-type]

    learned, forgetful = step(trainer(0), 0, 2), step(trainer(0, reward=Forgetful()), 0, 2)

    means = [[metrics["objective/score_mean"] for metrics in history] for history in (learned, forgetful)]
    assert means[0][0] == means[1][0]
    assert means[0][1] < means[1][1]


def test_a_trial_is_the_same_alone_and_in_a_pack_with_others_that_learn() -> None:
    pack = trainer(0, 2, of=3)
    histories = [pack.step() for _ in range(3)]

    for place in (0, 2):
        single = PPOTrainer(tiny_policy(), task(LearningWords()), small_config())
        single.start(0, small_config(), seed=place)
        alone = step(single, 0, 3)
        assert_close(pack.policy.rows.values[place], single.policy.rows.values[0], atol=2e-5, rtol=0)
        assert_close(state(pack, place), state(single, 0), atol=0, rtol=0)
        for together, metrics in zip(histories, alone, strict=True):
            packed = together[place]
            assert isinstance(packed, dict)
            assert packed["objective/score_mean"] == pytest.approx(metrics["objective/score_mean"], rel=1e-5)
    assert not torch.equal(state(pack, 0)["said"], state(pack, 2)["said"])


def test_a_trial_that_takes_a_freed_place_begins_with_a_reward_of_its_own() -> None:
    made, fresh = trainer(0), trainer(0)
    step(made, 0, 2)

    made.drop(0)
    made.start(0, small_config(), seed=0)

    assert step(made, 0, 2) == step(fresh, 0, 2)


def test_a_resumed_trial_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, first, second = trainer(0), trainer(0), trainer(0)
    history = step(whole, 0, 4)
    step(first, 0, 2)
    save_checkpoint(first, 0, tmp_path)

    load_checkpoint(second, 0, tmp_path)

    assert step(second, 0, 2) == history[2:]
    assert torch.equal(second.policy.rows.values, whole.policy.rows.values)
    assert_close(state(second, 0), state(whole, 0), atol=0, rtol=0)


def test_the_checkpoint_of_a_fixed_reward_holds_nothing_of_it(tmp_path: Path) -> None:
    learning, fixed = trainer(0), PPOTrainer(tiny_policy(), make_toy_task(WordReward(LIKES)), small_config())
    fixed.start(0, small_config(), seed=0)

    kept = [set(load_file(save_checkpoint(made, 0, tmp_path / str(i)) / "trial.safetensors"))
            for i, made in enumerate((learning, fixed))]  # fmt: skip

    assert kept[0] - kept[1] == {"reward.said", "reward.rollouts"}
    assert kept[1] < kept[0]


def test_a_reward_that_cannot_learn_is_the_result_of_its_place() -> None:
    made = trainer(0, 1, of=2, reward=LearningWords(fails_at=1))
    made.rewards[1] = LearningWords(1)

    first, second = made.step(), made.step()

    assert all(isinstance(result, dict) for result in first.values())
    assert isinstance(second[0], RewardError)
    assert "rollout 1 was meant to fail" in str(second[0])
    assert isinstance(second[1], dict)


def test_nothing_is_compared_or_judged_by_what_learns() -> None:
    fixed = WordReward(LIKES)
    toy = make_toy_task(fixed)

    with pytest.raises(ConfigError) as caught:
        replace(toy, objective=LearningWords(), judges={"gold": fixed, "safety": LearningWords()})

    rule = (
        "must stay the same from first to last, or no two trials could be compared by it, but reward LearningWords "
        "learns; name one that does not"
    )
    assert str(caught.value).splitlines() == [f"task.objective: {rule}", f"task.judges.safety: {rule}"]
