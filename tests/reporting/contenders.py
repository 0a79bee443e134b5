"""Studies to compare, made by hand: what they were set to, and trials whose every number is known."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ppo_tune.files import write_json
from ppo_tune.reporting.comparison.comparability import Contender, read_contender
from tests.reporting.conftest import HandMade

START = datetime(2026, 1, 1)

Told = tuple[str, list[float]] | tuple[str, list[float], dict[str, Any]]
"""A trial: its ending, its scores at milestones 128 episodes apart, and whatever else `HandMade.add` takes."""


def make(
    folder: Path,
    label: str,
    trials: Sequence[Told] = (),
    *,
    base: float | None = 0.0,
    spans: Sequence[tuple[float, float]] = (),
    inputs: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
    **changes: Any,
) -> Contender:
    """A contender.

    Args:
        folder: A new one is made in it.
        label: What it is called.
        trials: What it tried; the first is the default config.
        base: The untrained model's score, 0.1 its standard error; None leaves its file out.
        spans: When each trial began and ended, in seconds since the study began.
        inputs: Hashes of files.
        versions: Of packages.
        changes: Blocks or values of the config, such as `seed=1` of the search or `task={...}`.
    """
    place = folder / label.replace("/", "-")
    place.mkdir()
    made = HandMade(place)
    made.config = with_changes(made.config, label, changes)
    for i, (ending, scores, *more) in enumerate(trials):
        made.add(ending, scores, baseline=i == 0, **(more[0] if more else {}))
    if base is not None:
        write_json(
            place / "base.json",
            {"heldout/score": base, "heldout/score_standard_error": 0.1, "n_prompts": 64, "samples": []},
        )
    if inputs is not None:
        made.study.set_user_attr("inputs", dict(inputs))
    if versions is not None:
        made.study.set_user_attr("versions", dict(versions))
    contender = read_contender(made.study, made.config, place, label)
    for trial, (start, end) in zip(contender.record.trials, spans, strict=False):
        trial.datetime_start, trial.datetime_complete = (
            START + timedelta(seconds=start),
            START + timedelta(seconds=end),
        )
        trial.user_attrs["seconds"] = end - start
    return contender


def with_changes(config: Any, name: str, changes: Mapping[str, Any]) -> Any:
    """A study's config with other values; those that name no block are the search's."""
    data = config.model_dump(mode="json")
    for key, value in changes.items():
        if key in ("task", "model", "ppo"):
            data[key] = {**data[key], **value}
        elif key == "space":
            data[key] = value
        else:
            data["search"][key] = value
    return type(config).model_validate_json(json.dumps({**data, "name": name.replace("/", "-")}))
