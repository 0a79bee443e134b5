"""A target's own option parser, cut out of its source: nothing of ppo-tune is imported here, nor of the target."""

import argparse
import ast
import datetime
from pathlib import Path
from typing import Any


def openrlhf_parser(unpacked: Path) -> argparse.ArgumentParser:
    """Its option parser: the statements that build it, cut out of the command's source."""
    (source,) = unpacked.rglob("openrlhf/cli/train_ppo_ray.py")
    body = ast.parse(source.read_text(encoding="utf-8")).body
    main = next(node for node in body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))
    upto = next(i for i, node in enumerate(main.body) if "parse_args" in ast.unparse(node))
    code = compile(ast.Module(main.body[:upto], type_ignores=[]), str(source), "exec")
    scope: dict[str, Any] = {"argparse": argparse, "datetime": datetime.datetime}
    exec(code, scope)
    parser: argparse.ArgumentParser = scope["parser"]
    return parser
