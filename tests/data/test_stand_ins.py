"""A file that stands for an object of a session says so, and is known by that until code stands in its place."""

from pathlib import Path

import pytest

from ppo_tune.data.stand_ins import stand_in, stands_for


@pytest.mark.parametrize("label", ["score", "make.<locals>.<lambda>", "Reward.score"])
def test_what_a_file_stands_for_is_read_back_of_it(label: str, tmp_path: Path) -> None:
    path = tmp_path / "reward.py"
    path.write_text(stand_in(test_what_a_file_stands_for_is_read_back_of_it, label, "hash"), encoding="utf-8")

    assert stands_for(path) == label
    with pytest.raises(ImportError) as caught:
        exec(path.read_text(encoding="utf-8"), {})
    assert str(caught.value) == (
        f"{label} is missing: put it here, in place of all this, as a function score(prompts, responses, **columns) "
        "that returns one number per response; ppo-tune had it from a Python session and has no file of it"
    )


def test_code_stands_for_nothing(tmp_path: Path) -> None:
    path, whole = tmp_path / "reward.py", stand_in(len, "score", "hash")
    texts = {
        "code": b"def score(**_): return []",
        "code below what the file said": whole.partition("raise ImportError(")[0].encode()
        + b"def score(**_): return []",
        "no text": b"\xff\xfe\x00",
    }

    for text in texts.values():
        path.write_bytes(text)
        assert stands_for(path) == ""
    assert stands_for(tmp_path / "nothing.py") == ""
