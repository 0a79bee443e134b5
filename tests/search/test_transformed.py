"""Every sampler proposes, and learns from, what is close to 1 by the logarithm of 1 − value; the store keeps values."""

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.samplers import make_sampler
from ppo_tune.search.storage import ask_as
from tests.worlds import OWNER, StudyMaker

GAMMA = {"type": "float", "low": 0.9, "high": 0.9999, "log": "complement"}
SPACE = {"gamma": GAMMA, "ppo_epochs": {"type": "int", "low": 1, "high": 3}}


def run(study: optuna.Study, config: StudyConfig, n: int) -> list[dict[str, Any]]:
    """Ask and tell n trials, whose score is best where 1 − gamma is 0.003."""
    for number in range(len(study.trials), len(study.trials) + n):
        study.sampler = make_sampler(config, number)
        trial = ask_as(study, config.space, OWNER)
        study.tell(trial, -abs(float(np.log10((1 - trial.params["gamma"]) / 0.003))))
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_every_decade_of_one_minus_gamma_is_drawn_as_often(make_study: StudyMaker, sampler: str) -> None:
    config = make_study(space=SPACE, search={"sampler": sampler})
    study = optuna.create_study(direction="maximize")

    drawn = 1 - np.array([params["gamma"] for params in run(study, config, 96)])

    assert drawn.min() >= 1e-4 - 1e-12
    counts, _ = np.histogram(drawn, [0, 1e-3, 1e-2, 1])
    assert counts.min() >= 20
    assert study.trials[0].distributions["gamma"] == FloatDistribution(0.9, 0.9999)


def test_the_start_up_design_of_gp_is_drawn_on_the_same_scale(make_study: StudyMaker) -> None:
    config = make_study(space=SPACE, search={"sampler": {"name": "gp", "n_startup_trials": 90}})

    drawn = 1 - np.array([params["gamma"] for params in run(optuna.create_study(), config, 60)])

    assert (drawn < 1e-2).sum() >= 25  # on the scale of the value itself there would be about 6


def test_tpe_proposes_what_it_would_of_a_study_of_one_minus_gamma(make_study: StudyMaker) -> None:
    config = make_study(space=SPACE, search={"sampler": {"name": "tpe", "n_startup_trials": 4}, "seed": 3})
    study, plain = optuna.create_study(direction="maximize"), optuna.create_study(direction="maximize")
    distributions = config.space.distributions()
    distributions["gamma"] = FloatDistribution(1 - 0.9999, 1 - 0.9, log=True)

    found = run(study, config, 14)
    for number in range(14):
        sampler = make_sampler(config, number).sampler  # type: ignore[attr-defined]
        assert isinstance(sampler, TPESampler)
        plain.sampler = sampler
        trial = plain.ask(distributions)
        plain.tell(trial, -abs(float(np.log10(trial.params["gamma"] / 0.003))))

    assert [params["gamma"] for params in found] == pytest.approx(
        [1 - trial.params["gamma"] for trial in plain.trials], rel=1e-9
    )
    assert [params["ppo_epochs"] for params in found] == [t.params["ppo_epochs"] for t in plain.trials]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random"])
def test_a_study_that_goes_on_proposes_what_it_would_have(
    make_study: StudyMaker, sampler: str, tmp_path: Any
) -> None:
    config = make_study(space=SPACE, search={"sampler": sampler})
    expected = run(optuna.create_study(direction="maximize"), config, 13)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    run(optuna.create_study(direction="maximize", storage=url, study_name="a"), config, 11)

    assert run(optuna.load_study(storage=url, study_name="a"), config, 2) == expected


def test_tpe_finds_the_best_decade(make_study: StudyMaker) -> None:
    config = make_study(space=SPACE, search={"sampler": "tpe"})

    found = run(optuna.create_study(direction="maximize"), config, 40)[20:]

    assert float(np.median([abs(np.log10((1 - p["gamma"]) / 0.003)) for p in found])) < 0.4
