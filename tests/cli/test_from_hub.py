"""A search on a model and a data set that are nowhere but on a hub: drafted and searched by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.short import SMALLER, endings
from tests.conftest import save_tiny_model
from tests.hub import Files, Hub, commit_of, files_of, serving

pytestmark = pytest.mark.guard


def test_a_private_model_and_data_set_of_a_hub_are_searched_by_name(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"question": f"n {i}", "answer": f"{i}"}) + "\n" for i in range(200)).encode()
    data = {"data/train.jsonl": rows}
    repos: dict[tuple[str, str], dict[str, Files]] = {
        ("models", "me/tiny"): {"main": {}, "v1": files_of(save_tiny_model(tmp_path / "made"))},
        ("datasets", "me/asks"): {"main": data},
    }
    with serving(Hub(repos, private={"me/tiny", "me/asks"})) as hub:
        here = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env = {**here, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}

        def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
            command = [str(Path(sys.executable).with_name("ppo-tune")), *words]
            return subprocess.run(
                command, cwd=tmp_path, env=env | variables, capture_output=True, text=True, check=False
            )

        refused = run("init", "me/asks", "--model", "me/tiny@v1")
        drafted = run("init", "me/asks", "--model", "me/tiny@v1", HF_TOKEN=hub.token)
        found = run("search", "asks.yaml", *SMALLER["search"], HF_TOKEN=hub.token)

    assert refused.returncode == 2
    assert "or a private one that HF_TOKEN does not open" in refused.stderr
    for done in (drafted, found):
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"me/asks: read at commit {commit_of(data)}" in found.stdout + found.stderr
    assert endings(tmp_path, "asks") == ["completed", "completed"]
