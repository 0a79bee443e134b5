"""Studies of IA³, DoRA and prefixes, from check to export: what a study of LoRA does, and who else can train them."""

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


@pytest.mark.parametrize("family", ["gpt2", pytest.param("t5", marks=pytest.mark.guard)])
def test_a_prefix_is_kept_beside_its_base_and_judged_behind_it(family: str, here: Path, cli: Cli) -> None:
    save_tiny_model(here / "base", family)
    study = STUDY.replace("adapter: ia3", "adapter: prefix, prefix_length: 3")
    Path("study.yaml").write_text(study, encoding="utf-8")
    said: dict[str, str] = {}
    for words in (
        ["check", "study.yaml"],
        ["search", "study.yaml", "--workers", "1", "--no-confirm"],
        ["confirm", "study", "--top", "1", "--seeds", "2"],
        ["report", "study"],
        ["train", "study", "--trial", "1", "--from-weights", "--episodes", "16", "--out", "on"],
        ["train", "study", "--trial", "1", "--episodes", "16", "--out", "fresh"],
        ["export", "study", "--to", "native"],
        ["evaluate", "on/adapter", "--config", "on/config.json"],
    ):
        done = cli(*words)
        assert done.code == 0, (words, done.out, done.err)
        said[words[0]] = " ".join((done.out + done.err).split())

    starts = "nats per response from the reference, before it has learned anything"
    assert starts in said["search"]
    assert starts in said["train"]
    best = Path("reports/study/best.yaml").read_text(encoding="utf-8")
    assert "prefix_length: 3" in best
    assert "lora" not in best
    adapter = here / "on" / "adapter"
    facts = read_json(adapter / "adapter_config.json")
    assert (facts["peft_type"], facts["num_virtual_tokens"]) == ("PREFIX_TUNING", 3)
    assert f"score {read_json(Path('on/evaluation.json'))['after']['score']:.3f}" in said["evaluate"]
    card = (adapter / "README.md").read_text(encoding="utf-8")
    assert "| `adapter` | prefix |" in card
    assert "| `prefix_length` | 3 |" in card
    assert not (here / "on" / "model").exists()
    longer = cli(
        "train", "study", "--trial", "1", "--from-weights", "--set", "model.prefix_length=4", "--out", "long"
    )
    other = cli("export", "study", "--to", "trl")
    assert (longer.code, other.code) == (2, 2)
    assert "holds an adapter of prefix_length 3; set the same in model, or begin untrained" in " ".join(
        longer.err.split()
    )
    untrained_there = "adapter: prefix" if family == "gpt2" else "'base', an encoder–decoder"
    assert f"must be native for {untrained_there}, which trl does not train" in " ".join(other.err.split())
