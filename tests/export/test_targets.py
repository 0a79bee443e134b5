"""Every export passes the target's own parser, and the manifests are what the released packages say.

The wheels come from the package index, once; without an index these tests are skipped.
"""

import ast
from pathlib import Path
from typing import Any

import pytest
import transformers

from ppo_tune.export import TARGETS, Scale
from ppo_tune.export.base import Beside, Literally, Setting
from tests.export.calls import arguments, overrides, write_files
from tests.export.derive import (
    CONVERTERS,
    MANIFESTS,
    PACKAGES,
    NoIndexError,
    derive,
    fetch,
    manifest_text,
    skyrl_check_batches,
    skyrl_config_class,
    trl_config_class,
    verl_config,
)
from tests.export.parsers import openrlhf_parser
from tests.export.winners import WINNERS

pytestmark = pytest.mark.slow

winners = pytest.mark.parametrize("name", WINNERS)


@pytest.fixture(scope="module")
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Unpacked wheels by target, kept from one run of the tests to the next where pytest keeps a cache."""
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("wheels") if cache is not None else tmp_path_factory.mktemp("wheels")

    missing: dict[str, str] = {}

    def find(target: str) -> Path:
        if target not in missing:
            try:
                return fetch(target, folder)
            except NoIndexError as error:
                missing[target] = str(error)
        pytest.skip(f"no wheel of {target} {PACKAGES[target]}: {missing[target]}")

    return find


@pytest.mark.parametrize("target", PACKAGES)
def test_the_manifest_is_what_the_released_package_says(target: str, wheel: Any) -> None:
    if target == "trl" and transformers.__version__ != (known := "5.23.0"):
        pytest.skip(f"half of TRL's fields are those of transformers, and the manifest is of {known}")

    text = (MANIFESTS / f"{target}.json").read_text(encoding="utf-8")

    assert manifest_text(derive(target, wheel(target))) == text


def settings(target: str, name: str) -> list[Setting]:
    """What an export sets, of plain values."""
    made = CONVERTERS[target](WINNERS[name]).settings
    return [s for s in made if s.value is not None and not isinstance(s.value, Beside | Literally)]


def words(target: str, name: str, tmp_path: Path, **environment: str) -> list[str]:
    """What the exported script calls the trainer with."""
    made = TARGETS[target](WINNERS[name], Scale(10, 512))
    return arguments(write_files(made, tmp_path / "export"), **environment)


@winners
@pytest.mark.parametrize("suggested", ["0", "1"])
def test_openrlhf_reads_its_command(wheel: Any, tmp_path: Path, name: str, suggested: str) -> None:
    command = words("openrlhf", name, tmp_path, SUGGESTED=suggested)

    args = vars(openrlhf_parser(wheel("openrlhf")).parse_args(command[2:]))

    assert command[:2] == ["-m", "openrlhf.cli.train_ppo_ray"]
    assert (tmp_path / "export").samefile(Path(args["ckpt.output_dir"]).parent)
    if suggested == "0":
        for setting in settings("openrlhf", name):
            assert args[setting.name.removeprefix("--")] == setting.value
    else:
        assert args["rollout.max_new_tokens"] == 512
    rollouts = args["rollout.n_samples_per_prompt"] * args["rollout.batch_size"]
    assert rollouts // args["rollout.micro_batch_size"] >= args["actor.num_gpus_per_node"]  # as it asserts
    assert rollouts % args["train.batch_size"] == 0


@winners
@pytest.mark.parametrize("suggested", ["0", "1"])
def test_verl_composes_its_overrides(wheel: Any, tmp_path: Path, name: str, suggested: str) -> None:
    from omegaconf import OmegaConf

    command = words("verl", name, tmp_path, SUGGESTED=suggested)

    config = verl_config(wheel("verl"), command[2:])

    assert command[:2] == ["-m", "verl.trainer.main_ppo"]
    if suggested == "0":
        for setting in settings("verl", name):
            assert OmegaConf.select(config, setting.name.lstrip("+")) == setting.value
    else:
        assert config.actor_rollout_ref.rollout.response_length == 512
    actor, critic = config.actor_rollout_ref.actor, config.critic
    assert critic.ppo_mini_batch_size == actor.ppo_mini_batch_size  # the critic follows the actor
    assert (critic.ppo_epochs, critic.shuffle) == (actor.ppo_epochs, True)
    assert config.data.train_batch_size % actor.ppo_mini_batch_size == 0
    assert actor.ppo_mini_batch_size % actor.ppo_micro_batch_size_per_gpu == 0
    assert (
        config.data.train_files == str(tmp_path / "export" / "prompts.jsonl")
        or WINNERS[name].sources.prompts is None
    )


def test_verl_reads_no_key_that_it_does_not_have(wheel: Any) -> None:
    from hydra.errors import ConfigCompositionException

    with pytest.raises(ConfigCompositionException, match="gae_lambda"):
        verl_config(wheel("verl"), ["algorithm.gae_lambda=1"])


@winners
@pytest.mark.parametrize("suggested", ["0", "1"])
def test_skyrl_builds_its_config(wheel: Any, tmp_path: Path, name: str, suggested: str) -> None:
    command = words("skyrl", name, tmp_path, SUGGESTED=suggested)
    unpacked = wheel("skyrl")

    with skyrl_config_class(unpacked) as config_class:
        config = config_class.from_cli_overrides(command[1:])
        skyrl_check_batches(unpacked)(config)

    assert command[0] == str(tmp_path / "export" / "train.py")
    assert set(overrides(command)) >= {setting.name for setting in settings("skyrl", name)}
    if suggested == "0":
        for setting in settings("skyrl", name):
            found: Any = config
            for part in setting.name.split("."):
                found = getattr(found, part)
            assert found == ([setting.value] if setting.name == "data.train_data" else setting.value)
    else:
        assert config.generator.sampling_params.max_generate_length == 512
    assert config.trainer.algorithm.temperature == WINNERS[name].config.ppo.temperature
    assert config.trainer.critic.model.path  # or it is no PPO
    assert config.generator.max_input_length == config.trainer.max_prompt_length  # as it asserts


def test_skyrl_refuses_a_name_that_it_does_not_have(wheel: Any) -> None:
    with skyrl_config_class(wheel("skyrl")) as config_class, pytest.raises(ValueError, match="gae_lambda"):
        config_class.from_cli_overrides(["trainer.algorithm.gae_lambda=1"])


@winners
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_trl_takes_its_fields(wheel: Any, tmp_path: Path, name: str) -> None:
    from transformers import HfArgumentParser

    made = TARGETS["trl"](WINNERS[name], Scale(10, 512))
    as_tuned, suggested = (_dict_of(made.files["train.py"], which) for which in ("AS_TUNED", "SUGGESTED"))
    on_cpu = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False}

    with trl_config_class(wheel("trl")) as config_class:
        config = config_class(**as_tuned, **on_cpu)
        (parsed,) = HfArgumentParser(config_class).parse_dict({**as_tuned, **on_cpu})
        larger = config_class(**(as_tuned | suggested), **on_cpu)

    for setting in settings("trl", name):
        assert as_tuned[setting.name] == setting.value
        assert getattr(config, setting.name) == getattr(parsed, setting.name)
    assert config.kl_coef == WINNERS[name].config.ppo.kl_coef
    assert larger.response_length == 512
    assert config.per_device_train_batch_size % config.num_mini_batches == 0


def _dict_of(source: str, name: str) -> dict[str, Any]:
    """A `NAME = dict(…)` of a script."""
    node = next(
        n for n in ast.parse(source).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name
    )
    assert isinstance(node.value, ast.Call)
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.value.keywords}
