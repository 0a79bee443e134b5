"""A block says what it names, and no text of one can be forgotten; a typo is answered with the block's own keys."""

from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from ppo_tune.config.block import Block, FileName, FunctionName, JudgeName, Named, Names, Text, differences
from ppo_tune.config.messages import say
from ppo_tune.config.methods import SearchConfig
from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.ranges import CategoricalParam, FloatParam, IntParam, Param
from ppo_tune.config.rewards import LengthRule, RewardConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import TaskConfig
from ppo_tune.data.recipes import definitions_of
from tests.blocks import all_blocks, kinds_of, within


def has_unmarked_text(kind: Any) -> bool:
    """Whether a text in a type does not say whether it names something; keys of a mapping name nothing."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated and any(isinstance(part, Names) for part in parts):
        return False
    return kind is str or any(map(has_unmarked_text, parts[1:] if get_origin(kind) is dict else parts))


def unmarked_in(block: type[Block]) -> list[str]:
    """The fields whose texts could name a file that nobody looks at."""
    return [
        key
        for key, field in block.model_fields.items()
        if not any(isinstance(part, Names) for part in field.metadata) and has_unmarked_text(field.annotation)
    ]


@pytest.mark.parametrize("block", all_blocks())
def test_every_text_says_whether_it_names_something_and_of_one_kind(block: type[Block]) -> None:
    assert unmarked_in(block) == []
    assert all(len(kinds_of(field)) <= 1 for field in block.model_fields.values())


class Deep(Block):
    words: FileName | None = None
    judges: dict[str, JudgeName] = Field({})


class Rating(Block):
    """A member that somebody adds."""

    functions: tuple[FunctionName, ...] = ()
    label: Text = "a.txt"
    deep: Deep | None = None
    by_name: dict[str, Deep] = Field({})


class Forgetful(Block):
    """One of which somebody forgot to say what its texts are."""

    path: str
    scale: str | None = Field(None, pattern="a.*")
    files: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    weights: dict[str, float] = Field({})
    labels: dict[str, str] = Field({})


def test_the_test_sees_a_text_that_was_forgotten_wherever_it_stands() -> None:
    assert unmarked_in(Forgetful) == ["path", "scale", "files", "labels"]
    assert unmarked_in(Rating) == []


def annotation_of(task: type[Block]) -> Any:
    """The names of a task."""
    return task.model_fields["name"].annotation


def follows_changes(task: type[Block]) -> bool:
    """Whether a change of a task's prompts is noticed: they stand in a file of its, or in sources that are known."""
    kinds = {kind for field in task.model_fields.values() for kind in kinds_of(field)}
    return "file" in kinds or ("recipe" in kinds and all(map(definitions_of, get_args(annotation_of(task)))))


class Embedded(Block):
    """A task that somebody adds, whose prompts stand in code; nobody says so."""

    name: Literal["support"]
    heldout_prompts: int = 64


@pytest.mark.parametrize("task", get_args(get_args(TaskConfig)[0]))
def test_a_task_names_the_file_or_the_recipe_of_its_prompts(task: type[Block]) -> None:
    assert follows_changes(task)


def test_the_test_sees_a_task_that_names_neither() -> None:
    assert not follows_changes(Embedded)


DEEP = Deep(words="w.txt", judges={"safe": "org/safe"})
RATING = Rating(functions=("a.py:f", "b.py:g"), deep=DEEP, by_name={"x": DEEP})


def test_all_that_is_named_is_found_with_its_place_and_kind_however_deep() -> None:
    deep = [("words", "file", "w.txt"), ("judges.safe", "judge", "org/safe")]
    expected = [
        ("functions.0", "function", "a.py:f"),
        ("functions.1", "function", "b.py:g"),
        *((f"deep.{place}", kind, value) for place, kind, value in deep),
        *((f"by_name.x.{place}", kind, value) for place, kind, value in deep),
    ]

    assert [(named.place, named.kind, named.value) for named in RATING.names()] == expected


def test_a_function_stands_in_the_file_before_its_colon() -> None:
    assert [named.path for named in RATING.names()][:3] == ["a.py", "b.py", "w.txt"]


def test_a_copy_with_other_names_differs_in_nothing_else() -> None:
    def louder(named: Named) -> str:
        return named.value.upper()

    changed = RATING.renamed(louder)

    assert [named.value for named in changed.names()] == [louder(named) for named in RATING.names()]
    assert changed.renamed(lambda named: named.value.lower()) == RATING
    assert RATING.renamed(lambda named: named.value) == RATING
    assert changed.label == "a.txt"


def typos() -> list[Any]:
    """Each block of a file at each place, with a key that no block has."""
    found: list[Any] = []
    for root in (StudyConfig, TrainConfig):
        for data, block in within(root):
            found.append(pytest.param(root, data, block, id=f"{root.__name__}-{block.__name__}-{len(found)}"))
    return found


def with_typo(data: dict[str, Any]) -> dict[str, Any]:
    """The wrong key in the innermost block; a tag is no block."""
    inner = [key for key, value in data.items() if isinstance(value, dict | list)]
    if not inner:
        return {**data, "zzz": 1}
    (key,) = inner
    value = data[key]
    return {**data, key: [with_typo(value[0])] if isinstance(value, list) else with_typo(value)}


def answers(checked: Any, data: Any) -> list[str]:
    """What is said about unknown keys in data that is to have a type."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(checked).validate_python(data)
    errors = [error for error in caught.value.errors() if error["type"] == "extra_forbidden"]
    return [say(error, checked, (), (str(error["loc"][-1]),)) for error in errors]


def listing(keys: Any) -> str:
    return f"unknown 'zzz'; choose one of {', '.join(sorted(keys))}"


@pytest.mark.parametrize(("root", "data", "block"), typos())
def test_a_typo_in_a_block_is_answered_with_the_keys_of_that_block(
    root: type[Block], data: dict[str, Any], block: type[Block]
) -> None:
    assert answers(root, with_typo(data)) == [listing(block.model_fields)]


@pytest.mark.parametrize("param", [FloatParam, IntParam, CategoricalParam])
def test_a_typo_in_a_range_is_answered_with_the_keys_of_that_kind_of_range(param: Any) -> None:
    (kind,) = get_args(param.model_fields["type"].annotation)

    assert answers(Param, {"type": kind, "zzz": 1}) == [listing(param.model_fields)]


@pytest.mark.parametrize("key", ["python", "one"])
def test_a_key_of_a_mapping_is_no_tag(key: str) -> None:
    assert answers(dict[str, RewardConfig], {key: {"name": "reference", "zzz": 1}}) == [
        listing(["name", "metric"])
    ]


def test_there_are_blocks_of_every_family() -> None:
    names = {block.__name__ for block in all_blocks()}

    assert {
        "EmbeddedTaskConfig",
        "PythonRewardConfig",
        "LengthRule",
        "TPESamplerConfig",
        "NoPrunerConfig",
    } <= names


@pytest.mark.parametrize("block", [PPOConfig, ModelConfig, SearchConfig, LengthRule])
def test_every_field_is_described(block: type[Block]) -> None:
    undescribed = [name for name, field in block.model_fields.items() if not field.description]

    assert undescribed == []


def test_two_experiments_differ_in_these_lines() -> None:
    before = {"ppo": {"gamma": 1.0, "seed": 1}, "space": {"a": [1, 2]}, "name": "x", "gone": None}
    now = {"ppo": {"gamma": 0.9, "seed": 1}, "space": {"a": [1, 3]}, "name": "y", "new": {"b": 2}}

    lines = differences(before, now, ignored=("name",))

    assert lines == [
        "  gone: None before, absent now",
        "  new.b: absent before, 2 now",
        "  ppo.gamma: 1.0 before, 0.9 now",
        "  space.a: [1, 2] before, [1, 3] now",
    ]


def test_an_experiment_does_not_differ_from_itself() -> None:
    config = TrainConfig.model_validate({"task": {"name": "support"}}).model_dump()

    assert differences(config, config) == []
