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
from ppo_tune.errors import ConfigError, SearchStoppedError, StorageError, StudyMismatchError
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


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too few prompts": ({"prompts": PROMPTS[:4]}, "`prompts >= rollout_size` must hold"),
    "no such model": ({"model": "nothing"}, "no such folder"),
    "no such study": ({"warm_start": "other"}, "there is no study 'other'"),
    "no store": ({"storage": "sqlite:////nothing/at.db"}, "cannot be opened"),
    "no worker": (
        {"workers": 0},
        "workers: must be a whole number of at least 1, or None for one per GPU or core, but got 0",
    ),
    "a part of a worker": ({"workers": 1.5}, "workers: must be a whole number of at least 1, .* but got 1.5"),
    "a reward that fails": ({"reward": lambda **_: [1 / 0]}, "division by zero"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "why"), REFUSED.values(), ids=REFUSED)
def test_a_refused_call_leaves_nothing(
    changes: dict[str, Any], why: str, tune: Tune, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(ppo_tune.PPOTuneError, match=why):
        tune(**{"reward": CountRed(), "out": here / "mine", **changes})

    assert list(here.iterdir()) == []


FOUND_LATER: dict[str, tuple[dict[str, Any], str]] = {
    "prompts": ({"prompts": PROMPTS[:4]}, "prompts: `prompts >= rollout_size` must hold"),
    "a file of a reward": ({"reward": "nothing.py:score"}, "reward: no such file 'nothing.py'"),
    "a function of a judge": ({"judges": {"kind": "nothing.py:score"}}, "judges.kind: no such file 'nothing.py'"),
    "in a mapping": (
        {"reward": {"name": "python", "function": "nothing.py:score"}},
        "reward.function: no such file 'nothing.py'",
    ),
    "two": (
        {"reward": "nothing.py:score", "judges": {"kind": "nothing.py:score"}},
        "reward: no such file 'nothing.py' (looked in {here})\njudges.kind: no such file",
    ),
    "a column of a list": (
        {"prompts": [{"prompt": "a", "answer": "b"}] * 9, "reference": "anser"},
        "prompts:1: there is no column 'anser'; the row has prompt, answer; did you mean reference='answer'?",
    ),
    "a column of a file": (
        {"prompts": "file.csv", "prompt": "text"},
        "file.csv:2: there is no column 'text'; the row has one, two; name the column by prompt,",
    ),
    "an earlier study": (
        {"warm_start": "other"},
        "warm_start: there is no study 'other' at runs/other/study.db; start it with `ppo_tune.run_search`",
    ),
    "a folder": (
        {"out": "file"},
        "folder file/runs/tune/given cannot be written (Not a directory); choose another with `out`",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), FOUND_LATER.values(), ids=FOUND_LATER)
def test_what_is_found_in_the_files_is_told_by_the_arguments(
    changes: dict[str, Any], said: str, tune: Tune, here: Path
) -> None:
    (here / "file").touch()
    (here / "file.csv").write_text("one,two\n1,2\n", encoding="utf-8")

    with pytest.raises(ppo_tune.PPOTuneError) as caught:
        tune(**{"reward": CountRed(), **changes})

    assert str(caught.value).startswith(said.replace("{here}", str(here)))
    assert "--" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_refused_call_leaves_a_study_as_it_was(workers: int, tune: Tune, here: Path) -> None:
    study = tune(reward=CountRed(), n_trials=1)
    before = {path: path.read_bytes() for path in (here / "runs").rglob("*") if path.is_file()}

    with pytest.raises(ConfigError, match=f"workers: must be .*, but got {workers}"):
        tune(reward=CountRed("blue"), prompts=PROMPTS[1:], workers=workers)
    with pytest.raises(ConfigError, match=f"workers: must be .*, but got {workers}"):
        study.confirm(workers=workers)

    assert {path: path.read_bytes() for path in (here / "runs").rglob("*") if path.is_file()} == before


def test_a_total_below_what_has_begun_changes_nothing_and_is_told(
    tune: Tune, here: Path, events: list[Event]
) -> None:
    reward = CountRed()
    tune(reward=reward, n_trials=3)
    record = (here / "runs" / "tune" / "tune.yaml").read_text("utf-8")
    assert "n_trials: 3" in record

    again = tune(reward=reward, n_trials=2)

    assert "3 trials have begun, more than n_trials 2: it stays at 3, and none is added" in [
        event["text"] for event in events if event["kind"] == "note"
    ]
    assert (here / "runs" / "tune" / "tune.yaml").read_text("utf-8") == record
    assert again.config.n_trials == len(again.trials) == 3


def test_a_reward_that_fails_at_once_can_be_mended_under_the_same_name(tune: Tune, here: Path) -> None:
    with pytest.raises(
        SearchStoppedError, match=r"the untrained model cannot be scored: .*<lambda> raised NameError"
    ):
        tune(reward=lambda responses, **_: [missing(r) for r in responses])  # type: ignore[name-defined]  # noqa: F821
    assert list(here.iterdir()) == []

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
        "task.reward.function: CountRed is in the Python session that gave it to ppo-tune, and "
        f"{function.removesuffix(':score')} only stands for it: go on there, by `ppo_tune.tune` with the same "
        "arguments, `study.confirm()` or `ppo_tune.train(study.best)`; or put it into a file of your own and name that "
        "here, as my_rewards.py:score, for a training or a study of another name"
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
