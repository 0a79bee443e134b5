"""What `sft` and `reward` say while they fit, on a terminal and in a log, and of how good the result is."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

import ppo_tune.cli.fitting
from ppo_tune.cli.fitting import fit_progress, interval
from ppo_tune.fitting.loop import Step
from tests.cli.conftest import Cli


def run(console: Console, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit of two epochs with two steps each, ten seconds a step."""
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(ppo_tune.cli.fitting, "monotonic", lambda: float(next(now)))
    with fit_progress(console, seconds) as progress:
        for number in range(1, 5):
            progress(Step((number + 1) // 2, 2, number, 4, 8 / number))


def test_a_log_gets_a_line_from_time_to_time_with_the_mean_loss_since_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = io.StringIO()

    run(Console(file=text, width=40), 20, monkeypatch)

    assert text.getvalue() == "epoch 1 of 2, step 2 of 4, loss 6.000, 20 s left\n"


def test_a_short_fit_says_nothing_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()

    run(Console(file=text), 60, monkeypatch)

    assert text.getvalue() == ""


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()

    with fit_progress(Console(file=text, force_terminal=True, width=100)) as progress:
        progress(Step(1, 1, 1, 2, 3.25))

    assert "epoch 1 of 1, step 1 of 2, loss 3.250" in text.getvalue()
    assert text.getvalue().endswith("\x1b[2K")


def test_an_interval_that_is_not_there_is_not_said() -> None:
    assert interval(None) == ""
    assert interval((0.25, 0.5)) == "95 % interval 0.250 to 0.500, "


def test_sft_and_reward_say_how_good_they_are(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"say {i // 2}", "response": f"it is {i}", "chosen": f"it is {i}", "rejected": "no"}
        for i in range(40)
    ]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    size = ("--layers", 1, "--width", 16, "--heads", 2, "--vocab-size", 300, "--heldout-fraction", 0.2)

    sft = cli("sft", "rows.jsonl", "--out", "base", *size, "--epochs", 1)
    reward = cli("reward", "rows.jsonl", "--base", "base", "--out", "judge", "--lora-rank", 2)

    assert (sft.code, reward.code) == (0, 0), sft.err + reward.err
    number = r"\d+\.\d{3}"
    ends = rf"95 % interval {number} to {number}"
    assert re.search(
        rf"^[\d,]+ parameters, 32 examples, held-out loss {number} nats per token \({ends}, "
        rf"perplexity \S+\) on 8 examples of 4 prompts; {number} before the fit$",
        sft.out,
        re.MULTILINE,
    )
    assert "careful: 4 held-out prompts say little of the loss, which 30 or more would; give more" in sft.out
    assert re.search(
        rf"^36 preferences, held-out accuracy {number} on 4 pairs of 2 prompts \({ends}\); ",
        reward.out,
        re.MULTILINE,
    )
    assert "careful: 2 held-out prompts say little of the accuracy, which 30 or more would" in reward.out
    assert json.loads(Path("judge", "fit.json").read_text(encoding="utf-8"))["heldout_prompts"] == 2
