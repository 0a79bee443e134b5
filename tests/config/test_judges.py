"""Who scores what: reward, objective and judges in a study file, and what is stored of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from ppo_tune.config.block import differences
from ppo_tune.config.judges import DERIVED, REWARD, TAKEN
from ppo_tune.config.study_file import load_study
from ppo_tune.config.tasks import TaskConfig, named_judges
from ppo_tune.errors import ConfigError
from ppo_tune.reporting.chapters import front
from ppo_tune.reporting.chapters.history import curves
from ppo_tune.reporting.chapters.results import confirmed
from ppo_tune.reporting.record import COLUMNS
from ppo_tune.trainer.evaluation import Evaluation, Sample

RULE = {"name": "rule", "include": {"please": 1.0}}
OTHER = {"name": "rule", "avoid": {"stupid": 1.0}}
TASKS: dict[str, dict[str, Any]] = {
    "support": {"name": "support"},
    "dataset": {"name": "dataset", "path": "prompts.jsonl", "reward": RULE},
}
STORED: dict[str, dict[str, Any]] = {
    "support": {"name": "support", "heldout_prompts": 64, "reward": None, "gold": None},
    "dataset": {
        "name": "dataset", "path": "prompts.jsonl", "prompt": "prompt", "reference": None, "template": "{prompt}",
        "chat": False, "stop": [], "drop_bad_rows": False, "heldout_prompts": 128,
        "reward": {**RULE, "avoid": {}, "length": None}, "gold": None,
    },
}  # fmt: skip
"""What version 0.1.0 stored of these tasks."""


def task(name: str, **changes: Any) -> TaskConfig:
    made: TaskConfig = TypeAdapter(TaskConfig).validate_python({**TASKS[name], **changes})
    return made


@pytest.mark.parametrize("name", TASKS)
def test_a_task_without_new_keys_is_stored_as_version_0_1_0_stored_it(name: str) -> None:
    dumped = task(name).model_dump(mode="json")

    assert list(dumped.items()) == list(STORED[name].items())
    assert task(name, gold=OTHER).model_dump(mode="json") == {
        **STORED[name],
        "gold": {**OTHER, "include": {}, "length": None},
    }


@pytest.mark.parametrize("name", TASKS)
def test_the_short_form_of_a_gold_judge_is_the_long_one(name: str) -> None:
    short, long = task(name, gold=OTHER), task(name, judges={"gold": OTHER})

    assert short == long
    assert short.model_dump(mode="json") == long.model_dump(mode="json")


@pytest.mark.parametrize("name", TASKS)
def test_what_a_judge_names_is_told_by_the_place_of_its_short_form(name: str) -> None:
    made = {judge: {"name": "preference", "model": judge} for judge in ("gold", "safety", "objective")}

    for form in ({"gold": made["gold"], "judges": {}}, {"judges": {"gold": made["gold"]}}):
        judges = {**form["judges"], "safety": made["safety"]}
        named = task(name, **{**form, "judges": judges}, objective=made["objective"]).names()
        assert {(n.place, n.value) for n in named if n.kind == "judge"} == {
            ("gold.model", "gold"), ("judges.safety.model", "safety"), ("objective.model", "objective"),
        }  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_what_is_stored_is_read_back(name: str) -> None:
    full = task(name, objective=OTHER, judges={"safety": OTHER, "gold": RULE, "wit": RULE})

    dumped = full.model_dump(mode="json")

    assert TypeAdapter(TaskConfig).validate_python(dumped) == full
    assert list(named_judges(full)) == ["gold", "safety", "wit"]


def test_a_changed_judge_or_objective_is_told_by_its_place() -> None:
    before = {"task": task("support").model_dump(mode="json")}
    now = {"task": task("support", objective=RULE, judges={"safety": OTHER}).model_dump(mode="json")}

    places = {line.strip().partition(":")[0].rpartition(".")[0] for line in differences(before, now)}
    assert {place.removesuffix(".include").removesuffix(".avoid") for place in places} == {
        "task.objective",
        "task.judges.safety",
    }


@pytest.fixture
def mistakes(tmp_path: Path) -> Callable[[str], list[str]]:
    """The lines of the error about a task in a study file."""

    def read(block: str) -> list[str]:
        path = tmp_path / "a.yaml"
        path.write_text(
            f"task: {block}\nspace: {{gamma: {{type: float, low: 0.9, high: 1.0}}}}\n", encoding="utf-8"
        )
        with pytest.raises(ConfigError) as caught:
            load_study(path)
        return str(caught.value).replace(f"{path}:", "").splitlines()

    return read


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            "{name: support, gold: {name: rule, include: {a: 1}}, judges: {gold: {name: rule, include: {b: 1}}}}",
            "1: task.gold: stands in task.judges too; keep one",
        ),
        ("{name: support, judges: {gold: {name: rul}}}", "1: task.judges.gold: unknown 'rul'; did you mean 'rule'?"),
        (
            "{name: support, judges: {safety: {name: rule, includ: {a: 1}}}}",
            "1: task.judges.safety.includ: unknown 'includ'; did you mean 'include'?",
        ),
        ("{name: support, judges: {safety: {name: python}}}", "1: task.judges.safety.function: is missing"),
        ("{name: support, judges: {safety: null}}", "1: task.judges.safety: must be a mapping, but got None"),
        ("{name: support, judges: [safety]}", "1: task.judges: must be a mapping, but got ['safety']"),
        ("{name: support, judge: {}}", "1: task.judge: unknown 'judge'; did you mean 'judges'?"),
        (
            "{name: support, objective: {}}",
            "1: task.objective: a name is missing; choose one of preference, python, reference, rule, unit_tests",
        ),
        (
            "{name: support, objective: {name: preference, modl: x}}",
            "1: task.objective.modl: unknown 'modl'; did you mean 'model'?",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_who_scores_is_told_by_its_place(
    mistakes: Callable[[str], list[str]], block: str, expected: str
) -> None:
    assert expected in mistakes(block)


@pytest.mark.parametrize(
    "name",
    [
        "kl",
        "score",
        "reward",
        "learning_rate",
        "wit_error",
        "my judge",
        "1st",
        "x" * 41,
        "ä",
        "seed",
        "winner",
        "number",
        "confirmed_score",
        "Score",
        "Wit_Error",
    ],
)
def test_a_judge_may_not_be_called_like_another_number(
    mistakes: Callable[[str], list[str]], name: str
) -> None:
    found = mistakes(f"{{name: support, judges: {{{name}: {{name: rule, include: {{a: 1}}}}}}}}")

    assert found == [
        f"1: task.judges.{name}: a judge's name must be letters, digits, dashes and underscores, at most 40, the first "
        "a letter, and not that of another number (as score, reward, kl, or one that ends in _error), but got "
        f"{name!r}; rename it"
    ]


@pytest.mark.parametrize(
    ("block", "place", "names"),
    [
        ("judges: {wit: RULE, safety: RULE, Safety: RULE}", "judges", "'safety' and 'Safety'"),
        ("judges: {Gold: RULE, gold: RULE}", "judges", "'Gold' and 'gold'"),
    ],
)
def test_judges_names_differ_in_more_than_capitals(
    mistakes: Callable[[str], list[str]], block: str, place: str, names: str
) -> None:
    found = mistakes(f"{{name: support, {block}}}".replace("RULE", "{name: rule, include: {a: 1}}"))

    assert found == [f"1: task.{place}: names must differ in more than capitals, but got {names}; rename one"]


def test_the_short_form_of_a_gold_judge_beside_another_gold_is_refused(
    mistakes: Callable[[str], list[str]],
) -> None:
    rule = "{name: rule, include: {a: 1}}"

    found = mistakes(f"{{name: support, gold: {rule}, judges: {{Gold: {rule}}}}}")

    assert found == ["1: task.gold: stands in task.judges too; keep one"]


@pytest.mark.parametrize("name", ["gold", "safety", "chrF", "is-polite", "wit2", "word_count"])
def test_other_names_are_free(name: str) -> None:
    assert list(named_judges(task("support", judges={name: RULE}))) == [name]


def test_every_name_that_stands_beside_a_judge_s_is_taken() -> None:
    evaluation = Evaluation(1.0, 0.1, 0.5, 4.0, 1.0, (Sample("p", "r", 1.0),))
    stored = {*evaluation.as_dict(), *Sample("p", "r", 1.0).as_dict(), REWARD}
    tables = {*COLUMNS, *confirmed.COLUMNS, *front.BUDGETS, *curves.COLUMNS}
    beside = (stored | tables) - {"gold"}

    assert {name for name in beside - TAKEN if not name.endswith(DERIVED)} == set()
