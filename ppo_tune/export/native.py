"""Our own format: the file that `ppo-tune train` reads, a card that says what it is, and its record."""

import json
from collections.abc import Mapping
from typing import Any

from ppo_tune.config.model import ADAPTER_FIELDS, ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.writing import yaml_text
from ppo_tune.export.base import Conversion, Export, Scale, Setting, Winner
from ppo_tune.export.enclosures import MODULES
from ppo_tune.export.rendering import README, cell, comment, enclosed, one_line
from ppo_tune.export.transfer import at_scale, rules
from ppo_tune.files import finite
from ppo_tune.search.next_steps import NextSteps
from ppo_tune.templates import render as fill_in
from ppo_tune.versions import versions

BEST, SUGGESTED = "best.yaml", "suggested.yaml"
METRICS, PROVENANCE = "metrics.json", "provenance.json"

ADVICE = "advice"
"""The fact of a config that is not to be trained as it is: what to do instead."""


def render(config: TrainConfig, provenance: Mapping[str, str], first: str = "") -> str:
    """A config as YAML, every value written out, with where it comes from on top.

    Args:
        config: What to train.
        provenance: Facts for the header, such as the study, the trial and its score. Where `ADVICE` is among them, it
            stands in place of the command.
        first: What must be done before it can be trained; empty where nothing must.
    """
    how = [] if ADVICE in provenance else ["ppo-tune train THIS_FILE"]
    how = [*(comment(f"FIRST: {first}") if first else []), *how]
    facts = [line for name, value in provenance.items() for line in comment(f"{name}: {value}")]
    blocks = config.model_dump(mode="json")
    blocks["task"] = {name: value for name, value in blocks["task"].items() if value is not None}
    return yaml_text(blocks, [*how, *facts])


def export(winner: Winner, scale: Scale) -> Export:
    """The config as tuned, its card, its metrics and its provenance; beside it one for a larger run."""
    config = winner.config
    suggested = at_scale(winner, scale).config if scale else None
    files = {
        BEST: render(config, winner.provenance, winner.sources.first),
        README: _card(winner, scale, suggested),
        METRICS: _json(winner.metrics),
        PROVENANCE: _json(
            {**winner.provenance, "seed": config.seed, "command": _command(winner), **versions()}
        ),
    }
    if suggested is not None:
        facts = {"not tuned": f"suggested for {scale}", **winner.provenance}
        files[SUGGESTED] = render(suggested, facts, winner.sources.first)
    return Export(
        BEST,
        files,
        Conversion(settings=_settings(config)),
        command=("ppo-tune", "train"),
        sources=winner.sources,
        printed=render(winner.from_here or config, winner.provenance, _first(winner)),
    )


def _first(winner: Winner) -> str:
    """What must be done before the config can be trained outside of the export's folder; empty where nothing must."""
    lone = (known.stands_for for known in winner.sources.enclosures)
    return NextSteps(winner.config.name, next(filter(None, lone), "")).name_it("this file")


def _settings(config: TrainConfig) -> tuple[Setting, ...]:
    others = {
        "adapter": config.model.adapter,
        **({"prefix_length": config.model.prefix_length} if config.model.adapter == "prefix" else {}),
        "dtype": config.model.dtype,
        "seed": config.seed,
        "kl_budget": config.kl_budget,
    }
    values = {**config.hyperparameters, **others}
    return tuple(Setting(name, value, (name,)) for name, value in values.items())


def _command(winner: Winner) -> str:
    """What trains the very same model again, on a CPU bit by bit: in the folder, whichever it is."""
    has_modules = any(enclosure.shelf == MODULES for enclosure in winner.sources.enclosures)
    where = f"PYTHONPATH={MODULES} " if has_modules else ""
    return f"{where}ppo-tune train {BEST} --seed {winner.config.seed}"


def _card(winner: Winner, scale: Scale, suggested: TrainConfig | None) -> str:
    """Markdown that says what the config is, how good it was, and how to use it."""
    tuned = {name for name in ADAPTER_FIELDS if name in winner.searched}
    values = winner.config.ppo.model_dump() | winner.config.model.model_dump(include=tuned)
    default = PPOConfig().model_dump() | ModelConfig().model_dump(include=tuned)
    larger = {} if suggested is None else suggested.ppo.model_dump()
    rows = [
        {
            "name": name,
            "value": _value(value),
            "default": _value(default[name]),
            "tuned": name in winner.searched,
            "suggested": "" if larger.get(name, value) == value else _value(larger[name]),
        }
        for name, value in values.items()
    ]
    return fill_in(
        "export_card.md.jinja",
        name=one_line(winner.config.name),
        task=winner.config.task.title,
        rows=rows,
        metrics=[(cell(name), cell(_told(metric))) for name, metric in winner.metrics.items()],
        facts=[(cell(name), cell(fact)) for name, fact in winner.provenance.items()],
        first=one_line(winner.sources.first),
        has_functions=any(known.is_code for known in winner.sources.enclosures),
        enclosed=enclosed(winner, f"name another at its place in {BEST}"),
        rules=rules(winner),
        scale=scale,
        suggested=suggested is not None,
        command=_command(winner),
        versions=versions(),
    )


def _told(metric: Any) -> str:
    """A metric in words: a number, or a number with its interval and what that is over."""
    if not isinstance(metric, Mapping):
        return _value(metric)
    low, high = metric.get("interval", (None, None))
    interval = "" if low is None else f" ({_value(low)} to {_value(high)})"
    over = f", {one_line(metric['over'])}" if "over" in metric else ""
    return f"{_value(metric.get('mean'))}{interval}{over}"


def _value(value: Any) -> str:
    return "off" if value is None else f"{value:.4g}" if isinstance(value, float) else one_line(str(value))


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(finite(dict(data)), indent=2, ensure_ascii=False) + "\n"
