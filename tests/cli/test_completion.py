"""What a shell completes: commands, flags, studies, study files; without loading what a command needs."""

import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ppo_tune.cli import COMMANDS
from ppo_tune.cli.completion import ARGUMENTS, candidates
from ppo_tune.cli.completion import COMMANDS as COMPLETED

OTHERS = {
    "init": "data",
    "examples": "name",
    "list": None,
    "evaluate": "model",
    "sft": "data",
    "reward": "data",
}
"""Commands whose first argument is not completed by us, which leaves it to the shell."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two studies and two study files, and another with one study."""
    for path in (
        "runs/alpha/study.db",
        "runs/beta/study.db",
        "elsewhere/runs/gamma/study.db",
        "my.yaml",
        "a/b.yaml",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "runs" / "no study").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_of_every_command_it_is_known_what_its_argument_is(name: str) -> None:
    function = getattr(import_module(f"ppo_tune.cli.{name}"), name)
    first = next(iter(inspect.signature(function).parameters.values()))
    argument = first.name if first.default is inspect.Parameter.empty or name in OTHERS else None

    assert {**COMPLETED, **OTHERS}[name] == (None if name == "list" else argument)
    assert name in OTHERS or COMPLETED[name] in ARGUMENTS


@pytest.mark.parametrize(
    ("command", "given", "begun", "expected"),
    [
        ("status", [], "", ["alpha", "beta"]),
        ("status", [], "b", ["beta"]),
        ("status", ["alpha"], "", []),
        ("status", ["--json"], "", []),
        ("status", ["--out", "elsewhere"], "", ["gamma"]),
        ("status", ["--out"], "", []),
        ("compare", ["alpha"], "", ["beta"]),
        ("search", [], "quick", ["quickstart"]),
        ("search", [], "m", ["my.yaml"]),
        ("search", [], "a", ["a/b.yaml"]),
        ("search", [], "a/", ["a/b.yaml"]),
        ("search", ["--seed", "3"], "my", ["my.yaml"]),
        ("search", [], "/", []),
        ("list", [], "", []),
        ("sft", [], "", []),
    ],
)
def test_an_argument_goes_on_as_what_is_there(
    here: Path, command: str, given: list[str], begun: str, expected: list[str]
) -> None:
    assert candidates(command, given, begun) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sea"], ["search"]),
        (["status", ""], ["alpha", "beta"]),
        (["status", "--out", "elsewhere", ""], ["gamma"]),
        (["status", "--js"], ["--json"]),
        (["search", "qui"], ["quickstart"]),
    ],
    ids=" ".join,
)
def test_a_shell_is_answered_without_torch_and_names_without_optuna(
    here: Path, words: list[str], expected: list[str]
) -> None:
    code = """
import sys
sys.argv = ["ppo-tune"]
from ppo_tune.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    asked = {
        "_PPO_TUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["ppo-tune", *words]),
        "COMP_CWORD": str(len(words)),
    }

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked}, check=True
    )

    loaded = set(done.stderr.split())
    assert done.stdout.split() == expected
    assert loaded.isdisjoint({"torch", "transformers", "pandas"})
    assert words[-1].startswith("-") or "optuna" not in loaded


def test_the_overview_offers_to_install_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ppo_tune", "--help"], capture_output=True, text=True, check=True
    )

    assert "--install-completion" in done.stdout
    assert "--show-completion" in done.stdout
