"""What several studies differ in, and whether their scores may be compared at all."""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.study import Study

from ppo_tune.config.block import flatten
from ppo_tune.config.ranges import condition_text
from ppo_tune.config.study import StudyConfig
from ppo_tune.reporting.record import StudyRecord, read_record
from ppo_tune.reporting.wording import join
from ppo_tune.search.facts import StudyFacts, TrialFacts
from ppo_tune.search.results import ending_of
from ppo_tune.search.storage import GROWING

Settings = Mapping[str, Any]
"""What was set, by its dotted place."""

MEASURE = ("task.", "model.name", "ppo.max_new_tokens", "ppo.temperature")
"""Beginnings of the places that decide what a held-out score means; all else only decides how high it gets."""

JUDGE = re.compile(r"task\.(?:judges\.([^.]+)|gold)")
"""Beginning of the places of a judge, which no score depends on, with the name of any but gold."""

BLOCKS = ("search", "task", "model", "ppo", "space", "constraints", "versions")
"""Of settings, in the order in which they stand in a table."""

HASH = re.compile(r"[0-9a-f]{64}")

FAR = 2.0
"""How many standard errors apart untrained models may score when they answer with different random numbers."""


@dataclass(frozen=True)
class Contender:
    """A study in a comparison.

    Attributes:
        label: What it is called on the page; no two are called the same.
        record: Its trials.
        inputs: Hashes of the files that it depends on, by their place in the config.
        versions: Of the packages that it was made with; empty if not known.
    """

    label: str
    record: StudyRecord
    inputs: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def config(self) -> StudyConfig:
        """The experiment."""
        return self.record.config

    @property
    def untrained(self) -> float | None:
        """The held-out score of the untrained model; None if not known."""
        return None if self.record.base is None else self.record.base.heldout.score

    @property
    def default(self) -> float | None:
        """The held-out score of the default config at its end; None if it did not get there."""
        trial = self.record.baseline
        return trial.value if trial is not None and ending_of(trial) == "completed" else None

    @property
    def prompts(self) -> list[str]:
        """Held-out prompts, as far as the untrained model's responses were kept."""
        base = self.record.base
        return [] if base is None else [sample["prompt"] for sample in base.samples]

    @property
    def hosts(self) -> set[str]:
        """The machines that its trials ran on, as far as is known."""
        return {host for t in self.record.trials if (host := TrialFacts(t).host) is not None}


def read_contender(study: Study, config: StudyConfig, folder: Path, label: str | None = None) -> Contender:
    """A study and what is stored beside its trials; without a label it is called by its name."""
    facts = StudyFacts(study)
    return Contender(
        label=label or config.name,
        record=read_record(study, config, folder),
        inputs=facts.inputs,
        versions=facts.versions,
    )


def settings_of(contender: Contender) -> dict[str, Any]:
    """All that was set for a study but its name, with the content of files in place of their paths."""
    data = contender.config.model_dump(mode="json", exclude={"name", "space"})
    data["space"] = {
        name: _range(param) for name, param in contender.config.space.model_dump(mode="json").items()
    }
    data["search"]["n_trials"] = contender.config.n_trials
    found = flatten(data, data)
    for place, content in contender.inputs.items():
        function = str(found.get(place, "")).rpartition(".py:")[2] if place.endswith(".function") else ""
        # A hub name stands for itself.
        known = f"content {content[:12]}…" if HASH.fullmatch(content) else content
        found[place] = known + (f":{function}" if function else "")
    return {**found, **{f"versions.{name}": version for name, version in contender.versions.items()}}


def differences_table(contenders: Sequence[Contender]) -> pd.DataFrame:
    """What was not set alike, one row per field of a block: setting, then a column per study.

    A setting that a study does not have is "–".
    """
    settings = [settings_of(contender) for contender in contenders]
    fields = dict.fromkeys(map(_field, _differing(settings)))
    rows = [
        {
            "setting": field,
            **{c.label: _say(found, field) for c, found in zip(contenders, settings, strict=True)},
        }
        for field in sorted(fields, key=lambda field: BLOCKS.index(field.partition(".")[0]))
    ]
    return pd.DataFrame(rows, columns=["setting", *(contender.label for contender in contenders)])


def obstacles(contenders: Sequence[Contender]) -> list[str]:
    """Why the scores cannot be compared, one sentence each; none if they can."""
    settings = [settings_of(contender) for contender in contenders]
    differing = _differing(settings)
    beside = ("task.reward",) if all(contender.config.task.objective for contender in contenders) else ()
    measure = [
        place
        for place in differing
        if place.startswith(MEASURE) and not place.startswith(beside) and not JUDGE.match(place)
    ]
    if measure:
        return [f"Their scores do not mean the same, because they differ in {listed(_names(measure))}."]
    found = []
    for one, other in combinations(contenders, 2):
        both = f"{one.label} and {other.label}"
        if one.prompts and other.prompts and one.prompts != other.prompts:
            found.append(
                f"The held-out prompts of {both} are not the same, though nothing that was set says why."
            )
        elif _far_apart(one, other):
            found.append(
                f"The untrained models of {both} score {one.untrained:.3f} and {other.untrained:.3f}, though nothing "
                "that was set says why: a score does not mean the same in both."
            )
    return found


def cautions(contenders: Sequence[Contender]) -> list[str]:
    """What else to keep in mind when reading scores and costs beside each other, one sentence each."""
    differing = set(_differing([settings_of(contender) for contender in contenders]))
    budgets = [contender.config.search.kl_budget for contender in contenders]
    unknown = [contender.label for contender in contenders if contender.untrained is None]
    unversioned = [contender.label for contender in contenders if not contender.versions]
    unfinished = [c.label for c in contenders if any(not t.state.is_finished() for t in c.record.trials)]
    versioned = [dict(contender.versions) for contender in contenders if contender.versions]
    packages = sorted(_differing(versioned))
    hosts = [contender.hosts for contender in contenders if contender.hosts]
    lengths = sorted({contender.config.ppo.episodes for contender in contenders})
    judges = sorted({found[1] or "gold" for place in differing if (found := JUDGE.match(place))})
    said = {
        "Their seeds differ, so held-out responses were drawn with different random numbers.":
            "search.seed" in differing,
        f"Their KL budgets differ; here only trials within the smallest, {min(budgets):g} nats, count as best.":
            len(set(budgets)) > 1 and not obstacles(contenders),
        f"Their trials are of different lengths: {' and '.join(f'{n:,}' for n in lengths)} episodes.":
            len(lengths) > 1,
        **{f"Their {judge} judges differ: {judge} scores do not compare.": True for judge in judges},
        f"They were made with different versions of {', '.join(packages)}.": bool(packages),
        f"Which versions made {'them' if not versioned else join(unversioned)} is not known.": bool(unversioned),
        "They ran on different machines: compare episodes rather than seconds.": any(h != hosts[0] for h in hosts),
        f"What the untrained model scores is not known for {join(unknown)}, so only settings were compared.":
            bool(unknown),
        f"{join(unfinished)} still {'has' if len(unfinished) == 1 else 'have'} running trials.": bool(unfinished),
    }  # fmt: skip
    return [sentence for sentence, holds in said.items() if holds]


def differences_sentence(contenders: Sequence[Contender]) -> str:
    """What was not set alike, versions aside."""
    names = _names(p for p in differences_table(contenders)["setting"] if not p.startswith("versions."))
    return f"They differ in {listed(names) if names else 'nothing that was set'}."


def differences_reading(contenders: Sequence[Contender]) -> str:
    """Whether scores compare, and what to keep in mind."""
    found = obstacles(contenders) or ["A held-out score means the same in all of them: they can be compared."]
    return " ".join([differences_sentence(contenders), *found, *cautions(contenders)])


def groups(contenders: Sequence[Contender]) -> dict[str, list[Contender]]:
    """Studies that share everything but the seed, under one name, in the order they were given."""
    ignored = {*GROWING, "search.seed"}
    found: dict[str, list[Contender]] = {}
    for contender in contenders:
        settings = {place: value for place, value in settings_of(contender).items() if place not in ignored}
        found.setdefault(json.dumps(settings, sort_keys=True), []).append(contender)
    return {_group_label(members): members for members in found.values()}


def _group_label(members: Sequence[Contender]) -> str:
    return members[0].label if len(members) == 1 else f"{members[0].label} ({len(members)} runs)"


def _field(place: str) -> str:
    """The block and its field, without what is deeper."""
    return ".".join(place.split(".")[:2])


def _names(places: Iterable[str]) -> list[str]:
    """How a sentence calls places: by their fields; the searched values are one."""
    return list(
        dict.fromkeys(
            "the search space" if p.startswith(("space.", "constraints")) else _field(p) for p in places
        )
    )


def _differing(settings: Sequence[Settings]) -> list[str]:
    """Places whose values are not equal in all of them, in the order of the first that has them."""
    places = dict.fromkeys(place for found in settings for place in found)
    said = {place: [(place in found, found.get(place)) for found in settings] for place in places}
    return [place for place, values in said.items() if any(value != values[0] for value in values)]


def _far_apart(one: Contender, other: Contender) -> bool:
    """Whether two untrained models score so differently that they cannot be the same model and judge."""
    if one.untrained is None or other.untrained is None:
        return False
    errors = [c.record.base.heldout.score_error if c.record.base else 0.0 for c in (one, other)]
    return abs(one.untrained - other.untrained) > FAR * math.hypot(*errors) + 1e-6


def _range(param: Mapping[str, Any]) -> str:
    """What a searched value may be: `1e-05 to 0.01, log`, or a list of choices or points."""
    listing, step = param.get("choices") or param.get("points"), param.get("step")
    if isinstance(listing, list):
        said = [json.dumps(listing)[1:-1]]
    else:
        said = [f"{param['low']} to {param['high']}", *([f"{listing} points"] if listing else [])]
    return ", ".join(
        [
            *said,
            *([f"step {step}"] if step not in (None, 1) else []),
            *_scale_of(param),
            *_condition_of(param),
        ]
    )


def _scale_of(param: Mapping[str, Any]) -> list[str]:
    log = param.get("log")
    return ["log of 1 − value"] if log == "complement" else ["log"] if log else []


def _condition_of(param: Mapping[str, Any]) -> list[str]:
    return [f"when {condition_text(param['when'])}"] if param.get("when") else []


def _say(settings: Settings, field: str) -> str:
    """A field as it stands in a table, with all that is in it."""
    found = {place[len(field) + 1 :]: value for place, value in settings.items() if _field(place) == field}
    if not found:
        return "–"
    words = {
        deeper: value if isinstance(value, str) else json.dumps(value) for deeper, value in found.items()
    }
    return ", ".join(f"{deeper} {word}".strip() for deeper, word in words.items())


def listed(places: Collection[str], most: int = 6) -> str:
    """The first few of some names, and how many more there are."""
    named = list(places)
    more = len(named) - most
    return join(named) if more <= 1 else f"{', '.join(named[:most])} and {more} more"
