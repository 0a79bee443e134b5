"""What every command has in common in what it says: less, more, or its result as JSON."""

import inspect
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import transformers
import typer
from typer.testing import CliRunner

from ppo_tune.cli import COMMANDS, load
from ppo_tune.cli.output import Facts, with_output
from ppo_tune.cli.terminal import console, say
from ppo_tune.events import VERBOSE
from ppo_tune.search.worker import _settle_logs
from tests.cli.conftest import Cli, Outcome

WITHOUT_JSON = {"dashboard": "shows a page until somebody ends it"}
"""Commands that have no result for scripts, and why."""


@pytest.fixture
def here(copy_searched: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the searched study `small`."""
    out = copy_searched()
    copy_searched("other")
    monkeypatch.chdir(out)
    return out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_say_less_and_more_and_its_result_as_json(name: str) -> None:
    flags = {flag for parameter in load(name).params for flag in parameter.opts}
    returned = inspect.signature(getattr(import_module(f"ppo_tune.cli.{name}"), name)).return_annotation

    assert {"--quiet", "-q", "--verbose", "-v"} <= flags
    assert ("--json" in flags) == (returned is Facts) == (name not in WITHOUT_JSON)


def outcome(command: Callable[..., Facts | None], *flags: str) -> Any:
    """What a command of its own says."""
    app = typer.Typer()
    app.command()(with_output(command))
    return CliRunner().invoke(app, list(flags))


def talk() -> Facts:
    """Says something, and then its result."""
    say("on the way")
    say("the result", final=True)
    return Facts({"a": float("nan"), "path": Path("x") / "y"}, code=3)


@pytest.mark.parametrize(
    ("flags", "out", "err"),
    [
        ([], "on the way\nthe result\n", ""),
        (["-q"], "the result\n", ""),
        (["--json"], '{"a": null, "path": "x/y"}\n', "on the way\nthe result\n"),
        (["--json", "--quiet"], '{"a": null, "path": "x/y"}\n', ""),
    ],
)
def test_quiet_leaves_the_result_and_json_is_alone_on_stdout(flags: list[str], out: str, err: str) -> None:
    done = outcome(talk, *flags)

    assert (done.exit_code, done.stdout, done.stderr) == (3, out, err)
    assert (console.quiet, console.stderr) == (False, False)


def test_several_results_are_one_document() -> None:
    def both() -> Facts:
        return Facts([{"a": 1}, {"a": 2}])

    assert outcome(both, "--json").stdout == '[{"a": 1}, {"a": 2}]\n'


def test_a_command_that_fails_leaves_the_terminal_as_it_was() -> None:
    def fail() -> Facts:
        raise typer.Exit(5)

    assert outcome(fail, "--json", "--quiet").exit_code == 5
    assert (console.quiet, console.stderr) == (False, False)


def log() -> None:
    """Logs and warns, as libraries do."""
    logging.getLogger("some.library").info("loaded")
    warnings.warn("old", FutureWarning, stacklevel=1)
    say(f"workers: {os.environ.get(VERBOSE)}, {os.environ.get('TRANSFORMERS_VERBOSITY')}")


def test_verbose_shows_what_libraries_log_and_warn_of_and_tells_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    monkeypatch.delenv(VERBOSE, raising=False)
    handlers = logging.getLogger().handlers[:]
    logging.disable(logging.INFO)
    try:
        done = outcome(log, "-v")
        assert logging.root.manager.disable == logging.INFO
    finally:
        logging.disable(logging.NOTSET)

    assert done.stdout == "workers: 1, info\n"
    assert "INFO some.library: loaded\n" in done.stderr
    assert "FutureWarning: old" in done.stderr
    assert (os.environ["TRANSFORMERS_VERBOSITY"], VERBOSE in os.environ) == ("error", False)
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize(("wanted", "shown"), [("", False), ("1", True)])
def test_a_worker_shows_its_log_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, wanted: str, shown: bool
) -> None:
    asked: list[Any] = []
    monkeypatch.setenv(VERBOSE, wanted)
    monkeypatch.setattr("logging.basicConfig", lambda **settings: asked.append(settings["level"]))

    _settle_logs()

    assert asked == ([logging.INFO] if shown else [])


def test_less_and_more_at_once_is_refused(cli: Cli) -> None:
    refused = cli("examples", "-q", "-v")

    assert (refused.code, refused.err) == (
        2,
        "error: --quiet: cannot be given with --verbose; leave one of both out\n",
    )


def test_a_mistake_with_json_leaves_stdout_empty(cli: Cli, here: Path) -> None:
    refused = cli("status", "smal", "--json", "--quiet")

    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: there is no study 'smal'")


JSON = {
    "examples": ("examples", {"examples"}),
    "check": (
        "check small.yaml",
        {"name", "exists", "n_trials", "prompts", "lengths", "confirmation", "notes", "files"},
    ),
    "report": ("report small", {"study", "verdict", "headline", "params", "page", "best"}),
    "compare": ("compare small small --out . --out ../other", {"page", "sentences"}),
    "export": (
        "export small --to trl",
        {"study", "target", "main", "verdict", "advice", "cannot_do", "does_otherwise", "folder", "files"},
    ),
    "print": (
        "export small --print",
        {"study", "target", "main", "verdict", "advice", "cannot_do", "does_otherwise", "text"},
    ),
    "rename": ("rename small new", {"study", "before", "folder"}),
    "delete": (
        "delete small --yes",
        {"study", "trials", "confirmation_runs", "folder", "size", "report", "deleted"},
    ),
    "rerun": (
        "rerun small 1",
        {"study", "number", "before", "now", "curve", "differences", "reasons", "equal"},
    ),
    "train": (
        "train small --trial 1 --episodes 8",
        {"folder", "model", "interrupted", "episodes", "milestone", "before", "after"},
    ),
    "evaluate": (
        "evaluate {model} --config small.yaml --samples 2",
        {
            "model", "score", "score_standard_error", "kl_per_sequence", "response_tokens", "eos_rate", "split",
            "n_prompts", "samples",
        },
    ),
    "search": (
        "search small.yaml --workers 1",
        {"study", "endings", "interrupted", "verdict", "headline", "params", "page", "best"},
    ),
    "extend": (
        "extend small --workers 1",
        {"study", "endings", "interrupted", "verdict", "headline", "params", "page", "best"},
    ),
    "confirm": (
        "confirm small --top 1 --seeds 2 --workers 1",
        {"study", "endings", "interrupted", "verdict", "headline", "params", "page", "best"},
    ),
    "status": ("status small", {"study", "state", "endings", "verdict", "done", "next"}),
    "init": ("init pairs.jsonl --model {model}", {"study", "files", "seen"}),
    "sft": (
        "sft pairs.jsonl --out m --layers 1 --width 16 --heads 2 --epochs 1",
        {"model", "parameters", "examples", "warnings", "notes"},
    ),
    "reward": (
        "reward better.jsonl --base {model} --out r --base-samples 16 --epochs 1",
        {"reward_model", "examples", "accuracy", "warnings", "notes"},
    ),
}  # fmt: skip
"""What is typed, and the names of what it answers."""

QUICK = ("examples", "check", "report", "compare", "export", "print", "rename", "delete", "status", "init")
"""What trains nothing."""


def ask(cli: Cli, here: Path, small_world: Path, typed: str, *flags: str) -> Outcome:
    """Type a command, with files for those that need some."""
    rows = [
        {"prompt": f"a {i}", "response": "red blue", "chosen": "red", "rejected": "blue"} for i in range(100)
    ]
    for name, columns in (("pairs", ("prompt", "response")), ("better", ("prompt", "chosen", "rejected"))):
        lines = (json.dumps({column: row[column] for column in columns}) + "\n" for row in rows)
        (here / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return cli(*typed.format(model=small_world / "model").split(), "--json", *flags)


def test_every_command_with_json_is_asked_for_it() -> None:
    asked = {typed.split()[0] for typed, _ in JSON.values()}

    assert asked | {"list"} == COMMANDS.keys() - WITHOUT_JSON.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "names"), JSON.values(), ids=JSON)
def test_a_result_is_one_json_object_and_nothing_else_is_on_stdout(
    cli: Cli, here: Path, small_world: Path, typed: str, names: set[str]
) -> None:
    done = ask(cli, here, small_world, typed)

    assert done.code == 0, done.err
    assert done.out.count("\n") == 1
    assert json.loads(done.out).keys() >= names
    assert done.err


@pytest.fixture
def barless() -> Iterator[None]:
    """As in a process of its own, where a command says so before the library is loaded."""
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@pytest.mark.usefixtures("barless")
@pytest.mark.parametrize("flag", ["-q", "-v"])
@pytest.mark.parametrize("name", [*QUICK, pytest.param("train", marks=pytest.mark.slow)])
def test_the_json_is_alone_on_stdout_whatever_else_is_said(
    cli: Cli, here: Path, small_world: Path, name: str, flag: str
) -> None:
    done = ask(cli, here, small_world, JSON[name][0], flag)

    assert done.code == 0, done.err
    assert json.loads(done.out).keys() >= JSON[name][1]
    assert flag == "-v" or done.err == ""


@pytest.mark.parametrize("flags", [(), ("-q",), ("-v",)])
def test_the_list_of_studies_is_one_document_that_holds_those_that_can_be_read(
    cli: Cli, here: Path, flags: tuple[str, ...]
) -> None:
    found = json.loads(cli("list", "--json", *flags).out)

    assert [(study["study"], study["state"]) for study in found] == [("small", "complete")]


def test_quiet_status_is_its_verdict_and_a_quiet_check_its_first_line(cli: Cli, here: Path) -> None:
    status, check, listed = cli("status", "small", "-q"), cli("check", "small.yaml", "-q"), cli("list", "-q")

    assert [line.split()[0] for line in status.out.splitlines()][:1] == ["verdict"]
    assert "next" not in status.out
    assert check.out == "small.yaml is a valid study, and was begun: a search goes on with it.\n"
    assert listed.out.startswith("small  complete, 3 of 3 trials over")
    assert listed.out.count("\n") == 1


def test_a_question_is_asked_beside_the_json(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    asked: list[bool] = []
    monkeypatch.setattr("typer.confirm", lambda _, err: asked.append(err))

    kept = cli("delete", "small", "--json")

    assert asked == [True]
    assert json.loads(kept.out)["deleted"] is False
