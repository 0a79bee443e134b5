# mypy: ignore-errors
"""A user's function among the modules beside its file: found, known by their content, and mixed with nobody's."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ppo_tune.data.user_functions import helper_files, load_function
from ppo_tune.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, so that messages name short paths."""
    monkeypatch.chdir(tmp_path)


def write(files: dict[str, str]) -> None:
    """Files of these texts, by their paths without `.py`."""
    for name, text in files.items():
        path = Path(f"{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def helpers(name: str = "rewards/r.py:score") -> set[str]:
    """What the file of a function imports of its user's."""
    return set(helper_files(name))


def answer(name: str = "rewards/r.py:score") -> object:
    """What a function returns."""
    return load_function(name)()


def test_a_module_beside_the_file_is_found_when_it_is_imported():
    write(
        {"rewards/r": "from words import WORD\ndef score(): return WORD", "rewards/words": "WORD = 'sorry'"}
    )

    assert answer() == "sorry"
    assert helpers() == {"rewards/words.py"}


def test_a_module_beside_the_file_is_found_when_the_function_is_called():
    write(
        {
            "rewards/r": "def score():\n    import words\n    return words.WORD",
            "rewards/words": "WORD = 'sorry'",
        }
    )

    assert answer() == "sorry"
    assert helpers() == {"rewards/words.py"}


def test_a_generator_finds_its_modules_while_it_is_read():
    write(
        {
            "rewards/r": "def score():\n    import words\n    yield words.WORD",
            "rewards/words": "WORD = 'sorry'",
        }
    )

    assert list(answer()) == ["sorry"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"rewards/r": "import json, re, pathlib"}, set(), id="the standard library"),
        pytest.param({"rewards/r": "import numpy, yaml"}, set(), id="installed packages"),
        pytest.param({"rewards/r": "import ppo_tune.config.space"}, set(), id="this package"),
        pytest.param(
            {"rewards/r": "import a", "rewards/a": "import b", "rewards/b": ""},
            {"rewards/a.py", "rewards/b.py"},
            id="an import of an import",
        ),
        pytest.param(
            {"rewards/r": "from p import inner", "rewards/p/__init__": "", "rewards/p/inner": "x = 1"},
            {"rewards/p/__init__.py", "rewards/p/inner.py"},
            id="a package",
        ),
        pytest.param(
            {
                "rewards/r": "import p.a",
                "rewards/p/__init__": "",
                "rewards/p/a": "from . import b\nfrom .c import X",
                "rewards/p/b": "",
                "rewards/p/c": "X = 1",
            },
            {f"rewards/p/{name}.py" for name in ("__init__", "a", "b", "c")},
            id="relative imports",
        ),
        pytest.param(
            {"rewards/r": "from p.inner import X", "rewards/p/inner": "X = 1"},
            {"rewards/p/inner.py"},
            id="a folder that is no package",
        ),
        pytest.param(
            {"rewards/r": "import importlib\nw = importlib.import_module('words')", "rewards/words": ""},
            {"rewards/words.py"},
            id="an import by a name in text",
        ),
        pytest.param(
            {"rewards/r": "try:\n    import nowhere\nexcept ImportError:\n    import words", "rewards/words": ""},
            {"rewards/words.py"},
            id="an import that may fail",
        ),
        pytest.param(
            {"rewards/r": "def lazy():\n    import a", "rewards/a": "import b", "rewards/b": "1 / 0"},
            {"rewards/a.py", "rewards/b.py"},
            id="what only a call would execute",
        ),
        pytest.param(
            {
                "rewards/r": "import importlib\ndef lazy():\n    return importlib.import_module('p.inner')",
                "rewards/p/__init__": "",
                "rewards/p/inner": "import a",
                "rewards/a": "",
            },
            {"rewards/p/__init__.py", "rewards/p/inner.py", "rewards/a.py"},
            id="a name in text that only a call would import",
        ),
        pytest.param(
            {
                "rewards/r": "from importlib import import_module\ndef lazy():\n    import_module(name='my-words')",
                "rewards/my-words": "",
            },
            {"rewards/my-words.py"},
            id="a name in text that no statement could import",
        ),
        pytest.param(
            {"rewards/r": "lazy = lambda: __import__('a', globals())", "rewards/a": ""},
            {"rewards/a.py"},
            id="the function behind import",
        ),
        pytest.param(
            {
                "rewards/r": "import p, importlib\ndef lazy():\n    importlib.import_module('.b', 'p')",
                "rewards/p/__init__": "from importlib import import_module\n"
                "def lazy():\n    import_module('.c', __package__)",
                **{f"rewards/p/{name}": "" for name in "bcd"},
            },
            {f"rewards/p/{name}.py" for name in ("__init__", "b", "c")},
            id="relative names in text",
        ),
        pytest.param(
            {
                "rewards/r": "from importlib import import_module\ndef lazy(name):\n    print('a'), "
                "import_module(name), import_module(), import_module(''), import_module('.a'), import_module('a.'), "
                "__import__(5)",
                "rewards/a": "",
            },
            set(),
            id="text that names no import, and imports whose name is no text",
        ),
        pytest.param({"rewards/r": "", "rewards/other": "x = 1"}, set(), id="a file that nobody imports"),
    ],
)  # fmt: skip
def test_its_helpers_are_the_users_own_files_that_it_imports(files, expected):
    write(files)
    with Path("rewards/r.py").open("a") as file:
        file.write("\ndef score(): return 0\n")

    assert helpers() == expected


def test_a_module_of_the_users_elsewhere_is_a_helper_by_its_modules_name(tmp_path, monkeypatch):
    write({"src/my_measures/__init__": "", "src/my_measures/words": "X = 1"})
    write({"rewards/r": "from my_measures.words import X\ndef score(): return X"})
    monkeypatch.syspath_prepend(tmp_path / "src")

    assert helpers() == {"my_measures/__init__.py", "my_measures/words.py"}

    sys.modules.pop("my_measures.words"), sys.modules.pop("my_measures")


def test_packages_that_were_installed_elsewhere_are_no_helpers(tmp_path, monkeypatch):
    write({"deps/their_measures": "X = 1", "rewards/r": "import their_measures\ndef score(): return 1"})
    Path("deps", "their_measures-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "deps")

    assert helpers() == set()

    del sys.modules["their_measures"]


def test_helpers_are_the_same_whoever_asks_and_whatever_was_imported_before():
    write(
        {
            "rewards/r": "import a\ndef score():\n    import b\n    return b.X",
            "rewards/a": "",
            "rewards/b": "X = 1",
        }
    )
    code = "from ppo_tune.data.user_functions import helper_files; print(sorted(helper_files('rewards/r.py:score')))"

    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    answer()

    assert fresh == f"{sorted(helpers())}\n"


def test_two_files_in_two_folders_have_each_their_helper_of_one_name():
    for folder, number in (("one", 1), ("two", 2)):
        write({f"{folder}/words": f"N = {number}", f"{folder}/late": f"M = {10 * number}"})
        write({f"{folder}/r": "import words\ndef score():\n    import late\n    return words.N + late.M"})

    functions = [load_function(f"{folder}/r.py:score") for folder in ("one", "two")]

    assert [function() for function in (*functions, *reversed(functions))] == [11, 22, 22, 11]


def test_two_files_that_both_put_their_folder_on_the_path_do_not_mix_either():
    hack = "import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\n"
    for folder, number in (("one", 1), ("two", 2)):
        write({f"{folder}/late": f"N = {number}"})
        write({f"{folder}/r": hack + "def score():\n    import late\n    return late.N"})
    path = sys.path[:]

    functions = [load_function(f"{folder}/r.py:score") for folder in ("one", "two")]

    assert [function() for function in functions] == [1, 2]
    assert sys.path == path


def test_the_program_keeps_its_own_module_of_a_helpers_name(tmp_path, monkeypatch):
    write({"src/words": "", "rewards/words": "N = 2"})
    write({"rewards/r": "def score():\n    import words\n    return words.N"})
    program = ModuleType("words")
    program.__file__ = str(tmp_path / "src" / "words.py")
    monkeypatch.setitem(sys.modules, "words", program)

    first, again = answer(), answer()

    assert (first, again) == (2, 2)
    assert sys.modules["words"] is program


def test_the_programs_own_modules_and_path_are_as_they_were():
    write({"rewards/r": "import words\ndef score():\n    import late\n    return 1"})
    write({"rewards/words": "", "rewards/late": ""})
    before, path = set(sys.modules), sys.path[:]

    answer()

    assert set(sys.modules) == before
    assert sys.path == path


def test_a_changed_helper_is_what_runs_within_the_same_second():
    write(
        {"rewards/r": "from words import WORD\ndef score(): return WORD", "rewards/words": "WORD = 'sorry'"}
    )
    before = answer()
    write({"rewards/words": "WORD = 'merry'"})  # as long as before

    assert (before, answer()) == ("sorry", "merry")


def test_a_file_that_has_not_changed_runs_once():
    write(
        {
            "rewards/r": "import words\nwords.log.append(1)\ndef score(): return words.log",
            "rewards/words": "log = []",
        }
    )

    first, second = load_function("rewards/r.py:score"), load_function("rewards/r.py:score")

    assert first() is second()
    assert first() == [1]


def test_no_bytecode_is_left_in_the_users_folder():
    write({"rewards/r": "import words\ndef score(): return 1", "rewards/words": ""})

    answer()

    assert sorted(path.name for path in Path("rewards").iterdir()) == ["r.py", "words.py"]


@pytest.mark.parametrize("name", ["json", "yaml", "numpy"])
def test_a_helper_of_an_installed_modules_name_is_refused_and_not_guessed(name, tmp_path):
    write({"rewards/r": f"import {name}\ndef score(): return 1", f"rewards/{name}": "X = 1"})

    with pytest.raises(ConfigError) as caught:
        load_function("rewards/r.py:score")

    own = tmp_path / "rewards" / f"{name}.py"
    assert str(caught.value).startswith(
        f"reward.function: rewards/r.py cannot be imported: {name} in r.py could mean {own} or "
    )
    assert str(caught.value).endswith("; rename yours")


def test_a_name_that_fails_because_it_is_ambiguous_is_told_so():
    write({"rewards/r": "from json import MY_WORD\ndef score(): return 1", "rewards/json": "MY_WORD = 1"})

    with pytest.raises(ConfigError, match=r"json in r\.py could mean .*json\.py or .*; rename yours"):
        load_function("rewards/r.py:score")


def test_installed_modules_never_meet_a_users_module_of_a_name_they_import():
    write({"rewards/r": "import optuna\ndef score(): return optuna.__name__", "rewards/logging": "1 / 0"})

    assert answer() == "optuna"


def test_a_helper_that_raises_is_told_as_the_files_own_failure():
    write({"rewards/r": "import words\ndef score(): return 1", "rewards/words": "1 / 0"})

    with pytest.raises(ConfigError) as caught:
        load_function("rewards/r.py:score")

    assert str(caught.value) == (
        "reward.function: rewards/r.py cannot be imported: ZeroDivisionError: division by zero"
    )
