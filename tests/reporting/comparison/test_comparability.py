# mypy: ignore-errors
"""Scores are compared only where they mean the same, and what else differs is said."""

from pathlib import Path
from typing import Any

import pytest

from ppo_tune.reporting.comparison import comparability
from ppo_tune.reporting.comparison.comparability import Contender
from tests.reporting.contenders import make

DATA = {"name": "dataset", "path": "data.csv", "reward": {"name": "rule", "include": {"red": 1.0}}}
HASH, OTHER = "a" * 64, "b" * 64


def two(folder: Path, one: dict[str, Any], other: dict[str, Any]) -> list[Contender]:
    return [make(folder, "one", **one), make(folder, "other", **other)]


def test_studies_that_are_set_alike_differ_in_nothing(tmp_path: Path) -> None:
    both = two(tmp_path, {}, {})

    assert comparability.differences_table(both).empty
    assert comparability.obstacles(both) == []
    assert comparability.differences_sentence(both) == "They differ in nothing that was set."


def test_another_sampler_and_space_leave_scores_comparable(tmp_path: Path) -> None:
    space = {"learning_rate": {"type": "float", "points": [1e-4, 1e-3], "log": True},
             "ppo_epochs": {"type": "int", "low": 1, "high": 8}}  # fmt: skip
    both = two(tmp_path, {}, {"sampler": "grid", "space": space})

    table = comparability.differences_table(both)

    assert table.to_dict("list") == {
        "setting": ["search.sampler", "space.learning_rate", "space.batch_size", "space.ppo_epochs"],
        "one": ["gp", "0.0001 to 0.01, log", "8, 16, 32", "1 to 4"],
        "other": ["grid", "0.0001, 0.001, log", "–", "1 to 8"],
    }
    assert comparability.obstacles(both) == []
    words = comparability.differences_reading(both)
    assert words.startswith(
        "They differ in search.sampler and the search space. A held-out score means the same in all of them: they can "
        "be compared."
    )


@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param({"task": {"heldout_prompts": 8}}, "task.heldout_prompts", id="prompts"),
        pytest.param({"task": {"seed": 1}}, "task.seed", id="world"),
        pytest.param(
            {"task": {"reward": {"name": "rule", "include": {"a": 1.0}}}}, "task.reward", id="reward"
        ),
        pytest.param({"ppo": {"max_new_tokens": 9}}, "ppo.max_new_tokens", id="length"),
        pytest.param({"ppo": {"temperature": 0.5}}, "ppo.temperature", id="temperature"),
        pytest.param({"model": {"name": "other"}}, "model.name", id="model"),
    ],
)
def test_what_decides_the_meaning_of_a_score_stands_in_the_way(
    tmp_path: Path, change: Any, name: str
) -> None:
    both = two(tmp_path, {}, change)

    assert comparability.obstacles(both) == [
        f"Their scores do not mean the same, because they differ in {name}."
    ]
    assert comparability.obstacles(both)[0] in comparability.differences_reading(both)


@pytest.mark.parametrize(
    "change",
    [{"ppo": {"episodes": 1280}}, {"pruner": "none"}, {"kl_budget": 9.0}, {"model": {"lora_rank": 4}}],
    ids=str,
)
def test_what_decides_only_how_high_a_score_gets_does_not(tmp_path: Path, change: Any) -> None:
    assert comparability.obstacles(two(tmp_path, {}, change)) == []


def test_the_second_judge_does_not_touch_the_score(tmp_path: Path) -> None:
    both = two(tmp_path, {}, {"task": {"gold": {"name": "rule", "include": {"a": 1.0}}}})

    assert comparability.obstacles(both) == []
    assert "Their gold judges differ: gold scores do not compare." in comparability.cautions(both)


def test_every_judge_that_differs_is_named_and_touches_no_score(tmp_path: Path) -> None:
    rule = {"name": "rule", "include": {"a": 1.0}}
    both = two(tmp_path, {"task": {"gold": rule}}, {"task": {"judges": {"safety": rule}}})

    assert comparability.obstacles(both) == []
    said = comparability.cautions(both)
    for judge in ("gold", "safety"):
        assert f"Their {judge} judges differ: {judge} scores do not compare." in said


def test_two_rewards_are_compared_by_one_objective(tmp_path: Path) -> None:
    rules = [{"name": "rule", "include": {word: 1.0}} for word in "abc"]
    tasks = [{"task": {"reward": reward, "objective": rules[2]}} for reward in rules[:2]]
    both = two(tmp_path, *tasks)
    other = make(tmp_path, "third", task={"reward": rules[0], "objective": rules[1]})

    assert comparability.obstacles(both) == []
    (told,) = comparability.obstacles([both[0], other])
    assert "they differ in task.objective" in told


def test_a_file_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    here = {"task": DATA, "inputs": {"task.path": HASH}}
    there = {"task": {**DATA, "path": "elsewhere/data.csv"}, "inputs": {"task.path": HASH}}
    changed = {"task": DATA, "inputs": {"task.path": OTHER}}

    moved = two(tmp_path, here, there)
    rewritten = [moved[0], make(tmp_path, "third", **changed)]

    assert comparability.obstacles(moved) == []
    assert comparability.differences_table(moved).empty
    assert "differ in task.path" in comparability.obstacles(rewritten)[0]
    assert comparability.differences_table(rewritten)["third"].tolist() == ["content bbbbbbbbbbbb…"]


def test_two_functions_of_one_file_are_two_rewards(tmp_path: Path) -> None:
    def reward(function: str) -> dict[str, Any]:
        task = {**DATA, "reward": {"name": "python", "function": function}}
        return {"task": task, "inputs": {"task.path": HASH, "task.reward.function": OTHER}}

    same = two(tmp_path, reward("a.py:score"), reward("moved/a.py:score"))
    others = [same[0], make(tmp_path, "third", **reward("a.py:strict"))]

    assert comparability.obstacles(same) == []
    assert "differ in task.reward" in comparability.obstacles(others)[0]


@pytest.mark.parametrize(("base", "n"), [(0.28, 0), (0.29, 1)])
def test_untrained_models_further_apart_than_chance_stand_in_the_way(
    tmp_path: Path, base: float, n: int
) -> None:
    both = two(tmp_path, {"base": 0.0}, {"base": base})  # twice √(0.1² + 0.1²) is 0.283

    found = comparability.obstacles(both)

    assert len(found) == n
    assert all(
        "The untrained models of one and other score 0.000 and 0.290" in sentence for sentence in found
    )


def test_other_prompts_stand_in_the_way_even_if_nothing_was_set_otherwise(tmp_path: Path) -> None:
    both = two(tmp_path, {}, {})
    for contender, prompt in zip(both, ("hello", "good bye"), strict=True):
        contender.record.base.samples.append({"prompt": prompt})  # type: ignore[union-attr, attr-defined]

    assert comparability.obstacles(both) == [
        "The held-out prompts of one and other are not the same, though nothing that was set says why."
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            {"seed": 7}, "Their seeds differ, so held-out responses were drawn with different", id="seed"
        ),
        pytest.param({"kl_budget": 2.5}, "only trials within the smallest, 2.5 nats, count as best", id="kl"),
        pytest.param({"ppo": {"episodes": 1280}}, "different lengths: 640 and 1,280 episodes", id="length"),
        pytest.param({"versions": {"torch": "2"}}, "different versions of torch.", id="versions"),
        pytest.param({"versions": {}}, "Which versions made other is not known.", id="no-versions"),
        pytest.param({"base": None}, "What the untrained model scores is not known for other", id="no-base"),
        pytest.param({"trials": [("running", [0.5])]}, "other still has running trials.", id="running"),
    ],
)
def test_what_else_differs_is_said(tmp_path: Path, change: Any, words: str) -> None:
    usual = {"versions": {"torch": "1"}}
    both = two(tmp_path, usual, {**usual, **change})

    (caution,) = comparability.cautions(both)

    assert words in caution
    assert caution in comparability.differences_reading(both)


def test_other_machines_are_said(tmp_path: Path) -> None:
    both = two(tmp_path, {"trials": [("completed", [1.0])]}, {"trials": [("completed", [1.0])]})
    for contender, host in zip(both, ("here", "there"), strict=True):
        contender.record.trials[0].user_attrs["host"] = host

    assert "They ran on different machines: compare episodes rather than seconds." in comparability.cautions(
        both
    )


def test_a_version_that_only_one_study_has_stands_beside_a_dash(tmp_path: Path) -> None:
    table = comparability.differences_table(two(tmp_path, {"versions": {"torch": "2"}}, {}))

    assert table.to_numpy().tolist() == [["versions.torch", "2", "–"]]


def test_studies_that_share_all_but_the_seed_are_one_group(tmp_path: Path) -> None:
    first = make(tmp_path, "a", seed=0)
    second = make(tmp_path, "b", seed=1, n_trials=50)
    alone = make(tmp_path, "c", seed=1, sampler="random")

    found = comparability.groups([first, alone, second])

    assert {label: [c.label for c in members] for label, members in found.items()} == {
        "a (2 runs)": ["a", "b"],
        "c": ["c"],
    }


def test_other_versions_are_another_group(tmp_path: Path) -> None:
    both = two(tmp_path, {"versions": {"torch": "1"}}, {"versions": {"torch": "2"}, "seed": 1})

    assert list(comparability.groups(both)) == ["one", "other"]


@pytest.mark.parametrize(
    ("names", "most", "words"),
    [
        (["a"], 2, "a"),
        (["a", "b"], 2, "a and b"),
        (["a", "b", "c"], 2, "a, b and c"),
        (["a", "b", "c", "d"], 2, "a, b and 2 more"),
    ],
)
def test_long_lists_are_cut(names: list[str], most: int, words: str) -> None:
    assert comparability.listed(names, most) == words
