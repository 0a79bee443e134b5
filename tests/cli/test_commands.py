"""All commands at once: what the overview says, what is loaded when, and that each does what a function does."""

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import ppo_tune
from ppo_tune import cli as package
from ppo_tune.calling import FUNCTIONS
from ppo_tune.cli import COMMANDS, EXAMPLES, load
from ppo_tune.export import TARGETS
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import storage_url
from tests.cli.conftest import Cli
from tests.reporting.conftest import HandMade, fill_usual

commands = pytest.mark.parametrize("name", COMMANDS)


@commands
def test_a_command_is_the_function_of_its_modules_name_and_the_overview_quotes_it(name: str) -> None:
    function = getattr(import_module(f"ppo_tune.cli.{name}"), name)

    first = str(inspect.getdoc(function)).partition("\n\n")[0].replace("\n", " ")

    assert first == COMMANDS[name]


def test_every_function_of_its_modules_name_is_a_command() -> None:
    names = [path.stem for path in Path(package.__path__[0]).glob("*.py") if path.stem != "__init__"]

    found = {name for name in names if hasattr(import_module(f"ppo_tune.cli.{name}"), name)}

    assert found == set(COMMANDS)


@commands
def test_the_help_of_a_command_ends_with_an_example_of_its_flags(
    name: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    called, command, *words = EXAMPLES[name].split()
    flags = {flag for parameter in load(name).params for flag in parameter.opts}

    said = cli(name, "-h").out

    assert (called, command) == ("ppo-tune", name)
    assert [word for word in words if word.startswith("--") and word not in flags] == []
    assert " ".join(said.split()).endswith(f"Example: {EXAMPLES[name]}")
    assert max(map(len, said.splitlines())) <= 80
    assert "null" not in said


@commands
def test_every_flag_of_a_command_has_a_help(name: str) -> None:
    assert [param.name for param in load(name).params if not param.help] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", sorted(Path(package.__path__[0]).glob("*.py")), ids=lambda path: path.stem)
def test_a_module_of_the_command_line_imports_at_its_top(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]

    late = [
        ast.unparse(node)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert late == []


HELPS = [["--help"], *([name, "--help"] for name in COMMANDS)]

ASK_FOR_HELP = f"""
import sys
from ppo_tune.cli import main
for arguments in {HELPS!r}:
    print("asked:", *arguments)
    sys.argv = ["ppo-tune", *arguments]
    try:
        main()
    except SystemExit as left:
        assert not left.code, arguments
    print("loaded:", *sys.modules)
"""


@pytest.fixture(scope="module")
def helped() -> dict[str, tuple[str, set[str]]]:
    """What each says, and all that was loaded by then in the one process where they are asked in turn."""
    done = subprocess.run([sys.executable, "-c", ASK_FOR_HELP], capture_output=True, text=True, check=True)
    answers = (answer.partition("\n") for answer in done.stdout.split("asked: ")[1:])
    said = {words: answer.partition("loaded: ") for words, _, answer in answers}
    return {words: (text, set(loaded.split())) for words, (text, _, loaded) in said.items()}


@pytest.mark.parametrize("words", [*map(" ".join, HELPS)])
def test_help_waits_for_no_torch_and_the_overview_for_nothing(
    words: str, helped: dict[str, tuple[str, set[str]]]
) -> None:
    said, loaded = helped[words]

    assert "Usage:" in said
    assert "ppo_tune.cli" in loaded
    assert loaded.isdisjoint({"torch", "transformers", "pandas", "plotly", "scipy"})
    if words == "--help":
        assert loaded.isdisjoint({"optuna", "pydantic"})


IN_PYTHON: dict[str, tuple[str, ...]] = {
    "init": ("draft_study", "Source"),
    "examples": ("shipped", "copy_shipped"),
    "check": ("check_study", "load_study"),
    "search": ("run_search", "load_study"),
    "confirm": ("run_confirmation", "open_study", "Study.confirm"),
    "extend": ("run_search", "open_study", "extended", "lengthened"),
    "report": ("report_study", "open_study"),
    "compare": ("compare_studies",),
    "export": ("export_study", "Export.write"),
    "list": ("study_names", "study_status"),
    "status": ("study_status",),
    "rename": ("rename_study",),
    "delete": ("delete_study", "study_contents"),
    "rerun": ("rerun_trial",),
    "dashboard": ("study_dashboard",),
    "train": ("train", "load_training", "open_study", "trial_config"),
    "evaluate": ("evaluate_model", "load_run"),
    "sft": ("fit_sft", "read_pairs", "SFTConfig", "PairColumns"),
    "reward": ("fit_reward", "read_labels", "RewardTrainingConfig", "LabelColumns"),
}
"""The public functions that do what a command does, and classes that take its values; a new command has its own."""


CALLED = {
    "study": "name", "file": "path", "data": "path", "longer": "times", "trial": "number", "studies": "out",
    "from_weights": "start", "no_confirm": "confirm", "yes": "allow_huge_grid",
    ("compare", "studies"): "names", ("compare", "out"): "outs", ("compare", "storage"): "storages",
    ("evaluate", "model"): "name", ("train", "out"): "out",
}  # fmt: skip
"""Flags and words that are called otherwise in Python, perhaps of one command alone."""

FOR_PEOPLE = {("delete", "yes"), ("export", "to_terminal"), ("evaluate", "samples")}
"""Flags that are about what is asked or printed, and change nothing of what is done."""


@commands
def test_a_command_has_its_function(name: str) -> None:
    assert FUNCTIONS.keys() == IN_PYTHON.keys() == COMMANDS.keys()
    assert FUNCTIONS[name] in ppo_tune.__all__
    assert FUNCTIONS[name] in IN_PYTHON[name]


@commands
def test_every_flag_is_an_argument_of_the_functions(name: str) -> None:
    functions = [attrgetter(path)(ppo_tune) for path in IN_PYTHON[name]]
    arguments = {argument for function in functions for argument in inspect.signature(function).parameters}
    flags = {str(param.name) for param in load(name).params} - {"quiet", "verbose", "as_json"}

    unknown = {
        flag
        for flag in flags - arguments
        if CALLED.get((name, flag), CALLED.get(flag)) not in arguments and (name, flag) not in FOR_PEOPLE
    }

    assert unknown == set()


def test_the_overview_says_whole_sentences_on_a_narrow_terminal(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    said = cli("--help").out

    assert "..." not in said.partition("Commands:")[2]
    assert max(map(len, said.splitlines())) <= 80
    assert [text for text in COMMANDS.values() if text not in " ".join(said.split())] == []


def test_a_command_that_is_none_is_told_with_the_one_that_was_meant(cli: Cli) -> None:
    outcome = cli("serach")

    assert outcome.code == 2
    assert "Did you mean 'search'" in outcome.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished studies, `hand` and `other`."""
    here = tmp_path_factory.mktemp("finished")
    for name in ("hand", "other"):
        folder = StudyFolder.of(here / name, "hand").path
        folder.mkdir(parents=True)
        fill_usual(HandMade(folder, storage_url(here / name, "hand")))
    return here


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def report(out: Path) -> object:
    return ppo_tune.write_report(
        *ppo_tune.open_study("hand", out=out), StudyFolder.of(out, "hand").path, out / "made", markdown=True
    )


def export(out: Path) -> object:
    return ppo_tune.export_study("hand", params_ratio=8.0, response_length=64, out=out).write(out / "made")


def compare(out: Path) -> object:
    return ppo_tune.compare_studies(["hand", "hand"], outs=[out, out.parent / "other"], folder=out / "made")


@pytest.mark.parametrize(
    ("function", "arguments", "folder"),
    [
        (report, "report hand --markdown --out {out}", "reports/hand"),
        (export, "export hand --params-ratio 8 --response-length 64 --out {out}", "exports/hand-native"),
        (compare, "compare hand hand --out {out} --out {other}", "reports/hand+hand"),
    ],
)
def test_a_command_writes_what_its_function_writes(
    cli: Cli, finished: Path, function: Callable[[Path], object], arguments: str, folder: str
) -> None:
    out = finished / "hand"
    outcome = cli(*arguments.format(out=out, other=finished / "other").split())
    assert outcome.code == 0, outcome.err

    function(out)

    assert contents(out / folder)
    assert contents(out / "made") == contents(out / folder)
    for path in (out / "made").iterdir():
        path.unlink()


def test_status_prints_what_its_function_finds(cli: Cli, finished: Path) -> None:
    out = finished / "hand"

    said = json.loads(cli("status", "hand", "--out", out, "--json").out)

    found = asdict(ppo_tune.study_status("hand", out=out))
    assert {name: said[name] for name in ("state", "endings", "verdict", "best", "default", "total")} == {
        name: json.loads(json.dumps(found[name], default=str))
        for name in ("state", "endings", "verdict", "best", "default", "total")
    }


def test_an_export_knows_the_verdict_and_what_runs_it(finished: Path) -> None:
    made = ppo_tune.export_study("hand", out=finished / "hand")

    assert made.verdict.startswith("Not confirmed: trial 1")
    assert (made.advice, made.command) == ("", ("ppo-tune", "train"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What a search or a confirmation is asked to do, which ends there."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def note(config: Any, **settings: Any) -> None:
        calls.append((config, settings))
        raise ppo_tune.PPOTuneError("enough")

    monkeypatch.setattr("ppo_tune.search.run.run_search", note)
    monkeypatch.setattr("ppo_tune.search.run.run_confirmation", note)
    return calls


def test_flags_of_search_reach_the_search(
    cli: Cli, asked: list[tuple[Any, dict[str, Any]]], write_study: Callable[..., Path], tmp_path: Path
) -> None:
    file = write_study()

    cli("search", file)
    cli(
        "search",
        file,
        "--no-confirm",
        "--n-trials",
        3,
        "--max-episodes",
        320,
        "--max-seconds",
        2.5,
        "--workers",
        2,
        "--storage",
        "sqlite:///x",
        "--out",
        tmp_path,
    )

    (_, plain), (config, settings) = asked
    assert (plain["confirm"], plain["workers"], plain["storage"]) == (True, None, None)
    assert (config.search.n_trials, config.search.max_episodes, config.search.max_seconds) == (3, 320, 2.5)
    assert {name: settings[name] for name in ("confirm", "workers", "storage", "out")} == {
        "confirm": False, "workers": 2, "storage": "sqlite:///x", "out": tmp_path
    }  # fmt: skip


def test_check_is_asked_with_what_search_is_to_be_given(
    cli: Cli,
    asked: list[tuple[Any, dict[str, Any]]],
    write_study: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[tuple[Any, dict[str, Any]]] = []

    def note(config: Any, **settings: Any) -> None:
        checked.append((config, settings))
        raise ppo_tune.PPOTuneError("enough")

    monkeypatch.setattr("ppo_tune.search.check.check_study", note)
    flags = (
        "--n-trials", 3, "--max-episodes", 320, "--max-seconds", 2.5, "--no-confirm", "--set", "ppo.gamma=0.5",
        "--seed", 7, "--name", "other", "--yes", "--workers", 2, "--storage", "sqlite:///x", "--out", "o",
    )  # fmt: skip

    for command in ("search", "check"):
        cli(command, write_study(), *flags)

    of_search = {param.name for param in load("search").params}
    assert of_search | {"measure"} == {param.name for param in load("check").params}
    ((wanted, searched),), ((config, settings),) = asked, checked
    assert config == wanted
    assert (config.name, config.search.n_trials, config.search.seed, config.ppo.gamma) == ("other", 3, 7, 0.5)
    assert settings == {"measure": False} | {
        name: searched[name] for name in ("confirm", "workers", "storage", "out")
    }


def test_a_check_without_a_confirmation_promises_none(cli: Cli, write_study: Callable[..., Path]) -> None:
    file = write_study(search={"confirm_top": 2, "confirm_seeds": 2})

    plain, without = cli("check", file).out, cli("check", file, "--no-confirm").out

    assert "confirmed" in plain
    assert "confirmed" not in without


def test_values_of_a_training_may_be_set_on_the_command_line(
    cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def note(config: Any, **_: Any) -> None:
        trained.append(config)
        raise ppo_tune.PPOTuneError("enough")

    monkeypatch.setattr("ppo_tune.training.full_length.train", note)
    out, flags = finished / "hand", ("--set", "ppo.gamma=0.5", "--set", "task.heldout_prompts=7")
    best = ppo_tune.export_study("hand", out=out).write(out / "to-train")

    cli("train", next(path for path in best if path.name == "best.yaml"), *flags)
    cli("train", "hand", "--trial", 1, "--studies", out, *flags)
    refused = cli("train", "hand", "--trial", 1, "--studies", out, "--set", "ppo.gama=0.5")

    assert [(config.ppo.gamma, config.task.heldout_prompts) for config in trained] == [(0.5, 7)] * 2
    assert "--set ppo.gama: unknown 'gama'; did you mean 'gamma'?" in refused.err


def test_flags_of_confirm_reach_the_confirmation(
    cli: Cli, asked: list[tuple[Any, dict[str, Any]]], finished: Path
) -> None:
    out = finished / "hand"

    cli("confirm", "hand", "--out", out)
    cli("confirm", "hand", "--top", 2, "--seeds", 7, "--workers", 3, "--out", out)

    (plain, _), (config, settings) = asked
    _, stored = ppo_tune.open_study("hand", out=out)
    assert plain.search == stored.search
    assert (config.search.confirm_top, config.search.confirm_seeds) == (2, 7)
    assert (stored.search.confirm_top, stored.search.confirm_seeds) != (2, 7)
    assert (settings["workers"], settings["out"]) == (3, out)


def test_flags_of_extend_raise_the_limits(
    cli: Cli, asked: list[tuple[Any, dict[str, Any]]], finished: Path
) -> None:
    out = finished / "hand"
    study, stored = ppo_tune.open_study("hand", out=out)

    cli("extend", "hand", "--out", out)
    cli("extend", "hand", "--trials", 3, "--episodes", 640, "--seconds", 9, "--workers", 2, "--out", out)

    (plain, _), (config, settings) = asked
    assert plain == stored
    wanted = ppo_tune.extended(stored, study, trials=3, episodes=640).search
    assert (config.search.n_trials, config.search.max_episodes) == (wanted.n_trials, wanted.max_episodes)
    assert config.search.max_seconds > 9
    assert (settings["workers"], settings["out"]) == (2, out)


@pytest.mark.parametrize("seconds", [0, -1])
def test_extend_refuses_no_seconds_in_its_own_words(cli: Cli, finished: Path, seconds: int) -> None:
    refused = cli("extend", "hand", f"--seconds={seconds}", "--out", finished / "hand")

    assert refused.code == 2
    assert f"--seconds: `seconds > 0` must hold, but got {seconds}" in refused.err


def test_extend_by_length_runs_another_study(
    cli: Cli, asked: list[tuple[Any, dict[str, Any]]], finished: Path
) -> None:
    out = finished / "hand"
    study, stored = ppo_tune.open_study("hand", out=out)

    cli("extend", "hand", "--longer", 4, "--out", out)
    refused = cli("extend", "hand", "--longer", 4, "--trials", 3, "--out", out)

    ((config, _),) = asked
    assert config == ppo_tune.lengthened(stored, study, 4)
    assert refused.code == 2
    assert "--longer: makes another study, which --trials can be given to once it exists" in refused.err


def test_the_help_of_train_says_what_its_numbers_may_be() -> None:
    told = {param.name: param.help for param in load("train").params}  # type: ignore[attr-defined]

    assert told["episodes"] == "Length, instead of the config's; >= 1."
    assert told["seed"] == "Seed, instead of the config's; >= 0."


def test_the_help_of_export_names_every_target(cli: Cli) -> None:
    said = cli("export", "--help").out

    assert [target for target in TARGETS if target not in said] == []


def test_examples_are_listed_and_copied(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    listed, copied, unknown = (
        cli("examples"),
        cli("examples", "grid", "--out", "mine"),
        cli("examples", "gird"),
    )

    assert [line.split()[0] for line in listed.out.splitlines()[:-1]] == [
        "code",
        "dialogue",
        "full",
        "grid",
        "quickstart",
        "restaurants",
        "summarize",
        "translate",
    ]
    assert copied.out == "wrote mine/search_spaces/grid.yaml\n"
    assert cli("check", "mine/search_spaces/grid.yaml").out.startswith(
        "mine/search_spaces/grid.yaml is a valid study."
    )
    assert (unknown.code, unknown.err) == (2, "error: examples: unknown 'gird'; did you mean 'grid'?\n")
