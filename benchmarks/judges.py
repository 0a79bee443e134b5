"""Rewards fitted to every kind of label, by the same annotators: what each is worth, and what a search makes of it.

    python benchmarks/judges.py                       # every kind; under an hour on two cores
    python benchmarks/judges.py --kinds ratings
    python benchmarks/judges.py --page docs/results.md    # only put the rows into the page's table

Hurried annotators of the embedded task `support` judge 4,000 responses of its base model, or 4,000 pairs of them. What
one thinks is `World.opinion` with Gumbel noise of scale 1/2, by which pairs are those that the task's own reward model
is fitted to. Of ratings three annotators have scales of their own. The shipped study file is then searched and
confirmed with that reward, and what it names is trained on five fresh seeds, as `benchmarks/tasks.py` does. What is
killed goes on.
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.tasks import measure, put, search
from benchmarks.worlds.fresh import Params
from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import EmbeddedTaskConfig
from ppo_tune.data.labels import ClassLabels, Labels, PairLabels, RatingLabels
from ppo_tune.data.prompts import split_of
from ppo_tune.files import append_json_line, read_json, read_json_lines
from ppo_tune.fitting.reward_model import fit_reward, sample_base
from ppo_tune.tasks.embedded import build_models
from ppo_tune.tasks.recipe import asked
from ppo_tune.tasks.worlds import world_of

TASK = EmbeddedTaskConfig(name="support")
N = 4000
"""Judgements of each kind."""

FEW = 1000
"""Where they are few."""

SEED = 7
OFFSETS = (-1.0, 0.0, 1.5)
"""Of three raters, on a scale from 1 to 7."""

BEGIN, END = "<!-- judges: begin -->", "<!-- judges: end -->"

Judged = tuple[list[tuple[str, ...]], Labels]
Opinion = tuple[str, str, float]
"""A prompt, a response, and what an annotator thinks of it now, in standard deviations from the mean."""


def pairs(told: Sequence[Opinion]) -> Judged:
    """Of two responses to a prompt the one that is thought better."""
    both = zip(told[:N], told[N:], strict=True)
    ordered = [(one, other) if one[2] > other[2] else (other, one) for one, other in both]
    return [(better[0], better[1], worse[1]) for better, worse in ordered], PairLabels.plain(N)


def ratings(told: Sequence[Opinion]) -> Judged:
    """From 1 to 7, by one of three raters with a scale of their own."""
    rng = random.Random(SEED)
    who = [rng.randrange(3) for _ in range(N)]
    given = [
        min(7.0, max(1.0, round(4 + 1.3 * u + OFFSETS[w])))
        for (*_, u), w in zip(alone(told), who, strict=True)
    ]
    return texts(told), RatingLabels(np.array([*map(str, who)]), ("rating",), np.array(given)[:, None])


def ordered(told: Sequence[Opinion]) -> Judged:
    """Bad, fair or good: a third of the responses each."""
    low, high = np.quantile([u for *_, u in told], (1 / 3, 2 / 3))
    classes = np.array([int(u > low) + int(u > high) for *_, u in alone(told)])
    return texts(told), ClassLabels(None, ("bad", "fair", "good"), classes, 2, ordered=True)


def unordered(told: Sequence[Opinion]) -> Judged:
    """Good the best third; of the others some are called curt and some wrong."""
    high = np.quantile([u for *_, u in told], 2 / 3)
    usual = statistics.median(len(text.split()) for _, text, _ in told)
    classes = np.array([2 if u > high else int(len(text.split()) < usual) for _, text, u in alone(told)])
    return texts(told), ClassLabels(None, ("wrong", "curt", "good"), classes, 2, ordered=False)


def thumbs(told: Sequence[Opinion]) -> Judged:
    """Up for the better half."""
    middle = statistics.median(u for *_, u in told)
    classes = np.array([int(u > middle) for *_, u in alone(told)])
    return texts(told), ClassLabels(None, ("down", "up"), classes, 1, ordered=True)


def few_thumbs(told: Sequence[Opinion]) -> Judged:
    """The same for one response in four, and nothing of the others."""
    rows, labels = thumbs(told)
    return rows[:: N // FEW], labels.at(range(0, N, N // FEW))


def comments(told: Sequence[Opinion]) -> Judged:
    """Thumbs for one response in four, and a comment on each."""
    rng = random.Random(SEED)
    low, high = np.quantile([u for *_, u in told], (1 / 3, 2 / 3))
    words = (
        ("not acceptable", "i am upset", "so slow"),
        ("no hurry", "please advise"),
        ("happy", "thank you"),
    )
    said = [rng.choice(words[int(u > low) + int(u > high)]) for *_, u in alone(told)]
    rows, labels = thumbs(told)
    assert isinstance(labels, ClassLabels)
    classes = np.where(np.arange(N) % (N // FEW) == 0, labels.classes, -1)
    return rows, replace(labels, classes=classes, comments=np.array(said, object))


def alone(told: Sequence[Opinion]) -> list[Opinion]:
    """Those of responses that are judged one by one: both to each of 2,000 prompts."""
    return [one for both in zip(told[: N // 2], told[N : N + N // 2], strict=True) for one in both]


def texts(told: Sequence[Opinion]) -> list[tuple[str, ...]]:
    """The responses that are judged one by one."""
    return [(prompt, response) for prompt, response, _ in alone(told)]


KINDS: Mapping[str, Callable[[Sequence[Opinion]], Judged]] = {
    "pairs": pairs, "ratings": ratings, "ordered": ordered, "unordered": unordered, "thumbs": thumbs,
    "few_thumbs": few_thumbs, "comments": comments,
}  # fmt: skip
TITLES = {
    "pairs": "pairs", "ratings": "ratings 1 to 7 of three raters with scales of their own",
    "ordered": "bad, fair, good, in order", "unordered": "wrong, curt, good, without an order", "thumbs": "thumbs",
    "few_thumbs": "thumbs for 1,000 responses", "comments": "thumbs for 1,000 responses, and comments on all 4,000",
}  # fmt: skip


def opinions(base: str, config: RewardTrainingConfig) -> list[Opinion]:
    """Two responses of the base model to each of 4,000 training prompts, and what is thought of them."""
    world, rng = world_of(TASK.name), random.Random(SEED)
    known = asked(world, TASK.seed, TASK.architecture)
    train = [text for text, prompt in known.items() if split_of(prompt.text) == "train"]
    prompts = [train[i % len(train)] for i in range(N)]
    said = sample_base(base, prompts, config.model_copy(update={"base_samples": 2 * N, "seed": SEED}))
    noisy = [world.opinion(known[p], r) - math.log(-math.log(rng.random())) / 2 for p, r in said]
    mean, spread = statistics.mean(noisy), statistics.stdev(noisy)
    return [
        (prompt, response, (u - mean) / spread) for (prompt, response), u in zip(said, noisy, strict=True)
    ]


def fitted(kind: str, out: Path) -> Path:
    """The folder of a reward model that is fitted to a kind of label, as the task's own is to pairs."""
    folder = out / "rewards" / kind
    if not (folder / "fit.json").is_file():
        config = world_of(TASK.name).reward
        assert isinstance(config, RewardTrainingConfig)
        base = str(build_models(TASK) / "base")
        rows, labels = KINDS[kind](opinions(base, config))
        epochs = config.epochs * (2 if kind in ("few_thumbs", "comments") else 1)  # fewer rows an epoch
        fit_reward(rows, base, folder, config.model_copy(update={"epochs": epochs}), labels=labels)
    return folder


def row_of(kind: str, out: Path) -> dict[str, Any]:
    """What a reward is worth, and what its search comes to."""
    folder = fitted(kind, out)
    reward = json.dumps({"name": "preference", "model": str(folder.resolve())})
    found = measure(*search(TASK.name, f"judges-{kind}", out, reward=reward), compared)
    facts = read_json(folder / "fit.json")
    return {
        "kind": kind,
        "fit": {key: facts[key] for key in ("accuracy", "interval", "calibration_error")},
        **found,
    }


def compared(config: StudyConfig, winner: Params) -> dict[str, Params]:
    """What is trained of a study."""
    return {"default": config.baseline, "winner": winner}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown, a line each."""
    lines = ["| labels | accuracy | gold: untrained | default | winner |", "|---|---|---|---|---|"]
    for row in rows:
        low, high = row["fit"]["interval"]
        cells = [TITLES[row["kind"]], f"{row['fit']['accuracy']:.2f} ({low:.2f} to {high:.2f})"]
        cells.append(f"{row['untrained']['gold']:.2f}")
        for arm in ("default", "winner"):
            gain, least, most = row["differences"][f"{arm} - untrained"]["gold"]
            cells.append(f"{row[arm]['gold']:.2f}: {gain:+.2f} ({least:.2f} to {most:.2f})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Do what is missing, print a table, and put it into a page if that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", default=[*KINDS], choices=[*KINDS])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/judges"), help="folder of rewards, studies and rows"
    )
    parser.add_argument(
        "--page", type=Path, help="a page whose table becomes that of the rows; nothing is run"
    )
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "rows.jsonl"
    for kind in options.kinds if options.page is None else ():
        if kind not in {row["kind"] for row in read_json_lines(file)}:
            row = row_of(kind, options.out)
            append_json_line(file, row)
            print(json.dumps(row), file=sys.stderr)
    rows = sorted(read_json_lines(file), key=lambda row: [*KINDS].index(row["kind"]))
    print(table(rows))
    if options.page is not None:
        put(table(rows), options.page, BEGIN, END)


if __name__ == "__main__":
    main()
