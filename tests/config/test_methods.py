"""Samplers and pruners are written by name or with their options, and stored by name where they can be."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from ppo_tune.config.block import differences
from ppo_tune.config.methods import Method, PrunerConfig, SamplerConfig, SearchConfig

MEMBERS: list[tuple[str, type[Method]]] = [
    (field, member)
    for field, union in (("sampler", SamplerConfig), ("pruner", PrunerConfig))
    for member in get_args(get_args(union)[0])
]


def name_of(member: type[Method]) -> str:
    (name,) = get_args(member.model_fields["name"].annotation)
    return str(name)


def search(field: str, value: Any) -> SearchConfig:
    return SearchConfig.model_validate({field: value})


@pytest.mark.parametrize(("field", "member"), MEMBERS)
def test_a_name_is_short_for_a_block_with_every_option_left_out(field: str, member: type[Method]) -> None:
    short, whole = search(field, name_of(member)), search(field, {"name": name_of(member)})

    assert short == whole
    assert type(getattr(short, field)) is member


@pytest.mark.parametrize(("field", "member"), MEMBERS)
def test_what_has_only_defaults_is_stored_as_its_name_as_it_always_was(
    field: str, member: type[Method]
) -> None:
    defaults = {key: member.model_fields[key].default for key in member.model_fields if key != "name"}

    for written in (name_of(member), {"name": name_of(member), **defaults}):
        assert search(field, written).model_dump(mode="json")[field] == name_of(member)
        assert str(getattr(search(field, written), field)) == name_of(member)


OPTIONS = [(field, member, key) for field, member in MEMBERS for key in member.model_fields if key != "name"]


@pytest.mark.parametrize(("field", "member", "option"), OPTIONS)
def test_an_option_is_stored_read_back_and_said(field: str, member: type[Method], option: str) -> None:
    value = member.model_fields[option].default + 1
    config = search(field, {"name": name_of(member), option: value})

    stored = config.model_dump(mode="json")

    assert stored[field] == {"name": name_of(member), option: value}
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config
    assert str(getattr(config, field)) == f"{name_of(member)} ({option} {value})"
    assert differences(search(field, name_of(member)).model_dump(mode="json"), stored) == [
        f"  {field}: {name_of(member)!r} before, {stored[field]!r} now"
    ]


@pytest.mark.parametrize(("field", "member", "option"), OPTIONS)
def test_an_option_has_a_rule_and_a_description(field: str, member: type[Method], option: str) -> None:
    assert member.model_fields[option].description
    with pytest.raises(ValidationError):
        search(field, {"name": name_of(member), option: 0})


def test_what_is_within_a_place_that_may_differ_may_differ_too() -> None:
    before, now = ({"search": {"sampler": {"name": "tpe", "n_startup_trials": n}}} for n in (3, 4))

    assert differences(before, now, ignored=("search.sampler",)) == []
    assert differences(before, now, ignored=("search.sam", "sampler")) == [
        "  search.sampler.n_startup_trials: 3 before, 4 now"
    ]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        pytest.param({"kl_budget": 3.0}, 6.0, id="twice the budget"),
        pytest.param({"kl_budget": 3.0, "kl_limit": 4.0}, 4.0, id="the limit"),
    ],
)
def test_a_trial_ends_beyond_its_kl_limit(search: dict[str, Any], expected: Any) -> None:
    assert SearchConfig(**search).kl_ceiling == expected
