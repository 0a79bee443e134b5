"""Our own format: the file that `ppo-tune train` reads."""

import io
from collections.abc import Mapping

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from ppo_tune.config import TrainConfig

UNUSUAL_BREAKS = frozenset("\x85\u2028\u2029")
"""Characters that a YAML reader folds like the end of a line unless they stand escaped in double quotes."""


class _Representer(SafeRepresenter):
    """Writes every text so that it is read back as it was."""

    def represent_str(self, data: str) -> ScalarNode:
        style = '"' if UNUSUAL_BREAKS.intersection(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def render(config: TrainConfig, provenance: Mapping[str, str]) -> str:
    """A config as YAML, every value written out, with where it comes from on top.

    Args:
        config: What to train.
        provenance: Facts for the header, such as the study, the trial and its score.
    """
    header = ["# ppo-tune train THIS_FILE", *(f"# {name}: {value}" for name, value in provenance.items())]
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = io.StringIO()
    blocks = config.model_dump(mode="json")
    blocks["task"] = {name: value for name, value in blocks["task"].items() if value is not None}
    yaml.dump(blocks, text)
    return "\n".join(header) + "\n" + text.getvalue()
