"""What constraints leave of a space: counted by hand, and told where it may surprise."""

import re

import pytest

from ppo_tune.config.constraints import Rules
from ppo_tune.config.notes import notes
from ppo_tune.config.room import DRAWS, Room
from tests.config.study_files import GAMMA, blocks, load, mistakes

pytestmark = pytest.mark.usefixtures("here")

SIZES = "batch_size: {type: categorical, choices: [16, 32, 64]}, ppo_epochs: {type: int, low: 1, high: 4}"
TARGET = "kl_target: {type: categorical, choices: [null, 2.0, 4.0]}"
HORIZON = "kl_horizon: {type: float, low: 100, high: 300, when: {kl_target: [2.0, 4.0]}}"


def told(space: str, constraints: str, **others: str) -> list[str]:
    """The notes of a study."""
    return notes(load(blocks(space=f"{{{space}}}", constraints=constraints, **others)))


def test_what_is_left_of_six_configs_is_counted() -> None:
    rules = Rules.of(["a <= b", "c < 5"], {"c": None})
    configs = [{"a": a, "b": b} for a in (1, 2) for b in (None, 1, 2)]

    found = Room.of(rules, {"a": 1, "b": 1}, configs)

    assert (found.tried, found.allowed, found.others) == (6, 5, 4)  # without (2, 1); one is the default
    assert found.off == (("b",), ("c",))
    assert found.silent == (2, 5)
    assert found.only == {}


def test_what_has_one_value_alone_is_told_and_what_had_no_other_is_not() -> None:
    rules = Rules.of(["a < 2", "b < 9"], {})

    found = Room.of(rules, {}, [{"a": a, "b": 1} for a in (1, 2, 3)])

    assert found.only == {"a": 1}


def test_true_is_another_value_than_1() -> None:
    found = Room.of(Rules.of(["a < 2"], {}), {}, [{"a": 1}, {"a": True}, {"a": 3}])

    assert found.only == {}


@pytest.mark.parametrize(("bound", "share"), [(0.92, 0.2), (0.95, 0.5), (1.0, 1.0)])
def test_the_share_of_a_space_is_that_of_its_volume(bound: float, share: float) -> None:
    space, constraints = "gamma: {type: float, low: 0.9, high: 1.0, default: 0.9}", f"['gamma <= {bound}']"
    study = load(blocks(space=f"{{{space}}}", constraints=constraints))

    assert study.room.tried == DRAWS
    assert study.room.allowed / DRAWS == pytest.approx(share, abs=4 * (0.25 / DRAWS) ** 0.5)


@pytest.mark.parametrize(
    ("constraint", "search", "expected"),
    [
        pytest.param("ppo_epochs <= 2", "tpe", "constraints leave about 50 % of the space", id="half"),
        pytest.param(
            "ppo_epochs <= 4",
            "tpe",
            "constraints rule nothing out: each of 10,000 configs drawn at random satisfies them",
            id="all",
        ),
        pytest.param(
            "ppo_epochs <= 4",
            "grid",
            "constraints rule nothing out: each of the grid's 12 cells satisfies them",
            id="every cell",
        ),
        pytest.param(
            "ppo_epochs <= 3", "grid", "constraints leave out 3 of the grid's 12 cells", id="most cells"
        ),
    ],
)
def test_a_study_says_how_much_its_constraints_leave(constraint: str, search: str, expected: str) -> None:
    space = SIZES.replace("high: 4", "high: 4, default: 1")

    assert told(space, f"['{constraint}']", search=f"{{sampler: {search}}}")[0] == expected


def test_a_study_says_where_a_constraint_asks_nothing() -> None:
    found = told(f"{TARGET}, {HORIZON}", "['kl_horizon <= 50 * kl_target']")

    # By hand: of a third nothing, of a third half, and the third without a target: a half, two thirds of it without.
    share, asked = (re.fullmatch(r"(.*) (\d\d) %(.*)", note) for note in found[:2])
    assert share is not None
    assert asked is not None
    assert (share[1], share[3]) == ("constraints leave about", " of the space")
    assert (
        asked[1] == "`kl_horizon <= 50 * kl_target` asks nothing where kl_horizon or kl_target is off (null),"
    )
    assert asked[3] == " of what is left"
    assert [int(share[2]), int(asked[2])] == pytest.approx([50, 67], abs=2)


def test_a_study_says_what_its_constraints_leave_only_off() -> None:
    assert told(f"{TARGET}, {GAMMA}", "['kl_target >= 10']") == [
        "constraints leave about 33 % of the space",
        "constraints leave kl_target off (null) in every trial",
    ]


def test_a_study_says_what_its_constraints_leave_one_value_of() -> None:
    assert told(f"{SIZES}, {GAMMA}", "['16 < batch_size < 64']")[1] == (
        "constraints leave batch_size at 32 in every trial"
    )


def test_a_study_says_which_constraint_asks_nothing_in_any_trial() -> None:
    assert told(GAMMA, "['gamma * kl_target < 2']") == [
        "constraints rule nothing out: each of 10,000 configs drawn at random satisfies them",
        "`gamma * kl_target < 2` asks nothing: kl_target is off (null) in every trial",
    ]


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (
            "tpe",
            "of 10,000 drawn at random they allow only the default config, which is trial 0; change them or the space",
        ),
        (
            "grid",
            "of the grid's 12 cells they allow only the default config, which is trial 0; change them or its points",
        ),
    ],
)
def test_constraints_that_leave_only_the_default_config_are_refused(sampler: str, expected: str) -> None:
    text = blocks(
        space=f"{{{SIZES}}}",
        search=f"{{sampler: {sampler}}}",
        constraints="['batch_size == 32', 'ppo_epochs == 4']",
    )

    assert mistakes(text) == [f"a.yaml:4: constraints: must leave something to search, but {expected}"]


def test_a_target_that_may_only_be_off_is_nothing_to_search() -> None:
    text = blocks(space=f"{{{TARGET}}}", constraints="['kl_target >= 10']")

    (message,) = mistakes(text)
    assert "they allow only the default config" in message
