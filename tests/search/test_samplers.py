# mypy: ignore-errors
"""Every sampler proposes legal values, the same ones for the same history; a grid is a true grid."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from ppo_tune.config.methods import Sampler, SamplerConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.search.constrained import ConstrainedSampler
from ppo_tune.search.facts import begin_trial
from ppo_tune.search.pack_size import most_under_way
from ppo_tune.search.results import cells_left
from ppo_tune.search.run import crowding
from ppo_tune.search.samplers import GridSampler, make_sampler
from ppo_tune.search.storage import ask_as, close_lost_trials, create_study
from tests.worlds import OWNER, StudyMaker

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True, "points": 3},
    "ppo_epochs": {"type": "int", "low": 1, "high": 3},
    "batch_size": {"type": "categorical", "choices": [2, 4]},
}


def ask(study: optuna.Study, config: StudyConfig) -> optuna.Trial:
    study.sampler = make_sampler(config, len(study.get_trials()))
    return ask_as(study, config.space, OWNER)


def smooth(params: Mapping[str, Any]) -> float:
    """A score: best in one corner of the space."""
    return -abs(float(params["learning_rate"]) - 0.01) - 0.1 * float(params["ppo_epochs"])


def run(
    study: optuna.Study, config: StudyConfig, n: int, score: Callable[[Mapping[str, Any]], float] = smooth
) -> list[dict[str, Any]]:
    """Ask and tell n trials."""
    found = []
    for _ in range(n):
        trial = ask(study, config)
        study.tell(trial, score(trial.params))
        found.append(trial.params)
    return found


MEMBERS: tuple[type[Sampler], ...] = get_args(get_args(SamplerConfig)[0])


def written(member: type[Sampler]) -> list[Any]:
    """A sampler as a study file may have it: by name, and with a shorter start-up design if it has one."""
    (name,) = get_args(member.model_fields["name"].annotation)
    has_design = "n_startup_trials" in member.model_fields
    return [name, *([{"name": name, "n_startup_trials": 3}] if has_design else [])]


@pytest.fixture(params=MEMBERS)
def config(request: pytest.FixtureRequest, make_study: StudyMaker) -> StudyConfig:
    return make_study(space=SPACE, search={"sampler": written(request.param)[0], "seed": 3})


@pytest.mark.parametrize("form", [form for member in MEMBERS for form in written(member)], ids=str)
def test_proposals_follow_from_results_exactly_where_and_when_the_sampler_says_so(
    make_study: StudyMaker, form: Any
) -> None:
    """Two histories that differ in the scores alone."""
    config = make_study(space=SPACE, search={"sampler": form, "seed": 3})
    studies = [optuna.create_study(direction="maximize") for _ in range(2)]
    after = config.search.sampler.learns_after
    n = 64 if after is None else after + 4

    up, down = run(studies[0], config, n), run(studies[1], config, n, lambda params: -smooth(params))

    assert up[:after] == down[:after]
    assert after is None or up != down


def test_a_study_that_goes_on_proposes_what_it_would_have_proposed(config: StudyConfig) -> None:
    expected = run(optuna.create_study(direction="maximize"), config, 13)
    storage = InMemoryStorage()
    run(optuna.create_study(direction="maximize", storage=storage, study_name="a"), config, 11)

    assert run(optuna.load_study(storage=storage, study_name="a"), config, 2) == expected[11:]


@pytest.mark.parametrize("member", MEMBERS)
def test_every_sampler_says_how_a_report_calls_it_and_is_limited_if_it_learns(
    make_study: StudyMaker, member: type[Sampler]
) -> None:
    config = make_study(space=SPACE, search={"sampler": written(member)[0], "n_trials": 32})
    learns = config.search.sampler.learns_after is not None

    assert config.search.sampler.title
    assert most_under_way(config, workers=2) == (4 if learns else None)
    assert len(crowding(config, workers=9)) == learns


def test_every_proposal_is_inside_the_space(config: StudyConfig) -> None:
    proposals = run(optuna.create_study(direction="maximize"), config, 14)

    for params in proposals:
        assert list(params) == list(SPACE)
        assert 1e-4 <= params["learning_rate"] <= 1e-1
        assert params["ppo_epochs"] in (1, 2, 3)
        assert params["batch_size"] in (2, 4)


def test_the_same_history_gives_the_same_proposals(config: StudyConfig) -> None:
    first = run(optuna.create_study(direction="maximize"), config, 13)
    second = run(optuna.create_study(direction="maximize"), config, 13)

    assert first == second


def test_another_seed_gives_other_proposals(config: StudyConfig, make_study: StudyMaker) -> None:
    other = make_study(space=SPACE, search={"sampler": config.search.sampler.model_dump(), "seed": 4})

    first = run(optuna.create_study(direction="maximize"), config, 6)
    second = run(optuna.create_study(direction="maximize"), other, 6)

    assert first != second


def test_two_workers_that_ask_at_once_get_different_proposals(config: StudyConfig) -> None:
    study = optuna.create_study(direction="maximize")
    run(study, config, 2)

    first, second = ask(study, config), ask(study, config)

    assert first.params != second.params


def test_a_grid_visits_every_cell_once_and_not_in_order(make_study: StudyMaker) -> None:
    config = make_study(space=SPACE, search={"sampler": "grid", "n_trials": 18})
    study = optuna.create_study(direction="maximize")

    proposals = run(study, config, 18)

    cells = [tuple(params.values()) for params in proposals]
    every = list(itertools.product([1e-4, pytest.approx(10**-2.5), 1e-1], [1, 2, 3], [2, 4]))
    assert len(set(cells)) == 18
    assert all(any(cell == expected for cell in cells) for expected in every)
    assert cells != sorted(cells)


def test_the_default_config_does_not_count_as_a_cell(make_study: StudyMaker) -> None:
    config = make_study(space=SPACE, search={"sampler": "grid", "n_trials": 18})
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(
        {"learning_rate": 1e-4, "ppo_epochs": 1, "batch_size": 2}, user_attrs={"baseline": True}
    )

    proposals = run(study, config, 19)

    assert {"learning_rate": 1e-4, "ppo_epochs": 1, "batch_size": 2} in proposals[1:]
    assert len({tuple(params.values()) for params in proposals[1:]}) == 18


def test_a_lost_cell_is_visited_again(make_study: StudyMaker) -> None:
    config = make_study(space=SPACE, search={"sampler": "grid", "n_trials": 18})
    study = optuna.create_study(direction="maximize")
    lost = ask(study, config).params
    close_lost_trials(study, OWNER.search)

    proposals = run(study, config, 18)

    finished = [t.params for t in study.get_trials(states=(TrialState.COMPLETE,))]
    assert proposals[0] == lost
    assert len({tuple(params.values()) for params in finished}) == 18


ASK = """
import sys, time
from pathlib import Path
from ppo_tune.search.facts import Owner
from ppo_tune.search.samplers import make_sampler
from ppo_tune.search.storage import ask_as, load_study_from, stored_config

url, folder, me, n = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
study = load_study_from(url, "small")
config = stored_config(study)
(folder / me).touch()
while len(list(folder.iterdir())) < 3:
    time.sleep(0.01)
for _ in range(n):
    study.sampler = make_sampler(config, len(study.get_trials(deepcopy=False)))
    print(ask_as(study, config.space, Owner("a search", me)).number)
"""


@pytest.mark.slow
def test_processes_that_ask_at_once_take_no_cell_twice(make_study: StudyMaker, tmp_path: Path) -> None:
    """Three of them share an SQLite file and no lock, as machines do, so that each may be given the default config."""
    config = make_study(space=SPACE, search={"sampler": "grid", "n_trials": 18})
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = create_study(config, url, {})
    (tmp_path / "ready").mkdir()

    workers = [
        subprocess.Popen(
            [sys.executable, "-c", ASK, url, str(tmp_path / "ready"), name, "6"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("first", "second", "third")
    ]
    given = [number for worker in workers for number in worker.communicate(timeout=120)[0].split()]

    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len(given) == 18
    cells = [repr(sorted(t.params.items())) for t in study.get_trials() if "baseline" not in t.user_attrs]
    assert len(set(cells)) == len(cells) == 18 - given.count("0") == len({*given} - {"0"})
    assert cells_left(config, study) == 18 - len(cells)


@pytest.mark.parametrize("n_set", [0, 1, 2])
def test_a_cell_that_an_earlier_trial_is_about_to_take_is_left_to_it(
    make_study: StudyMaker, n_set: int
) -> None:
    """It runs and has some of its values, or none yet."""
    config = make_study(space=SPACE, search={"sampler": "grid", "n_trials": 18})
    expected = run(optuna.create_study(direction="maximize"), config, 3)
    study = optuna.create_study(direction="maximize")
    ask(study, config)
    begin_trial(study, OWNER)
    for name in list(SPACE)[:n_set]:
        internal = config.space.distributions()[name].to_internal_repr(expected[1][name])
        study._storage.set_trial_param(1, name, internal, config.space.distributions()[name])

    assert ask(study, config).params == expected[2]


def test_a_waiting_trial_that_was_begun_and_lost_keeps_its_values(make_study: StudyMaker) -> None:
    """Its worker died before the values were written down."""
    config = make_study(space=SPACE, search={"sampler": "grid", "n_trials": 18})
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(config.baseline, user_attrs={"baseline": True})
    begin_trial(study, OWNER)
    close_lost_trials(study, OWNER.search)

    assert ask(study, config).params == config.baseline


CONDITIONAL = {
    "kl_horizon": {"type": "float", "low": 8, "high": 99, "points": 2, "when": {"kl_target": [2.0, 4.0]}},
    "kl_target": {"type": "categorical", "choices": [None, 2.0, 4.0]},
    "gamma": {
        "type": "float", "low": 0.9, "high": 0.999, "log": "complement", "points": 3, "when": {"kl_target": 4.0},
    },
}  # fmt: skip


def conditional(params: Mapping[str, Any]) -> float:
    """A score of a config of that space."""
    return params.get("gamma", 0.9) + params.get("kl_horizon", 0) / 100


@pytest.mark.parametrize("member", MEMBERS)
def test_no_sampler_proposes_what_is_not_searched_and_all_propose_what_is(
    make_study: StudyMaker, member: type[Sampler]
) -> None:
    """To `gp` also as a learner: after its start-up design a Gaussian process sees the whole space."""
    config = make_study(space=CONDITIONAL, search={"sampler": written(member)[-1], "seed": 3})
    study = optuna.create_study(direction="maximize")

    proposals = run(study, config, 20, conditional)
    again = run(optuna.create_study(direction="maximize"), config, 20, conditional)

    assert all(config.space.is_whole(params) for params in proposals)
    assert len({len(params) for params in proposals}) > 1
    assert proposals == again


CONSTRAINTS = ["ppo_epochs * batch_size <= 4", "learning_rate * 30 <= 2 / ppo_epochs"]


@pytest.mark.parametrize("member", MEMBERS)
def test_every_sampler_keeps_within_the_constraints(make_study: StudyMaker, member: type[Sampler]) -> None:
    space = {
        **SPACE,
        "ppo_epochs": {**SPACE["ppo_epochs"], "default": 1},
        "batch_size": {**SPACE["batch_size"], "default": 2},
    }
    config = make_study(
        space=space, constraints=CONSTRAINTS, search={"sampler": written(member)[-1], "seed": 3}
    )

    proposals = run(optuna.create_study(direction="maximize"), config, 12)
    storage = InMemoryStorage()
    run(optuna.create_study(direction="maximize", storage=storage, study_name="a"), config, 9)

    assert all(config.space.is_whole(params) and config.rules.allow(params) for params in proposals)
    assert len({params["ppo_epochs"] for params in proposals}) == 2  # 3 is ruled out by both batch sizes
    assert run(optuna.load_study(storage=storage, study_name="a"), config, 3) == proposals[9:]


def test_a_sampler_that_insists_on_what_is_ruled_out_is_asked_elsewhere(make_study: StudyMaker) -> None:
    config = make_study(space=SPACE, constraints=["learning_rate <= 0.01"], search={"sampler": "tpe"})
    study = optuna.create_study()
    insists = GridSampler(
        make_study(space={**SPACE, "learning_rate": {**SPACE["learning_rate"], "points": [0.1, 0.09]}})
    )
    study.sampler = ConstrainedSampler(insists, RandomSampler(seed=1), config)

    assert ask_as(study, config.space, OWNER).params["learning_rate"] <= 0.01


def test_a_grid_has_a_cell_for_each_distinct_config(make_study: StudyMaker) -> None:
    config = make_study(space=CONDITIONAL, search={"sampler": "grid", "n_trials": None})

    cells = run(optuna.create_study(direction="maximize"), config, 9, conditional)

    assert config.n_trials == 1 + 9  # null alone, 2 horizons at 2.0, 2 horizons times 3 discounts at 4.0
    assert len({repr(sorted(cell.items())) for cell in cells}) == 9


@pytest.mark.parametrize(
    ("sampler", "n_trials", "workers", "noted"),
    [
        ("tpe", 32, 8, False),
        ("tpe", 32, 9, True),
        ("gp", 7, 2, True),
        ("tpe", 3, 1, False),
        ("random", 2, 64, False),
    ],
)
def test_so_many_workers_that_the_sampler_learns_nothing_are_noted(
    make_study: StudyMaker, sampler: str, n_trials: int, workers: int, noted: bool
) -> None:
    config = make_study(search={"sampler": sampler, "n_trials": n_trials})

    notes = crowding(config, workers)

    assert [
        note.startswith(f"{workers} workers propose at once, and {n_trials} trials") for note in notes
    ] == [True] * noted


def test_workers_are_not_too_many_where_an_earlier_study_names_every_trial(make_study: StudyMaker) -> None:
    config = make_study(search={"sampler": "gp", "n_trials": 4, "warm_start": "earlier"})
    longer = make_study(search={"sampler": "gp", "n_trials": 5, "warm_start": "earlier"})

    assert crowding(config, 2) == []
    assert len(crowding(longer, 2)) == 1
