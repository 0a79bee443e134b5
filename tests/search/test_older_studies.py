"""What a study was made with must be what it goes on with; what older studies did not note is no difference."""

from pathlib import Path

import pytest

from ppo_tune.config.study import StudyConfig
from ppo_tune.data.user_files import RECIPE
from ppo_tune.errors import StudyMismatchError
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.storage import create_study, stored_config
from ppo_tune.versions import versions
from tests.worlds import StudyMaker

SUPPORT = StudyConfig.model_validate(
    {
        "name": "small",
        "task": {"name": "support"},
        "space": {"gamma": {"type": "float", "low": 0.9, "high": 1.0}},
    }
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.mark.parametrize(
    ("created_with", "way_out"),
    [
        pytest.param(
            {"ppo-tune": "0.1.0", "torch": "2.0.0"},
            "it was created with the embedded task of ppo-tune 0.1.0 and torch 2.0.0: go on with those, or",
            id="another version",
        ),
        pytest.param({}, "the embedded task has changed since:", id="this version"),
    ],
)
def test_a_study_is_refused_when_the_recipe_of_the_embedded_task_changed(
    url: str, created_with: dict[str, str], way_out: str
) -> None:
    """Else its trials would be scored by two reward models; the way out that is named is one."""
    study = create_study(SUPPORT, url, {RECIPE: "models of recipe a"})
    StudyFacts(study).versions = {**versions(), **created_with}

    with pytest.raises(StudyMismatchError) as caught:
        create_study(SUPPORT, url, {RECIPE: "models of recipe b"})

    lines = str(caught.value).splitlines()
    assert "  content.task.name: 'models of recipe a' before, 'models of recipe b' now" in lines
    assert lines[-1].startswith(f"{way_out} give the file another name")


def test_a_study_of_before_recipes_were_noted_goes_on_and_has_one_from_then_on(url: str) -> None:
    create_study(SUPPORT, url, {})

    create_study(SUPPORT, url, {RECIPE: "models of recipe b"})

    with pytest.raises(StudyMismatchError, match="recipe b"):
        create_study(SUPPORT, url, {RECIPE: "models of recipe c"})


def in_world(seed: int) -> StudyConfig:
    """The small study in another world of the embedded task."""
    task = {"name": "support", "seed": seed}
    return StudyConfig.model_validate({**SUPPORT.model_dump(), "task": task})


def test_a_study_of_before_worlds_had_seeds_is_one_of_seed_0(url: str) -> None:
    stored = create_study(SUPPORT, url, {}).user_attrs["config"]["task"]

    assert "seed" not in stored
    assert stored_config(create_study(in_world(0), url, {})) == SUPPORT


@pytest.mark.parametrize(("before", "said"), [(0, "absent"), (1, "1")])
def test_a_study_goes_on_in_the_world_in_which_it_began(url: str, before: int, said: str) -> None:
    create_study(in_world(before), url, {})

    with pytest.raises(
        StudyMismatchError,
        match=f"\n  task.seed: {said} before, 2 now\nput the file, and what --set gave, back",
    ):
        create_study(in_world(2), url, {})


def test_a_study_that_was_stored_with_names_of_sampler_and_pruner_goes_on(
    make_study: StudyMaker, url: str
) -> None:
    config = make_study(search={"sampler": "tpe", "pruner": "median"})
    study = create_study(config, url, {})
    stored = study.user_attrs["config"]["search"]
    assert (stored["sampler"], stored["pruner"]) == ("tpe", "median")

    whole = make_study(
        search={"sampler": {"name": "tpe", "n_startup_trials": 10}, "pruner": {"name": "median"}}
    )

    assert stored_config(create_study(whole, url, {})) == config


def test_another_option_of_a_sampler_is_another_experiment(make_study: StudyMaker, url: str) -> None:
    create_study(make_study(search={"sampler": "tpe"}), url, {})

    other = make_study(search={"sampler": {"name": "tpe", "n_startup_trials": 4}})

    with pytest.raises(StudyMismatchError) as caught:
        create_study(other, url, {})
    difference = "search.sampler: 'tpe' before, {'name': 'tpe', 'n_startup_trials': 4} now"
    assert f"  {difference}" in str(caught.value).splitlines()
