# mypy: ignore-errors
"""Looking at a study: `status` says it in 80 columns and touches nothing, `dashboard` shows a copy of it."""

import contextlib
import io
import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import optuna
import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from ppo_tune.cli import app
from ppo_tune.cli.search import flags_of
from ppo_tune.config.methods import GridSamplerConfig
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import storage_url
from tests.chromium import CHROMIUM, needs_chromium
from tests.cli.conftest import Cli
from tests.reporting.conftest import HandMade, confirm, fill_usual

START = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import ppo_tune.cli.status, ppo_tune.cli.dashboard
from ppo_tune.cli import main
try:
    main()
finally:
    if sys.argv[1] == "status":
        print(*sys.modules, file=sys.stderr)
"""
"""The command line, which heeds Ctrl-C even in tests that a shell runs in its background; `status` says at its end what
it has loaded."""


@pytest.fixture
def made(tmp_path: Path) -> HandMade:
    """An empty study named `hand` in a store of its own."""
    folder = StudyFolder.of(tmp_path, "hand").path
    folder.mkdir(parents=True)
    return HandMade(folder, storage_url(tmp_path, "hand"))


def lines(text: str) -> dict[str, list[str]]:
    """What was said, by label."""
    found: dict[str, list[str]] = {}
    label = ""
    for line in text.splitlines():
        label = line[:10].strip() or label
        found.setdefault(label, []).append(line[10:])
    return found


def test_status_says_all_in_eighty_columns(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    fill_usual(made)

    outcome = cli("status", "hand", "--out", tmp_path)

    said = lines(outcome.out)
    assert outcome.code == 0, outcome.err
    assert said["study"][0] == "hand, died; what was under way will run again"
    assert re.fullmatch(r"the last trial ended \d+ s ago \(\d\d \w{3} \d\d:\d\d\)", said["study"][1])
    assert said["trials"] == ["6 of 8 over", "3 completed, 1 pruned, 1 kl_limit, 1 diverged"]
    assert said["best"] == ["trial 1      score   1.000   gold   0.800   KL   2.500   (budget 3)"]
    assert said["default"] == [
        "trial 0      score   0.500   gold   0.500   KL   0.500",
        "one draw in the search each; the best of many reads too high",
    ]
    assert said["values"] == ["learning_rate 0.001, batch_size 16, ppo_epochs 2"]
    assert said["cut off"] == ["trial 6          128 of 640 episodes, score 0.300"]
    assert said["failure"] == ["trial 5 diverged: why diverged"]
    assert all(len(line) <= 80 for line in outcome.out.splitlines() if not line.startswith("next"))


def test_status_says_what_is_spent_of_a_budget_and_what_ended_a_search(
    cli: Cli, made: HandMade, tmp_path: Path
) -> None:
    fill_usual(made)
    limits = {"n_trials": None, "max_episodes": 9_000, "max_seconds": 600.0}
    search = made.config.search.model_copy(update=limits)
    config = made.config.model_copy(update={"search": search})
    made.study.set_user_attr("config", config.model_dump(mode="json"))
    made.study.set_user_attr("ended", "max_seconds 600 ended the search")

    said = lines(cli("status", "hand", "--out", tmp_path).out)

    assert re.fullmatch(r"6 over, 2,432 of 9,000 episodes, \d+ s of 10 min", said["trials"][0])
    assert said["trials"][1] == "max_seconds 600 ended the search"


def test_a_script_gets_one_object(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    fill_usual(made)

    facts = json.loads(cli("status", "hand", "--out", tmp_path, "--json").out)

    assert (facts["study"], facts["state"], facts["done"], facts["total"]) == ("hand", "died", 6, 8)
    assert facts["endings"] == {"completed": 3, "pruned": 1, "kl_limit": 1, "diverged": 1}
    assert facts["best"]["params"] == {"learning_rate": 1e-3, "batch_size": 16, "ppo_epochs": 2}
    assert facts["default"]["score"] == 0.5
    assert datetime.fromisoformat(facts["last_ended"]) < datetime.now()
    assert facts["next"] == f"ppo-tune extend hand --out {tmp_path}"


def test_a_running_search_is_told_with_its_process_and_what_is_left(
    cli: Cli, made: HandMade, tmp_path: Path
) -> None:
    note = made.folder / "search.pid"
    note.write_text(str(os.getpid()), encoding="utf-8")
    for _ in range(4):
        made.add("completed", [0.1] * 5)
    for _ in range(10):
        made.add("running", [0.3])

    said = lines(cli("status", "hand", "--out", tmp_path).out)

    assert re.fullmatch(rf"hand, running for \d+ s \(process {os.getpid()}\)", said["study"][0])
    assert len(said["study"]) == 1
    # 8 were wanted when the study was made
    assert re.fullmatch(r"4 of 14 over, about [^,]+ left, [\d,]+ episodes per second", said["trials"][0])
    assert said["running"][:2] == [f"trial {n:<4}       128 of 640 episodes, score 0.300" for n in (4, 5)]
    assert said["running"][8:] == ["and 2 more"]
    assert said["next"] == [f"ppo-tune report hand --out {tmp_path}"]


def test_a_study_of_which_nothing_is_over_has_no_best(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    made.study.enqueue_trial({}, user_attrs={"baseline": True})

    said = lines(cli("status", "hand", "--out", tmp_path).out)

    assert said["study"] == ["hand, stopped"]
    assert said["trials"] == ["0 of 8 over"]
    assert "best" not in said
    assert said["verdict"] == ["No trial has been completed within the KL budget of 3 nats yet."]
    assert said["default"] == ["trial 0      waiting"]


@pytest.mark.parametrize("winner", [1, 0])
def test_the_confirmed_winner_takes_the_place_of_the_best_and_its_values_are_told(
    cli: Cli, made: HandMade, tmp_path: Path, winner: int
) -> None:
    made.add("completed", [0.5], baseline=True)
    made.add("completed", [0.6], params={"learning_rate": 2e-3, "batch_size": 8, "ppo_epochs": 1})
    made.add("completed", [0.9], params={"learning_rate": 3e-3, "batch_size": 32, "ppo_epochs": 4})
    confirm(
        made, {0: 0.4, 1: 0.9, 2: 0.4} if winner else {0: 0.5, 1: 0.5, 2: 0.5}, golds={0: 0.2, 1: 0.3, 2: 0.3}
    )

    said = lines(cli("status", "hand", "--out", tmp_path).out)

    assert "best" not in said
    assert said["winner"][0].startswith(f"trial {winner} ")
    assert ("this is the default config" in said["winner"]) == (winner == 0)
    start = "Trial 1 beats the default config" if winner else "No better than the default config"
    assert " ".join(said["verdict"]).startswith(start)
    assert said["values"][0].startswith("learning_rate 0.002" if winner else "learning_rate 0.001")


def test_labels_alone_are_dim(made: HandMade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_usual(made)
    shown = Console(record=True, width=80, file=io.StringIO(), force_terminal=True, color_system="standard")
    monkeypatch.setattr("ppo_tune.cli.terminal.console", shown)

    CliRunner().invoke(app, ["status", "hand", "--out", str(tmp_path)])

    text = shown.export_text(styles=True)
    assert "\x1b[2mvalues    \x1b[0mlearning_rate 0.001, batch_size 16, ppo_epochs 2" in text
    assert "\x1b[2m" in text


def test_a_grid_with_more_trials_than_cells_says_so(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    search = made.config.search.model_copy(update={"sampler": GridSamplerConfig(name="grid")})
    made.config = made.config.model_copy(update={"search": search})
    made.study.set_user_attr("config", made.config.model_dump(mode="json"))
    for baseline in (True, False, False):
        made.add("completed", [0.5], baseline=baseline)

    said = lines(cli("status", "hand", "--out", tmp_path).out)

    assert " ".join(said["trials"]).endswith(
        "1 trial repeats a cell of the grid, for there are more trials than cells"
    )


def test_prompts_that_were_too_long_are_told(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    StudyFacts(made.study).prompts = [
        "3 of 9 train prompts were dropped",
        "1 of 2 heldout prompts were dropped",
    ]

    told = cli("status", "hand", "--out", tmp_path).out
    facts = json.loads(cli("status", "hand", "--out", tmp_path, "--json").out)

    assert (
        "\nprompts   3 of 9 train prompts were dropped\n          1 of 2 heldout prompts were dropped\n"
        in told
    )
    assert len(facts["prompts"]) == 2


def test_a_default_that_is_the_best_is_shown_once(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    made.add("completed", [0.5], baseline=True)

    said = lines(cli("status", "hand", "--out", tmp_path).out)

    assert said["best"][1] == "this is the default config"
    assert "default" not in said


@pytest.mark.parametrize(("ending", "word"), [("diverged", "diverged"), ("completed", "over budget")])
def test_a_default_that_is_no_match_says_why(
    cli: Cli, made: HandMade, tmp_path: Path, ending: str, word: str
) -> None:
    made.add(ending, [0.1], kl=3.5, baseline=True)

    said = lines(cli("status", "hand", "--out", tmp_path).out)

    assert said["default"] == [f"trial 0      score   0.100   gold   0.000   KL   3.500   {word}"]


def test_the_next_command_follows_from_how_it_stands(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    """Who was extended, or is a longer study without a file, goes on to the limits that are stored."""

    def next_command() -> str:
        return lines(cli("status", "hand", "--out", tmp_path).out)["next"][0]

    flags = f" --out {tmp_path}"
    assert next_command() == "ppo-tune extend hand" + flags

    made.add("completed", [0.5], baseline=True)
    for _ in range(6):
        made.add("pruned", [0.1])
    made.add("completed", [0.25], kl=3.5)
    assert next_command() == "ppo-tune report hand" + flags  # nothing to confirm
    made.add("completed", [0.75])
    assert next_command() == "ppo-tune confirm hand" + flags
    confirmation = made.study.user_attrs["config"]
    confirmation["search"]["confirm_top"] = 0
    made.study.set_user_attr("config", confirmation)
    assert next_command() == "ppo-tune report hand" + flags
    best = tmp_path / "reports" / "hand" / "best.yaml"
    best.parent.mkdir(parents=True)
    best.write_text("", encoding="utf-8")
    assert next_command() == f"ppo-tune train {best}"


def test_a_folder_with_any_name_is_given_on_as_a_shell_reads_it() -> None:
    assert shlex.split(flags_of(None, Path("50% a?b #c $x größe"))) == ["--out", "50% a?b #c $x größe"]


def test_a_store_given_by_hand_is_given_on_without_its_password() -> None:
    assert flags_of(None, Path()) == ""
    assert flags_of("postgresql+psycopg://me:secret@host/all", Path("my runs")) == (
        " --out 'my runs' --storage 'postgresql+psycopg://me:***@host/all'"
    )
    assert flags_of("postgresql+psycopg://host/all?user=me&password=secret", Path()) == (
        " --storage 'postgresql+psycopg://host/all?password=***&user=me'"
    )


def test_a_reason_cannot_steer_the_terminal(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    trial = made.study.ask()
    trial.set_user_attr("ending", "reward_error")
    trial.set_user_attr("reason", "bad\x1b[31m\nred")
    made.study.tell(trial, state=optuna.trial.TrialState.FAIL)

    outcome = cli("status", "hand", "--out", tmp_path)

    assert lines(outcome.out)["failure"] == ["trial 0 reward_error: bad␛[31m␊red"]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_status_waits_for_no_writer_and_changes_nothing(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    fill_usual(made)
    with closing(sqlite3.connect(made.folder / "study.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM trials")
        before = contents(tmp_path)

        outcome = cli("status", "hand", "--out", tmp_path)

        assert lines(outcome.out)["trials"][0] == "6 of 8 over"
        assert contents(tmp_path) == before
        writer.execute("COMMIT")
    assert lines(cli("status", "hand", "--out", tmp_path).out)["trials"][0] == "0 of 8 over"


@pytest.mark.parametrize("command", ["status", "dashboard"])
def test_a_study_that_is_not_there_is_said_so_and_nothing_is_made(
    cli: Cli, made: HandMade, tmp_path: Path, command: str
) -> None:
    before = contents(tmp_path)

    nowhere = cli(command, "other", "--out", tmp_path)
    in_store = cli(command, "other", "--storage", storage_url(tmp_path, "hand"))

    assert nowhere.code == in_store.code == 2
    database = tmp_path / "runs" / "other" / "study.db"
    assert f"there is no study 'other' at {database}; start it with `ppo-tune search`" in nowhere.err
    assert "there is no study 'other' in that store; it holds: hand" in in_store.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["status", "dashboard"])
def test_a_study_name_cannot_leave_its_folder(cli: Cli, tmp_path: Path, command: str) -> None:
    outcome = cli(command, "../hand", "--out", tmp_path)

    assert outcome.code == 2
    assert "study name: must be letters, digits, dots, dashes and underscores" in outcome.err


def test_status_waits_for_no_torch(made: HandMade, tmp_path: Path) -> None:
    fill_usual(made)

    done = subprocess.run(
        [sys.executable, "-c", START, "status", "hand", "--out", tmp_path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    loaded = set(done.stderr.split())
    assert "optuna" in loaded
    assert loaded.isdisjoint({"torch", "transformers", "pandas", "plotly", "scipy"})


class Page:
    """A dashboard in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        command = [
            sys.executable,
            "-u",
            "-c",
            START,
            "dashboard",
            "hand",
            "--port",
            "0",
            *map(str, arguments),
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        found = re.fullmatch(
            r"dashboard  (http://127\.0\.0\.1:\d+)(/dashboard/studies/\d+)(\?token=\S{43})\n", first
        )
        assert found, first + self.process.communicate()[1]
        self.url, self.path, self.token = found.groups()
        self.note, self.ignores = self.process.stdout.readline(), self.process.stdout.readline()
        self.browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def ask(self, path: str, method: str = "GET", **headers: str) -> bytes:
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with self.browser.open(request, timeout=30) as answer:
            content: bytes = answer.read()
            return content

    def refusal(self, path: str, method: str, **headers: str) -> tuple[int, str]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.ask(path, method, **headers)
        with caught.value as error:
            return error.code, error.read().decode()

    def studies(self) -> list[str]:
        return [study["study_name"] for study in json.loads(self.ask("/api/studies"))["study_summaries"]]

    def files(self) -> set[str]:
        """Databases that the process has open."""
        return {
            file.path for file in psutil.Process(self.process.pid).open_files() if file.path.endswith(".db")
        }

    def stop(self) -> tuple[int, str]:
        """Press Ctrl-C; returns the exit code and what was said of errors."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def pages() -> Iterator[list[Page]]:
    """Dashboards to be stopped at the end."""
    started: list[Page] = []
    yield started
    for page in started:
        with contextlib.suppress(ProcessLookupError):
            page.process.kill()
        page.process.communicate()


needs_dashboard = pytest.mark.skipif(
    find_spec("optuna_dashboard") is None,
    reason="needs the extra: pip install 'ppo-tune[dashboard]'",
)


@needs_dashboard
def test_the_dashboard_shows_a_copy_that_nobody_needs_afterwards(
    made: HandMade, tmp_path: Path, pages: list[Page]
) -> None:
    fill_usual(made)
    before = contents(tmp_path)

    page = Page("--out", tmp_path)
    pages.append(page)

    assert page.studies() == ["hand"]
    assert b"<html" in page.ask(page.path)
    study = page.path.rpartition("/")[2]
    assert len(json.loads(page.ask(f"/api/studies/{study}?after=0"))["trials"]) == 7
    connections = psutil.Process(page.process.pid).net_connections()
    assert {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert page.note.startswith("a copy of ")
    assert page.ignores == (
        "The dashboard's best trial ignores the KL budget of 3 nats and fresh seeds: the best so far within it is "
        "trial 1. Its importances count completed trials alone and say nothing of noise; the report's do.\n"
    )
    assert b"<html" in page.ask(page.path + page.token)
    page.ask(f"/api/studies/{study}", method="DELETE")
    assert page.studies() == []
    (copy,) = page.files()
    code, errors = page.stop()

    assert (code, errors) == (0, "")
    assert not Path(copy).exists()
    assert contents(tmp_path) == before


@needs_dashboard
def test_the_copy_says_which_trials_are_feasible_and_which_is_ours(
    made: HandMade, tmp_path: Path, pages: list[Page]
) -> None:
    """Trial 2 scores most and is beyond the budget; its constraint is 3.5 - 3 nats."""
    fill_usual(made)
    page = Page("--out", tmp_path)
    pages.append(page)

    study = json.loads(page.ask(f"/api/studies/{page.path.rpartition('/')[2]}?after=0"))

    constraints = {trial["number"]: trial["constraints"] for trial in study["trials"]}
    assert constraints == {0: [-2.5], 1: [-0.5], 2: [0.5], 3: [-2.0], 4: [6.0], 5: [-2.0], 6: []}
    assert study["note"]["body"].startswith("**Not confirmed: trial 1 scored 1.000 in the search")
    assert "The dashboard's best trial ignores the KL budget of 3 nats" in study["note"]["body"]
    notes = {trial["number"]: trial["note"]["body"] for trial in study["trials"] if trial["note"]["body"]}
    assert notes.keys() == {0, 1}
    assert notes[0] == "the default config"
    assert notes[1].startswith("Not confirmed: trial 1")
    with closing(sqlite3.connect(made.folder / "study.db")) as store:
        keys = {key for (key,) in store.execute("SELECT key FROM trial_system_attributes")}
    assert "constraints" not in keys


@needs_dashboard
def test_live_shows_what_comes_and_warns_that_it_can_change_it(
    made: HandMade, tmp_path: Path, pages: list[Page]
) -> None:
    page = Page("--live", "--out", tmp_path)
    pages.append(page)
    study = page.path.rpartition("/")[2]

    made.add("completed", [0.5])
    trials = json.loads(page.ask(f"/api/studies/{study}?after=0"))["trials"]

    assert [trial["state"] for trial in trials] == ["Complete"]
    assert page.note == "careful: this is the store itself; the page can change and delete trials\n"
    assert page.files() == {str(made.folder / "study.db")}
    assert page.stop() == (0, "")


@needs_dashboard
def test_live_changes_nothing_for_foreign_pages_and_for_those_without_the_token(
    made: HandMade, tmp_path: Path, pages: list[Page]
) -> None:
    page = Page("--live", "--out", tmp_path)
    pages.append(page)
    study = f"/api/studies/{page.path.rpartition('/')[2]}"

    assert page.refusal(study, "DELETE") == (
        403, "refused: to change something, open the address that was printed\n"
    )  # fmt: skip
    page.ask(page.path + page.token)
    assert page.refusal(study, "DELETE", Origin="http://evil.example") == (
        403, "refused: requests from other pages are not answered\n"
    )  # fmt: skip
    for method in ("GET", "DELETE"):
        assert page.refusal(study, method, Host="evil.example:80")[0] == 403
    assert page.studies() == ["hand"]
    page.ask(study, "DELETE", Origin=page.url)
    assert page.studies() == []


@needs_dashboard
@pytest.mark.browser
@needs_chromium
@pytest.mark.guard
def test_a_browser_that_opens_the_printed_address_can_change_the_live_store(
    made: HandMade, tmp_path: Path, pages: list[Page]
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    page = Page("--live", "--out", tmp_path)
    pages.append(page)
    change = "path => fetch(path, {method: 'PUT', headers: {'Content-Type': 'application/json'}, " \
        "body: JSON.stringify({body: 'seen', version: 1})}).then(answer => answer.status)"  # fmt: skip

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        stranger, opened = (browser.new_context().new_page() for _ in range(2))
        stranger.goto(page.url + page.path)
        opened.goto(page.url + page.path + page.token)
        opened.get_by_text("hand").first.wait_for()
        place = f"/api/studies/{page.path.rpartition('/')[2]}/note"
        shown, statuses = opened.url, [tab.evaluate(change, place) for tab in (stranger, opened)]
        browser.close()

    assert shown.startswith(page.url + page.path)
    assert "token" not in shown
    assert statuses == [403, 204]


@needs_dashboard
def test_a_port_that_is_taken_is_said(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        outcome = cli("dashboard", "hand", "--out", tmp_path, "--port", port)

    assert outcome.code == 2
    assert (
        f"error: port {port} cannot be used (Address already in use); choose another with --port"
        in outcome.err
    )


@needs_dashboard
def test_a_store_without_a_file_cannot_be_copied(cli: Cli) -> None:
    outcome = cli("dashboard", "hand", "--storage", "postgresql+psycopg://me@host/all")

    assert outcome.code == 2
    assert "error: only an SQLite store can be copied; add --live to serve the store itself" in outcome.err


def test_a_dashboard_that_is_not_installed_is_told_how_to_get(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)

    outcome = cli("dashboard", "hand", "--out", tmp_path)

    assert outcome.code == 2
    assert "error: optuna-dashboard is not installed; run: pip install 'ppo-tune[dashboard]'" in outcome.err


def test_studies_are_listed_with_what_each_says(cli: Cli, made: HandMade, tmp_path: Path) -> None:
    fill_usual(made)
    other = tmp_path / "runs" / "other"
    other.mkdir()
    optuna.create_study(storage=storage_url(tmp_path, "other"), study_name="other")
    (tmp_path / "runs" / "no study").mkdir()

    told, facts = cli("list", "--out", tmp_path).out, cli("list", "--out", tmp_path, "--json").out
    by_store = cli("list", "--storage", storage_url(tmp_path, "hand"), "--out", tmp_path).out

    first, verdict, second, reason = told.splitlines()
    assert re.fullmatch(r"hand  died, 6 of 8 trials over, the last on \d\d \w{3} \d{4}", first)
    assert verdict.startswith("  ")
    assert second == "other  cannot be read"
    assert "was made by something else" in reason or reason.strip()
    assert [found["study"] for found in json.loads(facts)] == ["hand"]
    assert by_store.splitlines()[0] == first


def test_no_study_is_said_so(cli: Cli, tmp_path: Path) -> None:
    assert cli("list", "--out", tmp_path).out == f"there is no study in {tmp_path} yet\n"
    assert cli("list", "--out", tmp_path, "--json").out == "[]\n"
