"""From an experiment back to a file that says the same."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from ppo_tune.config.study import StudyConfig

UNUSUAL_BREAKS = frozenset("\x85\u2028\u2029")
"""Characters that a YAML reader folds like the end of a line unless they stand escaped in double quotes."""


class _Representer(SafeRepresenter):
    """Writes every text so that it is read back as it was."""

    def represent_str(self, data: str) -> ScalarNode:
        style = '"' if UNUSUAL_BREAKS.intersection(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def yaml_text(blocks: Mapping[str, Any], header: Sequence[str]) -> str:
    """Plain data as YAML, in its order, below lines of a comment."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = io.StringIO()
    yaml.dump(dict(blocks), text)
    return "".join(f"# {line}\n" for line in header) + text.getvalue()


def study_text(config: StudyConfig) -> str:
    """A study file that says what was asked for, and nothing of what was left to its defaults.

    A config that was stored and read again no longer knows what was asked for, so that all of it is written; what is
    searched stands in `space` alone.
    """
    blocks = config.model_dump(mode="json", exclude_unset=True, exclude={"name"})
    for block in blocks.keys() & {"ppo", "model"}:
        blocks[block] = {name: value for name, value in blocks[block].items() if name not in config.space}
    return yaml_text(blocks, [_header(config.name)])


def renamed_text(text: str, name: str, new_name: str) -> str:
    """What `study_text` wrote of a study that now has another name."""
    return text.replace(_header(name), _header(new_name), 1)


def _header(name: str) -> str:
    return f"As study {name} was last searched; `ppo-tune search THIS_FILE` goes on with it."
