"""A study whose reward only a Python session has: every command says what works, or refuses and says the way out."""

import gc
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ppo_tune
from ppo_tune.cli import main
from ppo_tune.errors import ConfigError
from ppo_tune.export import TARGETS
from tests.tuning.objects import REWARD, SETTINGS, CountRed

THERE = "in the Python session of its reward (CountRed)"
WAY_OUT = (
    "only stands for it: go on there, by `ppo_tune.tune` with the same arguments, `study.confirm()` or "
    "`ppo_tune.train(study.best)`; or put it into a file of your own and name that here, as my_rewards.py:score, for a "
    "training or a study of another name"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, small_world: Path) -> Path:
    """Where a study was searched by an object that nobody has any more, and reported."""
    home = tmp_path_factory.mktemp("home")
    given: dict[str, Any] = {**SETTINGS, "model": str(small_world / "model"), "reward": CountRed()}
    given["search"] = {**given["search"], "confirm_top": "auto"}
    ppo_tune.tune(**given, out=home, watch=lambda _: None, confirm=False).report(markdown=True)
    gc.collect()
    return home


@pytest.fixture
def say(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs a command there; returns its exit code and all that it says, on one line."""
    monkeypatch.chdir(home)

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ppo-tune", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        code = left.value.code
        return code if isinstance(code, int) else int(bool(code)), " ".join(
            (captured.out + captured.err).split()
        )

    return run


def test_what_looks_at_it_advises_what_works(say: Callable[..., tuple[int, str]], home: Path) -> None:
    said = {words[0]: say(*words) for words in (("status", "tune"), ("list",), ("report", "tune"))}

    assert {code for code, _ in said.values()} == {0}
    confirm = f"`study.confirm()` {THERE}"
    assert f"next {confirm}" in said["status"][1]
    assert all(f"{confirm} does it anyway" in text for _, text in said.values())
    assert f"go on with {confirm} report" in said["report"][1]


def test_what_is_written_of_it_advises_what_works(home: Path) -> None:
    reports = home / "reports" / "tune"
    page = (reports / "index.html").read_text(encoding="utf-8")
    best, asked = (
        (home / path).read_text("utf-8") for path in ("reports/tune/best.yaml", "runs/tune/tune.yaml")
    )

    for text in (page, (reports / "summary.md").read_text(encoding="utf-8")):
        assert "ppo-tune confirm" not in text
        assert "ppo-tune train reports" not in text
    assert f"<code>study.confirm()</code> {THERE}" in page
    assert f"<code>ppo_tune.train(study.best)</code> {THERE}" in page
    assert best.startswith(
        "# FIRST: put CountRed into a file of your own, and name that in this file instead of what stands for it"
    )
    assert asked.startswith(
        f"# As study tune was last searched; `ppo_tune.tune` with the same arguments {THERE} goes on with it."
    )


NEEDS_IT = [
    "confirm tune", "rerun tune 1", "extend tune --trials 1", "search runs/tune/tune.yaml",
    "check runs/tune/tune.yaml", "train reports/tune/best.yaml", "train tune --trial 1",
    "evaluate {model} --config runs/tune/tune.yaml",
]  # fmt: skip


@pytest.mark.parametrize("command", NEEDS_IT)
def test_what_needs_the_reward_is_refused_with_the_way_out(
    command: str, say: Callable[..., tuple[int, str]], small_world: Path
) -> None:
    code, said = say(*command.format(model=small_world / "model").split())

    assert code == 2
    assert re.match(
        r"error: (task\.)?reward\.function: CountRed is in the Python session that gave it to ppo-tune, and "
        r"\S*reward-\w{12}\.py " + re.escape(WAY_OUT),
        said,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_an_export_says_what_is_missing_wherever_one_looks(
    target: str, say: Callable[..., tuple[int, str]], home: Path, tmp_path: Path
) -> None:
    code, said = say("export", "tune", "--to", target, "--folder", tmp_path / "made", "--quiet")

    (stub,) = (tmp_path / "made" / "functions").iterdir()
    first = f"put CountRed in functions/{stub.name}, in place of what stands there"
    assert code == 0
    assert f"FIRST {first}: only a Python session had it, and nothing trains without it" in said
    assert "go on with" not in said
    readme = (tmp_path / "made" / "README.md").read_text(encoding="utf-8")
    assert f"**First** {first}" in readme
    assert f"- `functions/{stub.name}`: the place of CountRed, which is missing" in readme
    main_file = (tmp_path / "made" / ppo_tune.export_study("tune", target, out=home).main).read_text("utf-8")
    assert f"FIRST: {first}" in " ".join(re.sub("^# ?", "", main_file, flags=re.M).split())
    with pytest.raises(
        ImportError, match="CountRed is missing: put it here, in place of all this, as a function"
    ):
        exec(stub.read_text(encoding="utf-8"), {})


@pytest.mark.slow
def test_an_export_trains_once_the_reward_is_put_where_it_says(
    say: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    say("export", "tune", "--folder", tmp_path / "made")
    (stub,) = (tmp_path / "made" / "functions").iterdir()
    with pytest.raises(ConfigError, match="CountRed is in the Python session"):
        ppo_tune.check_user_files(ppo_tune.load_training(tmp_path / "made" / "best.yaml"))

    stub.write_text(REWARD, encoding="utf-8")

    code, said = say(
        "train", tmp_path / "made" / "best.yaml", "--episodes", 32, "--out", tmp_path / "trained"
    )
    assert code == 0, said


@pytest.mark.slow
def test_a_file_of_ones_own_trains_and_searches_it(
    say: Callable[..., tuple[int, str]], home: Path, tmp_path: Path
) -> None:
    (home / "my_rewards.py").write_text(REWARD, encoding="utf-8")
    best = (home / "reports" / "tune" / "best.yaml").read_text(encoding="utf-8")
    mended = re.sub(r"function:\s+\S+", "function: my_rewards.py:score", best)
    (home / "reports" / "tune" / "mine.yaml").write_text(mended, encoding="utf-8")

    trained = say("train", "reports/tune/mine.yaml", "--episodes", 32, "--out", tmp_path / "trained")
    searched = say("search", "runs/tune/tune.yaml", "--set", "task.reward.function=my_rewards.py:score", "--name",
                   "mine", "--workers", 1, "--no-confirm")  # fmt: skip

    assert trained[0] == 0, trained[1]
    assert searched[0] == 0, searched[1]


@pytest.mark.slow
def test_all_that_is_advised_works_in_a_session_that_has_the_reward(
    small_world: Path, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A later one has it by the same call."""
    monkeypatch.chdir(home)
    given: dict[str, Any] = {**SETTINGS, "model": str(small_world / "model"), "reward": CountRed()}
    given["search"] = {**given["search"], "confirm_top": "auto"}

    study = ppo_tune.tune(**given, watch=lambda _: None, confirm=False)

    assert len(study.trials) == 3
    again = ppo_tune.rerun_trial("tune", 1)
    assert again.equal
    short = study.best.model_copy(update={"ppo": study.best.ppo.model_copy(update={"episodes": 32})})
    assert ppo_tune.train(short, out=tmp_path / "trained").episodes
    assert study.confirm(top=1, seeds=2, watch=lambda _: None).record.confirmation is not None
