# mypy: ignore-errors
"""One config at full length: it learns, it can be stopped and resumed, and it leaves a model that others load."""

import itertools
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ppo_tune import load_training, train
from ppo_tune.config.run import TrainConfig
from ppo_tune.data.prompts import split_of
from ppo_tune.errors import (
    ConfigError,
    ModelError,
    OutOfMemoryError,
    RewardError,
    StorageError,
    StudyMismatchError,
)
from ppo_tune.files import read_json, read_json_lines
from ppo_tune.models import Policy, loading
from ppo_tune.seeding import generator
from ppo_tune.tasks import make_task
from ppo_tune.trainer.assembly import evaluate_model, load_to_judge
from ppo_tune.trainer.evaluation import Evaluation
from ppo_tune.training import outcome
from ppo_tune.training.checkpoints import checkpoints_in
from ppo_tune.training.full_length import TrainingInterrupted
from tests.training.conftest import shortened
from tests.worlds import THINGS


def test_a_training_raises_the_held_out_score_and_leaves_a_model_that_others_load(
    config: TrainConfig, tmp_path: Path
) -> None:
    result = train(config, out=tmp_path / "red")

    assert result.after.score > result.before.score + 0.2
    model = AutoModelForCausalLM.from_pretrained(result.model)
    assert model.num_parameters() > 0
    assert AutoTokenizer.from_pretrained(result.model).eos_token == "<eos>"
    assert read_json(tmp_path / "red" / "evaluation.json")["after"]["score"] == result.after.score
    assert (tmp_path / "red" / "adapter" / "adapter_config.json").is_file()


def test_a_model_that_was_saved_wrongly_is_an_error_and_the_training_is_kept(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, right = shortened(config, 32), outcome.save_merged

    def save_untrained(policy: Policy, place: int, folder: Path) -> None:
        trained = policy.rows.values.clone()
        policy.reset(place, generator("other"))
        right(policy, place, folder)
        policy.rows.values.copy_(trained)

    monkeypatch.setattr(outcome, "save_merged", save_untrained)
    with pytest.raises(ModelError) as caught:
        train(config, out=tmp_path / "red")
    monkeypatch.setattr(outcome, "save_merged", right)
    result = train(config, out=tmp_path / "red", resume=True)

    message = str(caught.value)
    assert message.startswith(
        f"model folder '{tmp_path / 'red' / 'model'}' was written, but loaded again it is not"
    )
    assert message.endswith(
        f"the training is kept in {tmp_path / 'red' / 'checkpoints'}, and `resume=True` writes the model again"
    )
    straight = train(config, out=tmp_path / "straight")
    first, second = (load_file(each.model / "model.safetensors") for each in (result, straight))
    assert all((first[name] == second[name]).all() for name in first)


def test_without_peft_the_adapter_is_kept_and_said_to_be_unread(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    events: list[dict[str, object]] = []

    train(shortened(config, 32), out=tmp_path / "red", watch=lambda event: events.append(dict(event)))

    notes = [event["text"] for event in events if event["kind"] == "note"]
    assert notes == [f"{tmp_path / 'red' / 'adapter'} was not read back, for peft is not installed"]
    assert (tmp_path / "red" / "adapter" / "adapter_config.json").is_file()


@pytest.mark.parametrize("dtype", ["bfloat16", "auto"])
def test_a_bfloat16_model_is_said_to_come_out_as_float32(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(loading, "best_dtype", lambda *_, **__: torch.bfloat16)
    short = config.model.model_copy(update={"dtype": dtype})
    events: list[dict[str, object]] = []

    train(
        shortened(config, 32).model_copy(update={"model": short}),
        out=tmp_path / "red",
        watch=lambda event: events.append(dict(event)),
    )

    notes = [event["text"] for event in events if event["kind"] == "note"]
    assert notes == [
        f"{tmp_path / 'red' / 'model'} holds float32 weights, for bfloat16 would round part of what was learned "
        "away; load it in float32"
    ]
    assert read_json(tmp_path / "red" / "model" / "config.json")["dtype"] == "float32"


def without_kl(judged: Evaluation) -> dict[str, object]:
    """What is said of a model alone."""
    return {
        **judged.metrics(),
        "heldout/kl_per_sequence": None,
        "samples": judged.samples,
        "split": judged.split,
    }


@pytest.mark.parametrize(
    ("seed", "model"),
    [
        pytest.param(0, {}, id="seed-0"),
        pytest.param(3, {}, id="seed-3"),
        pytest.param(3, {"dtype": "bfloat16"}, id="bfloat16"),
        pytest.param(3, {"lora_rank": None, "dtype": "bfloat16"}, id="all-weights"),
    ],
)
def test_what_is_claimed_is_what_evaluate_measures(
    config: TrainConfig, tmp_path: Path, seed: int, model: dict[str, object]
) -> None:
    config = shortened(config, 64).model_copy(
        update={"seed": seed, "model": config.model.model_copy(update=model)}
    )

    result = train(config, out=tmp_path / "red")

    assert config.model.name is not None
    assert without_kl(evaluate_model(str(result.model), config)) == without_kl(result.after)
    assert without_kl(evaluate_model(config.model.name, config)) == without_kl(result.before)
    if config.model.lora_rank is not None:
        assert without_kl(evaluate_model(str(tmp_path / "red" / "adapter"), config)) == without_kl(
            result.after
        )
    assert result.after.samples != result.before.samples
    stored = read_json(tmp_path / "red" / "evaluation.json")
    assert stored["after"]["score"] == result.after.score
    assert stored["before"]["score"] == result.before.score


def test_a_model_is_judged_in_the_format_that_keeps_what_it_learned(
    config: TrainConfig, small_world: Path, tmp_path: Path
) -> None:
    short = config.model_copy(update={"model": config.model.model_copy(update={"dtype": "bfloat16"})})
    task = make_task(config.task, torch.device("cpu"))
    own = small_world / "model"
    for name, dtype in (("whole", torch.float32), ("halved", torch.bfloat16)):
        AutoModelForCausalLM.from_pretrained(own, dtype=dtype).save_pretrained(tmp_path / name)
        AutoTokenizer.from_pretrained(own).save_pretrained(tmp_path / name)

    def dtype_of(folder: Path, of: TrainConfig) -> torch.dtype:
        return load_to_judge(str(folder), task, of, torch.device("cpu")).model.dtype

    assert dtype_of(own, short) == torch.bfloat16  # as the study or the training had it
    assert dtype_of(own / ".." / "model", short) == torch.bfloat16
    assert dtype_of(tmp_path / "whole", short) == torch.float32
    assert dtype_of(tmp_path / "halved", short) == torch.bfloat16


def test_what_is_claimed_was_measured_on_prompts_and_draws_that_chose_nothing(
    config: TrainConfig, tmp_path: Path
) -> None:
    config = shortened(config, 32)
    result = train(config, out=tmp_path / "red")

    stored = read_json(tmp_path / "red" / "evaluation.json")
    asked = {sample["prompt"] for sample in stored["after"]["samples"]}
    assert {split_of(prompt) for prompt in asked} == {"confirmation"}
    assert (stored["split"], stored["n_prompts"]) == ("confirmation", len(asked))
    assert stored["measured_on"] == (
        "8 prompts that no milestone answers (the confirmation split), with random numbers that chose nothing"
    )
    milestones = evaluate_model(str(result.model), config, split="heldout")
    assert {split_of(sample.prompt) for sample in milestones.samples} == {"heldout"}
    other_draws = evaluate_model(str(result.model), config, seed=1)
    assert [s.prompt for s in other_draws.samples] == [s.prompt for s in result.after.samples]
    assert [s.response for s in other_draws.samples] != [s.response for s in result.after.samples]


@pytest.fixture
def wide(config: TrainConfig, tmp_path: Path) -> TrainConfig:
    """A task of some hundred prompts, short, which leaves the model something to be wrong about."""
    rows = (
        json.dumps({"prompt": f"a {one} {other}"})
        for one, other in itertools.product(THINGS[:20], THINGS[:20])
    )
    (tmp_path / "wide.jsonl").write_text("\n".join(rows), encoding="utf-8")
    task = config.task.model_copy(update={"path": str(tmp_path / "wide.jsonl"), "heldout_prompts": 8})
    return shortened(config, 64).model_copy(update={"task": task, "kl_budget": 100.0})


@pytest.mark.parametrize("seed", [0, 3])
def test_what_is_claimed_is_the_mean_of_other_draws_within_its_standard_error(
    wide: TrainConfig, tmp_path: Path, seed: int
) -> None:
    """Two of them, that is, for one is passed by every third number."""
    config = wide.model_copy(update={"seed": seed})

    claimed = train(config, out=tmp_path / "red").after

    draws = [evaluate_model(str(tmp_path / "red" / "model"), config, seed=100 + i).score for i in range(20)]
    assert len(claimed.samples) == 32
    assert abs(claimed.score - statistics.mean(draws)) < 2 * claimed.score_standard_error
    assert statistics.stdev(draws) == pytest.approx(claimed.score_standard_error, rel=0.5)


def test_the_milestone_that_chose_a_model_is_told_and_not_claimed(wide: TrainConfig, tmp_path: Path) -> None:
    result = train(wide, out=tmp_path / "red")

    milestones = [line for line in _log(result.folder) if "heldout/score" in line and line["episodes"]]
    best = max(milestones, key=lambda line: (line["heldout/score"], line["episodes"]))
    assert (result.milestone, result.episodes) == (best["heldout/score"], best["episodes"])
    assert result.after.split == "confirmation"
    again = evaluate_model(str(result.model), wide, split="heldout")
    assert again.score == pytest.approx(result.milestone, abs=1e-5)


def test_without_a_budget_no_milestone_chooses(wide: TrainConfig, tmp_path: Path) -> None:
    result = train(wide.model_copy(update={"kl_budget": None}), out=tmp_path / "red")

    assert result.milestone is None


@pytest.mark.parametrize("n_confirmation", [1, 2])
def test_a_task_without_prompts_to_spare_says_that_its_number_is_optimistic(
    config: TrainConfig, tmp_path: Path, n_confirmation: int
) -> None:
    prompts = [f"a {thing}" for thing in THINGS]
    spared = [prompt for prompt in prompts if split_of(prompt) == "confirmation"][:n_confirmation]
    kept = [prompt for prompt in prompts if split_of(prompt) != "confirmation" or prompt in spared]
    (tmp_path / "few.jsonl").write_text("\n".join(json.dumps({"prompt": p}) for p in kept), encoding="utf-8")
    task = config.task.model_copy(update={"path": str(tmp_path / "few.jsonl"), "heldout_prompts": 4})
    config = shortened(config, 32).model_copy(update={"task": task})

    result = train(config, out=tmp_path / "red")

    said = read_json(tmp_path / "red" / "evaluation.json")["measured_on"]
    assert said in (result.model / "README.md").read_text(encoding="utf-8")
    if n_confirmation == 2:
        assert said.startswith("2 prompts that no milestone answers")
        return
    assert said == (
        "6 held-out prompts, for the confirmation split has fewer than 2 that can be used; the random numbers chose "
        "nothing, but the milestones answer the same prompts, so the score is optimistic"
    )
    assert without_kl(evaluate_model(str(result.model), config)) == without_kl(result.after)
    milestone = evaluate_model(str(result.model), config, split="heldout")
    assert [s.response for s in milestone.samples] != [s.response for s in result.after.samples][:4]


def test_evaluations_and_checkpoints_come_ten_times_a_training(config: TrainConfig, tmp_path: Path) -> None:
    events: list[dict[str, object]] = []

    train(config, out=tmp_path / "red", watch=lambda event: events.append(dict(event)))

    log = list(read_json_lines(tmp_path / "red" / "metrics.jsonl"))
    assert [line["episodes"] for line in log if "heldout/score" in line] == list(range(0, 321, 32))
    assert [line["episodes"] for line in log if "objective/score_mean" in line] == list(range(16, 321, 16))
    assert [event["kind"] for event in events].count("evaluation") == 10
    assert [path.name for path in checkpoints_in(tmp_path / "red" / "checkpoints")] == [
        "episodes-0000000288",
        "episodes-0000000320",
    ]


def test_a_training_says_first_of_all_how_little_its_adapters_reach(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[dict[str, object]] = []
    monkeypatch.setattr(Policy, "remark", "the adapters are on a third of it")

    train(shortened(config, 16), out=tmp_path / "red", watch=lambda event: events.append(dict(event)))

    notes = [event for event in events if event["kind"] != "stage"][:1]
    assert notes == [{"kind": "note", "text": "the adapters are on a third of it"}]


@pytest.mark.parametrize("lora_rank", [pytest.param(4, id="lora"), pytest.param(None, id="all-weights")])
def test_a_training_that_was_stopped_and_resumed_ends_with_the_same_bits(
    config: TrainConfig, tmp_path: Path, lora_rank: int | None
) -> None:
    config = shortened(config, 160)
    config = config.model_copy(update={"model": config.model.model_copy(update={"lora_rank": lora_rank})})
    iterations = iter(range(100))
    train(config, out=tmp_path / "straight")

    with pytest.raises(TrainingInterrupted, match="stopped after 80 episodes; go on with `resume=True`"):
        train(config, out=tmp_path / "broken", should_stop=lambda: next(iterations) == 4)
    train(config, out=tmp_path / "broken", resume=True)

    straight, broken = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("straight", "broken")
    )
    assert all((straight[name] == broken[name]).all() for name in straight)
    assert _log(tmp_path / "straight") == _log(tmp_path / "broken")


def _log(folder: Path) -> list[dict[str, float]]:
    lines = read_json_lines(folder / "metrics.jsonl")
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


def test_a_crash_loses_only_what_came_after_the_last_checkpoint(config: TrainConfig, tmp_path: Path) -> None:
    config = shortened(config, 160)
    train(config, out=tmp_path / "straight")

    def crash(event: dict[str, object]) -> None:
        if event["kind"] == "iteration" and event["episodes"] == 112:
            raise RuntimeError("power is gone")

    with pytest.raises(RuntimeError, match="power is gone"):
        train(config, out=tmp_path / "crashed", watch=crash)
    train(config, out=tmp_path / "crashed", resume=True)

    assert _log(tmp_path / "straight") == _log(tmp_path / "crashed")


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_model_kept_is_the_best_within_the_budget_as_a_training_of_that_length_leaves_it(
    config: TrainConfig, tmp_path: Path, interrupted: bool
) -> None:
    drifting = {"lr_schedule": "constant", "kl_target": None, "kl_coef": 0.0, "learning_rate": 0.01}
    config = config.model_copy(update={"ppo": config.ppo.with_params(drifting)})
    free = train(config, out=tmp_path / "free")
    judged = [line for line in _log(free.folder) if line.get("heldout/score") and line["episodes"]]

    def best_within(budget: float) -> int:
        within = [line for line in judged if line["heldout/kl_per_sequence"] <= budget]
        return int(max(within, key=lambda line: (line["heldout/score"], line["episodes"]))["episodes"])

    budgets = sorted(line["heldout/kl_per_sequence"] for line in judged)
    # processors round differently, and so decide which budgets leave the end of the training out
    budget = next(budget for budget in budgets[4:] + budgets[3::-1] if best_within(budget) < free.episodes)
    best = best_within(budget)
    iterations = iter(range(100))

    bounded = config.model_copy(update={"kl_budget": budget})
    if interrupted:
        with pytest.raises(TrainingInterrupted):
            train(bounded, out=tmp_path / "kept", should_stop=lambda: next(iterations) == 12)
    kept = train(bounded, out=tmp_path / "kept", resume=interrupted)
    short = train(shortened(config, best), out=tmp_path / "short")

    assert best < free.episodes == 320
    assert kept.episodes == best
    assert kept.after == short.after
    first, second = (load_file(each.model / "model.safetensors") for each in (kept, short))
    assert all((first[name] == second[name]).all() for name in first)


def test_with_nothing_within_the_budget_the_last_model_is_kept(config: TrainConfig, tmp_path: Path) -> None:
    far = config.ppo.with_params(
        {"episodes": 64, "learning_rate": 0.1, "kl_target": None}
    )  # at every milestone
    config = config.model_copy(update={"ppo": far, "kl_budget": 1e-9})

    result = train(config, out=tmp_path / "red")

    assert result.episodes == 64
    assert result.milestone is None
    assert result.after.kl_per_sequence > 1e-9


def test_without_memory_to_measure_it_the_model_is_there_and_measured_later(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    config = shortened(config, 32)
    with monkeypatch.context() as patched:
        patched.setattr("ppo_tune.training.outcome.load_to_judge", full)
        with pytest.raises(OutOfMemoryError) as caught:
            train(config, out=tmp_path / "red")

    model = tmp_path / "red" / "model"
    assert str(caught.value) == (
        f"the trained model is saved in {model}, but there is no memory to load it beside the one in training; measure "
        "it with `ppo_tune.evaluate_model`, or go on with `resume=True` where there is more"
    )
    assert not (tmp_path / "red" / "evaluation.json").exists()
    resumed = train(config, out=tmp_path / "red", resume=True)
    assert without_kl(evaluate_model(str(model), config)) == without_kl(resumed.after)


def test_a_folder_that_holds_a_training_is_not_overwritten(config: TrainConfig, tmp_path: Path) -> None:
    train(shortened(config, 32), out=tmp_path / "red")

    with pytest.raises(
        StorageError, match=r"red holds a training already; go on with `resume=True`, or choose another `out`"
    ):
        train(shortened(config, 32), out=tmp_path / "red")


def test_another_config_is_not_resumed(config: TrainConfig, tmp_path: Path) -> None:
    train(shortened(config, 32), out=tmp_path / "red")

    with pytest.raises(
        StudyMismatchError, match=r"holds another training:\n  ppo\.episodes: 32 before, 64 now"
    ):
        train(shortened(config, 64), out=tmp_path / "red", resume=True)


def test_a_training_whose_reward_was_changed_is_not_resumed(config: TrainConfig, tmp_path: Path) -> None:
    helper = tmp_path / "words.py"
    helper.write_text("WORD = 'red'", encoding="utf-8")
    body = "import words; return [r.count(words.WORD) for r in responses]"
    (tmp_path / "r.py").write_text(f"def score(prompts, responses, **columns): {body}", encoding="utf-8")
    judge = {"name": "python", "function": f"{tmp_path}/r.py:score"}
    task = {**config.task.model_dump(), "reward": judge, "gold": None}
    config = TrainConfig.model_validate({**shortened(config, 32).model_dump(), "task": task})
    train(config, out=tmp_path / "red")

    train(config, out=tmp_path / "red", resume=True)
    helper.write_text("WORD = 'blue'", encoding="utf-8")

    with pytest.raises(
        StudyMismatchError, match=rf"holds another training:\n  content\.task\.reward.* {helper}: '"
    ):
        train(config, out=tmp_path / "red", resume=True)


def test_a_training_from_before_its_files_were_noted_can_be_resumed(
    config: TrainConfig, tmp_path: Path
) -> None:
    values = {**config.ppo.model_dump(), "kl_target": None, "kl_horizon": None, "episodes": 32}
    config = TrainConfig.model_validate({**config.model_dump(), "ppo": values})
    train(config, out=tmp_path / "red")
    (tmp_path / "red" / "inputs.json").unlink()
    record = tmp_path / "red" / "config.json"
    old = read_json(record)
    record.write_text(json.dumps({**old, "ppo": {**old["ppo"], "kl_horizon": 10_000.0}}), encoding="utf-8")

    assert train(config, out=tmp_path / "red", resume=True).episodes == 32


def test_nothing_cannot_be_resumed(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"red holds no training to resume; start without `resume`"):
        train(config, out=tmp_path / "red", resume=True)


@pytest.mark.parametrize("given", [None, 0.25])
def test_values_are_learned_in_the_unit_of_the_search_or_one_measured_before(
    config: TrainConfig, tmp_path: Path, given: float | None
) -> None:
    config = shortened(config, 32).model_copy(update={"score_std": given})

    result = train(config, out=tmp_path / "red")

    (newest, *_) = reversed(checkpoints_in(tmp_path / "red" / "checkpoints"))
    used = float.fromhex(read_json(newest / "trial.json")["score_std"])
    assert used == pytest.approx(given or result.before.score_std, rel=1e-6)
    assert used != 1.0


def test_a_reward_that_fails_ends_the_training_with_its_reason(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(
        "def score(prompts, responses, **c):\n    return [1.0]\n", encoding="utf-8"
    )
    blocks = json.loads(config.model_dump_json())
    blocks["task"]["reward"] = {"name": "python", "function": f"{tmp_path / 'reward.py'}:score"}

    with pytest.raises(RewardError, match="must return one number per response, but got 1 for 8 responses"):
        train(TrainConfig.model_validate(blocks), out=tmp_path / "red")


def test_the_same_seed_trains_the_same_model_and_another_one_does_not(
    config: TrainConfig, tmp_path: Path
) -> None:
    config = shortened(config, 32)
    other = config.model_copy(update={"seed": 1})

    first, second, third = (
        train(each, out=tmp_path / name) for name, each in (("a", config), ("b", config), ("c", other))
    )

    assert _log(first.folder) == _log(second.folder)
    assert _log(first.folder) != _log(third.folder)


WriteFile = Callable[[str], Path]


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    def write(text: str) -> Path:
        path = tmp_path / "best.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_flags_replace_length_and_seed(write_file: WriteFile) -> None:
    path = write_file("task: {name: support}\nppo: {rollout_size: 64, episodes: 640}\nseed: 3\n")

    loaded = load_training(path, episodes=1280, seed=9)

    assert loaded.ppo.episodes == 1280
    assert loaded.seed == 9
    assert loaded.name == "best"


def test_a_length_that_is_not_whole_rollouts_is_refused(write_file: WriteFile) -> None:
    path = write_file("task: {name: support}\nppo: {rollout_size: 64, episodes: 640}\n")

    with pytest.raises(ConfigError, match=r"episodes: must be whole rollouts of 64, but got 100; take 128"):
        load_training(path, episodes=100)


def test_a_study_file_is_not_a_training(write_file: WriteFile) -> None:
    path = write_file("task: {name: support}\nspace: {}\nsearch: {}\n")

    with pytest.raises(ConfigError) as caught:
        load_training(path)

    assert (
        str(caught.value).count(
            "this is a study file; run `ppo_tune.run_search` on it, then `ppo_tune.export_study`"
        )
        == 2
    )
