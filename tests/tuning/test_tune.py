"""A search from objects: it is that of the file which it writes, goes on with itself, and refuses another."""

import gc
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pytest
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

import ppo_tune
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import ConfigError, DataError, SearchStoppedError, StorageError, StudyMismatchError
from ppo_tune.events import Event
from ppo_tune.search.storage import create_study, storage_url
from ppo_tune.tuning.tune import Teller
from tests.tuning.objects import PROMPTS, SETTINGS, CountRed, given_files, outcomes

Tune = Callable[..., "ppo_tune.Study"]


def notes(events: list[Event]) -> list[str]:
    return [event["text"] for event in events if event["kind"] == "note" and "task.reward" in event["text"]]


@pytest.mark.slow
def test_objects_their_file_and_a_reward_that_only_this_process_has_are_one_study_to_the_bit(
    tune: Tune, my_rewards: ModuleType, here: Path, events: list[Event]
) -> None:
    by_import = tune(name="one", reward=my_rewards.score, workers=1)
    written = ppo_tune.load_study(here / "runs" / "one" / "one.yaml", name="two")
    by_file = ppo_tune.run_search(written, out=here, workers=1)
    assert written.task.model_dump()["reward"] == {"name": "python", "function": "my_rewards.py:score"}
    assert notes(events) == []

    by_object = tune(
        name="three",
        reward=lambda responses, **_: [r.split().count("red") - 0.5 for r in responses],
    )

    assert notes(events) == [
        "task.reward: test_objects_their_file_and_a_reward_that_only_this_process_has_are_one_study_to_the_bit.<locals>"
        ".<lambda> has no name in a module, and no other process can import it, so one worker trains in this "
        "process; import it from a file of its own, and several can"
    ]
    assert len(outcomes(by_file.study)) == 3
    assert outcomes(by_import.optuna_study) == outcomes(by_file.study) == outcomes(by_object.optuna_study)


def test_a_reward_object_is_asked_itself_and_a_model_object_is_saved(
    tune: Tune, small_world: Path, here: Path
) -> None:
    folder, reward = small_world / "model", CountRed()
    pair = (AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))

    named, objects = (
        tune(name="a", reward=CountRed(), judges={"blue": CountRed("blue")}),
        tune(name="b", reward=reward, model=pair, judges={"blue": CountRed("blue")}),
    )

    assert reward.calls > 0
    assert outcomes(named.optuna_study) == outcomes(objects.optuna_study)
    assert "blue" in named.trials.columns
    patterns = [r"model-\w{12}", r"prompts-\w{12}\.jsonl", *[r"reward-\w{12}\.py"] * 2]
    found = given_files(here, "b")
    assert all(re.fullmatch(p, name) for p, name in zip(patterns, found, strict=True))
    assert objects.config.model.name == f"runs/b/given/{found[0]}"


def test_the_same_call_goes_on_and_does_nothing_new_when_all_is_done(tune: Tune, here: Path) -> None:
    reward = CountRed()
    first = outcomes(tune(reward=reward, n_trials=2).optuna_study)
    files = given_files(here, "tune")

    longer, again = tune(reward=reward), tune(reward=reward)

    assert outcomes(longer.optuna_study)[:2] == first
    assert len(longer.trials) == len(again.trials) == 3
    assert longer.optuna_study.get_trials() == again.optuna_study.get_trials()
    assert given_files(here, "tune") == files


def test_another_experiment_of_the_name_is_refused_with_what_differs_and_leaves_nothing(
    tune: Tune, here: Path
) -> None:
    before = tune(reward=CountRed(), n_trials=1)
    files, record = given_files(here, "tune"), (here / "runs" / "tune" / "tune.yaml").read_text("utf-8")

    with pytest.raises(StudyMismatchError) as caught:
        tune(
            reward=lambda responses, **_: [0.0 for _ in responses],
            prompts=PROMPTS[1:],
            n_trials=1,
            gamma=0.9,
        )

    said = re.sub(r"'[0-9a-f]{64}'", "HASH", str(caught.value))
    assert re.sub(r"-[0-9a-f]{12}", "-HASH", said) == (
        "study 'tune' exists and was made by another experiment; its trials cannot be compared:\n"
        "  content.task.path: HASH before, HASH now\n"
        "  content.task.reward.function: HASH before, HASH now\n"
        "  ppo.gamma: 1.0 before, 0.9 now\n"
        "  task.path: 'runs/tune/given/prompts-HASH.jsonl' before, 'runs/tune/given/prompts-HASH.jsonl' now\n"
        "  task.reward.function: 'runs/tune/given/reward-HASH.py:score' before, "
        "'runs/tune/given/reward-HASH.py:score' now\n"
        "call it with what it had, or with another name to start a new study"
    )
    assert given_files(here, "tune") == files
    assert (here / "runs" / "tune" / "tune.yaml").read_text("utf-8") == record
    assert len(before.trials) == 1


def test_what_cannot_be_searched_leaves_nothing(tune: Tune, here: Path) -> None:
    with pytest.raises(DataError, match="`prompts >= rollout_size` must hold"):
        tune(reward=CountRed(), prompts=PROMPTS[:4])

    assert given_files(here, "tune") == []


def test_a_reward_that_fails_at_once_can_be_mended_under_the_same_name(tune: Tune, here: Path) -> None:
    with pytest.raises(
        SearchStoppedError, match=r"the untrained model cannot be scored: .*<lambda> raised NameError"
    ):
        tune(reward=lambda responses, **_: [missing(r) for r in responses])  # type: ignore[name-defined]  # noqa: F821
    assert given_files(here, "tune") == []

    assert len(tune(reward=CountRed(), n_trials=1).trials) == 1


def test_a_study_that_another_search_has_just_made_is_left_to_it(tune: Tune, here: Path) -> None:
    """No trial of it has begun, and it is under its search's lock."""
    study = tune(reward=CountRed(), n_trials=1)
    optuna.delete_study(study_name="tune", storage=study.optuna_study._storage)
    (here / "runs" / "tune" / "study.db").unlink()
    config = study.config
    create_study(config, storage_url(Path(), "tune"), check_user_files(config).hashes)

    with (
        FileLock(here / "runs" / "tune" / "search.lock"),
        pytest.raises(StorageError, match="another search of study"),
    ):
        tune(reward=CountRed(), n_trials=1)

    assert len(ppo_tune.Study.load("tune").optuna_study.get_trials()) == 1


def test_what_only_the_session_had_is_missed_by_any_other_before_a_model_loads(
    tune: Tune, here: Path
) -> None:
    study = tune(reward=CountRed(), n_trials=1)
    function = study.config.task.model_dump()["reward"]["function"]
    del study
    gc.collect()

    with pytest.raises(ConfigError) as caught:
        check_user_files(ppo_tune.load_study(here / "runs" / "tune" / "tune.yaml"))

    assert str(caught.value) == (
        f"task.reward.function: {function.removesuffix(':score')} cannot be imported: ImportError: CountRed lives in "
        "the Python session that gave it to ppo-tune; call `ppo_tune.tune` there again, or name a function that stands "
        "in a file"
    )


def test_a_search_that_is_watched_by_nobody_prints_a_line_for_what_matters(
    tune: Tune, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(reward=CountRed(), watch=None, n_trials=2)

    printed = capsys.readouterr().out.splitlines()
    numbers = [re.sub(r"-?\d\.\d{3}", "SCORE", line) for line in printed]
    assert [line for line in numbers if not line.startswith("note: ")] == [
        "trial 0 completed, score SCORE",
        "trial 1 completed, score SCORE",
    ]


def test_a_search_that_was_stopped_says_how_it_goes_on(tune: Tune, events: list[Event]) -> None:
    def stop(event: Event) -> None:
        events.append(event)
        if event["kind"] == "progress" and len([e for e in events if e["kind"] == "progress"]) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    tune(reward=CountRed(), watch=stop)

    assert events[-1] == {"kind": "note", "text": "stopped; the same call goes on"}


TOLD = [
    ({"kind": "over", "text": "the seconds are over"}, "the seconds are over"),
    ({"kind": "confirming", "remaining": 4}, "confirming on fresh seeds and unseen prompts: at most 4 runs"),
    ({"kind": "stage", "name": "base model", "done": 0.0}, "building the task's base model (once, then cached)"),
    ({"kind": "stage", "name": "base model", "done": 0.5}, ""),
    (
        {"kind": "ended", "number": 3, "ending": "diverged", "reason": "a loss", "value": None, "feasible": False},
        "diverged (a loss)",
    ),
    (
        {"kind": "ended", "number": 3, "ending": "completed", "reason": "", "value": 1.0, "feasible": False},
        "completed, score 1.000, over the KL budget",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("event", "line"), TOLD, ids=lambda case: str(case)[:30])
def test_an_event_is_a_line_or_nothing(event: Event, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    Teller().watch(event)

    assert capsys.readouterr().out == (f"{line}\n" if line else "")


def test_an_objective_takes_objects_as_well_as_a_config(small_world: Path, here: Path) -> None:
    """Its trials are those of the same objects' study with the same values."""
    given: dict[str, Any] = {**SETTINGS, "model": str(small_world / "model"), "reward": CountRed()}
    whole = ppo_tune.tune(**given, watch=lambda _: None)
    study = optuna.create_study(direction="maximize", study_name="mine")
    study.enqueue_trial(whole.optuna_study.get_trials()[0].params)

    study.optimize(ppo_tune.Objective(**given, out=here), n_trials=1)

    assert (
        study.get_trials()[0].user_attrs["config"] == whole.optuna_study.get_trials()[0].user_attrs["config"]
    )
    assert (here / "runs" / "tune-objective" / "mine").is_dir()


def test_an_objective_takes_a_config_or_objects_and_not_both(tune: Tune) -> None:
    config = tune(reward=CountRed(), n_trials=1).config

    with pytest.raises(ConfigError) as caught:
        ppo_tune.Objective(config, reward=CountRed())

    assert str(caught.value) == "reward: stands beside a config, which says all; keep one"
