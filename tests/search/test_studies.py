"""Studies as a whole: what goes when one is deleted, what stays, and that a renamed one is what it was."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from filelock import FileLock
from optuna.study import Study
from optuna.trial import TrialState

from ppo_tune.config.study_file import load_study
from ppo_tune.config.writing import study_text
from ppo_tune.errors import ConfigError, PPOTuneError, StorageError
from ppo_tune.reporting import report_study
from ppo_tune.search.confirmation import open_confirmation
from ppo_tune.search.facts import StudyFacts, enqueue_run
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import (
    confirmation_study,
    create_study,
    open_study,
    storage_url,
    stored_config,
    study_names,
)
from ppo_tune.search.studies import delete_study, rename_study, study_contents


@pytest.fixture(scope="module")
def reported(searched_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the searched study `small` and its report."""
    folder = Path(shutil.copytree(searched_once, tmp_path_factory.mktemp("reported") / "out"))
    study, config = open_study("small", out=folder)
    asked = load_study(folder / "small.yaml")
    StudyFolder.of(folder, "small").written("small").write_text(study_text(asked), encoding="utf-8")
    report_study(study, config, out=folder)
    return folder


@pytest.fixture
def out(reported: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(reported, tmp_path / "searched"))


def outside(out: Path) -> dict[str, bytes]:
    """Every file that is not in the study's folder."""
    inside = StudyFolder.of(out, "small").path
    files = (path for path in out.rglob("*") if path.is_file() and inside not in path.parents)
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def trials_of(study: Study) -> list[optuna.trial.FrozenTrial]:
    """Its trials, as the store has them; Optuna's own ids included."""
    return study.get_trials(deepcopy=False)


def run_elsewhere(study: Study) -> None:
    """A trial that a worker of another machine has under way."""
    trial = study.ask()
    trial.set_user_attr("host", "elsewhere")
    trial.set_user_attr("pid_namespace", "elsewhere")
    trial.set_user_attr("pid", 1)


def test_a_study_consists_of_trials_runs_files_and_a_report_beside(out: Path) -> None:
    study, config = open_study("small", out=out)
    confirmation = open_confirmation(study, config)
    enqueue_run(confirmation, trials_of(study)[0].params, 0, 0)
    before = study_contents("small", out=out)
    confirmation.ask(config.space.distributions())
    folder = StudyFolder.of(out, "small")

    found = study_contents("small", out=out)

    assert (before.trials, before.confirmation_runs) == (3, 0)
    assert (found.trials, found.confirmation_runs) == (3, 1)
    assert (found.folder, found.report) == (folder.path, out / "reports" / "small")
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    assert found.size == sum(len(path.read_bytes()) for path in files) > 1000


def test_a_deleted_study_is_gone_and_nothing_outside_its_folder_is(out: Path) -> None:
    before = outside(out)

    gone = delete_study("small", out=out)

    assert gone.trials == 3
    assert not StudyFolder.of(out, "small").path.exists()
    assert outside(out) == before
    assert study_names(out=out) == []


def test_a_link_in_a_studys_folder_goes_and_what_it_leads_to_stays(out: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept", encoding="utf-8")
    (StudyFolder.of(out, "small").path / "link").symlink_to(precious)
    size = study_contents("small", out=out).size

    delete_study("small", out=out)

    assert (precious / "file").read_text(encoding="utf-8") == "kept"
    assert size > 0


@pytest.mark.parametrize("change", [delete_study, lambda name, out: rename_study(name, "other", out=out)])
def test_a_folder_that_is_a_link_is_left_alone(
    out: Path, tmp_path: Path, change: Callable[..., object]
) -> None:
    folder = StudyFolder.of(out, "small").path
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(
        StorageError, match=r"small is a link, and nothing outside of a study's own folder is touched"
    ):
        change("small", out=out)

    assert study_names(out=out) == ["small"]


@pytest.mark.parametrize("change", [delete_study, lambda name, out: rename_study(name, "other", out=out)])
def test_a_study_that_is_being_searched_is_left_alone(out: Path, change: Callable[..., object]) -> None:
    folder = StudyFolder.of(out, "small")
    folder.pid.write_text("77", encoding="utf-8")

    with (
        FileLock(folder.lock),
        pytest.raises(StorageError, match=r"another search of study 'small' is running in .*\(process 77\)"),
    ):
        change("small", out=out)

    assert len(trials_of(open_study("small", out=out)[0])) == 3


@pytest.mark.parametrize("change", [delete_study, lambda name, out: rename_study(name, "other", out=out)])
def test_a_study_of_which_another_machine_trains_something_is_left_alone(
    out: Path, change: Callable[..., object]
) -> None:
    run_elsewhere(open_study("small", out=out)[0])

    with pytest.raises(
        StorageError,
        match=r"1 trial of study 'small' is under way on another machine; stop the search there first",
    ):
        change("small", out=out)


def test_what_a_dead_search_left_under_way_is_no_reason_to_keep_a_study(out: Path) -> None:
    study, _ = open_study("small", out=out)
    study.ask().set_user_attr("owner", {"search": StudyFolder.of(out, "small").identity(), "worker": "dead"})

    delete_study("small", out=out)

    assert study_names(out=out) == []


def test_a_kill_while_a_study_is_deleted_leaves_what_the_same_call_deletes(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.rmdir, []

    def rmdir(*arguments: object, **settings: object) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rmdir", rmdir)
    with pytest.raises(KeyboardInterrupt):
        delete_study("small", out=out)
    monkeypatch.undo()

    assert study_names(out=out) == ["small"]
    delete_study("small", out=out)
    assert not StudyFolder.of(out, "small").path.exists()


def test_of_a_store_that_studies_share_only_the_one_and_its_confirmation_go(
    out: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    config = load_study(out / "small.yaml")
    for name in ("one", "other"):
        made = create_study(config.model_copy(update={"name": name}), url, {})
        open_confirmation(made, config.model_copy(update={"name": name}))

    delete_study("one", storage=url, out=out)

    assert sorted(optuna.get_all_study_names(url)) == ["other", "other/confirmation"]


def test_the_folder_of_another_study_of_the_name_stays(out: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    create_study(load_study(out / "small.yaml"), url, {})

    gone = delete_study("small", storage=url, out=out)

    assert gone.folder is None
    assert len(trials_of(open_study("small", out=out)[0])) == 3


@pytest.mark.parametrize("change", [delete_study, lambda name, out: rename_study(name, "new", out=out)])
def test_a_folder_whose_store_others_need_is_left_alone(out: Path, change: Callable[..., object]) -> None:
    config = load_study(out / "small.yaml").model_copy(update={"name": "other"})
    create_study(config, storage_url(out, "small"), {})

    with pytest.raises(
        StorageError, match=r"small/study\.db holds other studies too, which would lose their store: other"
    ):
        change("small", out=out)


def test_a_renamed_study_is_what_it_was_under_another_name(out: Path) -> None:
    study, config = open_study("small", out=out)
    open_confirmation(study, config)
    before = trials_of(study)

    folder = rename_study("small", "new", out=out)

    renamed, experiment = open_study("new", out=out)
    assert folder == StudyFolder.of(out, "new").path
    assert trials_of(renamed) == before
    assert experiment == config.model_copy(update={"name": "new"})
    assert study_names(out=out) == ["new"]
    confirmation = confirmation_study(renamed)
    assert confirmation is not None
    assert stored_config(confirmation).name == "new"
    assert not StudyFolder.of(out, "small").path.exists()


def test_a_renamed_study_goes_on_by_the_study_file_in_its_folder(out: Path) -> None:
    rename_study("small", "new", out=out)

    config = load_study(StudyFolder.of(out, "new").written("new"))
    assert config == load_study(out / "small.yaml", name="new")
    renamed = create_study(config, storage_url(out, "new"), StudyFacts(open_study("new", out=out)[0]).inputs)

    assert len(trials_of(renamed)) == 3
    assert not StudyFolder.of(out, "new").written("small").exists()
    assert "As study new was last searched" in StudyFolder.of(out, "new").written("new").read_text(
        encoding="utf-8"
    )


def test_a_renamed_study_reports_and_its_old_report_stays(out: Path) -> None:
    rename_study("small", "new", out=out)

    report_study(*open_study("new", out=out), out=out)

    assert "new" in (out / "reports" / "new" / "best.yaml").read_text(encoding="utf-8")
    assert (out / "reports" / "small" / "index.html").is_file()


def test_a_kill_between_store_and_folder_leaves_what_the_same_call_ends(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            rename_study("small", "new", out=out)

    rename_study("small", "new", out=out)

    assert study_names(out=out) == ["new"]
    assert len(trials_of(open_study("new", out=out)[0])) == 3


def test_a_study_in_a_shared_store_is_renamed_with_its_folder_here(out: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    create_study(load_study(out / "small.yaml").model_copy(update={"name": "one"}), url, {})
    (out / "runs" / "one").mkdir()

    assert rename_study("one", "two", storage=url, out=out) == out / "runs" / "two"
    assert rename_study("two", "three", storage=url, out=tmp_path / "nowhere") is None
    assert optuna.get_all_study_names(url) == ["three"]
    assert (out / "runs" / "two" / "one.yaml").exists() is False


def test_a_name_that_is_taken_is_refused(out: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    config = load_study(out / "small.yaml")
    for name in ("one", "other"):
        create_study(config.model_copy(update={"name": name}), url, {})
    (out / "runs" / "there").mkdir()
    refusal = "there is a study '{}' already; give another name, or delete that one first"

    for name, new, at in (("small", "there", None), ("one", "other", url)):
        with pytest.raises(StorageError) as refused:
            rename_study(name, new, storage=at, out=out)
        assert str(refused.value) == refusal.format(new)


def test_a_name_that_cannot_be_and_the_same_name_are_refused(out: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"study name: must be letters, digits, .* but got '\.\./x'; give another one"
    ):
        rename_study("small", "../x", out=out)
    with pytest.raises(ConfigError, match="small: is its name already; give another one"):
        rename_study("small", "small", out=out)


def test_a_study_that_is_not_there_can_neither_go_nor_be_renamed(tmp_path: Path) -> None:
    for change in (lambda: delete_study("x", out=tmp_path), lambda: rename_study("x", "y", out=tmp_path)):
        with pytest.raises(PPOTuneError, match=r"there is no study 'x' at .*study\.db"):
            change()
    assert not (tmp_path / "runs").exists()


def test_trials_that_wait_have_not_begun(out: Path) -> None:
    study, _ = open_study("small", out=out)
    study.enqueue_trial({})

    assert [t.state for t in trials_of(study)].count(TrialState.WAITING) == 1
    assert study_contents("small", out=out).trials == 3
