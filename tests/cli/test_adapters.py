"""A study of IA³, from its check to its export: everything that a study of LoRA does, and no other trainer."""

from pathlib import Path

import pytest

from ppo_tune.files import read_json
from tests.cli.conftest import Cli
from tests.cli.short import write_prompts
from tests.conftest import save_tiny_model

pytestmark = pytest.mark.slow

STUDY = """
task: {name: dataset, path: data.csv, heldout_prompts: 8, reward: {name: rule, include: {red: 1.0}}}
model: {name: base, adapter: ia3}
ppo: {rollout_size: 16, batch_size: 8, max_new_tokens: 4, episodes: 32}
space: {learning_rate: {type: float, low: 1e-3, high: 1e-1, log: true}}
search: {n_trials: 2, pack: 2, milestones: 1}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "base")
    write_prompts(tmp_path / "data.csv")
    Path("study.yaml").write_text(STUDY, encoding="utf-8")
    return tmp_path


def test_it_goes_the_way_of_any_other_adapter_and_no_other_trainer_is_promised_for_it(
    here: Path, cli: Cli
) -> None:
    for words in (
        ["check", "study.yaml"],
        ["search", "study.yaml", "--workers", "1", "--no-confirm"],
        ["report", "study"],
        ["train", "study", "--trial", "1", "--from-weights", "--episodes", "16", "--out", "on"],
        ["export", "study", "--to", "native"],
        ["evaluate", "on/adapter", "--config", "on/config.json"],
    ):
        done = cli(*words)
        assert done.code == 0, (words, done.out, done.err)

    adapter = here / "runs" / "study" / "trials" / "0001" / "adapter"
    assert read_json(adapter / "adapter_config.json")["peft_type"] == "IA3"
    best = Path("reports/study/best.yaml").read_text(encoding="utf-8")
    assert "adapter: ia3" in best
    assert "lora" not in best
    said = read_json(Path("on/evaluation.json"))["after"]["score"]
    assert f"score {said:.3f}" in " ".join(done.out.split())
    card = Path("on/model/README.md").read_text(encoding="utf-8")
    assert "| `adapter` | ia3 |" in card
    assert "lora" not in card
    refused = cli("export", "study", "--to", "trl")
    other = cli("train", "study", "--trial", "1", "--from-weights", "--set", "model.adapter=lora")
    assert (refused.code, other.code) == (2, 2)
    assert "must be native for adapter: ia3, which trl does not train" in " ".join(refused.err.split())
    assert "holds an adapter of adapter: ia3; set the same in model, or begin untrained" in " ".join(
        other.err.split()
    )


@pytest.mark.guard
def test_rows_that_turn_are_judged_and_exported_and_those_who_cannot_train_them_are_named(
    here: Path, cli: Cli
) -> None:
    Path("study.yaml").write_text(
        STUDY.replace("adapter: ia3", "adapter: dora, lora_rank: 2"), encoding="utf-8"
    )

    assert cli("search", "study.yaml", "--workers", "1", "--no-confirm").code == 0

    adapter = here / "runs" / "study" / "trials" / "0001" / "adapter"
    assert read_json(adapter / "adapter_config.json")["use_dora"] is True
    assert cli("evaluate", adapter, "--config", "study.yaml").code == 0
    assert cli("export", "study", "--to", "trl").code == 0
    script = Path("exports/study-trl/train.py").read_text(encoding="utf-8")
    assert "USE_DORA = True" in script
    assert "use_dora=USE_DORA" in script
    refused = cli("export", "study", "--to", "verl")
    other = cli("train", "study", "--trial", "1", "--from-weights", "--set", "model.adapter=lora")
    assert (refused.code, other.code) == (2, 2)
    assert "must be native or trl for adapter: dora, which verl does not train" in " ".join(
        refused.err.split()
    )
    assert "holds an adapter of adapter: dora; set the same in model, or begin untrained" in " ".join(
        other.err.split()
    )
