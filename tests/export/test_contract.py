"""What every exporter keeps, for winners of every shape: nothing is forgotten, silently changed or carried out."""

import ast
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ppo_tune.config.ppo import PPOConfig
from ppo_tune.errors import ConfigError
from ppo_tune.export import TARGETS, Scale
from ppo_tune.export.base import Beside, Conversion, Literally, Value
from ppo_tune.export.rendering import load_manifest
from tests.export.derive import CONVERTERS, DERIVERS, MACHINES, PACKAGES, conversions, names_used
from tests.export.winners import LOUD, WINNERS, hostile, python_reward

ALSO = ("lora_rank", "lora_alpha", "adapter", "dtype", "seed", "kl_budget")
"""Fields beyond PPOConfig that decide what is learned."""

OFF: dict[str, Any] = {
    "dual_clip": None,
    "clip_range_value": None,
    "ent_coef": 0.0,
    "kl_target": None,
    "kl_horizon": PPOConfig().kl_horizon,
    "whiten_rewards": False,
    "missing_eos_penalty": 0.0,
    "micro_batch_size": None,
    "lora_alpha": 16.0,
    "adapter": "lora",
    "dtype": "auto",
    "kl_budget": None,
}
"""Values that mean nothing is done: there is nothing to say of them."""

targets = pytest.mark.parametrize("target", TARGETS)
foreign = pytest.mark.parametrize("target", PACKAGES)
winners = pytest.mark.parametrize("name", WINNERS)


def values(name: str) -> dict[str, Any]:
    """What a winner is trained with, by field."""
    config = WINNERS[name].config
    everything = {**OFF, **config.ppo.model_dump(), **config.model.model_dump(), **config.model_dump()}
    return {field: everything[field] for field in (*PPOConfig.model_fields, *ALSO)}


def covered_by(made: Conversion) -> set[str]:
    """Our names that are exported, or said to be lost or altered."""
    options, remarks = (*made.settings, *made.constants), (*made.unsupported, *made.approximated)
    return {name for place in options for name in place.fields} | {
        n for place in remarks for n in place.fields
    }


def main_text(target: str, name: str, scale: Scale | None = None) -> str:
    """The file that is run."""
    made = TARGETS[target](WINNERS[name], scale or Scale())
    return made.files[made.main]


@targets
@winners
def test_every_value_is_exported_or_said_to_be_lost_or_altered(target: str, name: str) -> None:
    covered = covered_by(TARGETS[target](WINNERS[name], Scale()).conversion)

    silent = {
        field: value
        for field, value in values(name).items()
        if field not in covered and not (field in OFF and value == OFF[field])
    }

    assert silent == {}


@targets
def test_with_everything_switched_on_no_field_is_left_unsaid(target: str) -> None:
    assert set(LOUD) <= set(PPOConfig.model_fields)
    assert all(LOUD[field] != value for field, value in OFF.items() if field in PPOConfig.model_fields)

    covered = covered_by(TARGETS[target](WINNERS["loud"], Scale()).conversion)

    assert {*PPOConfig.model_fields, *ALSO} - covered == set()


@foreign
def test_every_name_is_one_of_the_targets_own(target: str) -> None:
    assert set(names_used(target)) <= set(load_manifest(target)["options"])


def fits(value: Value, option: Mapping[str, Any]) -> bool:
    """Whether an option takes a value."""
    if value is None or isinstance(value, Literally):
        return True
    if isinstance(value, Beside):
        return option["type"] in ("str", "list", "any")
    kinds: dict[str, tuple[type, ...]] = {
        "flag": (bool,), "bool": (bool,), "int": (int,), "float": (int, float), "str": (str,), "list": (list, str),
        "any": (bool, int, float, str, list),
    }  # fmt: skip
    if isinstance(value, bool) and option["type"] not in ("flag", "bool", "any"):
        return False
    return isinstance(value, kinds[option["type"]]) and value in option.get("choices", [value])


@foreign
def test_every_value_is_of_the_options_type_and_among_its_choices(target: str) -> None:
    options = load_manifest(target)["options"]
    settings = [*MACHINES[target], *(setting for made in conversions(target) for setting in made.settings)]

    wrong = [setting for setting in settings if not fits(setting.value, options[setting.name.lstrip("+")])]

    assert wrong == []


def test_the_test_tells_a_wrong_type_and_a_wrong_choice() -> None:
    assert not fits(0.5, {"type": "int"})
    assert not fits(True, {"type": "float"})
    assert not fits("k2", {"type": "str", "choices": ["k1", "k3"]})
    assert fits(1, {"type": "float"})


@foreign
@winners
def test_no_number_is_nan_or_infinite(target: str, name: str) -> None:
    settings = [*CONVERTERS[target](WINNERS[name]).settings, *CONVERTERS[target](WINNERS[name]).constants]

    assert all(math.isfinite(s.value) for s in settings if isinstance(s.value, float))


@foreign
def test_a_setting_stands_only_once(target: str) -> None:
    for made in conversions(target):
        names = [setting.name for setting in made.settings]

        assert len(names) == len(set(names))


@foreign
def test_every_tuned_value_is_marked_and_every_other_default_is_named(target: str) -> None:
    lines = main_text(target, "quickstart").splitlines()
    rates = [line for line in lines if re.search(r"(lr|learning_rate)[= ]0\.004123", line)]

    assert rates
    for line in rates:
        assert re.search(r"# learning_rate; tuned; default [0-9.e-]+$", line)


@foreign
@winners
def test_what_is_lost_or_altered_stands_in_the_file(target: str, name: str) -> None:
    made = TARGETS[target](WINNERS[name], Scale())
    text = " ".join(line.lstrip("# ") for line in made.files[made.main].splitlines())

    assert "unsupported: what this trainer cannot do:" in text
    assert "approximated: what it does a little differently:" in text
    for remark in (*made.conversion.unsupported, *made.conversion.approximated):
        first_words = " ".join(str(remark).split()[:6])
        assert first_words in text


@foreign
def test_rules_for_a_larger_model_stand_in_every_file_with_their_confidence(target: str) -> None:
    without, beside = main_text(target, "quickstart"), main_text(target, "quickstart", Scale(10, 512))

    for text in (without, beside):
        words = " ".join(line.lstrip("# ") for line in text.splitlines())
        assert "gae_lambda: 1 - (1 - λ)·L/L' for responses L'/L times as long (medium confidence)" in words
        assert "(low to medium confidence)" in words
        assert "the scores' standard deviation (here 0.8)" in words
    assert "Suggested for a model of 10 times the parameters and responses of up to 512 tokens" in beside
    assert "0.00173865" not in without


@targets
@winners
def test_what_runs_stays_as_tuned_whatever_is_suggested(target: str, name: str) -> None:
    plain = TARGETS[target](WINNERS[name], Scale())
    made = TARGETS[target](WINNERS[name], Scale(10, 512))

    assert made.conversion == plain.conversion
    assert made.main == plain.main
    if target == "native":
        assert made.files[made.main] == plain.files[plain.main]


@targets
@winners
def test_every_script_is_one(target: str, name: str) -> None:
    for scale in (Scale(), Scale(0.5, 7)):
        for file, text in TARGETS[target](WINNERS[name], scale).files.items():
            if file.endswith(".py"):
                compile(text, file, "exec")
            if file.endswith(".sh"):
                checked = subprocess.run(
                    ["bash", "-n"], input=text, text=True, capture_output=True, check=False
                )
                assert (checked.returncode, checked.stderr) == (0, "")


@foreign
def test_a_fact_cannot_break_out_of_its_comment(target: str) -> None:
    text = main_text(target, "hostile")

    assert not [line for line in text.splitlines() if line.startswith(("rm -rf", "exit"))]
    assert "\x1b" not in text
    assert not set(text) & set("\r\u2028\x85")


@foreign
def test_an_exporter_imports_nothing_but_ours_and_the_standard_library(target: str) -> None:
    source = Path(str(sys.modules[TARGETS[target].__module__].__file__)).read_text(encoding="utf-8")
    froms = [n.module for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)]
    plain = [a.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import) for a in n.names]

    assert {str(name).split(".")[0] for name in (*froms, *plain)} <= {"ppo_tune", *sys.stdlib_module_names}


@foreign
def test_what_the_user_must_name_has_a_name_that_says_so(target: str) -> None:
    unknown, known = main_text(target, "nothing known"), main_text(target, "quickstart")

    for placeholder in ("YOUR_MODEL", "YOUR_REWARD_MODEL", "YOUR_PROMPTS.jsonl"):
        files = TARGETS[target](WINNERS["nothing known"], Scale()).files
        assert any(placeholder in text for text in files.values())
        assert placeholder not in known
    assert "prompts: they could not be read: name your file in place of YOUR_PROMPTS.jsonl" in unknown


@foreign
def test_prompts_go_along_one_row_each(target: str) -> None:
    files = TARGETS[target](WINNERS["quickstart"], Scale()).files
    rows = files["prompts.jsonl"].splitlines()

    assert len(rows) == 100
    assert "say 7" in rows[7]


@foreign
def test_a_reward_function_is_read_beside_the_script(target: str) -> None:
    files = TARGETS[target](python_reward("functions/it is.py"), Scale()).files

    assert any("FUNCTION_FILE = HERE / 'functions/it is.py'" in text for text in files.values())


def test_the_options_of_every_other_trainer_are_derived_from_its_release() -> None:
    assert {*TARGETS} - {"native"} == {*PACKAGES} == {*DERIVERS}
    assert {target: load_manifest(target)["version"] for target in PACKAGES} == PACKAGES


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"params_ratio": 0.0}, "params_ratio: must be positive, but got 0"),
        ({"params_ratio": math.nan}, "params_ratio: must be positive, but got nan"),
        ({"params_ratio": math.inf}, "params_ratio: must be positive, but got inf"),
        ({"response_length": -3}, "response_length: must be positive, but got -3"),
    ],
)
def test_a_scale_that_is_none_is_refused(scale: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Scale(**scale)


def test_a_reason_why_prompts_are_missing_is_told_in_one_line() -> None:
    made = TARGETS["trl"](hostile(), Scale())

    assert "could not be read (no such file" in " ".join(map(str, made.conversion.approximated))
