"""What `check` and `search` note of a study that is legal and perhaps not meant."""

import pytest

from ppo_tune.config.notes import notes
from tests.config.study_files import GAMMA, RATE, blocks, load

pytestmark = pytest.mark.usefixtures("here")


CLIP = "clip_range: {type: float, low: 0.1, high: 0.3}"


def test_a_clip_range_that_can_never_matter_is_noted() -> None:
    study = load(blocks(space=f"{{{CLIP}}}", ppo="{batch_size: 64, ppo_epochs: 1}"))

    assert notes(study) == [
        "clip_range is inert: with one optimizer step per rollout the policy ratio is 1 everywhere; raise "
        "ppo_epochs or lower batch_size"
    ]


@pytest.mark.parametrize(
    ("other", "ppo"),
    [
        pytest.param(
            "batch_size: {type: categorical, choices: [64, 32]}", "{ppo_epochs: 1}", id="searched batch"
        ),
        pytest.param("ppo_epochs: {type: int, low: 1, high: 4}", "{batch_size: 64}", id="searched epochs"),
    ],
)
def test_a_clip_range_that_sometimes_matters_is_noted(other: str, ppo: str) -> None:
    study = load(blocks(space=f"{{{CLIP}, {other}}}", ppo=ppo))

    assert notes(study) == [
        "clip_range is inert in trials with batch_size = rollout_size and one PPO epoch: the policy "
        "ratio is 1 everywhere"
    ]


@pytest.mark.parametrize(
    ("space", "ppo"),
    [
        pytest.param(f"{{{CLIP}}}", "{batch_size: 64, ppo_epochs: 2}", id="two epochs"),
        pytest.param(f"{{{CLIP}}}", "{batch_size: 32, ppo_epochs: 1}", id="two batches"),
        pytest.param(f"{{{GAMMA}}}", "{batch_size: 64, ppo_epochs: 1}", id="not searched"),
    ],
)
def test_a_clip_range_that_matters_is_not_noted(space: str, ppo: str) -> None:
    assert notes(load(blocks(space=space, ppo=ppo))) == []


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("clip_range: {type: float, low: 0.3, high: 0.4}", "clip_range = 0.3: the default 0.2"),
        ("batch_size: {type: categorical, choices: [8, 16]}", "batch_size = 16: the default 32"),
        ("dual_clip: {type: float, low: 2, high: 3}", "dual_clip = 2.0: the default None"),
        ("gamma: {type: float, low: 0.9, high: 0.95, default: 0.5}", "gamma = 0.9: the default 0.5"),
    ],
)
def test_a_default_that_the_space_does_not_hold_is_noted(param: str, expected: str) -> None:
    study = load(blocks(space=f"{{{param}, {RATE}}}"))

    assert notes(study) == [f"trial 0, the default config, uses {expected} is outside the space"]


def test_a_default_that_the_space_holds_is_not_noted() -> None:
    assert notes(load(blocks(space=f"{{{RATE}, {GAMMA}}}"))) == []


TWO = "ppo_epochs: {type: categorical, choices: [1, 4]}, whiten_rewards: {type: categorical, choices: [true, false]}"
NINE = "ppo_epochs: {type: int, low: 1, high: 3}, batch_size: {type: categorical, choices: [8, 16, 32]}"
OTHER_NINE = (
    "ppo_epochs: {type: int, low: 1, high: 3}, gae_lambda: {type: float, low: 0.9, high: 0.98, points: 3}"
)


@pytest.mark.parametrize(
    ("space", "search", "expected"),
    [
        pytest.param(
            TWO, "{n_trials: 14}",
            ["the space has only 4 combinations for 14 trials: at least 10 trials repeat one; sampler: grid tries each "
             "of them once"],
            id="choices",
        ),
        pytest.param(
            NINE, "{n_trials: 10, sampler: random}",
            ["the space has only 9 combinations for 10 trials: at least 1 trial repeats one; sampler: grid tries each "
             "of them once"],
            id="integers",
        ),
        pytest.param(
            "ppo_epochs: {type: int, low: 2, high: 20, step: 6}", "{n_trials: 4, sampler: qmc}",
            ["the space has only 4 combinations for 4 trials: some may be drawn more than once; sampler: grid tries "
             "each of them once"],
            id="as many as trials",
        ),
        pytest.param(NINE, "{n_trials: 4}", [], id="enough"),
        pytest.param(f"{NINE}, {GAMMA}", "{n_trials: 100}", [], id="a float"),
        pytest.param(
            OTHER_NINE, "{n_trials: 15, sampler: grid}",
            ["15 trials are asked for, but the grid has 9 cells: the search ends after 10 trials, the default config "
             "and each cell once"],
            id="a grid, and the default beside it",
        ),
        pytest.param(
            NINE.replace("high: 3", "high: 4"), "{n_trials: 15, sampler: grid}",
            ["15 trials are asked for, but the grid has 12 cells: the search ends after 13 trials, the default config "
             "and each cell once",
             "the default config is also a cell of the grid: it runs twice, as trial 0 and in its turn"],
            id="a grid that holds the default",
        ),
        pytest.param(OTHER_NINE, "{sampler: grid}", [], id="a whole grid, and the default beside it"),
        pytest.param(
            NINE.replace("high: 3", "high: 4"), "{sampler: grid}",
            ["the default config is also a cell of the grid: it runs twice, as trial 0 and in its turn"],
            id="a whole grid that holds the default",
        ),
        pytest.param(NINE.replace("high: 3", "high: 4"), "{sampler: grid, n_trials: 12}", [], id="part of a grid"),
    ],
)  # fmt: skip
def test_combinations_that_trials_must_repeat_are_counted(
    space: str, search: str, expected: list[str]
) -> None:
    said = notes(load(blocks(space=f"{{{space}}}", search=search)))

    assert [note for note in said if "combination" in note or "cells" in note or "a cell" in note] == expected


ADAPTIVE = "{kl_target: 4.0, episodes: 2560, rollout_size: 64"


@pytest.mark.parametrize(
    ("ppo", "space", "expected"),
    [
        pytest.param(f"{ADAPTIVE}}}", GAMMA, None, id="a tenth of the episodes"),
        pytest.param(f"{ADAPTIVE}, kl_horizon: 10000}}", GAMMA, "1.05", id="ten thousand"),  # 1.00128 ** 40
        pytest.param(
            f"{ADAPTIVE}, kl_horizon: 1300}}", GAMMA, "1.48", id="half of the episodes"
        ),  # 1.00985 ** 40
        pytest.param(
            f"{ADAPTIVE}, kl_horizon: 1250}}", GAMMA, None, id="a little less"
        ),  # 1.01024 ** 40 = 1.503
        pytest.param(
            "{kl_horizon: 10000}", "kl_target: {type: float, low: 1, high: 9}", "1.05", id="a searched target"
        ),
        pytest.param(
            "{kl_target: 4.0}", "kl_horizon: {type: float, low: 1000, high: 20000}", None, id="some are short"
        ),
        pytest.param("{kl_horizon: 10000}", GAMMA, None, id="no target"),
    ],
)
def test_a_kl_target_that_a_trial_is_too_short_for_is_noted(
    ppo: str, space: str, expected: str | None
) -> None:
    said = [note for note in notes(load(blocks(space=f"{{{space}}}", ppo=ppo))) if "kl_target does" in note]

    assert said == (
        []
        if expected is None
        else [
            f"kl_target does little: with this kl_horizon, kl_coef can change {expected}-fold at most in a trial of "
            "2,560 episodes; leave kl_horizon out, and it is 256"
        ]
    )


@pytest.mark.parametrize(
    ("ppo", "space", "expected"),
    [
        pytest.param(
            "{kl_target: 4.0}",
            "kl_horizon: {type: float, low: 10000, high: 20000}",
            "kl_target does little: even with the shortest kl_horizon that is searched, 10,000, kl_coef can change "
            "1.05-fold at most in a trial of 2,560 episodes; search shorter ones, of about 256, or leave "
            "kl_horizon out",
            id="all that are searched are long",
        ),
        pytest.param(
            "{kl_target: 4.0, episodes: 128, rollout_size: 64}",  # 1.2 ** 2
            GAMMA,
            "kl_target does little: kl_coef can change 1.44-fold at most in a trial of 128 episodes; take more "
            "episodes, or a smaller rollout_size",
            id="none is set and none would help",
        ),
    ],
)
def test_the_way_out_of_a_weak_kl_target_is_one_that_helps(ppo: str, space: str, expected: str) -> None:
    said = [note for note in notes(load(blocks(space=f"{{{space}}}", ppo=ppo))) if "kl_target does" in note]

    assert said == [expected]


@pytest.mark.parametrize("kind", ["ia3", "prefix"])
@pytest.mark.parametrize(
    ("space", "ppo", "largest"),
    [
        pytest.param(
            "learning_rate: {type: float, low: 1e-5, high: 3e-3, log: true}", "{}", "0.003", id="searched"
        ),
        pytest.param(GAMMA, "{learning_rate: 1e-3}", "0.001", id="fixed"),
        pytest.param("learning_rate: {type: float, low: 1e-4, high: 1e-1, log: true}", "{}", None, id="far"),
    ],
)
def test_steps_of_low_rank_adapters_are_noted_to_be_small_for_vectors_and_prefixes(
    space: str, ppo: str, largest: str | None, kind: str
) -> None:
    told = notes(load(blocks(space=f"{{{space}}}", ppo=ppo, model=f"{{adapter: {kind}}}")))

    assert told == ([] if largest is None else [
        f"adapter: {kind} moves little at learning_rate {largest}, the largest here: it wants about ten times what "
        "low-rank adapters do; let the range reach 0.01 or beyond, as {low: 1e-4, high: 1e-1}"
    ])  # fmt: skip
    assert not [note for note in notes(load(blocks(space=f"{{{space}}}", ppo=ppo))) if "moves little" in note]


def test_steps_of_lora_are_noted_to_be_small_where_ranks_move() -> None:
    space = "learning_rate: {type: float, low: 1e-5, high: 1e-3, log: true}"

    assert notes(load(blocks(space=f"{{{space}}}", model="{adapter: adalora}"))) == [
        "adapter: adalora moves little at learning_rate 0.001, the largest here: it wants three to ten times what "
        "LoRA does; let the range reach 0.003 or beyond, as {low: 1e-4, high: 1e-1}"
    ]


@pytest.mark.parametrize(
    ("space", "ppo", "largest"),
    [
        ("{kl_coef: {type: float, low: 1e-3, high: 0.5, log: true}}", "{}", ("0.5", "0.005")),
        (f"{{{RATE}}}", "{kl_coef: 1.0}", ("1", "0.01")),
        ("{kl_coef: {type: float, low: 0.1, high: 50, log: true}}", "{}", None),
        (f"{{{RATE}}}", "{kl_target: 4.0, kl_horizon: 100}", None),
    ],
    ids=["usual range", "fixed", "wide range", "adaptive"],
)
def test_a_penalty_that_is_lost_beside_scores_up_to_a_hundred_is_noted(
    space: str, ppo: str, largest: tuple[str, str] | None
) -> None:
    told = (
        []
        if largest is None
        else [
            f"kl_coef is in the reward's unit, and chrf goes from 0 to 100: {largest[0]}, the largest here, weighs no "
            f"more than {largest[1]} where rewards go to 1; let the range reach 5 or beyond, as {{low: 0.1, high: 50}}"
        ]
    )
    ofs = [
        [
            note
            for note in notes(load(blocks(space=space, ppo=ppo, task=task)))
            if note.startswith("kl_coef is")
        ]
        for task in ("{name: support, reward: {name: reference}}", "{name: support}")
    ]

    assert ofs == [told, []]


def test_a_judge_that_is_the_reward_itself_is_noted_by_its_place() -> None:
    one, other = "{name: unit_tests, column: a}", "{name: unit_tests, column: b}"
    task = f"{{name: support, reward: {one}, gold: {one}, judges: {{same: {one}, other: {other}}}}}"
    told = (
        "is the reward itself, so it is no independent judge: it rises whether a policy learns the task or the "
        "reward's weakness; name what PPO does not maximize, such as other tests"
    )

    found = notes(load(blocks(task=task)))

    assert found == [f"task.gold {told}", f"task.judges.same {told}"]
