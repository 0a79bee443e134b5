# mypy: ignore-errors
"""What a person sees of a search: right numbers, 80 columns, and nothing that a text could steer."""

import io
import re

import pytest
from rich.console import Console

from ppo_tune.cli import progress
from ppo_tune.cli.progress import Display, SearchState, clock, describe, shorten
from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.space import Space
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import EmbeddedTaskConfig

PARAMS = {"learning_rate": 1.2345e-4, "gamma": 0.987654, "batch_size": 32}


@pytest.fixture
def config() -> StudyConfig:
    space = Space.model_validate({"gamma": {"type": "float", "low": 0.9, "high": 1.0}})
    return StudyConfig(
        name="study", task=EmbeddedTaskConfig(name="support"), space=space, search=SearchConfig(n_trials=8)
    )


@pytest.fixture
def state(config: StudyConfig) -> SearchState:
    return SearchState(config)


def ended(number: int, ending: str, value: float | None = None, reason: str = "") -> dict[str, object]:
    return {
        "kind": "ended",
        "number": number,
        "ending": ending,
        "value": value,
        "reason": reason,
        "feasible": True,
    }


def started(number: int) -> dict[str, object]:
    return {"kind": "started", "number": number, "params": PARAMS, "label": f"trial {number}"}


def test_trials_are_counted_by_ending_and_episodes_add_up(state: SearchState) -> None:
    for event in (
        started(0),
        started(1),
        {"kind": "progress", "number": 0, "episodes": 64},
        {"kind": "progress", "number": 1, "episodes": 64},
        {"kind": "progress", "number": 0, "episodes": 128},
        ended(0, "completed", 1.5),
        ended(1, "pruned"),
        started(2),
    ):
        state.take_in(event)

    assert state.done == {"completed": 1, "pruned": 1}
    assert state.episodes == 192
    assert list(state.running) == [2]
    assert state.best == (0, 1.5, PARAMS)
    assert state.n_done == 2


def test_only_a_feasible_trial_becomes_the_best(state: SearchState) -> None:
    state.take_in(started(0))

    state.take_in({**ended(0, "completed", 9.0), "feasible": False})

    assert state.best is None


def test_a_lost_trial_is_not_done(state: SearchState) -> None:
    state.take_in(started(0))

    state.take_in({"kind": "lost", "number": 0, "reason": "worker 1 died with exit code -9"})

    assert state.n_done == 0
    assert state.running == {}
    assert state.failure == "trial 0 lost: worker 1 died with exit code -9"


def test_an_opened_study_counts_what_it_held(state: SearchState) -> None:
    state.take_in({"kind": "opened", "done": {"completed": 3}, "best": (1, 0.5, PARAMS)})

    assert state.n_done == 3
    assert state.best == (1, 0.5, PARAMS)
    assert state.seconds_left is None


def test_time_left_follows_from_what_this_run_finished(state: SearchState) -> None:
    state.take_in({"kind": "opened", "done": {"completed": 4}, "best": None})
    state.take_in(started(4))
    state.started -= 10.0
    state.take_in(ended(4, "completed", 1.0))

    assert state.seconds_left == pytest.approx(30.0, rel=0.05)


def test_how_much_is_done_is_told_by_the_limit_that_comes_first(config: StudyConfig) -> None:
    limits = {"n_trials": None, "max_episodes": 4_000}
    state = SearchState(config.model_copy(update={"search": config.search.model_copy(update=limits)}))
    told = watch(
        state,
        [
            {"kind": "opened", "done": {"completed": 3}, "episodes": 1_000, "best": None},
            started(3),
            {"kind": "progress", "number": 3, "episodes": 2_000},
            ended(3, "completed", 1.0),
            {"kind": "over", "text": "max_episodes 4000 ended the search"},
        ],
    )

    assert state.share == 0.75
    assert told.splitlines() == [
        "[4] trial 3 completed 1.000 best so far",
        "max_episodes 4000 ended the search",
    ]


def full(state: SearchState) -> None:
    for number in range(3):
        state.take_in(started(number))
    state.take_in(ended(0, "completed", 1.5))
    state.take_in(ended(1, "diverged", reason="the gradient is not finite after 128 episodes " + "x" * 300))


@pytest.mark.parametrize("width", [40, 80])
def test_the_live_display_is_no_wider_than_the_terminal(state: SearchState, width: int) -> None:
    full(state)
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=True, color_system=None)

    console.print(Display(console, state).render())

    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("2 of 8 trials" in line for line in lines)
    assert any("1 completed, 1 diverged, 1 running" in line for line in lines) or width < 80


def test_building_is_shown_before_the_first_trial(state: SearchState) -> None:
    state.take_in({"kind": "stage", "name": "reward model", "done": 0.5})
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True, color_system=None)

    console.print(Display(console, state).render())

    assert "building the task's reward model" in screen.getvalue()


def watch(state: SearchState, events: list[dict[str, object]], **console: object) -> str:
    screen = io.StringIO()
    display = Display(Console(file=screen, width=80, **console), state)  # type: ignore[arg-type]
    with display.shown():
        for event in events:
            display.watch(event)
    return screen.getvalue()


def test_without_a_terminal_there_are_plain_lines(state: SearchState) -> None:
    events = [
        {"kind": "stage", "name": "base model", "done": 0.1},
        {"kind": "stage", "name": "base model", "done": 0.2},
        started(0),
        ended(0, "completed", 1.5),
        {**ended(3, "completed", 1.6), "feasible": False},
        started(1),
        ended(1, "pruned", reason="score 0.1 after 64 episodes, behind the others"),
        {"kind": "lost", "number": 2, "reason": "worker 0 died with exit code -9"},
    ]

    output = watch(state, events)

    assert output.splitlines() == [
        "building the task's base model (once, then cached)",
        "[1/8] trial 0 completed 1.500 best so far",
        "[2/8] trial 3 completed 1.600 (over the KL budget)",
        "[3/8] trial 1 pruned (score 0.1 after 64 episodes, behind the others)",
        "trial 2 was lost and runs again: worker 0 died with exit code -9",
    ]


def test_the_pack_that_is_timed_is_shown_until_a_trial_starts(state: SearchState) -> None:
    def shown() -> str:
        screen = io.StringIO()
        console = Console(file=screen, width=80, force_terminal=True, color_system=None)
        console.print(Display(console, state).render())
        return screen.getvalue()

    state.take_in({"kind": "stage", "name": "reward model", "done": 1.0})
    state.take_in({"kind": "timing", "places": 4})
    before = shown()
    state.take_in(started(0))

    assert "timing a pack of 4" in before
    assert "building" not in before
    assert "timing" not in shown()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_pack_is_told_once_and_only_if_there_is_one(state: SearchState, terminal: bool) -> None:
    events = [
        {"kind": "pack", "places": places, "speedup": speedup, "worker": worker}
        for worker, (places, speedup) in enumerate([(4, 1.58), (1, 1.0), (4, 1.41)])
    ]

    output = watch(state, events, force_terminal=terminal)

    assert output.count("pack of") == 1
    assert "pack of 4: 1.6 times as many trials per second as alone" in output


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (
            {"speedup": 1.31, "kept": True, "failure": ""},
            "compiled learning pass: 1.3 times as many trials per second",
        ),
        ({"speedup": 1.01, "kept": False, "failure": ""}, "compiled learning pass: no faster, so left out"),
        ({"speedup": 0.0, "kept": False, "failure": "no C++ compiler"}, "note: no C++ compiler"),
    ],
)
def test_what_came_of_compiling_is_told_once(state: SearchState, facts: dict, line: str) -> None:
    events = [
        {"kind": "compiling", "worker": 0},
        *({"kind": "compiled", "worker": i, **facts} for i in range(2)),
    ]

    output = watch(state, events, force_terminal=False)

    assert output.strip() == line


def test_the_display_tells_of_compiling_and_of_no_speed_before_there_is_one(state: SearchState) -> None:
    state.take_in({"kind": "compiling"})
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True, color_system=None)
    console.print(Display(console, state).render())

    assert "compiling the learning pass" in screen.getvalue()
    assert "episodes per second" not in screen.getvalue()


def test_a_line_about_a_timing_promises_no_speed(state: SearchState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)

    output = watch(state, [{"kind": "timing", "places": 2, "worker": 0}], force_terminal=False)

    assert output.strip() == "timing a pack of 2"


def test_a_reason_is_never_markup_and_never_broken(state: SearchState) -> None:
    reason = "[bold red]not markup[/bold red] " + "x" * 200

    output = watch(state, [started(0), ended(0, "reward_error", reason=reason)], force_terminal=False)

    assert f"({reason})" in output


def test_no_color_means_no_colour(state: SearchState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    output = watch(state, [started(0), ended(0, "completed", 1.0)], force_terminal=True)

    assert not re.findall(r"\x1b\[[0-9;]*3[0-7]m", output)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "5 s"),
        (89, "89 s"),
        (600, "10 min"),
        (12_000, "3 h 20 min"),
        (172_799, "47 h 60 min"),
        (432_000, "5 days"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert clock(seconds) == words


def test_parameters_are_described_with_the_digits_that_matter() -> None:
    assert describe(PARAMS) == "learning_rate 0.000123, gamma 0.988, batch_size 32"


def test_long_texts_are_shortened() -> None:
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abc", 4) == "abc"
