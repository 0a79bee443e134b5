"""A prior from an earlier study: what is taken of it, what is refused, and that the new study keeps it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig
from ppo_tune.errors import ConfigError, StudyMismatchError
from ppo_tune.search.facts import StudyFacts, TrialFacts, WarmStart
from ppo_tune.search.run import run_search
from ppo_tune.search.storage import create_study, storage_url
from ppo_tune.search.warm_start import MOST, lengthened, taken_of, warm_start
from tests.reporting.conftest import HandMade
from tests.worlds import StudyMaker

RATE: dict[str, Any] = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}
BATCH = {"type": "categorical", "choices": [8, 16, 32]}
EPOCHS = {"type": "int", "low": 1, "high": 4}


def config_of(rate: float) -> dict[str, Any]:
    """A config of the studies made by hand."""
    return {"learning_rate": rate, "batch_size": 16, "ppo_epochs": 2}


def new(made: HandMade, n_trials: int = 8, **space: Mapping[str, Any]) -> StudyConfig:
    """Another study than the one made by hand, in another space unless none is given."""
    update: dict[str, Any] = {
        "name": "new",
        "search": made.config.search.model_copy(update={"warm_start": "hand", "n_trials": n_trials}),
    }
    return made.config.model_copy(update=update | ({"space": Space.model_validate(space)} if space else {}))


def taken(made: HandMade, config: StudyConfig) -> WarmStart:
    """What a study takes of the one made by hand."""
    return taken_of(made.study, made.config, config)


def test_the_best_configs_are_taken_best_first_and_not_the_default(hand_made: HandMade) -> None:
    hand_made.add("completed", [9.0] * 5, params=hand_made.config.baseline, baseline=True)
    for rate, score in [(1e-4, 1.0), (2e-4, 5.0), (3e-4, 3.0), (4e-4, 4.0), (5e-4, 2.0)]:
        hand_made.add("completed", [score] * 5, params=config_of(rate))
    hand_made.add("completed", [8.0] * 5, kl=5.0, params=config_of(6e-4))  # beyond its KL budget

    found = taken(hand_made, new(hand_made))

    assert found.configs == [config_of(rate) for rate in (2e-4, 4e-4, 3e-4)]
    assert found.told == (
        "warm_start took 3 of the best configs of study hand, tried first after the default: trials 2, 4, 3 there"
    )


def test_no_more_are_taken_than_there_are_trials_beside_the_default(hand_made: HandMade) -> None:
    for rate in (1e-4, 2e-4, 3e-4, 4e-4):
        hand_made.add("completed", [1.0] * 5, params=config_of(rate))

    assert [len(taken(hand_made, new(hand_made, n)).configs) for n in (1, 2, 3, 9)] == [0, 1, 2, MOST]
    assert taken(hand_made, new(hand_made, 1)).told == (
        "warm_start took nothing of study hand, for the default is the only trial"
    )


def test_values_are_moved_into_the_new_space_and_told(hand_made: HandMade) -> None:
    hand_made.add("completed", [1.0] * 5, params=config_of(1e-4))
    space: dict[str, Any] = {
        "learning_rate": {**RATE, "low": 1e-3},
        "batch_size": BATCH,
        "gamma": {"type": "float", "low": 0.9, "high": 1.0},
    }

    found = taken(hand_made, new(hand_made, **space))

    used = hand_made.config.ppo.gamma
    assert found.configs == [{"learning_rate": 1e-3, "batch_size": 16, "gamma": used}]
    assert found.told == (
        "warm_start took 1 of the best configs of study hand, tried first after the default: trial 0 there; not "
        "searched there, and left at its values: gamma; searched there and not here: ppo_epochs; moved to the border "
        "of this space: 1 of them"
    )


def test_a_choice_of_null_is_taken_as_such(hand_made: HandMade) -> None:
    """And a trainer's null that is no choice is the default of the new space."""
    hand_made.add("completed", [1.0] * 5, params=config_of(1e-4))
    space: dict[str, Any] = {
        "learning_rate": RATE,
        "kl_target": {"type": "categorical", "choices": [0.5, None], "default": 0.5},
        "kl_horizon": {"type": "float", "low": 64, "high": 640, "default": 320},
    }

    found = taken(hand_made, new(hand_made, **space))

    assert found.configs == [{"learning_rate": 1e-4, "kl_target": None, "kl_horizon": 320}]


def test_what_is_taken_keeps_to_the_conditions_and_constraints_of_the_new_study(hand_made: HandMade) -> None:
    for rate, score in [(2e-4, 3.0), (5e-3, 2.0), (3e-4, 1.0)]:
        hand_made.add(
            "completed", [score] * 5, params={**config_of(rate), "batch_size": 8 if score > 2 else 16}
        )
    epochs = {**EPOCHS, "when": {"batch_size": 16}}
    config = new(hand_made, learning_rate=RATE, batch_size=BATCH, ppo_epochs=epochs)

    found = taken(hand_made, config.model_copy(update={"constraints": ("learning_rate <= 1e-3",)}))

    assert found.configs == [
        {"learning_rate": 2e-4, "batch_size": 8},
        {"learning_rate": 3e-4, "batch_size": 16, "ppo_epochs": 2},
    ]
    with pytest.raises(ConfigError, match="or this study's constraints rule all of them out; run more"):
        taken(hand_made, config.model_copy(update={"constraints": ("learning_rate <= 1e-4",)}))


def test_configs_that_are_one_in_the_new_space_are_taken_once_in_the_place_of_the_best(
    hand_made: HandMade,
) -> None:
    for rate, epochs, score in [(2e-4, 1, 3.0), (3e-4, 1, 2.0), (2e-4, 2, 1.0)]:
        hand_made.add("completed", [score] * 5, params={**config_of(rate), "ppo_epochs": epochs})

    found = taken(hand_made, new(hand_made, learning_rate=RATE))

    assert found.configs == [{"learning_rate": 2e-4}, {"learning_rate": 3e-4}]


def test_what_was_confirmed_is_tried_first(hand_made: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    for rate in (2e-4, 3e-4, 4e-4):
        hand_made.add("completed", [1.0] * 5, params=config_of(rate))
    confirmed = hand_made.study.trials[1]
    monkeypatch.setattr("ppo_tune.search.warm_start.winning_trial", lambda *_: confirmed)

    found = taken(hand_made, new(hand_made))

    assert found.configs == [config_of(rate) for rate in (3e-4, 2e-4, 4e-4)]


def test_what_is_refused_says_the_way_out(hand_made: HandMade) -> None:
    with pytest.raises(ConfigError) as nothing_in_common:
        taken(hand_made, new(hand_made, gamma={"type": "float", "low": 0.9, "high": 1.0}))
    hand_made.add("completed", [1.0] * 5, params=hand_made.config.baseline)
    hand_made.add("pruned", [1.0], params=config_of(2e-4))
    with pytest.raises(ConfigError) as nothing_completed:
        taken(hand_made, new(hand_made))

    assert str(nothing_in_common.value) == (
        "search.warm_start: study 'hand' searched learning_rate, batch_size, ppo_epochs, none of which is in this "
        "space; name another study, or leave it out"
    )
    assert str(nothing_completed.value) == (
        "search.warm_start: study 'hand' has no completed trial within its KL budget but the default config; run more "
        "trials of it, or leave it out"
    )


def test_a_search_of_an_earlier_study_that_does_not_exist_begins_nothing(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    config = make_study(search={"warm_start": "absent"})

    with pytest.raises(ConfigError) as refused:
        run_search(config, out=tmp_path, workers=1)

    file = tmp_path / "runs" / "absent" / "study.db"
    assert str(refused.value) == (
        f"search.warm_start: there is no study 'absent' at {file}; start it with `ppo-tune search`, or leave it out"
    )
    assert not Path(tmp_path / "runs" / config.name / "study.db").exists()


@pytest.fixture(params=["beside", "same store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where both studies are: each beside its trials, or together."""
    return None if request.param == "beside" else f"sqlite:///{tmp_path / 'all.db'}"


def test_a_study_keeps_what_it_took_whatever_becomes_of_the_earlier_one(
    make_study: StudyMaker, store: str | None, tmp_path: Path
) -> None:
    (tmp_path / "runs" / "early").mkdir(parents=True)
    early = HandMade(tmp_path, store or storage_url(tmp_path, "early"), name="early")
    early.add("completed", [1.0] * 5, params=config_of(2e-4))
    config = make_study(search={"warm_start": "early", "n_trials": 6})
    (tmp_path / "runs" / config.name).mkdir(parents=True)
    url = store or storage_url(tmp_path, config.name)

    took = warm_start(config, storage=store, out=tmp_path)
    made = create_study(config, url, {}, took)
    early.add("completed", [9.0] * 5, params=config_of(3e-4))
    again = create_study(config, url, {}, warm_start(config, storage=store, out=tmp_path))

    assert took is not None
    assert [TrialFacts(trial).is_default for trial in again.trials] == [True, False]
    waiting = again.trials[1]
    assert waiting.state is optuna.trial.TrialState.WAITING
    assert waiting.system_attrs["fixed_params"]["learning_rate"] == 2e-4
    assert StudyFacts(again).warm_start == StudyFacts(made).warm_start
    assert StudyFacts(again).warm_start is not None
    with pytest.raises(StudyMismatchError, match=r"search\.warm_start: 'early' before, None now"):
        create_study(make_study(search={"n_trials": 6}), url, {})


def test_a_lengthened_study_trains_the_best_few_and_the_default_for_more_episodes(
    hand_made: HandMade,
) -> None:
    for rate, score in [(1e-4, 1.0), (2e-4, 5.0), (3e-4, 3.0), (4e-4, 4.0)]:
        hand_made.add("completed", [score] * 5, params=config_of(rate))

    longer = lengthened(hand_made.config, hand_made.study, 4)

    before, found = hand_made.config, taken(hand_made, longer)
    assert (longer.name, longer.ppo.episodes) == ("hand-x4", 4 * before.ppo.episodes)
    assert (longer.search.n_trials, longer.search.warm_start, longer.search.pruner.name) == (
        4,
        "hand",
        "none",
    )
    assert [config["learning_rate"] for config in found.configs] == [2e-4, 4e-4, 3e-4]
    assert longer.milestone_episodes() == tuple(4 * at for at in before.milestone_episodes())
    assert StudyConfig.model_validate_json(longer.model_dump_json()) == longer


@pytest.mark.parametrize(("times", "stated", "length"), [(2, None, 4), (8, None, 8), (2, 7, 7), (8, 7, 8)])
def test_the_full_training_stays_as_long_as_it_was_unless_trials_are_longer(
    hand_made: HandMade, times: int, stated: int | None, length: int
) -> None:
    hand_made.add("completed", [1.0] * 5, params=config_of(1e-4))
    episodes = hand_made.config.ppo.episodes
    search = {"train_episodes": None if stated is None else stated * episodes, "max_episodes": 10 * episodes}
    config = hand_made.config.model_copy(update={"search": hand_made.config.search.model_copy(update=search)})

    longer = lengthened(config, hand_made.study, times).search

    assert (longer.train_episodes, longer.max_episodes, longer.n_trials) == (length * episodes, None, 2)


def test_a_study_without_results_has_nothing_to_be_trained_longer(hand_made: HandMade) -> None:
    hand_made.add("completed", [9.0] * 5, params=hand_made.config.baseline, baseline=True)

    with pytest.raises(ConfigError) as refused:
        lengthened(hand_made.config, hand_made.study, 4)

    assert str(refused.value) == (
        "--longer: study 'hand' has no completed trial within its KL budget but the default config; run more trials of "
        "it first"
    )
