"""What a checkout of ppo-tune measures: its folders, files, functions, imports and lines.

    python benchmarks/house.py [checkout]

Two commits are compared by running it on two worktrees. Lines are lines of files, blank ones and docstrings included.
"""

import argparse
import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "ppo_tune"


def main() -> None:
    """Print one figure a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(), help="default: the current folder")
    for name, value in figures(parser.parse_args().checkout).items():
        print(f"{name:34} {value}")


def figures(checkout: Path) -> dict[str, str]:
    """The figures of a checkout by name."""
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((checkout / PACKAGE).rglob("*.py"))
    }
    if not trees:
        raise SystemExit(f"{checkout} holds no {PACKAGE}/ with modules; name a checkout of ppo-tune")
    lengths = {path: lines_of(path) for path in trees}
    largest = max(lengths, key=lambda path: lengths[path])
    functions = {
        found: (node.end_lineno or node.lineno) - node.lineno + 1
        for path in trees
        for found, node in functions_of(path, trees[path])
    }
    longest = max(functions, key=lambda name: functions[name])
    rooms = {room_of(module_of(path, checkout)) for path in trees}
    folders = {room for room in rooms if (checkout / PACKAGE / room).is_dir()}
    imports = set(imports_between_rooms(trees, checkout))
    arrows = {(room_of(importer), room_of(imported)) for importer, imported in imports}
    texts = [path for path in (checkout / PACKAGE).rglob("*") if path.suffix in {".py", ".jinja"}]
    tests = list((checkout / "tests").rglob("*.py"))
    return {
        "rooms at the package's top level": f"{len(rooms)} ({len(folders)} folders, {len(rooms - folders)} files)",
        "modules": str(len(trees)),
        "median file": f"{statistics.median(lengths.values()):g} lines",
        "largest file": f"{lengths[largest]} lines, {largest.relative_to(checkout)}",
        "largest function": f"{functions[longest]} lines, {longest}",
        "import edges between rooms": str(len(arrows)),
        "imports of modules across rooms": str(len(imports)),
        "lines of the package's modules": f"{sum(lengths.values()):,}",
        "lines of modules and templates": f"{sum(map(lines_of, texts)):,}",
        "lines of tests": f"{sum(map(lines_of, tests)):,} in {len(tests)} files",
    }


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def module_of(path: Path, checkout: Path) -> str:
    """`ppo_tune.search.worker` for its file; a package is called like its folder."""
    parts = path.relative_to(checkout).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The name below the package: a file, or a folder with all its files."""
    return module.split(".")[1] if "." in module else "__init__"


def functions_of(
    path: Path, tree: ast.Module
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of a module, methods and inner ones too, with its docstring and without its decorators."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{node.name} in {path.name}, line {node.lineno}", node


def imports_between_rooms(trees: dict[Path, ast.Module], checkout: Path) -> Iterator[tuple[str, str]]:
    """Which module imports which of another room, inside functions and for type checkers too."""
    modules = {module_of(path, checkout) for path in trees}
    for path, tree in trees.items():
        importer = module_of(path, checkout)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                members = {f"{node.module}.{alias.name}" for alias in node.names}
                names = (members & modules) | ({str(node.module)} if members - modules else set())
            else:
                continue
            for imported in names & modules:
                if room_of(imported) != room_of(importer):
                    yield importer, imported


if __name__ == "__main__":
    main()
