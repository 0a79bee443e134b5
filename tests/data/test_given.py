"""Objects as what a study file names: blocks, places, names of files; and every mistake in a sentence, all at once."""

import functools
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.rewards import RuleRewardConfig
from ppo_tune.data.given import BLOCKS, HOMES, OBJECTS, Given
from ppo_tune.data.user_functions import Held, held_by, hold, load_function
from ppo_tune.errors import ConfigError
from ppo_tune.files import read_json_lines
from tests.conftest import tiny_model, tiny_tokenizer

SPACE = {"gamma": (0.9, 1.0)}
RULE = {"name": "rule", "include": {"red": 1.0}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(**changes: Any) -> Given:
    usual = {"prompts": ["a", "b"], "reward": RULE, "model": "m", "space": SPACE}
    keywords = {**usual, **changes}
    return Given({key: value for key, value in keywords.items() if value is not ...}, "mine", ("workers",))


def written(**changes: Any) -> dict[str, Any]:
    """The blocks of the experiment once its objects are files."""
    config = given(**changes).write(Path("given"))
    return config.model_dump(mode="json", exclude_unset=True)


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        given(**changes)
    assert not Path("given").exists()
    return str(caught.value)


def test_keys_of_all_blocks_are_keywords_and_no_two_have_one() -> None:
    keys = [
        key for kind in BLOCKS.values() for key in kind.model_fields if key not in ("name", "path", *OBJECTS)
    ]

    assert len(set(keys)) == len(keys) == len(HOMES)


def test_a_key_stands_in_its_block_as_it_would_in_a_mapping() -> None:
    flat = written(
        episodes=64, lora_rank=4, n_trials=np.int64(3), seed=7, heldout_prompts=5, kl_budget=np.float64(2)
    )
    nested = written(
        ppo={"episodes": 64}, model={"name": "m", "lora_rank": 4}, task={"heldout_prompts": 5},
        search={"n_trials": 3, "seed": 7, "kl_budget": 2.0},
    )  # fmt: skip
    blocks = written(ppo=PPOConfig(episodes=64), model=ModelConfig(name="m", lora_rank=4), task={"heldout_prompts": 5},
                     search={"n_trials": 3, "seed": 7, "kl_budget": 2.0})  # fmt: skip

    assert flat == nested == blocks
    assert json.loads(json.dumps(flat)) == flat


def test_constraints_are_a_list_of_comparisons() -> None:
    space = {"lora_rank": (2, 8), "learning_rate": {"low": 1e-5, "high": 1e-3, "default": 1e-4}}

    refused = refusal(space=space, constraints="lora_rank < 3")
    blocks = written(space=space, constraints=("lora_rank * learning_rate < 0.005",))

    assert blocks["space"]["lora_rank"]["type"] == "int"
    assert blocks["constraints"] == ["lora_rank * learning_rate < 0.005"]
    assert refused == "constraints: must be a list of comparisons in quotes, but got 'lora_rank < 3'"


SPACES: dict[str, tuple[Any, dict[str, Any]]] = {
    "two numbers": ((0.9, 1), {"type": "float", "low": 0.9, "high": 1}),
    "a list": ([0.9, 1.0], {"type": "categorical", "choices": [0.9, 1.0]}),
    "ends": ({"low": 0.9, "high": 1.0, "log": True}, {"type": "float", "low": 0.9, "high": 1.0, "log": True}),
    "choices": ({"choices": [0.9]}, {"type": "categorical", "choices": [0.9]}),
    "as in a file": ({"type": "float", "low": 0.9, "high": 1.0}, {"type": "float", "low": 0.9, "high": 1.0}),
    "numbers of numpy": (tuple(np.array([0.5, 1.0])), {"type": "float", "low": 0.5, "high": 1.0}),
}


@pytest.mark.parametrize(("short", "whole"), SPACES.values(), ids=SPACES)
def test_a_range_says_what_it_is(short: Any, whole: dict[str, Any]) -> None:
    assert written(space={"gamma": short})["space"]["gamma"] == whole


def test_a_range_of_whole_numbers_is_that_of_a_field_of_whole_numbers() -> None:
    assert written(space={"ppo_epochs": (1, 4), "kl_horizon": (10, 400)})["space"] == {
        "ppo_epochs": {"type": "int", "low": 1, "high": 4},
        "kl_horizon": {"type": "float", "low": 10, "high": 400},
    }


def test_names_stay_names_and_nothing_is_written_for_them(here: Path) -> None:
    (here / "r.py").write_text("def score(**_):\n    return []\n", encoding="utf-8")

    blocks = written(prompts=Path("p.jsonl"), reward="r.py:score", objective="judge", gold=Path("judge"))

    assert blocks["task"] == {
        "name": "dataset", "path": "p.jsonl",
        "reward": {"name": "python", "function": "r.py:score"},
        "objective": {"name": "preference", "model": "judge"}, "gold": {"name": "preference", "model": "judge"},
    }  # fmt: skip
    assert blocks["model"] == {"name": "m"}
    assert not Path("given").exists()


def test_blocks_of_rewards_are_taken_as_they_are() -> None:
    as_model = written(reward=RuleRewardConfig(name="rule", include={"red": 1.0}))

    assert as_model == written(reward=RULE)
    assert written(judges={"kind": RULE})["task"]["judges"] == {"kind": RULE}


def test_conversations_are_a_chat_unless_that_is_said_otherwise() -> None:
    chats = [[{"role": "user", "content": text}] for text in "ab"]

    assert written(prompts=chats)["task"]["chat"] is True
    assert written(prompts=chats, chat=False)["task"]["chat"] is False
    assert "chat" not in written()["task"]


def test_prompts_are_a_file_that_is_named_after_what_it_holds() -> None:
    first, again, other = (
        given(prompts=texts).write(Path("given")).task.model_dump()["path"]
        for texts in map(list, ("ab", "ab", "abc"))
    )

    assert first == again != other
    assert list(read_json_lines(Path(first))) == [{"prompt": "a"}, {"prompt": "b"}]
    assert len(list(Path("given").iterdir())) == 2


def test_what_was_written_is_taken_back_and_what_was_there_is_not() -> None:
    given(prompts=["a"]).write(Path("given"))
    before = list(Path("given").iterdir())
    more = given(prompts=["a"], reward=lambda **_: [], model=(tiny_model(), tiny_tokenizer()))
    more.write(Path("given"))
    assert len(list(Path("given").iterdir())) == 3

    more.take_back()

    assert list(Path("given").iterdir()) == before


def test_models_with_their_tokenizers_are_folders_each_saved_once() -> None:
    pair = (tiny_model(), tiny_tokenizer())

    one, two = (written(model=pair, gold=pair) for _ in range(2))

    assert one == two
    assert one["model"]["name"].startswith("given/model-")
    assert one["task"]["gold"]["model"].startswith("given/gold-")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in Path(one["model"]["name"]).iterdir()
    }
    assert len(list(Path("given").iterdir())) == 3


@pytest.fixture
def module(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Makes a module of the user's of a text, below the folder where they work."""
    monkeypatch.syspath_prepend(here)
    names: list[str] = []

    def make(text: str, name: str = "their_rewards") -> ModuleType:
        path = here.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        names.append(name)
        return importlib.import_module(name)

    yield make
    for name in names:
        sys.modules.pop(name, None)


SCORE = "def score(prompts, responses, **columns):\n    return [1.0 for _ in responses]\n"


def function_of(**changes: Any) -> tuple[str, Held | None]:
    """What a study file names of a reward, and what this session holds for it."""
    made = given(**changes)
    name = made.write(Path("given")).task.model_dump()["reward"]["function"]
    kept.append(made)
    return name, held_by(name)


kept: list[Given] = []


def test_a_function_of_a_module_is_named_by_its_file(module: Callable[[str], ModuleType]) -> None:
    assert function_of(reward=module(SCORE).score) == ("their_rewards.py:score", None)


def test_a_function_that_is_decorated_is_named_by_its_file(module: Callable[[str], ModuleType]) -> None:
    text = (
        "import functools\n"
        + SCORE
        + "@functools.wraps(score)\ndef twice(**given):\n    return score(**given)\n"
    )
    found = module(text + "twice.__qualname__ = 'twice'\n").twice

    assert function_of(reward=found) == ("their_rewards.py:twice", None)


LONE: dict[str, tuple[str, str]] = {
    "a lambda": (
        "score = lambda responses, **_: [1.0]",
        "<lambda> has no name in a module, and no other process can import it",
    ),
    "a function in a function": (
        "def make():\n    def inner(responses, **_):\n        return [1.0]\n    return inner\nscore = make()",
        "make.<locals>.inner has no name in a module, and no other process can import it",
    ),
    "an object": (
        "class Score:\n    def __call__(self, responses, **_):\n        return [1.0]\nscore = Score()",
        "Score is an object of this session, and no other process can import it",
    ),
    "a partial function": (
        "import functools\ndef f(responses, n, **_):\n    return [n]\nscore = functools.partial(f, n=1)",
        "partial is an object of this session, and no other process can import it",
    ),
    "a method": (
        "class Score:\n    def __call__(self, responses, **_):\n        return [1.0]\nscore = Score().__call__",
        "Score.__call__ has no name in a module, and no other process can import it",
    ),
    "a function that was replaced": (
        SCORE + "first = score\ndef score(responses, **_):\n    return []\n",
        "score is not what module their_rewards has by that name, and no other process can import it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "told"), LONE.values(), ids=LONE)
def test_what_has_no_name_in_a_file_is_held_by_this_session(
    text: str, told: str, module: Callable[[str], ModuleType]
) -> None:
    found = module(text)
    reward = getattr(found, "first", found.score)

    name, held = function_of(reward=reward)

    assert held is not None
    assert f"{held.label} {held.reason}" == told
    assert held.value is reward
    assert load_function(name) is reward
    with pytest.raises(ImportError, match="lives in the Python session that gave it to ppo-tune"):
        exec(Path(name.removesuffix(":score")).read_text(encoding="utf-8"), {})


def test_what_a_notebook_defines_is_held_by_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    session = ModuleType("__main__")
    exec(SCORE, session.__dict__)
    session.score.__module__ = "__main__"

    _, held = function_of(reward=session.score)

    assert held is not None
    assert (
        f"{held.label} {held.reason}" == "score was made in this session, and no other process can import it"
    )


def test_a_file_that_cannot_be_imported_alone_is_held_with_the_reason(
    here: Path, module: Callable[..., ModuleType]
) -> None:
    """A module of a package that imports from beside itself."""
    module("", "their_package.__init__")
    module("N = 1\n", "their_package.beside")
    found = module("from .beside import N\n" + SCORE, "their_package.inner")

    _, held = function_of(reward=found.score)

    assert held is not None
    assert held.reason == (
        "cannot be imported by another process (reward.function: their_package/inner.py cannot be imported: "
        "ImportError: attempted relative import with no known parent package)"
    )


def test_the_file_of_a_lone_reward_says_what_it_was(module: Callable[[str], ModuleType]) -> None:
    body = '        """It is \\\\ red."""\n        return [1.0]\n'
    text = f"class Score:\n    def __call__(self, responses, **_):\n{body}"

    name, _ = function_of(reward=module(text).Score())

    said = Path(name.removesuffix(":score")).read_text(encoding="utf-8")
    assert "Score: what scored was an object of the Python session" in said
    assert "return [1.0]" in said
    compile(said, "it", "exec")


def test_the_same_object_is_held_once_and_a_new_one_of_the_same_code_takes_its_place() -> None:
    one, two = (lambda responses, **_: [1.0 for _ in responses] for _ in range(2))
    first, second = Held(one, "a", "b"), Held(one, "a", "b")

    assert hold("x.py:score", first) is first
    assert hold("x.py:score", second) is first
    third = Held(two, "a", "b")
    assert hold("x.py:score", third) is third
    assert held_by("x.py:score") is third
    del third
    assert held_by("x.py:score") is None


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown keyword": (
        {"learning_rat": 1.0},
        "learning_rat: unknown argument 'learning_rat'; did you mean 'learning_rate'?",
    ),
    "a keyword of the caller's": ({"worker": 1}, "worker: unknown argument 'worker'; did you mean 'workers'?"),
    "twice": ({"episodes": 64, "ppo": {"episodes": 64}}, "episodes: stands in ppo too; keep one"),
    "no mapping": ({"ppo": 3}, "ppo: must be a mapping, but got 3"),
    "no prompts": (
        {"prompts": None},
        'prompts: must be given, or task={"name": "support"} for the embedded task',
    ),
    "prompts of another task": (
        {"task": {"name": "support"}},
        "prompts: must be left out, for task support brings its own, or the task's name must",
    ),
    "a number as reward": (
        {"reward": 3},
        "reward: must be a function, a ppo_tune.Reward, the folder of a reward model or a mapping such as "
        '{"name": "rule", "include": {…}}, but got 3',
    ),
    "a class as reward": (
        {"reward": dict},
        "reward: must be a function, a ppo_tune.Reward, the folder of a reward model or a mapping such as "
        "{\"name\": \"rule\", \"include\": {…}}, but got <class 'dict'>",
    ),
    "a function without columns": (
        {"reward": lambda responses: responses},
        "reward: must take prompts, responses and **columns, as lists by name, but "
        "<lambda> does not: got an unexpected keyword argument 'prompts'",
    ),
    "a number as model": (
        {"model": 3},
        "model: must be a folder, a hub name or a model with its tokenizer, (model, tokenizer), but got 3",
    ),
    "a number as judge": (
        {"judges": {"kind": 3}},
        "judges.kind: must be a function, a ppo_tune.Reward, the folder of a reward model or a mapping such as "
        '{"name": "rule", "include": {…}}, but got 3',
    ),
    "no mapping of judges": ({"judges": [1]}, "task.judges: must be a mapping, but got [1]"),
    "no space": ({"space": [1]}, "space: must be a mapping of names to ranges or choices, but got [1]"),
    "no range": (
        {"space": {"gamma": 1.0}},
        "space.gamma: must be (low, high), a list of choices or a mapping such as {'low': …, 'high': …}, but got 1.0",
    ),
    "a wrong range": (
        {"space": {"gamma": (1.0, 0.9)}},
        "space.gamma: `low < high` must hold, but got low=1, high=0.9; a single value belongs in the ppo block",
    ),
    "an unknown parameter": (
        {"space": {"gama": (0.9, 1.0)}},
        "space.gama: unknown 'gama'; did you mean 'gamma'?",
    ),
    "several": (
        {"space": {"gamma": 1.0}, "episodes_": 3, "reward": 3.5},
        "episodes_: unknown argument 'episodes_'; did you mean 'episodes'?\n"
        "reward: must be a function, a ppo_tune.Reward, the folder of a reward model or a mapping such as "
        '{"name": "rule", "include": {…}}, but got 3.5\n'
        "space.gamma: must be (low, high), a list of choices or a mapping such as {'low': …, 'high': …}, but got 1.0",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_a_sentence(changes: dict[str, Any], message: str) -> None:
    assert refusal(**changes) == message


def test_a_model_alone_is_asked_for_its_tokenizer() -> None:
    got = "GPT2LMHeadModel alone"
    rule = f"must be a folder, a hub name or a model with its tokenizer, (model, tokenizer), but got {got}"

    assert refusal(model=tiny_model()) == f"model: {rule}"
    assert refusal(reward=tiny_model()) == f"reward: {rule}"


def test_a_name_that_cannot_be_one_is_refused_before_anything_is_written() -> None:
    with pytest.raises(ConfigError, match="study name: must be letters"):
        Given({"prompts": ["a"], "reward": RULE, "model": "m", "space": SPACE}, "a/b")


def test_a_function_of_c_is_taken_at_its_word() -> None:
    _, held = function_of(reward=functools.partial(max, default=0))

    assert held is not None
