"""The notebook of the documentation runs, cell by cell, as a kernel runs it; it is kept without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "without_files.ipynb"

KERNEL = """
import ast, asyncio, json, pathlib, sys

async def run(path):
    for cell in json.loads(pathlib.Path(path).read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            tree = ast.parse("".join(cell["source"]))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<cell>", "exec"), globals())
            if last is not None:
                value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), globals())
                shown = value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)
                print(json.dumps([type(value).__name__, shown]))

asyncio.run(run(sys.argv[1]))
"""
"""A kernel's cells share `__main__`, which is no file, and run while its event loop does."""


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]

    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.slow
def test_a_notebook_searches_without_files(here: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", KERNEL, NOTEBOOK],
        capture_output=True,
        text=True,
        env=environment,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    shown = [json.loads(line) for line in lines if line.startswith("[")]
    kinds = [
        "SFTResult",
        "Study",
        "DataFrame",
        "DataFrame",
        "str",
        "Figure",
        "PosixPath",
        "float",
        "DataFrame",
    ]
    assert [kind for kind, _ in shown] == kinds
    assert (
        "note: task.reward: score was made in this session, and no other process can import it, so one worker trains "
        "in this process; import it from a file of its own, and several can"
    ) in lines
    assert len([line for line in lines if line.startswith("trial ")]) == 6
    assert (here / "reports" / "colours" / "index.html").is_file()
    assert (here / "trained" / "colours" / "model" / "config.json").is_file()
