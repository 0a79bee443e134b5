"""The objective for a plain Optuna study: its endings, its folder, and that it survives whatever stops a trial."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

import ppo_tune
from ppo_tune import Objective
from ppo_tune.errors import ConfigError, PPOTuneError, StudyMismatchError, TrialError
from ppo_tune.files import read_json
from tests.search.one_worker import write_reward
from tests.worlds import StudyMaker

PARAMS = {"learning_rate": 0.02, "kl_coef": 0.05}


def test_an_objective_can_be_handed_to_a_plain_study(make_study: StudyMaker, tmp_path: Path) -> None:
    config = make_study()
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    study.optimize(Objective(config, out=tmp_path), n_trials=2)

    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 2
    assert all(1e-4 <= t.params["learning_rate"] <= 1e-1 for t in study.trials)
    assert all(t.user_attrs["config"]["kl_coef"] == t.params["kl_coef"] for t in study.trials)


def test_an_objective_prunes_what_goes_beyond_the_kl_limit(make_study: StudyMaker, tmp_path: Path) -> None:
    config = make_study(search={"kl_budget": 1e-9, "kl_limit": 1e-9})
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    study.optimize(Objective(config, out=tmp_path), n_trials=1)

    assert study.trials[0].state is TrialState.PRUNED


def test_an_objective_trains_nothing_that_a_constraint_rules_out(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    config = make_study(constraints=["learning_rate <= 0.01"])
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"learning_rate": 0.02, "kl_coef": 0.05})
    objective = Objective(config, out=tmp_path)

    study.optimize(objective, n_trials=1)
    study.enqueue_trial({"learning_rate": 0.02})
    with pytest.raises(optuna.TrialPruned) as caught:
        objective(study.ask())

    assert study.trials[0].state is TrialState.PRUNED
    assert "config" not in study.trials[0].user_attrs
    assert (
        str(caught.value)
        == "the study's constraint `learning_rate <= 0.01` does not hold; nothing was trained"
    )


def test_an_objective_raises_what_is_the_users_mistake(make_study: StudyMaker, tmp_path: Path) -> None:
    body = "    if calls > 1:\n        raise ValueError('bad')\n    return [float(len(r)) for r in responses]"
    task = write_reward(tmp_path / "reward.py", body)
    study = optuna.create_study(direction="maximize")

    with pytest.raises(TrialError, match=r"reward_error: reward function .* raised ValueError: bad"):
        study.optimize(Objective(make_study(task=task), out=tmp_path), n_trials=1)


def folders(out: Path) -> list[str]:
    """The folders of Optuna studies that objectives of the small study wrote."""
    return sorted(path.name for path in (out / "runs" / "small-objective").iterdir())


def test_two_optuna_studies_share_no_file(make_study: StudyMaker, tmp_path: Path) -> None:
    objective = Objective(make_study(), out=tmp_path)
    for name, rate in (("a", 1e-3), ("b/ü", 1e-1)):
        study = optuna.create_study(study_name=name, direction="maximize")
        study.enqueue_trial({"learning_rate": rate, "kl_coef": 0.05})
        study.optimize(objective, n_trials=1)

    configs = (tmp_path / "runs" / "small-objective").glob("*/trials/0000/config.json")
    assert sorted(read_json(path)["learning_rate"] for path in configs) == [1e-3, 1e-1]
    assert len(folders(tmp_path)) == 2


def test_a_stored_optuna_study_goes_on_in_its_folder(make_study: StudyMaker, tmp_path: Path) -> None:
    for _ in range(2):
        study = optuna.create_study(study_name="a", storage=f"sqlite:///{tmp_path}/o.db", load_if_exists=True)
        study.optimize(Objective(make_study(), out=tmp_path), n_trials=1)

    assert folders(tmp_path) == ["a"]
    trials = tmp_path / "runs" / "small-objective" / "a" / "trials"
    assert sorted(path.name for path in trials.iterdir()) == ["0000", "0001"]


def test_another_optuna_study_of_the_same_name_is_refused_before_anything_is_written(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    optuna.create_study(study_name="a").optimize(Objective(make_study(), out=tmp_path), n_trials=1)
    before = read_json(tmp_path / "runs" / "small-objective" / "a" / "trials" / "0000" / "config.json")

    with pytest.raises(StudyMismatchError) as caught:
        optuna.create_study(study_name="a").optimize(Objective(make_study(), out=tmp_path), n_trials=1)

    folder = tmp_path / "runs" / "small-objective" / "a"
    assert str(caught.value) == (
        f"{folder} holds the trials of another Optuna study of the name 'a'; name this one otherwise, or choose "
        "another `out`"
    )
    assert read_json(folder / "trials" / "0000" / "config.json") == before


def test_an_optuna_study_holds_trials_of_one_experiment(make_study: StudyMaker, tmp_path: Path) -> None:
    study = optuna.create_study(study_name="a")
    study.optimize(Objective(make_study(), out=tmp_path), n_trials=1)

    study.optimize(Objective(make_study(search={"sampler": "tpe"}), out=tmp_path), n_trials=1)
    with pytest.raises(StudyMismatchError) as caught:
        study.optimize(Objective(make_study(ppo={"gamma": 0.9}), out=tmp_path), n_trials=1)

    assert str(caught.value) == (
        "Optuna study 'a' was begun with another experiment; its trials cannot be compared:\n"
        "  ppo.gamma: 1.0 before, 0.9 now"
    )


def test_an_objective_refuses_a_wrong_file_before_any_trial(make_study: StudyMaker, tmp_path: Path) -> None:
    task = {"reward": {"name": "python", "function": f"{tmp_path}/none.py:score"}}

    with pytest.raises(ConfigError, match=r"no such file .*none\.py"):
        Objective(make_study(task=task), out=tmp_path)


class Calls:
    """Counts the calls of our own functions, and lets one of them raise.

    Args:
        raise_at: Which, counted from 1; 0 is none.
        error: What it raises.
    """

    def __init__(self, raise_at: int = 0, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.n = 0
        self.raise_at = raise_at
        self.error = error

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ppo_tune.__path__[0]):
            self.n += 1
            if self.n == self.raise_at:
                raise self.error("just here")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch this block."""
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)


def make_optuna_study() -> optuna.Study:
    """A study whose trials do not depend on one another."""
    return optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())


def train_one(study: optuna.Study, objective: Objective) -> None:
    study.enqueue_trial(PARAMS)
    study.optimize(objective, n_trials=1)


def outcome(trial: FrozenTrial) -> dict[str, object]:
    """All that a trial came to, but for the time it took."""
    curve = [{**point, "seconds": 0} for point in trial.user_attrs["curve"]]
    return {**trial.user_attrs, "curve": curve, "seconds": 0, "value": trial.value}


def test_a_trial_after_one_that_was_cut_off_anywhere_comes_to_what_it_does_without(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    """Cut off at six moments, from the loading of the models to the last milestone, by three kinds of exception."""
    study, whole = make_optuna_study(), make_optuna_study()
    objective, undisturbed = (
        Objective(make_study(), out=tmp_path),
        Objective(make_study(), out=tmp_path / "w"),
    )

    for i, error in enumerate((KeyboardInterrupt, SystemExit, ValueError) * 2):
        calls = Calls()
        with calls.watched():
            train_one(whole, undisturbed)
        with pytest.raises(error, match="just here"), Calls(1 + i * calls.n // 6, error).watched():
            train_one(study, objective)
        train_one(whole, undisturbed)
        train_one(study, objective)

    assert [outcome(t) for t in study.trials[1::2]] == [outcome(t) for t in whole.trials[1::2]]


def test_a_second_thread_is_refused_and_the_trial_under_way_comes_to_its_end(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    study, alone = make_optuna_study(), make_optuna_study()
    objective = Objective(make_study(), out=tmp_path)
    for _ in range(2):
        train_one(alone, Objective(make_study(), out=tmp_path / "alone"))
        study.enqueue_trial(PARAMS)

    refusals: list[str] = []

    def noting(trial: optuna.Trial) -> float:
        try:
            return objective(trial)
        except PPOTuneError as error:
            refusals.append(str(error))
            raise

    study.optimize(noting, n_trials=2, n_jobs=2, catch=(PPOTuneError,))

    (trained,) = (t for t in study.trials if t.state is TrialState.COMPLETE)
    assert refusals == [
        f"trial {1 - trained.number}: a ppo_tune.Objective trains one trial at a time, and another thread is training "
        "one; call `optimize` with n_jobs=1, or let `ppo_tune.run_search` train several in processes"
    ]
    assert outcome(trained) == outcome(alone.trials[trained.number])
    train_one(study, objective)
    assert study.trials[-1].state is TrialState.COMPLETE
