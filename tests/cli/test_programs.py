"""Programs judged by unit tests, from the command line: what is looked at, what is told, and pass@k."""

import json
from pathlib import Path

import pytest

from ppo_tune import load_run
from ppo_tune.data.prompts import split_of
from ppo_tune.errors import ConfigError
from ppo_tune.programs.runners import Protection, runners
from ppo_tune.trainer.assembly import evaluate_model
from tests.cli.conftest import Cli
from tests.conftest import save_tiny_model, tiny_tokenizer

ROWS = [
    {
        "prompt": f"{one} {two} {three}",
        "tests": [{"input": {"a": 1, "b": 2, "c": 3}, "output": 1}, {"input": {"a": 2, "b": 2}, "output": 2}],
        "hidden_tests": [{"input": {"a": 7, "b": 2}, "output": 7}],
    }
    for one in "abcde"
    for two in "abcde"
    for three in "abcd"
]

STUDY = """task:
  name: dataset
  path: rows.jsonl
  heldout_prompts: 4
  reward: {name: unit_tests, language: expression}
  gold: {name: unit_tests, language: expression, column: hidden_tests}
model: {name: model, lora_rank: 1}
ppo: {rollout_size: 8, batch_size: 8, episodes: 16, max_new_tokens: 1, temperature: 0.5}
space: {learning_rate: {type: float, low: 1.0e-4, high: 1.0e-2, log: true}}
search: {n_trials: 2, confirm_top: 0}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with a model, rows and a study, to work in."""
    save_tiny_model(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    (tmp_path / "programs.yaml").write_text(STUDY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pass_at_k_is_that_of_so_many_responses_to_each_prompt(folder: Path, cli: Cli) -> None:
    one = json.loads(cli("evaluate", "model", "--config", "programs.yaml", "--json").out)
    four = json.loads(cli("evaluate", "model", "--config", "programs.yaml", "--responses", 4, "--json").out)
    shown = cli("evaluate", "model", "--config", "programs.yaml", "--responses", 4, "--samples", 0)

    assert four.items() >= one.items()  # all else is said of the first responses
    assert four.keys() - one.keys() == {
        f"{judge}pass@{k}{end}" for judge in ("", "gold_") for k in (1, 2, 4) for end in ("", "_low", "_high")
    }
    assert 0 <= four["pass@1"] <= four["pass@2"] <= four["pass@4"] <= 1
    assert 0 < four["gold_pass@4"] < 1
    assert four["pass@2_low"] < four["pass@2"] < four["pass@2_high"]
    row = f"gold_pass@4 {four['gold_pass@4']:.3f} 95 % interval {four['gold_pass@4_low']:.3f} to"
    assert row in " ".join(shown.out.split())


def test_each_prompt_is_answered_so_often_and_first_as_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[list[float]]] = []
    monkeypatch.setattr("ppo_tune.trainer.assembly.pass_rates", asked.append)

    judged = evaluate_model("model", load_run(Path("programs.yaml")), responses=4)

    of_objective, of_gold = asked
    assert [scores[0] for scores in of_objective] == [sample.score for sample in judged.samples]
    assert [scores[0] for scores in of_gold] == [sample.judges["gold"] for sample in judged.samples]
    assert {len(scores) for scores in of_gold} == {4}
    assert len({tuple(draw) for draw in zip(*of_gold, strict=True)}) > 1  # by other random numbers


def test_pass_at_k_without_unit_tests_is_refused_before_any_model_loads(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = "rule, include: {a: 1.0}"
    study = STUDY.replace("unit_tests, language: expression, column: hidden_tests", rule)
    study = study.replace("unit_tests, language: expression", rule)
    (folder / "programs.yaml").write_text(study, encoding="utf-8")
    monkeypatch.setattr(
        "ppo_tune.trainer.assembly.load_policy", lambda *_, **__: pytest.fail("a model was loaded")
    )

    refused = cli("evaluate", "model", "--config", "programs.yaml", "--responses", 2)

    assert (refused.code, " ".join(refused.err.split())) == (
        2,
        "error: --responses: more than one response to a prompt gives pass@k, which unit tests judge, but nobody who "
        "scores task dataset is unit_tests; leave it out, or add such a judge, as task.gold",
    )


def test_no_response_at_all_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError) as error:
        evaluate_model("model", load_run(Path("programs.yaml")), responses=0)

    assert str(error.value) == "responses: `responses >= 1` must hold, but got 0"


def test_a_row_without_tests_is_refused_before_any_model_loads(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = next(i for i, row in enumerate(ROWS) if split_of(str(row["prompt"])) == "confirmation")
    rows = [*ROWS[:claimed], {**ROWS[claimed], "tests": []}, *ROWS[claimed + 1 :]]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.setattr(
        "ppo_tune.trainer.assembly.load_policy", lambda *_, **__: pytest.fail("a model was loaded")
    )

    refused = [cli("check", "programs.yaml"), cli("evaluate", "model", "--config", "programs.yaml")]

    why = (
        "task.reward: column 'tests' holds no tests; mend the row, or drop such rows with drop_bad_rows: true"
    )
    message = f"error: rows.jsonl:{claimed + 1}: {why}"
    assert [(one.code, " ".join(one.err.split())) for one in refused] == [(2, message)] * 2


def test_a_language_that_does_not_exist_is_refused_by_its_line(folder: Path, cli: Cli) -> None:
    (folder / "programs.yaml").write_text(STUDY.replace("expression}", "rust}", 1), encoding="utf-8")

    refused = cli("check", "programs.yaml")

    assert refused.code == 2
    assert " ".join(refused.err.split()) == (
        "error: programs.yaml:5: task.reward.language: unknown 'rust'; choose one of expression, python"
    )


def test_what_programs_are_not_kept_from_is_told_once(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners(256), "protection", Protection(isolated=False, filtered=True))

    outcome = cli("check", "programs.yaml")

    said = " ".join(f"{outcome.out} {outcome.err}".split())
    assert (
        said.count("note: unit tests: programs can write no file, start no process and use no network") == 1
    )
