"""The kinds of language models that can be trained, and which of them a model is."""

from transformers import PretrainedConfig

from ppo_tune.models.causal import CausalLayout
from ppo_tune.models.encoder_decoder import EncoderDecoderLayout
from ppo_tune.models.layout import TokenLayout


def layout_of(config: PretrainedConfig) -> type[TokenLayout]:
    """How a model of this config reads and writes."""
    return EncoderDecoderLayout if config.is_encoder_decoder else CausalLayout
