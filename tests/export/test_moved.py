"""An export's folder means the same in another place and to another user: nothing in it points back."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.config.tasks import DatasetTaskConfig, EmbeddedTaskConfig, TaskConfig
from ppo_tune.data.prompts import read_prompts, split_of
from ppo_tune.export import TARGETS, export_study, other_trainers
from ppo_tune.rewards import make_reward
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import storage_url
from tests.conftest import save_tiny_model
from tests.export.calls import arguments
from tests.reporting.conftest import HandMade, fill_usual
from tests.rewards.reward_models import save_reward

targets = pytest.mark.parametrize("target", TARGETS)
others = pytest.mark.parametrize("target", other_trainers())

PPO = PPOConfig(rollout_size=16, micro_batch_size=8, episodes=16, max_new_tokens=3, ppo_epochs=1)
"""Of a study whose winner trains for a few rollouts."""

REWARD = """
from likes.words import GOOD
from of_ours import bonus

def score(prompts, responses, size, **others):
    return [sum(word in GOOD for word in text.split()) + bonus(int(n)) for text, n in zip(responses, size)]
"""


def make_study(here: Path, task: TaskConfig, model: str | None) -> None:
    """A finished study named `hand` in a folder."""
    folder = StudyFolder.of(here, "hand").path
    folder.mkdir(parents=True)
    hand = HandMade(folder, storage_url(here, "hand"))
    changed = {"task": task, "model": hand.config.model.model_copy(update={"name": model}), "ppo": PPO}
    hand.config = hand.config.model_copy(update=changed)
    hand.study.set_user_attr("config", hand.config.model_dump(mode="json"))
    fill_usual(hand)


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Path]]:
    """The exports of a study of the user's own files, by target, where everybody may enter; nothing else is left."""
    here = tmp_path_factory.mktemp("made") / "home" / "ada" / "work"
    here.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as outside:
        patch.chdir(here)
        lib = _user_files(here)
        patch.setenv("HOME", str(here.parent))
        patch.syspath_prepend(str(lib))
        task = {
            "name": "dataset",
            "path": str(here / "asked.csv"),
            "prompt": "question",
            "stop": ["k"],
            "heldout_prompts": 4,
            "reward": {"name": "python", "function": "rewards/mine.py:score"},
            "gold": {"name": "preference", "model": str(here / "judge")},
        }
        make_study(here, DatasetTaskConfig.model_validate(task), str(here / "base"))
        Path(outside).chmod(0o755)
        places = {target: Path(outside) / f"it's {target}" for target in TARGETS}
        for target, place in places.items():
            export_study("hand", target, copy_models=True).write(here / "made")
            shutil.move(here / "made", place)
        patch.undo()
        shutil.rmtree(here.parent)
        _forget_modules()
        yield places


@pytest.fixture
def folder(moved: Mapping[str, Path], target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """That of a target; one works elsewhere."""
    monkeypatch.chdir(tmp_path)
    return moved[target]


def taken(folder: Path, outside: Path) -> Path:
    """A copy of a folder to write in, in another place."""
    return Path(shutil.copytree(folder, outside / "copied"))


@pytest.fixture
def outside() -> Iterator[Path]:
    """Another place yet, which everybody may enter."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


def _forget_modules() -> None:
    """Let the user's modules be imported anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("likes", "of_ours")]:
        del sys.modules[name]


def _user_files(here: Path) -> Path:
    """A table, a model, a judge, and a reward with modules beside it and elsewhere; returns where those lie."""
    save_tiny_model(here / "base")
    save_reward(here / "judge")
    rows = (f"{first} {second} {third};{i}" for i, (first, second, third) in enumerate(_triples("abcdefg")))
    (here / "asked.csv").write_text("\n".join(["question;size", *rows]), encoding="utf-8")
    lib = here.parent / "lib"
    texts = {
        here / "rewards" / "mine.py": REWARD,
        here / "rewards" / "likes" / "__init__.py": "",
        here / "rewards" / "likes" / "words.py": "GOOD = ('a', 'c')\n",
        lib / "of_ours.py": "def bonus(size):\n    return size / 1000\n",
    }
    for file, text in texts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return lib


def _triples(letters: str) -> Iterator[tuple[str, str, str]]:
    return ((a, b, c) for a in letters for b in letters for c in letters)


def texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every text file of a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".safetensors":
            yield path, path.read_text(encoding="utf-8")


@targets
def test_no_file_names_a_folder_of_where_it_was_made(folder: Path, tmp_path_factory: Any) -> None:
    words = ("/home/", "ada", str(tmp_path_factory.getbasetemp()), str(Path.home()), str(Path(sys.prefix)))

    pointing = [
        (path.name, word)
        for path, text in texts(folder)
        for word in words
        if re.search(rf"(?<![\w-]){re.escape(word)}\b", text)
    ]

    assert pointing == []
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


@targets
def test_its_readme_says_what_is_where(folder: Path) -> None:
    section = (
        (folder / "README.md")
        .read_text(encoding="utf-8")
        .partition("## What is where\n")[2]
        .partition("\n## ")[0]
    )
    named = {
        name for line in section.splitlines() for name in re.findall(r"`([^`]+)`", line.partition(": ")[0])
    }

    models = {path.name for path in folder.iterdir() if (path / "config.json").is_file()}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert models >= {"model"}
    assert named == {f for f in files if f.partition("/")[0] not in models} - {"README.md"} | models


def commands(folder: Path) -> list[str]:
    """What the first code block of a README says to type."""
    return (folder / "README.md").read_text(encoding="utf-8").split("```")[1].strip().splitlines()


def environment(home: Path) -> dict[str, str]:
    """Of somebody else, with the package installed as it is."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "LANG": "C.UTF-8"}


@pytest.mark.slow
def test_the_commands_of_our_own_readme_train_as_printed(moved: Mapping[str, Path], outside: Path) -> None:
    folder = taken(moved["native"], outside)
    install, *rest = commands(folder)
    name, *wanted = shlex.split(install)[1:]
    assert name == "install"
    assert {word: version(word.split("==")[0]).split("+")[0] for word in wanted} == {
        word: word.split("==")[1] for word in wanted
    }

    for line in rest:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=folder,
            env=environment(outside),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    assert (folder / "trained" / "hand" / "model" / "model.safetensors").is_file()


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def _can_be_nobody() -> bool:
    """Whether the package can be run by another user here."""
    if os.geteuid() != 0 or shutil.which(NOBODY[0]) is None:
        return False
    tried = [*NOBODY, sys.executable, "-c", "import ppo_tune.cli"]
    return subprocess.run(tried, capture_output=True, check=False, cwd="/").returncode == 0


def test_our_own_readme_says_what_does_not_go_along(moved: Mapping[str, Path]) -> None:
    readme = (moved["native"] / "README.md").read_text(encoding="utf-8")

    assert (
        "What a function reads that is no module does not go along: put it beside the function's file."
        in readme
    )


@pytest.mark.slow
def test_another_user_trains_it_from_another_folder(moved: Mapping[str, Path], outside: Path) -> None:
    if not _can_be_nobody():
        pytest.skip("nobody else can run the package here")
    folder = moved["native"]
    (outside / "theirs").mkdir(mode=0o777)
    (outside / "theirs").chmod(0o777)
    words = [
        "-m",
        "ppo_tune",
        "train",
        str(folder / "best.yaml"),
        "--episodes",
        "16",
    ]

    done = subprocess.run(
        [*NOBODY, sys.executable, *words],
        cwd=outside / "theirs",
        env={**environment(outside / "theirs"), "PYTHONPATH": str(folder / "modules")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert (outside / "theirs" / "trained" / "hand" / "model" / "model.safetensors").stat().st_uid == 65534


def score_of(folder: Path) -> Callable[..., list[float]]:
    """The function `score` of an export for another trainer, without that trainer: all else of its file is left out."""
    file = folder / ("reward.py" if (folder / "reward.py").is_file() else "train.py")
    there = {*sys.stdlib_module_names, "torch", "transformers"}
    wanted = [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if (isinstance(node, ast.Import) and node.names[0].name.partition(".")[0] in there)
        or (isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in there)
        or getattr(node, "name", None) in ("score", "_function", *REWARD_MODEL)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in NAMES)
    ]
    scope: dict[str, Any] = {"__file__": str(file), "__name__": "exported"}
    exec(compile(ast.Module(wanted, type_ignores=[]), str(file), "exec"), scope)
    score: Callable[..., list[float]] = scope["score"]
    return score


NAMES = ("HERE", "FUNCTION_FILE", "_loaded", "REWARD_MODEL", "TEMPLATE", "LABEL", "READS", "TURNS")
REWARD_MODEL = ("_judge", "_sidecar", "_usable_positions", "_chat", "_tokens_of_turns", "_tokens", "_number")


@others
def test_another_trainer_scores_and_is_given_prompts_as_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # the script adds to it
    given = [f"{a} {b} {c}" for a, b, c in _triples("abcdefg")]

    scores = score_of(folder)(prompts=["a", "b"], responses=["c d a", "b"], size=[7, 1000])

    _forget_modules()
    assert scores == [2.007, 1.0]
    rows = [json.loads(line) for line in (folder / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [text_of(target, row) for row in rows] == [text for text in given if split_of(text) == "train"]


def text_of(target: str, row: Mapping[str, Any]) -> str:
    """The prompt that a target reads in a line of its file."""
    text = row["prompt"] if target in ("trl", "openrlhf") else row["prompt"][0]["content"]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("target", [name for name in other_trainers() if name != "trl"])
def test_a_script_finds_the_model_beside_it_or_where_it_is_told(folder: Path, outside: Path) -> None:
    folder = taken(folder, outside)

    beside, told = arguments(folder), arguments(folder, MODEL="org/another")
    (folder / "model").rename(folder / "gone")
    refused = subprocess.run(["bash", folder / "train.sh"], capture_output=True, text=True, check=False)

    assert any(str(folder / "model") in word for word in beside)
    assert not any(str(folder / "model") in word for word in told)
    assert (
        sum("org/another" in word for word in told)
        == sum(str(folder / "model") in word for word in beside)
        >= 2
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"{folder / 'model'} is not here: put the model's folder 'base' there, or set MODEL to a folder or to a model "
        "of a hub\n"
    )


def test_trls_script_says_that_the_model_is_not_beside_it(moved: Mapping[str, Path], outside: Path) -> None:
    folder = taken(moved["trl"], outside)
    (folder / "model").rename(folder / "gone")
    body = ast.parse((folder / "train.py").read_text(encoding="utf-8")).body
    parts: list[ast.stmt] = [
        node for node in body if isinstance(node, ast.If) and "is_dir" in ast.unparse(node.test)
    ]

    def run(**told: str) -> None:
        scope = {"os": type("os", (), {"environ": told}), "HERE": folder, "sys": sys}
        exec(compile(ast.Module(parts, type_ignores=[]), "train.py", "exec"), scope)

    run(MODEL="org/another")
    with pytest.raises(
        SystemExit, match=re.escape(f"{folder / 'model'} is not here: put the model's folder 'base'")
    ):
        run()


@pytest.mark.parametrize("target", ["openrlhf", "trl"])
def test_the_embedded_task_takes_its_own_models_along(
    small_worlds: Path, tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """No user file at all; a reward model of its own."""
    make_study(tmp_path, EmbeddedTaskConfig(name="support"), None)
    made = export_study("hand", target, out=tmp_path)
    made.write(tmp_path / "made")
    assert made.notes == ()
    shutil.move(tmp_path / "made", outside / "moved")
    monkeypatch.setenv("PPO_TUNE_CACHE", str(outside / "nothing"))
    folder = outside / "moved"
    reward = PreferenceRewardConfig(name="preference", model=str(folder / "reward_model"))

    scores = score_of(folder)(["where is my order ?"], [" sorry for the delay"])

    expected = make_reward(reward, torch.device("cpu"))(["where is my order ?"], [" sorry for the delay"], {})
    assert scores == pytest.approx(expected.tolist(), abs=1e-5)
    assert (folder / "model" / "tokenizer.json").is_file()
    assert not [path for path, text in texts(folder) if str(small_worlds) in text or str(tmp_path) in text]


def test_the_study_of_these_tests_reads_as_the_exports_do(tmp_path: Path) -> None:
    """The table is read by our reader, in the order of the rows."""
    _user_files(tmp_path)
    task = {"name": "dataset", "path": str(tmp_path / "asked.csv"), "prompt": "question"}
    reward = {"name": "rule", "include": {"a": 1.0}}

    found = read_prompts(DatasetTaskConfig.model_validate({**task, "reward": reward})).prompts

    assert [prompt.text for prompt in found] == [f"{a} {b} {c}" for a, b, c in _triples("abcdefg")]
