# mypy: ignore-errors
"""The best few again, on fresh seeds: luck is caught, nothing is lost, and only what can win runs on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.study import Study

from ppo_tune.config.study import StudyConfig
from ppo_tune.errors import PPOTuneError
from ppo_tune.files import make_folder, read_json
from ppo_tune.search.confirmation import (
    ConfirmationPlan,
    confirmation_of,
    open_confirmation,
    read_confirmation,
)
from ppo_tune.search.facts import enqueue_run
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.results import STATES
from ppo_tune.search.run import run_confirmation, run_search
from ppo_tune.search.status import is_to_confirm
from ppo_tune.search.storage import (
    ask_as,
    close_lost_trials,
    confirmation_name,
    give_back,
    load_study_from,
    storage_url,
    stored_config,
)
from ppo_tune.search.trial_loop import TrialPack
from ppo_tune.search.winner import best_config, winning_trial
from tests.reporting.conftest import HandMade
from tests.worlds import OWNER, StudyMaker

N_PROMPTS = 64
Truth = dict[int, float]
"""What each trial of the search is really worth."""


def told(study: Study, trial: optuna.Trial, mean: float | None, *, kl: float = 1.0) -> None:
    """End a run as a worker does, with this mean score; None diverges."""
    rng = np.random.default_rng(1000 * trial.user_attrs["confirms"] + trial.user_attrs["seed_index"])
    if mean is None:
        trial.set_user_attr("ending", "diverged")
        study.tell(trial, state=STATES["diverged"])
        return
    scores = mean + rng.normal(0, 0.05) + rng.normal(0, 0.3, N_PROMPTS)
    facts = {"ending": "completed", "scores": scores.tolist(), "golds": [None] * N_PROMPTS,
             "heldout/score": float(scores.mean()), "heldout/kl_per_sequence": kl}  # fmt: skip
    for name, value in facts.items():
        trial.set_user_attr(name, value)
    study.tell(trial, float(scores.mean()))


def confirm(hand_made: HandMade, truth: Callable[[int], float | None], *, places: int = 4) -> Study:
    """Do what workers do, with `places` runs under way at a time, and known outcomes."""
    opened = open_confirmation(hand_made.study, hand_made.config)
    opened.set_user_attr("base", {"scores": [0.0] * N_PROMPTS, "golds": [None] * N_PROMPTS})
    plan = ConfirmationPlan(hand_made.config)
    while plan.remaining(opened):
        wave = [trial for _ in range(places) if (trial := plan.ask(opened, 0, OWNER)) is not None]
        for trial in wave:
            told(opened, trial, truth(trial.user_attrs["confirms"]))
    return opened


@pytest.fixture
def lucky(hand_made: HandMade) -> HandMade:
    """The default scored 0.5; trial 1 scored 1.0 by luck; trials 2 to 8 less and less."""
    hand_made.add("completed", [0.1, 0.2, 0.3, 0.4, 0.5], baseline=True, kl=0.5)
    for i, score in enumerate([1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7]):
        values = {"learning_rate": 1e-3 * (i + 1), "batch_size": 16, "ppo_epochs": 3}
        hand_made.add("completed", [score] * 5, params=values)
    hand_made.add("completed", [3.0] * 5, kl=3.5)  # beyond the budget of 3 nats
    hand_made.add("pruned", [2.0])
    return hand_made


def test_the_best_within_the_budget_and_the_default_are_confirmed(lucky: HandMade) -> None:
    opened = open_confirmation(lucky.study, lucky.config)

    assert list(opened.user_attrs["candidates"]) == ["0", "1", "2", "3", "4", "5"]


def test_a_winner_by_luck_is_caught_and_the_default_is_exported(lucky: HandMade) -> None:
    """All configs are really worth 0.5: the search says trial 1 with 1.0, the confirmation says nobody."""
    before = winning_trial(lucky.study, lucky.config)
    confirm(lucky, lambda _: 0.5)

    confirmation = read_confirmation(lucky.study, lucky.config)

    assert before is not None
    assert before.number == 1
    assert confirmation is not None
    assert confirmation.outcome.kind == "no_better"
    assert winning_trial(lucky.study, lucky.config).number == 0
    assert best_config(lucky.study, lucky.config).ppo.learning_rate == 1e-3  # the default trial's own
    assert confirmation.candidate(1).search_score - confirmation.candidate(1).mean > 0.3


def test_the_config_that_is_really_better_wins_though_the_search_had_it_third(lucky: HandMade) -> None:
    confirm(lucky, lambda number: {3: 0.9}.get(number, 0.5))

    assert winning_trial(lucky.study, lucky.config).number == 3
    assert best_config(lucky.study, lucky.config).ppo.learning_rate == pytest.approx(3e-3)


def test_who_cannot_win_is_not_trained_to_the_end(lucky: HandMade) -> None:
    opened = confirm(lucky, lambda number: {2: 0.9, 3: 0.88, 0: 0.4}.get(number, -0.5), places=2)

    confirmation = read_confirmation(lucky.study, lucky.config)

    assert confirmation is not None
    counts = {c.number: len(c.runs) for c in confirmation.candidates}
    assert counts[0] == counts[2] == 5
    assert counts[1] == counts[4] == counts[5] == 2
    assert len(opened.trials) < 30


def test_who_was_dropped_for_the_sake_of_a_config_that_leaves_the_budget_comes_back(lucky: HandMade) -> None:
    """Trial 1 leads within the budget of 3 nats on two seeds, and is at 3.4 nats in the end; trial 2 holds."""
    opened = open_confirmation(lucky.study, lucky.config)
    opened.set_user_attr("base", {"scores": [0.0] * N_PROMPTS, "golds": [None] * N_PROMPTS})
    plan = ConfirmationPlan(lucky.config)
    while plan.remaining(opened):
        trial = plan.ask(opened, 0, OWNER)
        assert trial is not None
        number, seed_index = trial.user_attrs["confirms"], trial.user_attrs["seed_index"]
        runs_away = number == 1 and seed_index > 1
        told(opened, trial, {1: 1.5, 2: 0.9}.get(number, 0.4), kl=5.0 if runs_away else 1.0)

    confirmation = read_confirmation(lucky.study, lucky.config)

    assert confirmation is not None
    assert confirmation.candidate(1).kl > 3
    assert len(confirmation.candidate(2).runs) == lucky.config.search.confirm_seeds
    assert confirmation.outcome.winner == 2


def test_seeds_come_in_rounds_and_every_config_draws_the_same_ones(lucky: HandMade) -> None:
    opened = open_confirmation(lucky.study, lucky.config)
    plan = ConfirmationPlan(lucky.config)

    asked = [plan.ask(opened, 0, OWNER) for _ in range(8)]

    assert [t.user_attrs["confirms"] for t in asked] == [0, 1, 2, 3, 4, 5, 0, 1]
    assert [t.user_attrs["seed_index"] for t in asked] == [0] * 6 + [1, 1]
    assert len({plan.seed(t) for t in asked}) == 2
    assert asked[1].params == lucky.study.trials[1].params


def test_a_confirmation_draws_other_random_numbers_than_the_search_that_chose_its_candidates(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    config = make_study()

    search = TrialPack(SearchPlan(config), make_folder(tmp_path / "search"), places=1)
    confirmation = TrialPack(ConfirmationPlan(config), make_folder(tmp_path / "confirmation"), places=1)

    searched, confirmed = (trial_pack.work.evaluator._uniforms for trial_pack in (search, confirmation))
    shared = min(len(searched), len(confirmed))
    assert shared == 6
    assert not (searched[:shared] == confirmed[:shared]).any()


def test_a_lost_run_comes_again_with_its_config_and_its_seed(lucky: HandMade) -> None:
    opened = open_confirmation(lucky.study, lucky.config)
    plan = ConfirmationPlan(lucky.config)
    first = [plan.ask(opened, 0, OWNER) for _ in range(3)]
    before = plan.remaining(opened)
    give_back(opened, opened.trials[first[2].number], "lost")

    assert plan.remaining(opened) == before + 1
    again = plan.ask(opened, 0, OWNER)

    assert again.user_attrs["confirms"] == first[2].user_attrs["confirms"]
    assert again.params == first[2].params
    assert plan.seed(again) == plan.seed(first[2])


def test_a_run_that_diverged_counts_as_the_untrained_model(lucky: HandMade) -> None:
    confirm(lucky, lambda number: None if number == 1 else 0.5)

    confirmation = read_confirmation(lucky.study, lucky.config)

    assert confirmation is not None
    assert confirmation.candidate(1).mean == 0.0
    assert confirmation.candidate(1).kl == 6.0  # twice the budget


def test_a_better_trial_of_a_longer_search_joins_those_confirmed_before(lucky: HandMade) -> None:
    confirm(lucky, lambda _: 0.5)
    lucky.add("completed", [1.5] * 5)

    opened = open_confirmation(lucky.study, lucky.config)

    assert ConfirmationPlan(lucky.config).remaining(opened) == 5
    assert "10" in opened.user_attrs["candidates"]
    assert winning_trial(lucky.study, lucky.config).number == 10  # until its seeds are in, the search decides


REPEATED = {"learning_rate": 2e-3, "batch_size": 8, "ppo_epochs": 1}


def test_a_config_is_one_candidate_however_many_trials_ran_it(lucky: HandMade) -> None:
    """Two trials of 0.99 and 0.91 are one config of 0.95, which has one of the five places."""
    for score in (0.99, 0.91):
        lucky.add("completed", [score] * 5, params=REPEATED)

    opened = confirm(lucky, lambda _: 0.5)

    found = read_confirmation(lucky.study, lucky.config)
    assert found is not None
    assert [c.number for c in found.candidates] == [0, 1, 2, 10, 3, 4]
    assert found.candidate(10).search_score == pytest.approx(0.95)
    assert {t.user_attrs["confirms"] for t in opened.trials} == {0, 1, 2, 3, 4, 10}


def test_a_config_that_ran_again_keeps_its_place_and_its_runs(lucky: HandMade) -> None:
    confirm(lucky, lambda _: 0.5)
    before = read_confirmation(lucky.study, lucky.config)
    lucky.add("completed", [1.2] * 5, params=lucky.study.trials[1].params)

    opened = open_confirmation(lucky.study, lucky.config)

    after = read_confirmation(lucky.study, lucky.config)
    assert before is not None
    assert after is not None
    assert ConfirmationPlan(lucky.config).remaining(opened) == 0
    assert [c.number for c in after.candidates] == [c.number for c in before.candidates]
    assert after.candidate(1).search_score == pytest.approx(1.1)
    assert after.candidate(1).seed_means.tolist() == before.candidate(1).seed_means.tolist()


def test_the_default_that_is_also_a_cell_of_the_grid_is_no_rival_of_itself(lucky: HandMade) -> None:
    lucky.add("completed", [2.0] * 5, params=lucky.study.trials[0].params)

    open_confirmation(lucky.study, lucky.config)
    found = confirmation_of(open_confirmation(lucky.study, lucky.config), lucky.config)

    assert [c.number for c in found.candidates] == [0, 1, 2, 3, 4, 5]
    assert found.default is not None
    assert found.default.search_score == pytest.approx(1.25)


def test_a_config_that_an_older_confirmation_took_twice_is_one(lucky: HandMade) -> None:
    """Trials 3 and 4 are put down as one config; 3 has seeds 0 and 1, and 4 seeds 0 to 2."""
    opened = open_confirmation(lucky.study, lucky.config)
    chosen = dict(opened.user_attrs["candidates"])
    chosen["4"] = {**chosen["4"], "params": chosen["3"]["params"]}
    opened.set_user_attr("candidates", chosen)
    opened.set_user_attr("base", {"scores": [0.0] * N_PROMPTS, "golds": [None] * N_PROMPTS})
    for number, seeds in ((3, 2), (4, 3)):
        for seed_index in range(seeds):
            enqueue_run(opened, chosen["3"]["params"], number, seed_index)
            told(opened, ask_as(opened, lucky.config.space, OWNER), float(number))

    found = read_confirmation(lucky.study, lucky.config)

    assert found is not None
    assert [c.number for c in found.candidates] == [0, 1, 2, 3, 5]
    assert np.round(found.candidate(3).seed_means).tolist() == [3.0, 3.0, 4.0]
    assert ConfirmationPlan(lucky.config).remaining(opened) == 4 * 5 + 2


def test_more_seeds_go_on_with_those_that_are_done(lucky: HandMade) -> None:
    confirm(lucky, lambda _: 0.5)

    plan, opened = more_seeds(lucky, 7)

    racing = len(confirmation_of(opened, lucky.config).racing())
    assert plan.remaining(opened) == 2 * racing


def test_what_was_confirmed_stays_until_more_seeds_are_in(lucky: HandMade) -> None:
    """Stopped before it has the seeds that were asked for on top, it says what it said and wants them still."""
    confirm(lucky, lambda number: {3: 0.9}.get(number, 0.5))
    before = read_confirmation(lucky.study, lucky.config)
    assert not is_to_confirm(lucky.study, lucky.config)
    plan, opened = more_seeds(lucky, 7)

    for _ in range(2):
        assert read_confirmation(lucky.study, lucky.config).outcome == before.outcome
        assert winning_trial(lucky.study, lucky.config).number == 3
        assert is_to_confirm(lucky.study, lucky.config)
        told(opened, plan.ask(opened, 0, OWNER), 0.5)
    while (trial := plan.ask(opened, 0, OWNER)) is not None:
        told(opened, trial, {3: 0.9}.get(trial.user_attrs["confirms"], 0.5))

    assert read_confirmation(lucky.study, lucky.config).n_seeds == 7
    assert not is_to_confirm(lucky.study, lucky.config)


def more_seeds(hand_made: HandMade, seeds: int) -> tuple[ConfirmationPlan, Study]:
    """A confirmation that is asked for so many seeds, and its study."""
    search = hand_made.config.search.model_copy(update={"confirm_seeds": seeds})
    more = hand_made.config.model_copy(update={"search": search})
    return ConfirmationPlan(more), open_confirmation(hand_made.study, more)


def test_before_any_run_there_is_no_confirmation(lucky: HandMade) -> None:
    assert read_confirmation(lucky.study, lucky.config) is None

    open_confirmation(lucky.study, lucky.config)

    assert read_confirmation(lucky.study, lucky.config) is None
    assert winning_trial(lucky.study, lucky.config).number == 1


def test_a_study_without_a_candidate_has_nothing_to_confirm(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "hand"
    folder.mkdir(parents=True)
    hand_made = HandMade(folder, storage_url(tmp_path, "hand"))
    hand_made.add("completed", [0.5] * 5, baseline=True)

    with pytest.raises(
        PPOTuneError, match=r"nothing to confirm: no trial besides the default .* 3 nats; run more"
    ):
        run_confirmation(hand_made.config, out=tmp_path)


@pytest.fixture
def small_search(make_study: StudyMaker) -> StudyConfig:
    return make_study(search={"n_trials": 3, "confirm_top": 2, "confirm_seeds": 3, "pack": 2})


@pytest.fixture
def searched(small_search: StudyConfig, tmp_path: Path) -> StudyConfig:
    """The small search without its confirmation."""
    run_search(small_search, out=tmp_path, workers=1, confirm=False)
    return small_search


@pytest.mark.slow
def test_a_real_search_ends_with_runs_on_fresh_seeds_and_unseen_prompts(
    small_search: StudyConfig, tmp_path: Path
) -> None:
    result = run_search(small_search, out=tmp_path, workers=1)

    confirmation = read_confirmation(result.study, small_search)
    assert confirmation is not None
    assert confirmation.outcome.kind in ("better", "no_better")
    heldout = {s["prompt"] for s in _samples(tmp_path / "runs/small/trials/0000")}
    unseen = {s["prompt"] for s in _samples(tmp_path / "runs/small/confirmation/trials/0000")}
    assert heldout.isdisjoint(unseen)
    runs = load_study_from(storage_url(tmp_path, "small"), confirmation_name("small")).trials
    assert len({t.user_attrs["tokens"] for t in runs if t.user_attrs["confirms"] == 0}) > 1  # other seeds
    assert {t.user_attrs["score_std"] for t in runs} == {result.study.user_attrs["score_std"]}
    own = read_json(tmp_path / "runs/small/confirmation/base.json")["score_std"]
    assert own != result.study.user_attrs["score_std"]  # of other prompts
    assert not list(result.study.get_trials(states=(optuna.trial.TrialState.RUNNING,)))


@pytest.mark.guard
def test_a_confirmation_that_was_cut_off_goes_on_and_ends_as_one_that_was_not(
    searched: StudyConfig, tmp_path: Path
) -> None:
    url = storage_url(tmp_path, searched.name)
    study = load_study_from(url, searched.name)
    opened = open_confirmation(study, stored_config(study))
    plan = ConfirmationPlan(searched)
    [plan.ask(opened, 0, OWNER) for _ in range(2)]
    close_lost_trials(opened, "another search")  # not ours to close
    for trial in list(opened.trials):
        give_back(opened, trial, "lost")

    run_confirmation(searched, out=tmp_path, workers=1)
    after_cut = read_confirmation(study, searched)
    optuna.delete_study(study_name=confirmation_name(searched.name), storage=study._storage)
    run_confirmation(searched, out=tmp_path, workers=1)
    uninterrupted = read_confirmation(study, searched)

    assert after_cut is not None
    assert uninterrupted is not None
    assert after_cut.default.seed_means == pytest.approx(uninterrupted.default.seed_means, abs=1e-5)


def _samples(folder: Path) -> list[dict[str, object]]:
    return list(read_json(folder / "samples.json"))
