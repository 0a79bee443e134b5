"""Tokenizers of the kinds that models have, fitted to a few texts: they differ in what becomes of a space."""

import json
from collections.abc import Callable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = (
    "where is my order ? sorry for the delay",
    "the parcel is late , please call us",
    "ok . sure ! très bien",
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = ("<|im_start|>", "<|im_end|>")


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2, Llama 3 and Qwen: bytes, and a word holds the space before it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<pad>", "<eos>", *TURNS],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<eos>", pad_token="<pad>", additional_special_tokens=list(TURNS)
    )


def metaspace() -> PreTrainedTokenizerFast:
    """As Mistral: ▁ stands before a word, decoding drops that of the first, every text begins with <s>."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Metaspace(prepend_scheme="first")
    return _beginning(_fitted(made, "<unk>", "<s>", "</s>", *TURNS))


def byte_fallback() -> PreTrainedTokenizerFast:
    """As Llama 2: ▁ is written by a normalizer, and a character that is no token becomes its bytes."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split(Regex("(?<=[^▁])(?=▁)"), "isolated")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fitted = _fitted(made, "<unk>", "<s>", "</s>", *TURNS)
    model = json.loads(fitted.to_str())["model"]
    bytes_too = {f"<0x{byte:02X}>": len(model["vocab"]) + byte for byte in range(256)}
    fitted.model = models.BPE(
        {**model["vocab"], **bytes_too}, [tuple(pair) for pair in model["merges"]], unk_token="<unk>",
        byte_fallback=True, fuse_unk=True,
    )  # fmt: skip
    return _beginning(fitted)


def word_pieces() -> PreTrainedTokenizerFast:
    """As BERT: words and ##parts of words."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["[PAD]", "[UNK]", "[SEP]", *TURNS], show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
        additional_special_tokens=list(TURNS),
    )  # fmt: skip


def _fitted(made: Tokenizer, *special: str) -> Tokenizer:
    trainer = trainers.BpeTrainer(vocab_size=160, special_tokens=list(special), show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    return made


def _beginning(made: Tokenizer) -> PreTrainedTokenizerFast:
    """With <s> before every text."""
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=list(TURNS),
    )  # fmt: skip


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte level": byte_level,
    "metaspace": metaspace,
    "byte fallback": byte_fallback,
    "word pieces": word_pieces,
}
