"""An encoder–decoder at every door: searched, reported, trained; and no reward model."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.short import SMALLER, endings, write_prompts
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
    write_prompts(tmp_path / "data.csv")
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


def test_sft_goes_on_with_it_and_no_reward_model_is_made_of_it(here: Path, cli: Cli) -> None:
    rows = (f'{{"prompt": "a {word}", "chosen": "b", "rejected": "c"}}\n' for word in WORDS)
    Path("pairs.jsonl").write_text("".join(rows), encoding="utf-8")

    fitted = cli("sft", "pairs.jsonl", "--reference", "chosen", "--base", "t5", "--out", "fitted")
    refused = cli("reward", "pairs.jsonl", "--base", "t5", "--out", "judge")

    assert fitted.code == 0, fitted.err
    assert (here / "fitted" / "model.safetensors").is_file()
    said = " ".join(refused.err.split())
    assert refused.code == 2
    assert (
        "'t5' holds an encoder–decoder (T5), and only decoder-only models become reward models; name one"
        in said
    )
    assert not Path("judge").exists()


def test_a_new_one_is_made_of_a_users_texts_and_searched(cli: Cli) -> None:
    rows = (f'{{"prompt": "a {one} {two}", "response": "{two} {one}"}}\n' for one in WORDS for two in WORDS)
    Path("pairs.jsonl").write_text("".join(rows), encoding="utf-8")
    base = ["--architecture", "t5", "--tokens", "words", *SMALLER["sft"]]

    assert cli("sft", "pairs.jsonl", "--out", "base", *base).code == 0
    done = cli("search", "study.yaml", *SMALLER["search"], "--set", "model.name=base")

    assert done.code == 0, done.err
