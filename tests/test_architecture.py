# mypy: ignore-errors
"""How the house is built: who may import whom, what no file is called, and what is never loaded."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "ppo_tune"

ROWS = (
    ("safe_text", "events", "plurals", "calling"),
    ("errors",),
    ("seeding", "files", "versions", "serving", "templates"),
    ("config",),
    ("programs",),
    ("data",),
    ("ppo",),
    ("models",),
    ("rewards",),
    ("fitting",),
    ("tasks",),
    ("trainer",),
    ("tracking",),
    ("training", "search", "drafting"),
    ("export",),
    ("reporting",),
    ("tuning",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
"""A place imports only from rows above its own; places of one row do not import one another."""

ROW_OF = {place: row for row, places in enumerate(ROWS) for place in places}


def name_of(path: Path) -> str:
    """`ppo_tune.search.run` for `ppo_tune/search/run.py`; a package is called like its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def imports_of(name: str) -> set[str]:
    """Full names of all that a module imports, inside functions too; of ours, the very module."""
    found: set[str] = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = members & SOURCES.keys()
            found |= modules | ({str(node.module)} if members - modules else set())
    return found


def imports_of_ours(name: str) -> set[str]:
    """The modules of the package that a module imports."""
    return imports_of(name) & SOURCES.keys()


def imports_of_others(name: str) -> set[str]:
    """The top-level names of what a module imports from elsewhere, the standard library left out."""
    tops = {imported.partition(".")[0] for imported in imports_of(name)}
    return tops - {PACKAGE} - sys.stdlib_module_names


def place_of(name: str) -> str:
    """The name below the package: a file, or a folder with all its files."""
    return name.split(".")[1] if "." in name else {PACKAGE: "__init__"}[name]


modules = pytest.mark.parametrize("name", SOURCES)


@modules
def test_every_module_has_a_row(name):
    assert place_of(name) in ROW_OF


@modules
def test_a_module_imports_only_from_rows_above_it(name):
    place = place_of(name)

    wrong = [
        imported
        for imported in imports_of_ours(name)
        if place_of(imported) != place and ROW_OF[place_of(imported)] >= ROW_OF[place]
    ]

    assert wrong == []


def chapter_of(name: str) -> str:
    """The chapter of the report that a module belongs to: a file or a folder; "" for one of no chapter."""
    return name.split(".")[3] if name.startswith(f"{PACKAGE}.reporting.chapters.") else ""


def test_a_chapter_imports_no_other_chapter():
    """What two chapters share lies above them, in `reporting/`; the comparison too imports no chapter."""
    importing = {
        name
        for name in SOURCES
        if {chapter_of(other) for other in imports_of_ours(name)} - {"", chapter_of(name)}
    }

    assert importing == {f"{PACKAGE}.reporting.page", f"{PACKAGE}.reporting"}


@modules
def test_a_member_does_not_import_its_familys_front_door(name):
    family = name.rpartition(".")[0]

    assert family not in imports_of_ours(name) - {PACKAGE}


def test_no_module_imports_itself_in_a_roundabout_way():
    graph = {name: imports_of_ours(name) - {PACKAGE} for name in SOURCES}

    order = list(graphlib.TopologicalSorter(graph).static_order())

    assert set(order) == set(SOURCES)


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith(f"{PACKAGE}.ppo")])
def test_the_numerics_import_torch_and_nothing_of_ours(name):
    ours = {place_of(imported) for imported in imports_of_ours(name)}

    assert ours <= {"ppo"}
    assert imports_of_others(name) <= {"torch"}


def test_optuna_stays_where_studies_are():
    importing = {name for name in SOURCES if "optuna" in imports_of_others(name)}

    at_home = {"search", "export", "reporting", "tuning", "cli"}  # the command line passes studies on
    assert {place_of(name) for name in importing} == {*at_home, "config"}
    ranges = {f"{PACKAGE}.config.{name}" for name in ("ranges", "space")}
    assert {name for name in importing if place_of(name) == "config"} == ranges


@modules
def test_what_is_stored_of_trials_and_studies_is_read_and_written_in_one_place(name):
    """Names of user attributes are strings; who spells one elsewhere reads what nobody writes."""
    words = {
        word
        for node in ast.walk(TREES[name])
        for word in (getattr(node, "attr", None), getattr(node, "arg", None))
        if word in {"user_attrs", "set_user_attr", "set_trial_user_attr", "set_study_user_attr"}
    }

    assert name == f"{PACKAGE}.search.facts" or words == set()


def _file_names(name):
    """What a module calls files: the strings that it puts after a path, or hands to `folders._Below`."""
    after = [
        node.right
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
    ]
    below = [
        node.args[0]
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_Below"
    ]
    return {node.value for node in (*after, *below) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize(
    "name", [name for name in SOURCES if place_of(name) in {"search", "reporting", "export", "cli"}]
)
def test_files_of_a_study_have_their_names_in_one_place(name):
    home = f"{PACKAGE}.search.folders"
    names = _file_names(home)

    assert {"runs", "trials", "base.json", "metrics.jsonl", "study.db"} <= names
    assert name == home or _file_names(name) & (names - {"config.json"}) == set()  # a training has one too


@modules
def test_no_file_is_a_drawer(name):
    words = set(name.rpartition(".")[2].split("_"))

    assert words.isdisjoint({"util", "utils", "helper", "helpers", "common", "misc", "manager"})


@modules
def test_nothing_that_can_run_code_is_loaded(name):
    imported = {top.partition(".")[0] for top in imports_of(name)}
    calls = {ast.unparse(node.func) for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)}

    assert imported.isdisjoint({"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"})
    assert calls.isdisjoint(
        {"torch.load", "torch.save", "yaml.load", "eval", "exec", "numpy.load", "np.load"}
    )


@modules
def test_every_yaml_is_safe(name):
    makers = [
        node
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"YAML", "ruamel.yaml.YAML"}
    ]

    settings = [{keyword.arg: ast.unparse(keyword.value) for keyword in maker.keywords} for maker in makers]

    assert [setting for setting in settings if setting.get("typ") != "'safe'"] == []


def test_the_test_sees_imports_inside_functions():
    assert f"{PACKAGE}.export.sources" in imports_of_ours(f"{PACKAGE}.export.gather")


def test_the_test_tells_a_family_from_its_members():
    assert f"{PACKAGE}.tasks.world" in imports_of_ours(f"{PACKAGE}.tasks.embedded")
    assert f"{PACKAGE}.tasks" not in imports_of_ours(f"{PACKAGE}.tasks.embedded")


@modules
def test_no_model_may_bring_code_of_its_own(name):
    """transformers would ask at the keyboard, and a `y` would run it."""
    calls = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    names = {call: ast.unparse(call.func) for call in calls}
    reading = [
        call
        for call, name in names.items()
        if name.endswith(".from_pretrained")
        and name != "PeftModel.from_pretrained"  # which reads tensors alone
    ]
    said = [{keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords} for call in reading]

    assert [settings.get("trust_remote_code") for settings in said] == ["False"] * len(reading)


@pytest.mark.parametrize(
    "name", ["cli", "data.user_files", "cli.progress", "search.run", "search.storage", "config.study_file"]
)
def test_what_trains_nothing_waits_for_no_torch(name):
    """`check` answers in a second, and the parent of a search holds no second copy of torch."""
    code = f"import sys, {PACKAGE}.{name}; print('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
