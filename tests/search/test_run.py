# mypy: ignore-errors
"""Real processes, really killed: whatever dies, the same command goes on to the same total.

What the supervisor decides is tested without processes in test_supervisor.py; CI runs a few whole searches, and those
that only repeat its decisions with real processes are guards.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import psutil
import pytest
from filelock import FileLock
from optuna.trial import TrialState

from ppo_tune.config.study_file import load_study
from ppo_tune.files import read_json_lines
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.results import ending_of, was_lost
from ppo_tune.search.storage import load_study_from, storage_url
from tests.forked import start_command

pytestmark = pytest.mark.slow

SLOW_REWARD = """
import time
def score(prompts, responses, **columns):
    time.sleep(0.1)
    return [float(len(response)) for response in responses]
"""


class Command:
    """A command about a study file, or `extend` about a study, in a fresh process of its own, as users have it."""

    def __init__(self, path: Path | str, *flags: str, out: Path | None = None) -> None:
        words = ["search", str(path)] if isinstance(path, Path) else [path]
        self.out = path.parent if isinstance(path, Path) else out
        self.name = Path(path).stem
        self.start([*words, *flags, "--out", str(self.out)])

    def start(self, words: list[str]) -> None:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "300"}
        command = [sys.executable, "-m", "ppo_tune", *words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )

    def end(self) -> None:
        """Make sure that nothing is left of it."""
        if self.process.poll() is None:
            family = [
                psutil.Process(self.process.pid),
                *psutil.Process(self.process.pid).children(recursive=True),
            ]
            for process in family:
                process.kill()
        self.process.communicate()

    def finish(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=240)
        return self.process.returncode, output

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return load_study_from(storage_url(self.out, self.name), self.name).get_trials()

    def confirmation(self) -> list[optuna.trial.FrozenTrial]:
        return load_study_from(storage_url(self.out, self.name), f"{self.name}/confirmation").get_trials()

    def wait_for_running(self, n_finished: int) -> optuna.trial.FrozenTrial:
        """The first running trial that has been scored and is far from its end, once so many are finished."""
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            assert not self.is_over(), self.finish()
            if (self.out / "runs" / self.name / "base.json").is_file():  # made after the store
                trials = self.trials()
                scored = (t for t in trials if 1 <= len(t.user_attrs.get("curve", [])) <= 3)
                running = [t for t in scored if t.state is TrialState.RUNNING]
                if running and sum(t.state.is_finished() for t in trials) >= n_finished:
                    return running[0]
            time.sleep(0.05)
        raise AssertionError("no trial was ever running")


class ForkedCommand(Command):
    """The same, but the command and its workers begin with everything imported."""

    def start(self, words: list[str]) -> None:
        self.said = self.out / f"said-{len(list(self.out.glob('said-*')))}"
        self.process = start_command(words, self.said)

    def end(self) -> None:
        """Make sure that nothing is left of it: its workers end with it."""
        self.process.kill()
        self.process.join()

    def finish(self) -> tuple[int, str]:
        self.process.join(240)
        return self.process.exitcode, self.said.read_text(encoding="utf-8")

    def is_over(self) -> bool:
        return not self.process.is_alive()

    def interrupt(self) -> None:
        os.kill(self.process.pid, signal.SIGINT)


def starter(kind: type[Command]) -> Iterator[Callable[..., Command]]:
    """Starts commands, and sees to it that none outlives its test."""
    commands: list[Command] = []

    def start_one(path: Path | str, *flags: str, out: Path | None = None) -> Command:
        commands.append(kind(path, *flags, out=out))
        return commands[-1]

    yield start_one
    for command in commands:
        command.end()


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """Starts commands as users do."""
    yield from starter(Command)


@pytest.fixture
def start_forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Command]]:
    """Starts commands that begin with everything imported."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    yield from starter(ForkedCommand)


@pytest.fixture
def slow_study(write_study: Callable[..., Path], small_world: Path, tmp_path: Path) -> Path:
    """A study whose trials take about three seconds each, most of them after their first score; a prompt is "None"."""
    (tmp_path / "reward.py").write_text(SLOW_REWARD, encoding="utf-8")
    rows = (small_world / "prompts.jsonl").read_text(encoding="utf-8")
    (tmp_path / "more.jsonl").write_text(rows + '\n{"prompt": "None"}', encoding="utf-8")
    function = f"{tmp_path / 'reward.py'}:score"
    task = {"path": str(tmp_path / "more.jsonl"), "reward": {"name": "python", "function": function}}
    search = {"n_trials": 3, "milestones": 6}
    return write_study("slow", task=task, ppo={"episodes": 192}, search=search)


def finished_as(trials: list[optuna.trial.FrozenTrial]) -> list[str]:
    return [ending_of(trial) for trial in trials if not was_lost(trial)]


def test_two_workers_reach_the_total_though_one_is_killed_with_its_trial(
    slow_study: Path, start: Callable[..., Command]
) -> None:
    command = start(slow_study, "--workers", "2")
    victim = command.wait_for_running(n_finished=1)

    os.kill(victim.user_attrs["pid"], signal.SIGKILL)
    code, output = command.finish()

    trials = command.trials()
    assert code == 0, output
    assert finished_as(trials) == ["completed"] * 3
    assert ending_of(trials[victim.number]) == "lost"
    (again,) = (t for t in trials if t.user_attrs.get("rerun_of") == victim.number)
    assert again.params == victim.params
    assert again.user_attrs["curve"][0]["score"] == victim.user_attrs["curve"][0]["score"]
    assert f"trial {victim.number} was lost and runs again: worker" in output
    assert "more.jsonl: column 'prompt' holds the text 'None' in 1 row; was the cell empty?" in output
    assert again.user_attrs["pid"] != victim.user_attrs["pid"]
    assert re.search(r"[Nn]ot confirmed[:,] trial \d", output), output
    assert (slow_study.parent / "reports" / "slow" / "index.html").is_file()
    assert (slow_study.parent / "reports" / "slow" / "best.yaml").is_file()


@pytest.mark.guard
def test_workers_find_what_lies_beside_the_reward_and_another_helper_is_another_experiment(
    write_study: Callable[..., Path], tmp_path: Path, start: Callable[..., Command]
) -> None:
    rewards = tmp_path / "rewards"
    rewards.mkdir()
    (rewards / "words_helper.py").write_text("WORD = 'red'", encoding="utf-8")
    body = "import words_helper; return [r.count(words_helper.WORD) for r in responses]"
    (rewards / "r.py").write_text(f"def score(prompts, responses, **columns): {body}", encoding="utf-8")
    task = {"reward": {"name": "python", "function": f"{rewards / 'r.py'}:score"}}
    path = write_study(task=task, ppo={"episodes": 8}, search={"n_trials": 1, "milestones": 1})

    code, output = start(path, "--workers", "1").finish()
    (rewards / "words_helper.py").write_text("WORD = 'blue'", encoding="utf-8")
    changed, refusal = start(path, "--workers", "1", "--n-trials", "2").finish()

    assert code == 0, output
    assert changed == 2
    assert f"content.task.reward.function imports {rewards / 'words_helper.py'}: '" in refusal


def test_a_killed_parent_takes_its_workers_along_and_the_same_command_goes_on(
    slow_study: Path, start: Callable[..., Command]
) -> None:
    command = start(slow_study, "--workers", "1")
    command.wait_for_running(n_finished=1)
    workers = psutil.Process(command.process.pid).children(recursive=True)

    command.process.kill()
    command.process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    before = [t for t in command.trials() if t.state is TrialState.COMPLETE]
    code, output = start(slow_study, "--workers", "1").finish()

    trials = command.trials()
    assert alive == []
    assert code == 0, output
    assert finished_as(trials) == ["completed"] * 3
    assert [t.value for t in before] == [trials[t.number].value for t in before]


def test_one_interrupt_stops_cleanly_and_the_study_goes_on_to_more_trials(
    slow_study: Path, start_forked: Callable[..., Command]
) -> None:
    command = start_forked(slow_study, "--workers", "1")
    command.wait_for_running(n_finished=1)

    command.interrupt()
    code, output = command.finish()
    stopped = [ending_of(trial) for trial in command.trials()]
    again, _ = start_forked(slow_study, "--workers", "1", "--n-trials", "4").finish()

    assert code == 130, output
    assert (
        "Stopped. Study slow keeps 1 trial. "
        f"Go on with: ppo-tune search {slow_study} --workers 1 --out {slow_study.parent}\n" in output
    )
    searched = load_study(slow_study.parent / "runs" / command.name / f"{command.name}.yaml")
    assert searched == load_study(slow_study, n_trials=4)  # flags included
    assert "running" not in stopped
    assert "preempted" in stopped
    assert again == 0
    assert finished_as(command.trials()) == ["completed"] * 4


def test_seconds_end_a_search_and_more_of_them_go_on(
    slow_study: Path, start_forked: Callable[..., Command]
) -> None:
    """How far it comes by then is the machine's business: a worker takes seconds to start, and so does a trial."""
    first = start_forked(slow_study, "--workers", "2", "--n-trials", "9", "--max-seconds", "8")
    code, output = first.finish()
    cut = [ending_of(trial) for trial in first.trials()]
    again, more = start_forked(
        slow_study, "--workers", "2", "--n-trials", "3", "--max-seconds", "600"
    ).finish()

    assert code in (0, 3), output
    assert re.search(
        r"max_seconds 8 ended the search after \d trials?, [\d,]+ episodes in \d+ seconds", output
    )
    assert "running" not in cut
    assert cut.count("completed") < 9
    assert again == 0, more
    assert finished_as(first.trials()).count("completed") >= 3


def test_episodes_end_a_search_of_two_workers_pay_for_its_confirmation_and_can_be_extended(
    write_study: Callable[..., Path], start_forked: Callable[..., Command]
) -> None:
    search = {"n_trials": None, "max_episodes": 320, "confirm_top": 1, "confirm_seeds": 2}

    command = start_forked(write_study(search=search), "--workers", "2")
    code, output = command.finish()
    trials, runs = command.trials(), command.confirmation()
    again, more = start_forked("extend", "small", "--trials", "2", "--workers", "1", out=command.out).finish()

    assert code == 0, output
    assert finished_as(trials) == ["completed"] * 6
    assert finished_as(runs) == ["completed"] * 4
    assert "max_episodes 320 ended the search after 6 trials, 192 episodes in " in output
    assert again == 0, more
    assert finished_as(command.trials()) == ["completed"] * 8
    assert [t.value for t in command.trials()[:6]] == [t.value for t in trials]
    assert [t.value for t in command.confirmation()[:4]] == [t.value for t in runs]
    assert len(
        {(t.user_attrs["confirms"], t.user_attrs["seed_index"]) for t in command.confirmation()}
    ) == len(command.confirmation())


def test_a_second_search_of_a_running_study_is_refused_and_does_no_harm(
    slow_study: Path, start_forked: Callable[..., Command]
) -> None:
    """The running one is this test, which holds the study's lock as a search does."""
    folder = StudyFolder.of(slow_study.parent, "slow").path
    folder.mkdir(parents=True)
    (folder / "search.pid").write_text("4711", encoding="utf-8")

    with FileLock(folder / "search.lock"):
        code, output = start_forked(slow_study, "--workers", "1").finish()

    assert code == 2
    assert f"another search of study 'slow' is running in {slow_study.parent}/runs/slow" in output
    assert "(process 4711); wait for it, or stop it first" in output.replace("\n", " ")
    assert (folder / "search.pid").read_text(encoding="utf-8") == "4711"
    assert not (folder / "base.json").exists()


@pytest.mark.guard
def test_a_reward_that_always_fails_stops_the_search_with_the_first_reason(
    write_study: Callable[..., Path], tmp_path: Path, start: Callable[..., Command]
) -> None:
    (tmp_path / "reward.py").write_text(
        "calls = 0\ndef score(prompts, responses, **c):\n    global calls\n    calls += 1\n"
        "    if calls == 1:  # the untrained model's\n        return [float(len(r)) for r in responses]\n"
        "    raise ValueError('no scale')\n"
    )
    task = {"reward": {"name": "python", "function": f"{tmp_path / 'reward.py'}:score"}}
    path = write_study("broken", task=task, search={"n_trials": 20})

    code, output = start(path, "--workers", "1").finish()

    assert code == 2
    assert (
        "3 trials in a row ended with reward_error, so the search stops. The first said: reward function"
        in output
    )
    assert "raised ValueError: no scale for prompt 'a " in output


@pytest.mark.guard
def test_a_trial_that_kills_its_worker_every_time_is_given_up_after_three_attempts(
    write_study: Callable[..., Path], tmp_path: Path, start: Callable[..., Command]
) -> None:
    """Though it ends the process as if all were done."""
    (tmp_path / "reward.py").write_text("import os\ndef score(prompts, responses, **c):\n    os._exit(0)\n")
    base = {"name": "python", "function": f"{tmp_path / 'reward.py'}:score"}
    path = write_study("deadly", task={"reward": base}, search={"n_trials": 1})
    (tmp_path / "runs" / "deadly").mkdir(parents=True)
    (tmp_path / "runs" / "deadly" / "base.json").write_text("{}")  # so that the trial is what dies

    ended, output = start(path, "--workers", "1").finish()

    trials = load_study_from(storage_url(tmp_path, "deadly"), "deadly").get_trials()
    assert ended == 3, output  # the study is over, and there is nothing to go on with
    assert [ending_of(trial) for trial in trials] == ["lost", "lost", "crashed"]
    assert trials[2].user_attrs["reason"] == "worker 0 died with exit code 0, 3 times"


def test_a_model_that_cannot_be_used_is_one_message(
    write_study: Callable[..., Path], small_world: Path, tmp_path: Path, start_forked: Callable[..., Command]
) -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    for part in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bert" / part).write_bytes((small_world / "model" / part).read_bytes())
    path = write_study("bert", model={"name": str(tmp_path / "bert")})

    code, output = start_forked(path, "--workers", "1").finish()

    assert code == 2
    assert (
        "holds a BertForMaskedLM, not a causal language model or encoder–decoder; name one whose config.json says"
        in output
    )
    assert "Traceback" not in output


@pytest.mark.guard
def test_two_workers_time_packs_and_reach_the_total_and_go_on_with_a_pack_of_their_own(
    write_study: Callable[..., Path], tmp_path: Path, start: Callable[..., Command]
) -> None:
    ppo = {"episodes": 8 * 100}
    search = {"n_trials": 6, "sampler": "tpe"}
    code, output = start(write_study("packed", ppo=ppo, search=search), "--workers", "2").finish()

    timed = list(read_json_lines(tmp_path / "runs" / "packed" / "packs.jsonl"))
    assert code == 0, output
    assert sorted(line["worker"] for line in timed) == [0, 1]
    assert all(line["pack"] in (1, 2) and list(line["seconds"]) == ["1", "2"] for line in timed)
    assert ("pack of 2: " in output) == any(line["pack"] == 2 for line in timed)

    path = write_study("packed", ppo=ppo, search={**search, "pack": 3, "n_trials": 9})
    again = start(path, "--workers", "1")
    code, output = again.finish()

    assert code == 0, output
    assert finished_as(again.trials()) == ["completed"] * 9
    assert len(list(read_json_lines(tmp_path / "runs" / "packed" / "packs.jsonl"))) == 2
