# mypy: ignore-errors
"""Weights & Biases: a run on this disk, and not one byte over the network."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("wandb", reason="needs the extra: pip install 'ppo-tune[wandb]'")

TRIALS = """
import os, signal, sys
from pathlib import Path
import psutil
from ppo_tune.tracking import Tracked, Tracking

def begin(name):
    return Tracking(("wandb",), Tracked("study", name, Path(sys.argv[1]), {"gamma": 0.9, "dual_clip": None}), print)

both = [begin("0000"), begin("0001")]  # a pack trains several at once
for episodes in (64, 128):
    for tracking in both:
        tracking.log({"episodes": episodes, "heldout/score": episodes / 256})
if sys.argv[2] == "kill":
    for process in psutil.Process().children(recursive=True):
        process.kill()
        process.wait()
    for tracking in both:
        tracking.log({"episodes": 192, "heldout/score": 0.0})
both[0].finish("completed")
both[1].finish("diverged")
print("went on")
"""


class Listener:
    """A server and proxy that notes who calls, and answers nobody."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self.socket.accept()
            except OSError:
                return
            with caller:
                self.calls.append(caller.recv(1000))


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.socket.close()


def run(tmp_path: Path, listener: Listener, how: str = "finish") -> subprocess.CompletedProcess[str]:
    """Log two trials in a process whose every way out leads to the listener."""
    proxies = {
        name: listener.url for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy")
    }
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WANDB") and name.lower() != "no_proxy"
    }
    return subprocess.run(
        [sys.executable, "-c", TRIALS, tmp_path, how],
        env={**clean, **proxies, "WANDB_BASE_URL": listener.url, "HOME": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_trials_of_a_pack_are_offline_runs_and_nothing_is_asked_of_any_server(
    tmp_path: Path, listener: Listener
) -> None:
    done = run(tmp_path, listener)

    assert done.stdout == "went on\n"
    assert done.stderr == ""
    assert listener.calls == []
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    names, groups, configs, scores, endings = set(), set(), [], [], []
    for folder in runs:
        for record in read_run(folder):
            kind = record["kind"]
            if kind == "run":
                names.add(record["name"])
                groups.add(record["group"])
                configs.append(record["config"])
            elif kind == "history":
                scores.append((record["episodes"], record["heldout/score"]))
            elif kind == "summary" and "ending" in record:
                endings.append(record["ending"])
    assert names == {"study-0000", "study-0001"}
    assert groups == {"study"}
    assert all(config["gamma"] == 0.9 and config["dual_clip"] is None for config in configs)
    assert sorted(scores) == [(64, 0.25), (64, 0.25), (128, 0.5), (128, 0.5)]
    assert sorted(endings) == ["completed", "diverged"]


def read_run(folder: Path) -> Iterator[dict[str, object]]:
    """The records of an offline run: a log of protocol buffers, each after its checksum, length and kind."""
    from wandb.proto import wandb_internal_pb2

    data, start = next(folder.glob("*.wandb")).read_bytes(), 7
    while start < len(data):
        _, length, kind_of_part = struct.unpack_from("<IHB", data, start)
        assert kind_of_part == 1  # whole
        start += 7
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data[start : start + length])
        start += length
        kind = record.WhichOneof("record_type")
        if kind == "run":
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            yield {
                "kind": kind,
                "name": record.run.display_name,
                "group": record.run.run_group,
                "config": config,
            }
        elif kind in ("history", "summary"):
            items = record.history.item if kind == "history" else record.summary.update
            names = [item.key or item.nested_key[0] for item in items]
            values = [json.loads(item.value_json) for item in items]
            yield {"kind": kind, **dict(zip(names, values, strict=True))}


def test_trials_go_on_when_wandb_dies(tmp_path: Path, listener: Listener) -> None:
    done = run(tmp_path, listener, "kill")

    lines = done.stdout.splitlines()
    assert lines[-1] == "went on"
    assert len(lines) == 3  # one warning per trial
    for name, line in zip(("0000", "0001"), lines[:2], strict=True):
        assert line.startswith(f"wandb failed and gets nothing more of {name}, which goes on: ")
    assert listener.calls == []


def test_the_user_decides_by_the_environment_that_runs_go_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import wandb

    from ppo_tune.tracking import Tracked
    from ppo_tune.tracking.wandb import WandB

    asked = []

    def init(**wanted: object) -> object:
        asked.append((wanted["mode"], wanted["project"]))
        raise RuntimeError

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for mode, project in (("", ""), ("online", "mine"), ("disabled", "")):
        monkeypatch.setenv("WANDB_MODE", mode)
        monkeypatch.setenv("WANDB_PROJECT", project)
        with pytest.raises(RuntimeError):
            WandB(Tracked("study", "0000", tmp_path, {}))

    assert asked == [("offline", "ppo-tune"), (None, "mine"), (None, "ppo-tune")]
