"""An encoder–decoder at every door: searched, reported, trained; and refused where only decoders are read."""

import random
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.short import SMALLER, endings
from tests.conftest import WORDS, save_tiny_model

pytestmark = pytest.mark.slow

STUDY = """
task: {name: dataset, path: data.csv, heldout_prompts: 16, reward: {name: rule, include: {a: 1.0}}}
model: {name: t5, lora_rank: 4}
space:
  learning_rate: {type: float, low: 1e-3, high: 3e-2, log: true}
  kl_coef: {type: float, low: 0.01, high: 0.1, log: true}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "t5", "t5")
    rng = random.Random(0)
    prompts = {" ".join(rng.choices(WORDS, k=4)): None for _ in range(120)}
    Path("data.csv").write_text("prompt\n" + "".join(f"{text}\n" for text in prompts), encoding="utf-8")
    Path("study.yaml").write_text(STUDY, encoding="utf-8")
    return tmp_path


def test_it_goes_the_way_of_any_other_model_and_no_other_trainer_is_promised_for_it(
    here: Path, cli: Cli
) -> None:
    for words in (
        ["check", "study.yaml"],
        ["search", "study.yaml", *SMALLER["search"], "--set", "search.pack=2"],
        ["report", "study"],
        ["train", "reports/study/best.yaml"],
        ["export", "study", "--to", "native"],
    ):
        done = cli(*words)
        assert done.code == 0, (words, done.out, done.err)
    assert len(endings(here, "study")) == 2

    refused = cli("export", "study", "--to", "trl")

    assert refused.code == 2
    assert "must be native for 't5', an encoder–decoder, which trl does not train" in " ".join(
        refused.err.split()
    )


@pytest.mark.parametrize("command", ["sft", "reward"])
def test_it_is_not_fitted(command: str, cli: Cli) -> None:
    Path("pairs.jsonl").write_text(
        "".join(f'{{"prompt": "a {w}", "chosen": "b", "rejected": "c"}}\n' for w in WORDS), encoding="utf-8"
    )

    columns = ["--reference", "chosen"] if command == "sft" else []

    refused = cli(command, "pairs.jsonl", "--base", "t5", "--out", "fitted", *columns)

    said = " ".join(refused.err.split())
    assert refused.code == 2
    assert "'t5' holds an encoder–decoder (T5), and only decoder-only models can be fitted; name one" in said
    assert not Path("fitted").exists()
