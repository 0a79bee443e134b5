"""What the block `model` asks of its values."""

import pytest

from tests.config.study_files import blocks, load, mistakes

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("wrong", "told"), [("sometimes", "'sometimes'"), ("1", "1"), ("null", "None"), ("'true'", "'true'")]
)
def test_compiling_is_wanted_or_not_or_left_open(wrong: str, told: str) -> None:
    assert mistakes(blocks(model=f"{{compile: {wrong}}}")) == [
        f"a.yaml:3: model.compile: `true`, `false` or `auto` must stand here, but got {told}"
    ]


@pytest.mark.parametrize("good", ["true", "false", "auto"])
def test_a_study_says_whether_it_compiles(good: str) -> None:
    assert str(load(blocks(model=f"{{compile: {good}}}")).model.compile).lower() == good
