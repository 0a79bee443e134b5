"""Runs what guards a promise but costs more than CI has, and keeps how it went in tests/guards.json.

`make guards` and `make families` call it; the file is committed, so that everybody sees when it last held.
"""

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "tests" / "guards.json"
RUNS = {"guards": ["-m", "guard"], "families": ["tests/models/families", "-m", ""]}
"""What pytest is told for each, besides how many processes it uses."""

OURS = (".", ":(exclude)tests/guards.json")
"""What must stand in the commit that a result is kept for: all but the results."""


def git(*words: str) -> str:
    """What git says of the repository."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def kept() -> dict[str, dict[str, Any]]:
    """How each went when it last ran."""
    if not RESULTS.is_file():
        return {}
    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results


def main(name: str) -> int:
    """Run one of them, keep its counts and the time, and return pytest's exit code."""
    commit, changes = git("rev-parse", "--short", "HEAD"), git("status", "--porcelain", "-uno", *OURS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.xml"
        pytest = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal", f"--junitxml={path}"]
        code = subprocess.run([*pytest, *RUNS[name]], cwd=ROOT, check=False).returncode
        (suite,) = ElementTree.parse(path).getroot().iter("testsuite")
    counts = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    results = kept()
    results[name] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit + ("-dirty" if changes else ""),
        **counts,
        "seconds": round(float(suite.attrib["time"])),
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
