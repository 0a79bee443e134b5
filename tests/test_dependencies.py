"""What is imported is declared, what is declared has a ceiling, and the tested versions are within it."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {
    extra: [Requirement(line) for line in lines] for extra, lines in PROJECT["optional-dependencies"].items()
}
REQUIRED = [Requirement(line) for line in PROJECT["dependencies"]]
FOR_DEVELOPERS = {"dev", "docs"}


def names_of(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def distributions_imported_by(*folders: str) -> dict[str, str]:
    """The distributions that a folder's modules import, inside functions too, each with a module that does.

    The peers' tests run in the trainers' own environments.
    """
    installed = packages_distributions()
    found: dict[str, str] = {}
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    for path in (path for path in paths if path.parent.name != "peers"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import)
                else [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            )  # fmt: skip
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
                found |= {
                    canonicalize_name(name): str(path.relative_to(ROOT)) for name in installed.get(top, ())
                }
    return found


def undeclared(imported: dict[str, str], declared: set[str]) -> dict[str, str]:
    return {name: path for name, path in imported.items() if name not in declared | {"ppo-tune"}}


def test_what_the_package_imports_is_a_dependency_or_an_extra() -> None:
    extras = [line for extra, lines in EXTRAS.items() if extra not in FOR_DEVELOPERS for line in lines]

    assert undeclared(distributions_imported_by("ppo_tune"), names_of(REQUIRED + extras)) == {}


def test_what_tests_and_documentation_import_is_declared_for_developers() -> None:
    extras = [line for lines in EXTRAS.values() for line in lines]

    assert undeclared(distributions_imported_by("tests", "docs"), names_of(REQUIRED + extras)) == {}


@pytest.mark.parametrize("requirement", REQUIRED, ids=str)
def test_every_dependency_has_a_floor_and_a_ceiling(requirement: Requirement) -> None:
    signs = {rule.operator for rule in requirement.specifier}

    assert signs == {">=", "<"}


def test_torch_is_allowed_one_release_at_a_time_for_its_private_operators_are_used() -> None:
    (torch,) = (requirement for requirement in REQUIRED if requirement.name == "torch")

    assert "2.13.0" in torch.specifier
    assert "2.14.0" not in torch.specifier


def test_the_tested_versions_are_within_the_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    bounds = REQUIRED + [line for lines in EXTRAS.values() for line in lines if line.name != "ppo-tune"]

    untested = {requirement.name for requirement in bounds} - tested.keys()
    outside = {
        str(bound) for bound in bounds if bound.name in tested and tested[bound.name] not in bound.specifier
    }

    assert untested == set()
    assert outside == set()


def test_the_pythons_that_are_promised_are_those_that_ci_runs() -> None:
    """CI runs the newest that constraints.txt was tested with; others may work and are not promised."""
    promised = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]

    assert promised == ["3.11"]
    assert "on Python 3.11" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[0]
