"""The table of results on the embedded tasks, and what it compares."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.tasks import BEGIN, END, arms_of, main, measure_differences, table
from benchmarks.worlds.fresh import End
from ppo_tune import load_study
from ppo_tune.files import append_json_line


def end(score: float, gold: float, kl: float = 1.0) -> End:
    """A training that scores the same on eight prompts, but for a little noise of theirs."""
    noise = np.linspace(-0.01, 0.01, 8)
    return End(score + noise, {"gold": gold + noise}, kl)


ARMS = {
    "default": [end(0.1, 0.2), end(0.3, 0.2)],
    "winner": [end(0.6, 0.5), end(0.8, 0.5)],
    "free": [end(0.9, -0.6, 9.0), end(0.9, -0.6, 11.0)],
    "reckless": [end(0.4, -0.6, 9.0), end(0.6, -0.6, 11.0)],
}


RATES = (1e-4, 2e-3, 2e-3, 5e-3)


def row(study: str = "support-gpt2") -> dict[str, Any]:
    """A study's row."""
    task, _, architecture = study.partition("-")
    arms = {"score": 0.5, "gold": 0.25, "kl": [1.0, 2.0]}
    return {
        "study": study,
        "task": task,
        "architecture": architecture,
        "untrained": arms,
        **{arm: {**arms, "params": {"learning_rate": rate}} for rate, arm in zip(RATES, ARMS, strict=True)},
        "differences": measure_differences(ARMS, end(0.0, 0.1)),
    }


def test_what_is_compared_is_the_mean_over_seeds_and_prompts() -> None:
    found = measure_differences(ARMS, end(0.0, 0.1))

    means = {pair: {judge: told[0] for judge, told in both.items()} for pair, both in found.items()}
    assert means["winner - default"] == pytest.approx({"score": 0.5, "gold": 0.3})
    assert means["free - winner"] == pytest.approx({"score": 0.2, "gold": -1.1})
    assert means["default - untrained"] == pytest.approx({"score": 0.2, "gold": 0.1})
    assert found["free - untrained"]["gold"][2] < 0 < found["free - untrained"]["score"][1]


def test_a_study_has_five_lines_with_its_intervals() -> None:
    lines = table([row()]).splitlines()[2:]

    assert len(lines) == 5
    assert lines[0].startswith("| **support, decoder (GPT-2)** | untrained | 0.50 | 0.25 | 0 |")
    assert "winner: score +0.50 (" in lines[2] and "gold +0.30 (" in lines[2]
    assert "| winner, `kl_coef` at its lowest: score +0.70 (" in lines[3] and "gold -0.80 (" in lines[3]
    assert "| and 2.5 times its learning rate: score +0.30 (" in lines[4] and "gold -0.80 (" in lines[4]
    assert lines[4].endswith("| 0.50 | 0.25 | 1.5 |")


def test_a_search_that_names_the_default_has_no_gain() -> None:
    told = row()
    told["winner"]["params"] = told["default"]["params"]

    assert "| the search names nothing better than the default | 0.50 |" in table([told]).splitlines()[4]


def test_the_reward_is_exploited_by_the_winner_s_config_without_its_guard() -> None:
    config = load_study("search_spaces/quickstart.yaml")
    winner = {**config.baseline, "learning_rate": 2e-3, "kl_coef": 0.1}

    arms = arms_of(config, winner)

    assert arms["free"] == {**winner, "kl_coef": 1e-3}
    assert arms["reckless"] == {**winner, "kl_coef": 1e-3, "learning_rate": pytest.approx(6e-3)}
    assert arms_of(config, {**winner, "learning_rate": 9e-3})["reckless"]["learning_rate"] == 1e-2


def test_rows_are_put_into_the_page_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nearlier rows\n{END}\nafter\n", encoding="utf-8")
    for study in ("support-t5", "support-gpt2"):
        append_json_line(tmp_path / "rows.jsonl", row(study))

    main(["--out", str(tmp_path), "--page", str(page)])

    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n| task") and text.endswith(f"{END}\nafter\n")
    assert "earlier rows" not in text
    assert text.index("decoder (GPT-2)") < text.index("encoder–decoder (T5)")
