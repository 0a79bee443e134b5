"""The block `search` beside the others: packs, limits, episodes, earlier studies."""

from typing import Any

import pytest

from tests.config.study_files import blocks, load, mistakes

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        pytest.param(
            {"model": "{lora_rank: null}", "search": "{pack: 4}"},
            "a.yaml:4: search.pack: `pack = 1` must hold when all weights are trained "
            "(model.lora_rank: null), but got 4; set a lora_rank",
            id="pack and rank",
        ),
        pytest.param(
            {"search": "{kl_budget: 10, kl_limit: 5}"},
            "a.yaml:3: search.kl_limit: `kl_limit >= kl_budget` must hold, but got 5 < 10",
            id="limit and budget",
        ),
        pytest.param(
            {"search": "{sampler: grid}"},
            "a.yaml:2: space.gamma: `points` must be given for a grid: a list of values, or how many",
            id="grid and float",
        ),
    ],
)
def test_what_a_search_asks_for_in_vain_is_told_with_the_way_out(
    contents: dict[str, str], expected: str
) -> None:
    assert mistakes(blocks(**contents)) == [expected]


@pytest.mark.parametrize(
    ("contents", "holds"),
    [
        pytest.param(
            {"search": "{kl_budget: 10, kl_limit: 10}"},
            {"kl_budget": 10, "kl_limit": 10},
            id="limit is the budget",
        ),
        pytest.param(
            {"model": "{lora_rank: null}", "search": "{pack: 1}"},
            {"lora_rank": None, "pack": 1},
            id="all weights, one at a time",
        ),
        pytest.param(
            {"model": "{lora_rank: null}", "search": "{pack: auto}"},
            {"lora_rank": None, "pack": "auto"},
            id="all weights, auto",
        ),
    ],
)
def test_limits_that_meet_go_together(contents: dict[str, str], holds: dict[str, Any]) -> None:
    study = load(blocks(**contents))

    assert {**study.search.model_dump(), **study.model.model_dump()}.items() >= holds.items()


@pytest.mark.parametrize("wrong", ["0", "-1", "2.0", "true", "null", "many", "'4'", "[4]"])
def test_a_pack_is_a_whole_number_or_auto(wrong: str) -> None:
    told = {"true": "True", "null": "None", "many": "'many'"}.get(wrong, wrong)

    assert mistakes(blocks(search=f"{{pack: {wrong}}}")) == [
        f"a.yaml:3: search.pack: `pack >= 1` must hold, or auto, but got {told}"
    ]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        pytest.param(
            "{max_episodes: 2000}",
            "`max_episodes >= 2560` must hold, for a trial of 2560, but got 2000",
            id="not one trial",
        ),
        pytest.param(
            "{max_episodes: 20000, confirm_top: 2, confirm_seeds: 3}",
            "`max_episodes >= 25600` must hold, for a trial of 2560 and 9 runs of the confirmation (confirm_top, "
            "confirm_seeds), but got 20000",
            id="not what is to be confirmed",
        ),
    ],
)
def test_all_episodes_pay_for_what_is_asked_for(search: str, expected: str) -> None:
    assert mistakes(blocks(ppo="{episodes: 2560, rollout_size: 64}", search=search)) == [
        f"a.yaml:4: search.max_episodes: {expected}"
    ]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        pytest.param(
            "{warm_start: a}", "must name an earlier study, but 'a' is this one; leave it out", id="itself"
        ),
        pytest.param(
            "{warm_start: b, sampler: grid}",
            "sampler grid tries every cell once, whatever was found before; leave it out",
            id="grid",
        ),
    ],
)
def test_a_warm_start_is_from_another_study_and_for_a_sampler_that_chooses(
    search: str, expected: str
) -> None:
    space = "{ppo_epochs: {type: int, low: 1, high: 4}}"
    assert mistakes(blocks(space=space, search=search)) == [f"a.yaml:3: search.warm_start: {expected}"]
