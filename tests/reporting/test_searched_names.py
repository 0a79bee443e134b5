"""Every hyperparameter that may be searched is told wherever a study tells its own, those of the model too."""

from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from ppo_tune.config.searchable import SEARCHABLE
from ppo_tune.config.space import Space
from ppo_tune.export.base import Scale
from ppo_tune.export.gather import winner_of
from ppo_tune.export.native import export
from ppo_tune.export.rendering import README
from ppo_tune.reporting import write_report
from ppo_tune.search.status import read_status
from tests.reporting.conftest import HandMade


def a_range(name: str) -> dict[str, Any]:
    """Something to search of a hyperparameter, by what it is."""
    field = SEARCHABLE[name]
    if isinstance(field.default, bool):
        return {"type": "categorical", "choices": [True, False]}
    if isinstance(field.default, str):
        return {"type": "categorical", "choices": list(get_args(field.annotation))}
    if isinstance(field.default, int):
        return {"type": "int", "low": 1, "high": 64}
    low = 1.5 if name == "dual_clip" else 0.5
    return {"type": "float", "low": low, "high": low + 0.5}


@pytest.fixture
def everything(hand_made: HandMade) -> HandMade:
    """A study that searches all that can be, of three trials."""
    space = Space.model_validate({name: a_range(name) for name in SEARCHABLE})
    hand_made.config = hand_made.config.model_copy(update={"space": space})
    hand_made.study.set_user_attr("config", hand_made.config.model_dump(mode="json"))
    for number in range(3):
        values = {
            name: param.choices[0] if param.type == "categorical" else type(param.ends[0])(param.ends[0])
            for name, param in space.root.items()
        }
        values["lora_rank"] = 1 + number
        hand_made.add("completed", [number / 10] * 5, params=values, baseline=number == 0)
    return hand_made


def told_in(text: str) -> set[str]:
    """The searchable hyperparameters that a text names."""
    return {name for name in SEARCHABLE if name in text}


def test_a_report_tells_all_that_was_searched(everything: HandMade, tmp_path: Path) -> None:
    page = write_report(everything.study, everything.config, everything.folder, tmp_path, markdown=True)

    names = ("index.html", "summary.md", "trials.csv", "best.yaml")
    told = {name: told_in(page.with_name(name).read_text(encoding="utf-8")) for name in names}
    assert told == {name: set(SEARCHABLE) for name in names}
    best = YAML(typ="safe").load(page.with_name("best.yaml"))
    assert best["model"]["lora_rank"] == 3


def test_a_card_tells_all_that_was_searched_as_searched(everything: HandMade, tmp_path: Path) -> None:
    winner = winner_of(everything.study, everything.config, out=tmp_path, with_sources=False)

    card = str(export(winner, Scale()).files[README])

    rows = {line.split("`")[1]: line for line in card.splitlines() if line.startswith("| `")}
    assert {name for name, row in rows.items() if "(searched)" in row} == set(SEARCHABLE)


def test_status_and_the_table_of_trials_tell_all_that_was_searched(
    everything: HandMade, tmp_path: Path
) -> None:
    best = read_status(everything.study, everything.config, tmp_path).best

    assert best is not None
    assert set(best.params) == set(SEARCHABLE)
    assert {*SEARCHABLE} <= {*everything.record().table.columns}
