"""Every task that a study file can name is made, and has a model if its block says so."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter

from ppo_tune import tasks
from ppo_tune.config.block import Block
from ppo_tune.config.blocks import TaskConfig
from ppo_tune.tasks import make_task
from tests.blocks import tag_of

MEMBERS: tuple[type[Block], ...] = get_args(get_args(TaskConfig)[0])


@pytest.mark.parametrize("member", MEMBERS)
def test_every_block_becomes_a_task(
    member: type[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (json.dumps({"prompt": f"prompt {i}"}) for i in range(200))
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    known: dict[str, Any] = {
        "path": str(tmp_path / "prompts.jsonl"),
        "reward": {"name": "rule", "include": {"a": 1.0}},
    }
    needed = {key: value for key, value in known.items() if key in member.model_fields}
    # What the embedded task builds has tests of its own.
    monkeypatch.setattr(tasks, "make_support", lambda *_: SimpleNamespace(base_model="embedded"))
    config: TaskConfig = TypeAdapter(TaskConfig).validate_python({**tag_of(member), **needed})

    made = make_task(config, torch.device("cpu"))

    assert (made.base_model is not None) == config.brings_model
