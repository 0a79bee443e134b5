"""The recipe of the embedded task's models changes with every statement it consists of, and with nothing else."""

import ast
import shutil
from pathlib import Path

import pytest

import ppo_tune
from ppo_tune.config.run import RunConfig
from ppo_tune.data import recipes
from ppo_tune.data.recipes import definitions_of, recipe_hash, recipe_of, statements_of
from ppo_tune.data.user_files import check_user_files

PACKAGE = Path(ppo_tune.__file__).parent


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's sources, from where the recipe is read now."""
    copied = tmp_path / "package"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(recipes, "PACKAGE", copied)
    return copied


@pytest.fixture(scope="module")
def usual() -> str:
    """The recipe's hash by the sources as they are."""
    return recipe_hash("support")


def replace(path: Path, before: str, after: str) -> None:
    """Put another text in the place of one that stands in a file once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_the_recipe_does_not_depend_on_where_its_sources_lie(sources: Path, usual: str) -> None:
    assert recipe_hash("support") == usual


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("worlds/support.py", "epochs=3,", "epochs=1,"),
        ("worlds/support.py", "epochs=4,", "epochs=5,"),
        ("tasks/recipe.py", "return 2 * seed,", "return 3 * seed,"),
        ("tasks/world.py", "n_preferences: int = 4000", "n_preferences: int = 3999"),
        ("worlds/support.py", '"router"', '"switch"'),
        ("worlds/support.py", "0.4 * min(courtesy, 3)", "0.5 * min(courtesy, 3)"),
        (
            "config/fitting.py",
            "heldout_fraction: float = Field(\n        0.1,",
            "heldout_fraction: float = Field(\n        0.2,",
        ),
        ("data/prompts.py", "digest()[0] % 10", "digest()[1] % 10"),
        ("fitting/loop.py", "LARGEST_GRADIENT = 1.0", "LARGEST_GRADIENT = 2.0"),
        ("fitting/sft.py", "step / n_steps", "2 * step / n_steps"),
        ("models/answers.py", "1 - torch.rand(", "torch.rand("),
        ("models/text.py", "def begin_once(", "def begin_once(extra: int, "),
        ("fitting/label_losses.py", "functional.logsigmoid(lead), ", "functional.logsigmoid(2 * lead), "),
        (
            "rewards/preference.py",
            'response.removeprefix(" ")\n    return template',
            "response\n    return template",
        ),
        ("rewards/preference.py", "mask.sum(-1) - 1]", "mask.sum(-1) - 2]"),
        ("seeding.py", 'digest[:8], "big"', 'digest[:8], "little"'),
    ],
)
def test_another_setting_is_another_recipe(
    sources: Path, usual: str, file: str, before: str, after: str
) -> None:
    replace(next(sources.rglob(file)), before, after)

    assert recipe_hash("support") != usual


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        pytest.param("ppo/losses.py", "(values - returns)", "(values - 2 * returns)", id="PPO's losses"),
        pytest.param(
            "rewards/preference.py",
            "self.gain * self.link.read",
            "self.link.read",
            id="the reward of a search",
        ),
        pytest.param("models/loading.py", "MIN_WIDTH =", "MIN_WIDTH = 1 +", id="loading"),
        pytest.param(
            "config/fitting.py",
            'Text = Field("response", description="Column of the good',
            'Text = Field("reply", description="Column of the good',
            id="columns",
        ),
        pytest.param("config/fitting.py", "Passes over the data.", "Epochs.", id="a description"),
        pytest.param("fitting/sft.py", "at least 2 prompts", "two prompts", id="words of a refusal"),
    ],
)
def test_what_does_not_build_the_models_leaves_the_recipe_as_it_is(
    sources: Path, usual: str, file: str, before: str, after: str
) -> None:
    replace(next(sources.rglob(file)), before, after)

    assert recipe_hash("support") == usual


def test_comments_docstrings_and_the_layout_leave_the_recipe_as_it_is(sources: Path) -> None:
    usual = definitions_of("support")

    for name in {module for module, _ in usual}:
        path = sources / f"{name.replace('.', '/')}.py"
        _, _, rest = path.read_text(encoding="utf-8").partition('"""\n')
        path.write_text(
            f'"""Other words."""\n# a remark\n\n\n{rest}\n"""A remark below."""\n', encoding="utf-8"
        )

    assert definitions_of("support") == usual


def test_only_what_does_nothing_is_left_out() -> None:
    source = '"""Says."""\nclass A:\n    """Says."""\n\n    x = 1  # why\n    """Says."""\ndef f():\n    """Says."""\n'

    assert [*map(ast.unparse, statements_of(source))] == ["class A:\n    x = 1", "def f():\n    pass"]


def test_torch_is_part_of_the_recipe_and_the_kind_of_its_build_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashes = []
    for version in ("2.13.0+cpu", "2.13.0+cu126", "2.14.0"):
        monkeypatch.setattr(recipes, "version", lambda _, version=version: version)
        hashes.append(recipe_hash("support"))

    assert hashes[0] == hashes[1] != hashes[2]
    assert recipe_of("support") == f"models of recipe {hashes[2]}, fitted by torch 2.14.0"


def test_the_recipe_is_part_of_a_fingerprint_as_it_is_named() -> None:
    config = RunConfig.model_validate({"task": {"name": "support"}})

    assert check_user_files(config).hashes == {"task.name": recipe_of("support")}
