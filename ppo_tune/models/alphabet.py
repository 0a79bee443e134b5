"""The tokens that a policy can say, where its output layer is wider than its tokenizer."""

from collections.abc import Collection

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase


class Alphabet:
    """Tokens that the tokenizer has, and those that end a response, which need no text.

    Output layers are often padded to a round width. A token without a text could be sampled and learned from, and no
    judge would ever see it: so its probability is 0, for policy and reference alike.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: Collection[int],
        width: int,
        device: torch.device | str = "cpu",
    ) -> None:
        made_up = _made_up(tokenizer)
        named = {*tokenizer.get_vocab().values()} - made_up | {*stop_ids}
        self.size: int = min(width, max(tokenizer.vocab_size, 1 + max(named)))
        unnamed = (i for i in range(self.size) if i not in named)
        holes = [i for i in unnamed if i in made_up or tokenizer.convert_ids_to_tokens(i) is None]
        self._missing: Tensor | None = None
        if holes:
            self._missing = torch.zeros(self.size, dtype=torch.bool, device=device)
            self._missing[holes] = True

    def cut(self, logits: Tensor) -> Tensor:
        """Logits of the alphabet alone, (..., V) -> (..., size); -inf where there is a hole in it."""
        if self.size < logits.shape[-1]:
            logits = logits[..., : self.size]
        return logits if self._missing is None else logits.masked_fill(self._missing, -torch.inf)


def _made_up(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Special tokens that no file of the tokenizer has: its class adds them behind all others when it is loaded."""
    filed = tokenizer.init_kwargs.get("added_tokens_decoder")
    if filed is None:
        return set()
    roles = (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return {i for i in roles if i is not None and i >= tokenizer.vocab_size and i not in filed}
