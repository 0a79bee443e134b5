# mypy: ignore-errors
"""A family that is refused is refused at every door a user comes through, in the same sentence and with code 2."""

import json
import random
import sys
from pathlib import Path

import pytest

from ppo_tune.cli import main
from tests.conftest import WORDS
from tests.models.families.table import REFUSED

SOME = [row for row in REFUSED if row.name in ("bert", "mamba")]
"""One that looks ahead, and one that forgets."""

TRAIN = """
task: {{name: dataset, path: {data}, heldout_prompts: 4, reward: {{name: rule, include: {{a: 1.0}}}}}}
model: {{name: {model}}}
ppo: {{rollout_size: 4, batch_size: 4, episodes: 8, max_new_tokens: 4}}
"""
STUDY = TRAIN + "space: {{learning_rate: {{type: float, low: 1e-4, high: 1e-2}}}}\nsearch: {{n_trials: 2}}"


@pytest.mark.parametrize("row", SOME, ids=[row.name for row in SOME])
@pytest.mark.parametrize(
    ("command", "text", "flags"),
    [("train", TRAIN, []), pytest.param("search", STUDY, ["--workers", "1"], marks=pytest.mark.slow)],
)
def test_the_command_line_refuses_it(row, command, text, flags, folder_of, tmp_path, monkeypatch, capfd):
    rng = random.Random(0)
    prompts = {" ".join(rng.choices(WORDS, k=4)): None for _ in range(20)}
    data, config, out = tmp_path / "data.jsonl", tmp_path / "config.yaml", tmp_path / "out"
    data.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts), encoding="utf-8")
    config.write_text(text.format(data=data, model=folder_of(row)), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["ppo-tune", command, str(config), "--out", str(out), *flags])

    with pytest.raises(SystemExit) as left:
        main()

    said = " ".join(capfd.readouterr().err.split())
    assert left.value.code == 2
    assert said.count("error: ") == 1
    assert str(folder_of(row)) in said
    assert "trained" in said
    assert "Traceback" not in said
    assert not list(Path(out).rglob("*.safetensors"))
