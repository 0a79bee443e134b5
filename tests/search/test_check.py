"""What is said of a study before it is begun."""

import subprocess
import sys
from pathlib import Path

import pytest

from ppo_tune.config.methods import Size
from ppo_tune.config.study import StudyConfig
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import ConfigError, MissingExtraError, PPOTuneError, StorageError, StudyMismatchError
from ppo_tune.search.check import check_study
from ppo_tune.search.storage import create_study, storage_url
from tests.worlds import StudyMaker


def begin(config: StudyConfig, out: Path) -> None:
    """Make the study's store."""
    (out / "runs" / config.name).mkdir(parents=True)
    create_study(config, storage_url(out, config.name), check_user_files(config).hashes)


def test_a_study_is_counted_and_nothing_is_begun(make_study: StudyMaker, tmp_path: Path) -> None:
    config = make_study(search={"confirm_top": "auto", "n_trials": 32})

    found = check_study(config, out=tmp_path, workers=1)

    assert (found.name, found.exists, found.n_trials, found.trials_worth) == ("small", False, 32, 32)
    assert found.prompts is not None and sum(found.prompts.values()) == 60
    assert found.lengths is not None and found.lengths.longest == 2
    assert found.confirmation == Size(4, 2)  # 10 runs are a quarter of all: (4 + 1) configs on 2 seeds
    assert found.takes is None
    assert not (tmp_path / "runs").exists()


def test_notes_are_those_of_the_file_of_the_crowd_and_of_the_prompts(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    crowded = make_study(search={"sampler": "tpe"})

    (note,) = check_study(crowded, out=tmp_path, workers=4).notes

    assert note.startswith("4 workers propose at once, and 4 trials are less than 4 rounds of them: ")


def test_a_study_that_was_begun_goes_on_and_another_of_its_name_is_refused(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    begin(make_study(), tmp_path)

    assert check_study(make_study(), out=tmp_path).exists
    with pytest.raises(StudyMismatchError) as caught:
        check_study(make_study(ppo={"temperature": 0.5}), out=tmp_path)

    assert "  ppo.temperature: 1.0 before, 0.5 now\n" in str(caught.value)


def test_all_that_is_wrong_with_models_and_store_is_told_at_once(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    begin(make_study(), tmp_path)

    with pytest.raises(PPOTuneError) as caught:
        check_study(make_study(task={"stop": ["\u4e2d"]}), out=tmp_path)

    first, second, *_ = str(caught.value).splitlines()
    assert first.startswith("task.stop: ")
    assert second.startswith("study 'small' exists and was made by another experiment")


def test_a_store_that_cannot_be_opened_is_told(
    make_study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "store.db"
    file.write_text("this is no database", encoding="utf-8")

    with pytest.raises(StorageError, match="cannot be opened"):
        check_study(make_study(), storage=f"sqlite:///{file}")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match="psycopg is not installed"):
        check_study(make_study(), storage="postgresql+psycopg://nobody@localhost/none")


def test_an_earlier_study_that_is_not_there_is_told(make_study: StudyMaker, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no study 'earlier' at "):
        check_study(make_study(search={"warm_start": "earlier"}), out=tmp_path)


def test_the_embedded_task_is_checked_without_torch() -> None:
    code = (
        "import sys, ppo_tune\n"
        "found = ppo_tune.check_study(ppo_tune.load_study('quickstart'), workers=1)\n"
        "print(found.name, 'torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "quickstart False\n"


def test_it_is_measured_only_if_asked(
    make_study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(
        "ppo_tune.search.measuring.what_it_takes",
        lambda _, workers, **how: asked.append({"n": workers, **how}),
    )

    check_study(make_study(), out=tmp_path, workers=3)
    assert asked == []
    check_study(make_study(), out=tmp_path, workers=3, measure=True)
    assert asked == [{"n": 3, "worth": 4, "runs": 0}]
