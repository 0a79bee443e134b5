# mypy: ignore-errors
"""The size of a pack: chosen by the clock and never slower than one trial alone, held back where a sampler learns."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.study import StudyConfig
from ppo_tune.errors import ModelError, OutOfMemoryError
from ppo_tune.search.pack_size import MARGIN, TIMING_SHARE, choose_pack, most_under_way, wanted_pack
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.samplers import make_sampler
from ppo_tune.search.storage import create_study, give_back
from ppo_tune.search.supervisor import pack_after
from ppo_tune.search.timing import PackTimer, fit_compiling, fit_pack
from ppo_tune.search.trial_loop import TrialPack, run_trials
from ppo_tune.trainer.compiling import CompiledPass
from tests.worlds import OWNER, StudyMaker

STARTUP = 10
"""Trials of TPE before it learns."""

LONG = 10_000
"""Iterations of a study beside which no timing counts."""


class Machine:
    """Seconds per trial by size of the pack, each look at a size telling the next; None does not fit."""

    def __init__(self, seconds: dict[int, float | list[float | None] | None]) -> None:
        self.told: dict[int, Iterator[float | None]] = {
            k: iter(told) if isinstance(told, list) else itertools.repeat(told) for k, told in seconds.items()
        }
        self.looks: list[int] = []

    def __call__(self, pack: int) -> float | None:
        self.looks.append(pack)
        return next(self.told[pack])


@pytest.mark.parametrize(
    ("seconds", "pack"),
    [
        pytest.param({1: 1.0, 2: 0.7, 4: 0.5, 8: 0.4}, 8, id="falls to the end"),
        pytest.param({1: 1.0, 2: 0.7, 4: 0.5, 8: 0.5}, 4, id="falls no longer"),
        pytest.param({1: 1.0, 2: 0.7, 4: 0.8}, 2, id="rises again"),
        pytest.param({1: 1.0, 2: 1.1}, 1, id="slower from the start"),
        pytest.param({1: 1.0, 2: 0.97, 4: 0.97}, 1, id="within the margin"),
        pytest.param({1: 1.0, 2: 0.99, 4: 0.6, 8: 0.7}, 4, id="pays late"),
        pytest.param({1: 1.0, 2: 0.6, 4: None}, 2, id="no room for four"),
        pytest.param({1: 1.0, 2: None}, 1, id="no room for two"),
        pytest.param({1: None}, 1, id="the default config fails"),
        pytest.param({1: 1.0, 2: [9.0, 0.6], 4: 0.5, 8: 0.5}, 4, id="a hiccup in a pack"),
        pytest.param({1: [2.0, 1.0], 2: [1.05, 1.05, 1.05], 4: 1.1}, 1, id="busy while one was alone"),
        pytest.param({1: [1.5, 1.0], 2: [1.0, 0.9], 4: 1.1}, 2, id="busy at first"),
        pytest.param({1: 1.0, 2: [0.6, None], 4: 0.7}, 1, id="no room the second time"),
    ],
)
def test_the_pack_with_the_least_time_per_trial_is_chosen_if_it_beats_one_alone(
    seconds: dict[int, float | list[float | None] | None], pack: int
) -> None:
    choice = choose_pack(Machine(seconds), most=8, iterations=LONG)

    assert choice.pack == pack


@pytest.mark.parametrize("faster", [0.5, 0.9, 0.94, 0.96, 1.0, 1.2])
def test_a_pack_must_beat_one_alone_by_the_margin(faster: float) -> None:
    choice = choose_pack(Machine({1: 1.0, 2: faster}), most=2, iterations=LONG)

    assert choice.pack == (2 if faster <= 1 - MARGIN else 1)
    assert choice.speedup == pytest.approx(1 / faster if choice.pack == 2 else 1.0)


def test_a_size_that_did_not_fit_is_not_tried_twice() -> None:
    machine = Machine({1: 1.0, 2: 0.6, 4: None})

    choose_pack(machine, most=32, iterations=LONG)

    assert machine.looks.count(4) == 1


@pytest.mark.parametrize(("most", "pack"), [(1, 1), (2, 2), (3, 2), (7, 4), (8, 8), (9, 8)])
def test_no_pack_is_larger_than_allowed(most: int, pack: int) -> None:
    machine = Machine({k: 1 / k for k in (1, 2, 4, 8)})

    assert choose_pack(machine, most=most, iterations=LONG).pack == pack


@pytest.mark.parametrize("iterations", [1, 40, 266, 267, 400, 640, 1000, 5000])
@pytest.mark.parametrize("gain", [1.0, 0.99, 0.7])
def test_the_choice_takes_a_small_part_of_the_study(iterations: int, gain: float) -> None:
    machine = Machine({2**i: gain**i for i in range(6)})

    choose_pack(machine, most=32, iterations=iterations)

    spent = sum(
        k * gain ** (k.bit_length() - 1) * (1 if k in machine.looks[:i] else 2)
        for i, k in enumerate(machine.looks)
    )
    assert spent <= TIMING_SHARE * iterations + 2  # the last look at one alone


def test_a_study_too_small_to_gain_is_not_timed() -> None:
    machine = Machine({1: 1.0, 2: 0.1})

    choice = choose_pack(machine, most=8, iterations=200)

    assert (choice.pack, choice.seconds, choice.speedup, machine.looks) == (1, {}, 1.0, [])


@pytest.mark.parametrize(
    ("search", "model", "expected"),
    [
        ({}, {}, None),
        ({"pack": "auto"}, {}, None),
        ({"pack": 3}, {}, 3),
        ({}, {"lora_rank": None}, 1),
        ({"pack": 1}, {"lora_rank": None}, 1),
    ],
)
def test_auto_leaves_the_pack_to_the_worker_unless_all_weights_are_trained(
    make_study: StudyMaker, search: dict[str, object], model: dict[str, object], expected: int | None
) -> None:
    assert wanted_pack(make_study(search=search, model=model)) == expected


@pytest.mark.parametrize(
    ("search", "workers", "expected"),
    [
        ({"sampler": "tpe", "n_trials": 32}, 2, 4),
        ({"sampler": "gp", "n_trials": 32}, 1, 8),
        ({"sampler": "tpe", "n_trials": 32}, 3, 2),
        ({"sampler": "tpe", "n_trials": 6}, 4, 1),
        ({"sampler": "tpe", "n_trials": 32, "pack": 16}, 2, None),
        ({"sampler": "random", "n_trials": 32}, 2, None),
        ({"sampler": "qmc", "n_trials": 32}, 2, None),
    ],
)
def test_at_most_a_quarter_of_the_trials_are_under_way_where_a_sampler_learns(
    make_study: StudyMaker, search: dict[str, object], workers: int, expected: int | None
) -> None:
    assert most_under_way(make_study(search=search), workers) == expected


class Asking:
    """A study of which trials are asked for as a worker does."""

    def __init__(self, config: StudyConfig, folder: Path) -> None:
        self.config = config
        self.study = create_study(config, f"sqlite:///{folder / 'study.db'}", {})

    def ask(self, *, under_way: int = 0, workers: int = 2) -> optuna.Trial | None:
        """As one of so many workers: of two, each may have four of the 32 trials under way."""
        return SearchPlan(self.config, workers).ask(self.study, under_way, OWNER)


@pytest.fixture
def asking(make_study: StudyMaker, tmp_path: Path) -> Asking:
    return Asking(make_study(search={"sampler": "tpe", "n_trials": 32}), tmp_path)


def test_the_start_up_design_fills_the_pack_and_then_a_worker_waits_for_a_result(asking: Asking) -> None:
    started = [asking.ask(under_way=i) for i in range(STARTUP)]

    assert None not in started
    assert asking.ask(under_way=4) is None
    assert asking.ask(under_way=3) is not None


def test_a_worker_without_a_trial_never_waits(asking: Asking) -> None:
    for _ in range(STARTUP + 5):
        assert asking.ask(under_way=0, workers=32) is not None


def test_a_trial_that_runs_again_waits_for_nobody(asking: Asking) -> None:
    trials = [asking.ask() for _ in range(STARTUP)]
    lost = asking.study.get_trials()[3]
    give_back(asking.study, lost, "lost")

    again = asking.ask(under_way=4)

    assert again is not None and trials[3] is not None
    assert again.params == trials[3].params
    assert asking.ask(under_way=5) is None


def train(
    trial_pack: TrialPack, folder: Path, pruner: optuna.pruners.BasePruner | None = None
) -> list[FrozenTrial]:
    """Run a study to its end on a trial_pack."""
    folder.mkdir()
    study = create_study(trial_pack.config, f"sqlite:///{folder / 'study.db'}", {})
    study.pruner = pruner or optuna.pruners.NopPruner()

    def next_trial() -> optuna.Trial | None:
        if trial_pack.plan.remaining(study) == 0:
            return None
        study.sampler = make_sampler(trial_pack.config, len(study.get_trials()))
        return study.ask(trial_pack.config.space.distributions())

    trial_pack.join(study)
    run_trials(trial_pack, study, next_trial=next_trial)
    return study.get_trials()


def test_a_timing_leaves_no_trace_in_the_trials(make_study: StudyMaker, tmp_path: Path) -> None:
    config = make_study(search={"n_trials": 5})
    timed = TrialPack(SearchPlan(config), tmp_path, places=1)
    timer = PackTimer(timed.work, config)
    before = torch.get_rng_state()
    for places in (1, 2, 4, 1, 4):
        assert timer(places) is not None
    timed.work.policy.resize(3)
    after = torch.get_rng_state()

    trials = train(timed, tmp_path / "timed")
    others = train(TrialPack(SearchPlan(config), tmp_path, places=3), tmp_path / "untimed")

    assert torch.equal(before, after)
    assert timed.work.trainer.free_places == [0, 1, 2]
    assert [t.params for t in trials] == [t.params for t in others]
    for one, other in zip(trials, others, strict=True):
        seconds = ("seconds", "curve")
        assert {k: v for k, v in one.user_attrs.items() if k not in seconds} == {
            k: v for k, v in other.user_attrs.items() if k not in seconds
        }
        assert one.intermediate_values == other.intermediate_values
        assert one.value == other.value


def test_the_timer_counts_one_iteration_per_trial_and_not_the_one_that_warms_up(
    make_study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_study()
    trial_pack = TrialPack(SearchPlan(config), tmp_path, places=1)
    now = 0.0
    step = trial_pack.work.trainer.step

    def slow_step() -> object:
        nonlocal now
        now += 100.0 if not timer._warm else 3.0
        return step()

    trial_pack.work.trainer.step = slow_step  # type: ignore[method-assign, assignment]
    timer = PackTimer(trial_pack.work, config)
    monkeypatch.setattr("ppo_tune.search.timing.perf_counter", lambda: now)

    assert timer(2) == 1.5
    assert timer(2) == 1.5
    assert now == 106.0
    assert trial_pack.work.policy.places == 2
    assert trial_pack.work.trainer.runs == {}


def test_the_throwaway_trials_are_of_the_default_config(make_study: StudyMaker, tmp_path: Path) -> None:
    config = make_study(ppo={"gamma": 0.5})
    trial_pack = TrialPack(SearchPlan(config), tmp_path, places=1)
    seen = []
    start = trial_pack.work.trainer.start
    trial_pack.work.trainer.start = lambda place, ppo, seed: (  # type: ignore[method-assign]
        seen.append((place, ppo)),
        start(place, ppo, seed),
    )[1]

    PackTimer(trial_pack.work, config)(2)

    assert seen == [(place, config.ppo.with_params(config.baseline)) for place in (0, 1)]


@pytest.fixture
def trial_pack(make_study: StudyMaker, tmp_path: Path) -> TrialPack:
    """Of a study long enough to be timed."""
    return TrialPack(
        SearchPlan(make_study(ppo={"episodes": 8 * 400}, search={"n_trials": 8})), tmp_path, places=1
    )


def fits(trial_pack: TrialPack, most: int) -> Callable[[], object]:
    """A step with room for so many trials."""
    step = trial_pack.work.trainer.step

    def limited() -> object:
        places = list(trial_pack.work.trainer.runs)
        return step() if len(places) <= most else {place: OutOfMemoryError("no room") for place in places}

    return limited


def test_a_pack_that_does_not_fit_is_not_chosen_and_leaves_the_places_free(trial_pack: TrialPack) -> None:
    trial_pack.work.trainer.step = fits(trial_pack, 1)  # type: ignore[method-assign, assignment]
    announced: list[int] = []

    choice = fit_pack(trial_pack.work, trial_pack.config, 8, announce=announced.append)

    assert announced == [1, 2]
    assert (choice.pack, list(choice.seconds)) == (1, [1])
    assert trial_pack.work.policy.places == 1
    assert trial_pack.work.trainer.free_places == [0]


def test_the_policy_gets_the_places_that_were_chosen(
    trial_pack: TrialPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {1: 1.0, 2: 0.6, 4: 0.5, 8: 0.55}
    monkeypatch.setattr(PackTimer, "__call__", lambda _, places: told[places])

    choice = fit_pack(trial_pack.work, trial_pack.config, 8)

    assert choice.pack == 4
    assert trial_pack.work.policy.places == len(trial_pack.work.policy.rows.values) == 4
    assert trial_pack.work.trainer.free_places == [0, 1, 2, 3]


def test_no_more_trials_are_timed_than_a_worker_can_expect(
    trial_pack: TrialPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackTimer, "__call__", lambda _, places: 1 / places)

    assert fit_pack(trial_pack.work, trial_pack.config, 3).pack == 2


def test_a_wish_to_stop_ends_the_timing(trial_pack: TrialPack) -> None:
    asked = iter([False, True, True])

    choice = fit_pack(trial_pack.work, trial_pack.config, 8, should_stop=lambda: next(asked))

    assert choice.pack == 1


def test_a_reward_that_fails_is_left_to_the_real_trials(make_study: StudyMaker, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text("def score(prompts, responses, **c):\n    raise KeyError('no')\n")
    task = {"reward": {"name": "python", "function": f"{tmp_path / 'reward.py'}:score"}}
    config = make_study(task=task, ppo={"episodes": 8 * 400})
    trial_pack = TrialPack(SearchPlan(config), tmp_path, places=1)

    choice = fit_pack(trial_pack.work, config, 4)

    assert (choice.pack, choice.seconds) == (1, {})
    assert trial_pack.work.trainer.free_places == [0]


@pytest.mark.parametrize(
    ("pack", "had", "gets"),
    [
        pytest.param("auto", None, 1, id="died while it found out"),
        pytest.param("auto", 8, 4, id="half"),
        pytest.param("auto", 1, 1, id="no less than one"),
        pytest.param(8, 8, 8, id="the file says so"),
    ],
)
def test_what_takes_the_place_of_a_dead_worker_gets_half_its_pack(
    make_study: StudyMaker, pack: str | int, had: int | None, gets: int
) -> None:
    config = make_study(search={"pack": pack})

    assert pack_after(config, had) == gets


class PruneTheSecond(optuna.pruners.BasePruner):
    """Prunes trial 1 at its first milestone and nothing else."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.number == 1


def test_a_trial_that_takes_the_place_of_a_pruned_one_scores_what_it_scores_alone(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    config = make_study(search={"n_trials": 4})
    events: list[tuple[str, int]] = []
    found = {}
    for places in (1, 2):
        events.clear()
        trial_pack = TrialPack(
            SearchPlan(config),
            tmp_path,
            places=places,
            emit=lambda e: events.append((e["kind"], e["number"])),
        )
        found[places] = train(trial_pack, tmp_path / str(places), PruneTheSecond())

    assert [t.state for t in found[2]] == [t.state for t in found[1]]
    assert found[2][1].state is TrialState.PRUNED
    joined = events.index(("started", 2))
    assert events.index(("ended", 1)) < joined < events.index(("ended", 0))
    assert ("progress", 0) in events[:joined]
    for one, other in zip(found[1], found[2], strict=True):
        assert other.params == one.params
        assert [p["score"] for p in other.user_attrs["curve"]] == pytest.approx(
            [p["score"] for p in one.user_attrs["curve"]], abs=1e-5
        )
        assert other.user_attrs["tokens"] == one.user_attrs["tokens"]


@pytest.mark.guard
def test_a_worker_keeps_what_it_freed():
    """Written to and freed again and again, a large piece costs its pages once."""
    code = (
        "import resource, torch\n"
        "from ppo_tune.search.worker import keep_freed_memory\n"
        "keep_freed_memory()\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(10): torch.ones(16_000_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "faults()\n"
        "print(faults())\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert int(printed) < 2_000  # anew, 64 MB are 15,625 pages each time, or 32 huge ones


def compiles(trial_pack: TrialPack) -> bool:
    return isinstance(trial_pack.work.trainer.learn, CompiledPass)


def told(trial_pack: TrialPack, plain: float | None, compiled: float | ModelError | None) -> list[bool]:
    """Times of a pass as it is and compiled, by whether it is; grows by one entry per look."""
    looks: list[bool] = []

    def look(timer: PackTimer, places: int) -> float | None:
        looks.append(isinstance(timer.learn, CompiledPass))
        found = compiled if looks[-1] else plain
        if isinstance(found, ModelError):
            raise found
        return found

    trial_pack.timed = look  # type: ignore[attr-defined]
    return looks


@pytest.mark.parametrize(
    ("compiled", "kept"),
    [
        pytest.param(0.5, True, id="faster"),
        pytest.param(0.999 * (1 - MARGIN), True, id="just faster enough"),
        pytest.param(0.99, False, id="hardly faster"),
        pytest.param(1.5, False, id="slower"),
        pytest.param(None, False, id="a trial that fails"),
        pytest.param(ModelError("model.compile: no compiler"), False, id="cannot be compiled"),
    ],
)
def test_a_compiled_pass_is_kept_if_it_is_faster(
    trial_pack: TrialPack, monkeypatch: pytest.MonkeyPatch, compiled: float | ModelError | None, kept: bool
) -> None:
    looks = told(trial_pack, 1.0, compiled)
    monkeypatch.setattr(PackTimer, "__call__", trial_pack.timed)  # type: ignore[attr-defined]
    announced: list[int] = []

    found = fit_compiling(trial_pack.work, trial_pack.config, 10_000, announce=lambda: announced.append(1))

    assert found is not None
    assert (found.pays, compiles(trial_pack)) == (kept, kept)
    assert found.failure == (str(compiled) if isinstance(compiled, ModelError) else "")
    assert announced == [1]
    assert looks[:2] == [False, False] and set(looks[2:]) == {True}


@pytest.mark.parametrize(
    ("seconds", "places", "trials", "looked"),
    [
        pytest.param(1.0, 8, 1, 0, id="few iterations"),
        pytest.param(1e-9, 1, 10_000, 2, id="short iterations"),
        pytest.param(None, 1, 10_000, 2, id="a trial that fails"),
    ],
)
def test_nothing_is_compiled_where_there_is_little_to_do(
    trial_pack: TrialPack,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float | None,
    places: int,
    trials: int,
    looked: int,
) -> None:
    trial_pack.work.policy.resize(places)
    looks = told(trial_pack, seconds, 0.0)
    monkeypatch.setattr(PackTimer, "__call__", trial_pack.timed)  # type: ignore[attr-defined]

    assert fit_compiling(trial_pack.work, trial_pack.config, trials) is None
    assert looks == [False] * looked
    assert not compiles(trial_pack)


def test_a_wish_to_stop_ends_compiling_before_it_begins(trial_pack: TrialPack) -> None:
    assert fit_compiling(trial_pack.work, trial_pack.config, 10_000, should_stop=lambda: True) is None


def test_packs_are_timed_without_compiling_each(
    trial_pack: TrialPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = told(trial_pack, 1.0, 1.0)
    monkeypatch.setattr(PackTimer, "__call__", trial_pack.timed)  # type: ignore[attr-defined]
    trial_pack.work.trainer.learn = CompiledPass.of(trial_pack.work.trainer)

    fit_pack(trial_pack.work, trial_pack.config, 8)

    assert looks and not any(looks)
    assert compiles(trial_pack)


@pytest.mark.parametrize(("asked", "expected"), [("auto", False), (False, False), (True, True)])
def test_a_workbench_compiles_if_it_is_told_to(
    make_study: StudyMaker, tmp_path: Path, asked: bool | str, expected: bool
) -> None:
    trial_pack = TrialPack(SearchPlan(make_study(model={"compile": asked})), tmp_path, places=1)

    assert compiles(trial_pack) is expected
