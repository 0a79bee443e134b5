"""Which hyperparameters a study may search, and why it may not search others."""

from collections.abc import Mapping

from pydantic.fields import FieldInfo

from ppo_tune.config.model import ADAPTER_FIELDS, ModelConfig
from ppo_tune.config.ppo import SHARED_FIELDS, PPOConfig

SEARCHABLE: Mapping[str, FieldInfo] = {
    name: field
    for name, field in {**PPOConfig.model_fields, **ModelConfig.model_fields}.items()
    if name in ADAPTER_FIELDS or name in PPOConfig.model_fields.keys() - SHARED_FIELDS
}
"""What a study may search."""

NOT_SEARCHABLE = {
    "rollout_size": "decides after how many episodes trials are scored, so it is the same for all trials of a study; "
    "set it in ppo, and search batch_size and ppo_epochs",
    "episodes": "is what every trial gets, for trials are compared at equal episodes; set it in ppo",
    "micro_batch_size": "changes no result, only memory; set it in ppo",
    "max_new_tokens": "decides how long a response may be, and so its score, which is then no measure to compare "
    "trials by; set it in ppo",
    "temperature": "decides how held-out responses are sampled too, and so their score, which is then no measure to "
    "compare trials by; set it in ppo",
    "name": "decides which model is trained, and trials of different models share no base to be compared with; make a "
    "study of each, and put them side by side by `ppo-tune compare STUDY STUDY`",
    "adapter": "decides what the rows of a pack are, which all trials share; make a study of each, and put them side "
    "by side by `ppo-tune compare STUDY STUDY`",
    "dtype": "is that of the model that all trials share, and decides speed and rounding; set it in model",
    "compile": "changes no result, only speed; set it in model",
}
"""Other fields of ppo and model, and why a study does not search them."""
