"""A frozen language model under the adapters and value heads of K trials.

Axes: K places of a pack (k of them at work), B responses, P prompt tokens, T response tokens, V vocabulary,
H hidden, R rank. Decoder-only models; prompts are padded on the left, responses on the right.
"""

from ppo_tune.models.loading import load_policy, load_tokenizer
from ppo_tune.models.policy import Policy
from ppo_tune.models.saving import load_adapter, save_adapter, save_merged
from ppo_tune.models.text import Prompts, Sequences, decode_responses

__all__ = [
    "Policy",
    "Prompts",
    "Sequences",
    "decode_responses",
    "load_adapter",
    "load_policy",
    "load_tokenizer",
    "save_adapter",
    "save_merged",
]
