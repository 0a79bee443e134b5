"""Exported scripts as a shell reads them: every value arrives, and nothing else happens."""

from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.export import TARGETS, Scale, Sources
from ppo_tune.export.skyrl import yaml_text
from ppo_tune.export.verl import hydra_text
from tests.export.calls import arguments, flags, overrides, write_files
from tests.export.winners import HOSTILE, PROMPTS, WINNERS, hostile, winner

scripts = pytest.mark.parametrize("target", ["openrlhf", "verl", "skyrl"])


def hydra_value(text: str) -> object:
    """What Hydra and then OmegaConf make of the right side of an override."""
    value = OverridesParser.create().parse_override(f"a={text}").value()
    return OmegaConf.create({"a": value}).a


def omegaconf_value(text: str) -> object:
    """What OmegaConf's own command line makes of it."""
    return OmegaConf.from_cli([f"a={text}"]).a


READERS = {"verl": hydra_value, "skyrl": omegaconf_value}
MODEL_OPTIONS = {"verl": "actor_rollout_ref.model.path", "skyrl": "trainer.policy.model.path"}


@scripts
def test_a_hostile_name_arrives_as_it_is_and_nothing_is_run(target: str, tmp_path: Path) -> None:
    reward = PreferenceRewardConfig(name="preference", model="rm")
    made = TARGETS[target](winner(sources=Sources(HOSTILE, reward, PROMPTS)), Scale())

    words = arguments(write_files(made, tmp_path / "it's a $HOME folder"))

    if target == "openrlhf":
        assert flags(words)["--actor.model_name_or_path"] == [HOSTILE]
    else:
        assert READERS[target](overrides(words)[MODEL_OPTIONS[target]]) == HOSTILE
    assert not list(tmp_path.rglob("pwned"))


@scripts
def test_hostile_facts_change_no_argument(target: str, tmp_path: Path) -> None:
    plain = replace(hostile(), provenance={}, searched=())
    quiet = arguments(write_files(TARGETS[target](plain, Scale(2, 30)), tmp_path / "x"))

    words = arguments(write_files(TARGETS[target](hostile(), Scale(2, 30)), tmp_path / "x"))

    assert words == quiet
    assert not list(tmp_path.rglob("pwned"))


@scripts
def test_files_of_the_export_are_found_from_anywhere(target: str, tmp_path: Path) -> None:
    folder = write_files(TARGETS[target](WINNERS["quickstart"], Scale()), tmp_path / "a b")

    words = arguments(folder)

    assert [word for word in words if str(folder / "prompts.jsonl") in word]


@scripts
def test_suggested_values_are_used_only_when_asked_for_and_come_last(target: str, tmp_path: Path) -> None:
    plain = write_files(TARGETS[target](WINNERS["loud"], Scale()), tmp_path / "plain")
    larger = write_files(TARGETS[target](WINNERS["loud"], Scale(10, 512)), tmp_path / "larger")

    as_tuned = arguments(larger)
    suggested = arguments(larger, SUGGESTED="1")

    assert [w.replace("larger", "plain") for w in as_tuned] == arguments(plain)
    assert suggested[: len(as_tuned)] == as_tuned
    assert len(suggested) > len(as_tuned)


@scripts
def test_the_users_own_words_come_last_of_all(target: str, tmp_path: Path) -> None:
    folder = write_files(TARGETS[target](WINNERS["loud"], Scale(10, 512)), tmp_path / "x")

    assert arguments(folder, "a b", "--c", SUGGESTED="1")[-2:] == ["a b", "--c"]


@scripts
def test_the_number_of_gpus_is_one_variable(target: str, tmp_path: Path) -> None:
    folder = write_files(TARGETS[target](WINNERS["quickstart"], Scale()), tmp_path / "x")

    one, eight = arguments(folder), arguments(folder, GPUS="8")

    assert [w for w in eight if w not in one]
    assert all(w.split("=")[-1] == "8" for w in eight if w not in one)


texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), max_size=30) | st.text(
    "\\\"'${}[]:=,# ab", max_size=12
)


@settings(deadline=None, max_examples=100)
@given(texts)
def test_any_text_passes_through_hydra(text: str) -> None:
    assert hydra_value(hydra_text(text)) == text


@settings(deadline=None, max_examples=100)
@given(texts)
def test_any_text_passes_through_omegaconf(text: str) -> None:
    assert omegaconf_value(yaml_text(text)) == text
