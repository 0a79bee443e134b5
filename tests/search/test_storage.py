"""The store: made once, the same experiment or refused, and nothing that ran is forgotten."""

import re
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from ppo_tune.errors import StorageError, StudyMismatchError
from ppo_tune.search.facts import Owner
from ppo_tune.search.results import count_endings, ending_of
from ppo_tune.search.storage import (
    ask_as,
    close_lost_trials,
    create_study,
    load_study_from,
    storage_url,
    stored_config,
)
from ppo_tune.versions import versions
from tests.worlds import OWNER, StudyMaker


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def test_a_new_study_waits_with_the_default_config_as_trial_0(make_study: StudyMaker, url: str) -> None:
    config = make_study()

    study = create_study(config, url, {})

    (trial,) = study.get_trials()
    assert trial.state is TrialState.WAITING
    assert trial.user_attrs["baseline"] is True
    assert trial.system_attrs["fixed_params"] == {"learning_rate": 1e-4, "kl_coef": 0.05}
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE


def test_opening_the_same_study_again_adds_nothing(make_study: StudyMaker, url: str) -> None:
    config = make_study()
    create_study(config, url, {"task.path": "abc"})

    again = create_study(config, url, {"task.path": "abc"})

    assert len(again.get_trials()) == 1
    assert stored_config(again) == config


def test_a_new_study_notes_the_versions_that_made_it(make_study: StudyMaker, url: str) -> None:
    assert create_study(make_study(), url, {}).user_attrs["versions"] == versions()


def test_a_study_made_with_other_versions_goes_on_and_keeps_them(make_study: StudyMaker, url: str) -> None:
    create_study(make_study(), url, {}).set_user_attr("versions", {"torch": "0.1"})

    assert create_study(make_study(), url, {}).user_attrs["versions"] == {"torch": "0.1"}


def test_a_changed_experiment_is_refused_with_what_changed(make_study: StudyMaker, url: str) -> None:
    create_study(make_study(), url, {})
    wider = {"learning_rate": {"type": "float", "low": 1e-4, "high": 0.5, "log": True}}

    with pytest.raises(StudyMismatchError) as caught:
        create_study(make_study(space=wider, ppo={"gamma": 0.9}), url, {})

    message = str(caught.value)
    assert "study 'small' exists and was made by another experiment" in message
    assert "ppo.gamma: 1.0 before, 0.9 now" in message
    assert "space.learning_rate.high: 0.1 before, 0.5 now" in message
    assert "space.kl_coef.low: 0.01 before, absent now" in message
    assert "give it another name" in message


def test_a_data_file_with_other_content_is_another_experiment(make_study: StudyMaker, url: str) -> None:
    config = make_study()
    create_study(config, url, {"task.path": "a" * 64})

    with pytest.raises(StudyMismatchError, match=r"content\.task\.path: 'a{64}' before, 'b{64}' now"):
        create_study(config, url, {"task.path": "b" * 64})


def test_another_helper_of_a_reward_is_another_experiment(make_study: StudyMaker, url: str) -> None:
    config, place = make_study(), "task.reward.function imports rewards/words.py"
    create_study(config, url, {"task.reward.function": "r", place: "a"})

    with pytest.raises(StudyMismatchError, match=rf"content\.{re.escape(place)}: 'a' before, 'b' now"):
        create_study(config, url, {"task.reward.function": "r", place: "b"})
    with pytest.raises(StudyMismatchError, match=rf"content\.{re.escape(place)}: 'a' before, absent now"):
        create_study(config, url, {"task.reward.function": "r"})


def test_a_study_from_before_helpers_were_noted_goes_on_and_notes_them(
    make_study: StudyMaker, url: str
) -> None:
    config, place = make_study(), "task.reward.function imports rewards/words.py"
    create_study(config, url, {"task.reward.function": "r"})

    create_study(config, url, {"task.reward.function": "r", place: "a"})

    with pytest.raises(StudyMismatchError, match="'a' before, 'b' now"):
        create_study(config, url, {"task.reward.function": "r", place: "b"})


@pytest.mark.parametrize("target", [None, 4.0])
def test_a_study_from_when_the_kl_horizon_was_a_number_goes_on_unless_it_matters(
    make_study: StudyMaker, url: str, target: float | None
) -> None:
    config = make_study(ppo={"kl_target": target})
    old = config.model_dump(mode="json")
    old["ppo"]["kl_horizon"] = 10_000.0
    create_study(config, url, {}).set_user_attr("config", old)

    if target is None:
        assert stored_config(create_study(config, url, {})) == config
    else:
        with pytest.raises(StudyMismatchError, match=r"ppo\.kl_horizon: 10000\.0 before, None now"):
            create_study(config, url, {})
        create_study(make_study(ppo={"kl_target": target, "kl_horizon": 10_000.0}), url, {})


def test_more_trials_are_the_same_experiment(make_study: StudyMaker, url: str) -> None:
    create_study(make_study(), url, {})

    study = create_study(make_study(search={"n_trials": 50, "train_episodes": 99, "pack": 2}), url, {})

    assert len(study.get_trials()) == 1


def test_what_alters_no_trial_may_change_and_the_study_remembers_it(make_study: StudyMaker, url: str) -> None:
    create_study(make_study(search={"pack": 1}), url, {})
    grown = {"pack": "auto", "n_trials": 9, "confirm_top": 2, "confirm_seeds": 7, "train_episodes": 64}

    study = create_study(make_study(search=grown), url, {})

    assert stored_config(study) == make_study(search=grown)


def test_a_missing_study_names_what_there_is(make_study: StudyMaker, url: str) -> None:
    create_study(make_study(), url, {})

    with pytest.raises(StorageError, match=r"there is no study 'other' in that store; it holds: small"):
        load_study_from(url, "other")


def test_a_missing_file_is_not_created_by_looking_for_it(tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=r"there is no study 'x' at .*x/study\.db; start it with `ppo_tune.run_search`"
    ):
        load_study_from(storage_url(tmp_path, "x"), "x")

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("url", ["nonsense", "://"])
def test_a_storage_that_is_no_url_is_refused(make_study: StudyMaker, url: str) -> None:
    with pytest.raises(StorageError, match=r"must be a URL such as sqlite:///study\.db or postgresql"):
        create_study(make_study(), url, {})


def test_a_password_is_never_shown(make_study: StudyMaker) -> None:
    with pytest.raises(StorageError) as caught:
        create_study(make_study(), "sqlite://user:secret@host/study.db", {})

    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(make_study: StudyMaker, tmp_path: Path) -> None:
    path = tmp_path / "junk.db"
    path.write_bytes(b"this is not a database" * 100)

    with pytest.raises(
        StorageError, match=r"storage sqlite:///.*junk\.db cannot be opened: .*not a database"
    ):
        create_study(make_study(), f"sqlite:///{path}", {})


def test_a_study_of_somebody_else_is_refused(url: str) -> None:
    foreign = optuna.create_study(study_name="foreign", storage=url)

    with pytest.raises(StudyMismatchError, match="'foreign' was not made by ppo-tune"):
        stored_config(foreign)


def test_a_trial_left_running_here_is_lost_and_waits_again_with_its_values(
    make_study: StudyMaker, url: str
) -> None:
    config = make_study()
    study = create_study(config, url, {})
    first = ask_as(study, config.space, OWNER)
    second = ask_as(study, config.space, OWNER)

    closed = close_lost_trials(study, OWNER.search)

    assert closed == [0, 1]
    trials = study.get_trials()
    assert [ending_of(t) for t in trials] == ["lost", "lost", "waiting", "waiting"]
    assert trials[2].system_attrs["fixed_params"] == first.params
    assert trials[3].system_attrs["fixed_params"] == second.params
    assert trials[2].user_attrs == {"baseline": True, "rerun_of": 0, "attempt": 2}
    assert trials[3].user_attrs == {"rerun_of": 1, "attempt": 2}
    assert count_endings(study) == {"waiting": 2}


def test_a_trial_lost_twice_remembers_where_it_began(make_study: StudyMaker, url: str) -> None:
    config = make_study()
    study = create_study(config, url, {})
    ask_as(study, config.space, OWNER)
    close_lost_trials(study, OWNER.search)
    ask_as(study, config.space, OWNER)

    close_lost_trials(study, OWNER.search)

    assert study.get_trials()[2].user_attrs == {"baseline": True, "rerun_of": 0, "attempt": 3}


def test_a_trial_that_runs_on_another_machine_is_left_alone(make_study: StudyMaker, url: str) -> None:
    config = make_study()
    study = create_study(config, url, {})
    ask_as(study, config.space, Owner("another search", "a worker"))

    assert close_lost_trials(study, OWNER.search) == []
    assert study.get_trials()[0].state is TrialState.RUNNING
