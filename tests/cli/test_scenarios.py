"""Ways to a search of one's own, as the guide has them: its commands, typed in an empty folder."""

import gzip
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.search.storage import load_study_from, storage_url
from tests.cli.conftest import Cli
from tests.cli.short import SMALLER, endings
from tests.conftest import save_tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

WORDS = ("rain", "soup", "trains", "cats", "tax", "sleep", "paint", "bread", "maps", "bikes")
GUIDE = Path(__file__).parents[2] / "docs" / "own-data.md"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


Said = dict[str, str]
"""What each command said, by its name."""


@pytest.fixture
def follow(cli: Cli) -> Callable[..., Said]:
    """Types the commands of a section of the guide, or those of some names, all of which must succeed."""

    def run(section: str, *, only: str = "") -> Said:
        block = GUIDE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].split("```")[1]
        said: Said = {}
        for line in block.strip().splitlines():
            _, name, *words = shlex.split(line)
            if only not in ("", name):
                continue
            done = cli(name, *words, *SMALLER.get(name, ()))
            assert done.code == 0, done.out + done.err
            said[name] = done.out
        return said

    return run


def write_lines(name: str, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    Path(name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)


def test_preferences_as_published_become_a_model_a_judge_and_a_search(
    here: Path, follow: Callable[[str], Said]
) -> None:
    """Two whole dialogues a row, compressed, as HH has them."""
    rows = []
    for i in range(120):
        word = WORDS[i % len(WORDS)]
        head = f"\n\nHuman: Tell me about {word} ({i}).\n\nAssistant: "
        rows.append({"chosen": f"{head}Sure, {word} is fine.", "rejected": f"{head}No."})
    write_lines("hh.jsonl.gz", rows)

    said = follow("Preferences as published")

    assert "note: hh.jsonl.gz: read as pairs of whole dialogues, as in HH\n" in said["sft"]
    assert "note: hh.jsonl.gz: read as pairs of whole dialogues, as in HH\n" in said["reward"]
    assert 'stop: ["\\n\\nHuman:"]' in Path("hh.yaml").read_text(encoding="utf-8")
    assert len(endings(here, "hh")) == 2
    assert "reports/hh/index.html" in said["search"]


def test_conversations_become_a_chat_model_a_judge_and_a_search(
    here: Path, follow: Callable[[str], Said]
) -> None:
    """Messages with a system turn, as TRL and the hub have them."""

    def talk(word: str, i: int, answer: str) -> list[dict[str, str]]:
        turns = (("system", "Be kind."), ("user", f"Tell me about {word} ({i})."), ("assistant", answer))
        return [{"role": role, "content": text} for role, text in turns]

    cases = [(WORDS[i % len(WORDS)], i) for i in range(120)]
    write_lines("chats.jsonl", [{"messages": talk(word, i, f"Sure, {word} is fine.")} for word, i in cases])
    pairs = [{"chosen": talk(w, i, f"Sure, {w} is fine."), "rejected": talk(w, i, "No.")} for w, i in cases]
    write_lines("pairs.jsonl", pairs)

    said = follow("Conversations")

    assert json.loads(Path("judge", "reward.json").read_text(encoding="utf-8"))["chat"] is True
    assert len(endings(here, "chats")) == 2
    assert "wrote " in said["export"]
    rows = Path("exports", "chats-openrlhf", "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(rows[0])["prompt"][0] == {"role": "system", "content": "Be kind."}


def test_a_csv_of_prompts_and_a_reward_of_ones_own_need_two_commands(
    here: Path, cli: Cli, follow: Callable[[str], Said]
) -> None:
    texts = "".join(f"Tell me about {WORDS[i % 10]} ({i}).\n" for i in range(120))
    Path("mine.csv").write_text("question\n" + texts, encoding="utf-8")
    write_lines("pairs.jsonl", [{"prompt": text, "response": "Sure."} for text in texts.splitlines()])
    assert cli("sft", "pairs.jsonl", "--out", "base", *SMALLER["sft"]).code == 0

    said = follow("A table of prompts and a reward of your own")

    assert "change mine_reward.py to what you want" in said["init"]
    assert len(endings(here, "mine")) == 2
    assert "study mine: " in said["search"]
    assert "mine  complete, 2 of 2 trials over" in cli("list").out


def test_programs_are_judged_by_unit_tests(here: Path, follow: Callable[..., Said]) -> None:
    """The row and the study file of the guide, with a model that writes no program."""
    section = "Programs judged by unit tests"
    blocks = GUIDE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].split("```")
    row, study = json.loads(blocks[3].removeprefix("json")), blocks[5].removeprefix("yaml\n")
    prompts = [f"{a} {b} {c}" for a in "abcde" for b in "abcde" for c in "abc"]
    write_lines("mbpp.jsonl", [{**row, "text": prompt} for prompt in prompts])
    Path("programs.yaml").write_text(study, encoding="utf-8")
    save_tiny_model(here / "base")
    tiny_tokenizer().save_pretrained(here / "base")

    assert "programs.yaml is a valid study." in follow(section, only="check")["check"]

    said = follow(section, only="evaluate")["evaluate"]
    assert [name in said for name in ("pass@1 ", "pass@8 ", "pass@10", "gold_pass@10")] == [True] * 4


def test_a_grid_goes_on_after_an_interrupt_and_beyond_its_limit_and_trains_no_cell_twice(
    here: Path, cli: Cli, follow: Callable[..., Said]
) -> None:
    texts = "".join(f"Tell me about {WORDS[i % 10]} ({i}).\n" for i in range(120))
    Path("mine.csv").write_text("question\n" + texts, encoding="utf-8")
    write_lines("pairs.jsonl", [{"prompt": text, "response": "Sure."} for text in texts.splitlines()])
    assert cli("sft", "pairs.jsonl", "--out", "base", *SMALLER["sft"]).code == 0
    assert cli("init", "mine.csv", "--model", "base").code == 0

    said = follow("A true grid, some cells at a time")

    again = follow("A true grid, some cells at a time", only="search")
    trials = load_study_from(storage_url(here, "grid"), "grid").get_trials()
    cells = [tuple(trial.params.values()) for trial in trials[1:]]
    assert len(trials) == 5
    assert len({*cells}) == 4
    assert "trials    5 of 5 over" in said["status"]
    assert "study grid: 5 completed" in again["search"]
