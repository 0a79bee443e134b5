# mypy: ignore-errors
"""The manifests, worked out from the targets' released wheels, and the targets' own parsers.

None of the targets can be imported here: they want GPUs, Ray, vLLM, and versions that exclude one another. What
reads their options is plain enough to be cut out of the wheels: statements of argparse, a folder of Hydra, a
module of dataclasses.

    python -m tests.export.derive FOLDER        # downloads wheels to FOLDER and writes ppo_tune/export/manifests
"""

import argparse
import ast
import contextlib
import dataclasses
import enum
import importlib
import importlib.util
import json
import subprocess
import sys
import types
import typing
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ppo_tune import export as family
from ppo_tune.export import verl
from ppo_tune.export.base import Conversion
from tests.export.parsers import openrlhf_parser
from tests.export.winners import WINNERS

PACKAGES = {"openrlhf": "0.11.2", "verl": "0.9.1", "skyrl": "0.3.0", "trl": "1.12.0"}
MODULES = {target: importlib.import_module(f"ppo_tune.export.{target}") for target in PACKAGES}
CONVERTERS = {target: module.convert for target, module in MODULES.items()}
MACHINES = {target: getattr(module, "MACHINE", ()) for target, module in MODULES.items()}
SCRIPT_SETS = {"trl": ("output_dir", "use_cpu", "bf16")}
"""Options that the exported script works out while it runs."""
MANIFESTS = Path(family.__file__).parent / "manifests"

Options = dict[str, dict[str, Any]]


class NoIndexError(Exception):
    """The package index cannot be reached, or has no such wheel."""


def fetch(target: str, folder: Path) -> Path:
    """The unpacked wheel of a target, downloaded unless it is there."""
    unpacked = folder / f"{target}-{PACKAGES[target]}"
    if unpacked.is_dir():
        return unpacked
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--retries", "1", "--timeout", "20"),
        *("--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
        *("--abi", "none", "--platform", "manylinux1_x86_64", "--platform", "any"),
        *("--dest", str(folder), f"{target}=={PACKAGES[target]}"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise NoIndexError("the package index does not answer") from None
    wheels = list(folder.glob(f"{target}-{PACKAGES[target]}-*.whl"))
    if done.returncode or not wheels:
        raise NoIndexError((done.stderr.strip().splitlines() or ["pip said nothing"])[-1])
    draft = folder / f".{unpacked.name}"
    zipfile.ZipFile(wheels[0]).extractall(draft)
    draft.rename(unpacked)
    return unpacked


def conversions(target: str) -> list[Conversion]:
    """Every winner in the target's words."""
    return [CONVERTERS[target](winner) for winner in WINNERS.values()]


def names_used(target: str) -> list[str]:
    """All options that any export sets, or leaves out on purpose, without Hydra's plus."""
    settings = [*MACHINES[target], *(s for made in conversions(target) for s in made.settings)]
    return list(dict.fromkeys([*(s.name.lstrip("+") for s in settings), *SCRIPT_SETS.get(target, ())]))


# --- OpenRLHF


def _openrlhf_options(unpacked: Path) -> Options:
    found: Options = {}
    for action in openrlhf_parser(unpacked)._actions:
        if isinstance(action, argparse._StoreTrueAction):
            kind = "flag"
        elif action.nargs is not None:
            kind = "list"
        else:
            kind = getattr(action.type, "__name__", "str")
        default = list(action.default) if isinstance(action.default, tuple) else action.default
        option = {"type": kind, "default": default}
        if action.choices:
            option["choices"] = list(action.choices)
        found |= {name: option for name in action.option_strings}
    return found


# --- verl


@contextlib.contextmanager
def _hydra(unpacked: Path) -> Iterator[None]:
    from hydra import initialize_config_dir

    with initialize_config_dir(config_dir=str(unpacked / "verl/trainer/config"), version_base=None):
        yield


def verl_config(unpacked: Path, overrides: list[str]) -> Any:
    """Its config as Hydra composes it; an unknown name is an error."""
    from hydra import compose

    with _hydra(unpacked):
        return compose("ppo_trainer", overrides=overrides)


def _verl_options(unpacked: Path) -> Options:
    from omegaconf import DictConfig, OmegaConf

    def walk(node: DictConfig, prefix: str) -> Options:
        found: Options = {}
        for key in node:
            name, missing = f"{prefix}{key}", OmegaConf.is_missing(node, key)
            value = None if missing else node[key]
            if isinstance(value, DictConfig) and len(value):
                found |= walk(value, f"{name}.")
            else:
                plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
                found[name] = {"type": _type_name(plain), "default": plain}
        return found

    found = walk(verl_config(unpacked, []), "")
    for place in (f"{verl.ACTOR}.optim", "critic.optim"):  # a null that takes any option of torch's AdamW
        found[f"{place}.override_optimizer_config.eps"] = {"type": "float", "default": 1e-8}
    source = (unpacked / "verl/workers/config/actor.py").read_text(encoding="utf-8")
    assert "entropy_coeff: float = 0" in source
    found[f"{verl.ACTOR}.entropy_coeff"]["type"] = "float"  # its YAML says 0
    return found


# --- SkyRL


@contextlib.contextmanager
def skyrl_config_class(unpacked: Path) -> Iterator[Any]:
    """Its config class, from the one module that defines it; what that imports of GPU code stands empty."""
    stubs = {name: types.ModuleType(name) for name in SKYRL_STUBS}
    for name, attribute, value in (
        ("skyrl_gym.envs.search.env", "SearchEnvConfig", _Empty),
        ("skyrl_gym.envs.sql.env", "Text2SQLEnvConfig", _Empty),
        ("skyrl.backends.skyrl_train.inference_servers.utils", "_uses_lora_weight_sync", lambda _: False),
    ):
        setattr(stubs[name], attribute, value)
    spec = importlib.util.spec_from_file_location("skyrl_config", unpacked / "skyrl/train/config/config.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {**stubs, "skyrl_config": module}):
        spec.loader.exec_module(module)
        yield module.SkyRLTrainConfig


@dataclasses.dataclass
class _Empty:
    """A config of no interest."""


SKYRL_STUBS = (
    "skyrl_gym", "skyrl_gym.envs", "skyrl_gym.envs.search", "skyrl_gym.envs.search.env", "skyrl_gym.envs.sql",
    "skyrl_gym.envs.sql.env", "skyrl", "skyrl.backends", "skyrl.backends.skyrl_train",
    "skyrl.backends.skyrl_train.inference_servers", "skyrl.backends.skyrl_train.inference_servers.utils",
)  # fmt: skip


def skyrl_check_batches(unpacked: Path) -> Any:
    """Its own function that checks batch sizes, cut out of its module."""
    import math

    source = unpacked / "skyrl/train/utils/utils.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    wanted = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "validate_batch_sizes")
    scope: dict[str, Any] = {"math": math, "SkyRLTrainConfig": object}
    exec(compile(ast.Module([wanted], type_ignores=[]), str(source), "exec"), scope)
    return scope["validate_batch_sizes"]


def _skyrl_options(unpacked: Path) -> Options:
    def walk(made: Any, prefix: str) -> Options:
        found: Options = {}
        hints = typing.get_type_hints(type(made))
        for field in dataclasses.fields(made):
            value, name = getattr(made, field.name), f"{prefix}{field.name}"
            if dataclasses.is_dataclass(value):
                found |= walk(value, f"{name}.")
            else:
                kind = _hint_name(hints[field.name])
                found[name] = {"type": kind, "default": value if kind != "any" else None}
        return found

    with skyrl_config_class(unpacked) as config:
        found = walk(config(), "")
    for name in ("trainer.ckpt_path", "trainer.export_path", "data.train_data"):
        found[name]["default"] = None  # below the home folder of whoever asks
    return found


# --- TRL


@contextlib.contextmanager
def trl_config_class(unpacked: Path) -> Iterator[Any]:
    """Its config class, from the two modules that define it; their packages import much more and stand empty."""
    packages = {name: types.ModuleType(name) for name in TRL_STUBS}
    modules = {}
    with patch.dict(sys.modules, packages):
        for name in ("trl.trainer.base_config", "trl.experimental.ppo.ppo_config"):
            spec = importlib.util.spec_from_file_location(name, unpacked / f"{name.replace('.', '/')}.py")
            assert spec is not None
            assert spec.loader is not None
            modules[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(modules[name])
        yield modules["trl.experimental.ppo.ppo_config"].PPOConfig


TRL_STUBS = ("trl", "trl.trainer", "trl.experimental", "trl.experimental.ppo")


def _trl_options(unpacked: Path) -> Options:
    found: Options = {}
    with trl_config_class(unpacked) as config:
        hints = typing.get_type_hints(config)
        for field in dataclasses.fields(config):
            default = field.default.value if isinstance(field.default, enum.Enum) else field.default
            parts = _parts(hints[field.name])
            option = {
                "type": _hint_name(hints[field.name]),
                "default": None if default is dataclasses.MISSING else default,
            }
            if all(typing.get_origin(part) is typing.Literal for part in parts):
                option["choices"] = [value for part in parts for value in typing.get_args(part)]
            found[field.name] = option
    return found


# --- Types by name


def _type_name(value: Any) -> str:
    return "any" if value is None else type(value).__name__


def _parts(hint: Any) -> list[Any]:
    """The members of a union, None left out."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [part for part in typing.get_args(hint) if part is not type(None)]
    return [hint]


def _hint_name(hint: Any) -> str:
    """A type hint as one of the manifests' words."""
    words = set()
    for part in _parts(hint):
        origin = typing.get_origin(part) or part
        if origin is typing.Literal or (isinstance(origin, type) and issubclass(origin, str | enum.Enum)):
            words.add("str")
        elif origin in (bool, int, float, list, dict):
            words.add(origin.__name__)
        else:
            words.add("any")
    if words == {"int", "float"}:
        return "float"
    return words.pop() if len(words) == 1 else "any"


# --- The manifests


DERIVERS = {
    "openrlhf": _openrlhf_options,
    "verl": _verl_options,
    "skyrl": _skyrl_options,
    "trl": _trl_options,
}


def derive(target: str, unpacked: Path) -> dict[str, Any]:
    """A manifest: of the options that our exports name.

    Raises:
        KeyError: If the target has no such option.
    """
    options = DERIVERS[target](unpacked)
    return {
        "package": target,
        "version": PACKAGES[target],
        "options": {name: options[name] for name in names_used(target)},
    }


def manifest_text(manifest: dict[str, Any]) -> str:
    """A manifest as JSON, one option on each line."""
    options = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in manifest["options"].items())
    head = "".join(f"  {json.dumps(key)}: {json.dumps(manifest[key])},\n" for key in ("package", "version"))
    return f'{{\n{head}  "options": {{\n{options}\n  }}\n}}\n'


if __name__ == "__main__":
    wheels = Path(sys.argv[1])
    for target in PACKAGES:
        text = manifest_text(derive(target, fetch(target, wheels)))
        (MANIFESTS / f"{target}.json").write_text(text, encoding="utf-8")
