"""What is known of a model's tokens: lengths as the trained model reads them, and what begins a prompt."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import GenerationConfig, PreTrainedTokenizerFast

from ppo_tune.config.tasks import DatasetTaskConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.export.base import TokenFacts
from ppo_tune.export.sources import read_tokens
from tests.conftest import save_tiny_model, tiny_tokenizer
from tests.export.winners import RULE

PROMPTS = tuple(Prompt(text) for text in ("a b c", "d", "e f g h i j"))
TEMPLATE = (
    "{% for m in messages %}k {{ m['content'] }} l {% endfor %}{% if add_generation_prompt %}m {% endif %}"
)


def beginning(tokenizer: PreTrainedTokenizerFast, template: str) -> PreTrainedTokenizerFast:
    """A tokenizer that puts special tokens around a text."""
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    specials = [("<s>", tokenizer.bos_token_id), ("<eos>", tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=specials
    )
    return tokenizer


def saved(folder: Path, tokenizer: PreTrainedTokenizerFast | None = None) -> str:
    """A model of context 32 with that tokenizer."""
    save_tiny_model(folder)
    (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    return str(folder)


def facts(
    model: str, *, response_tokens: int = 4, chat: bool = False, **task: Any
) -> tuple[TokenFacts, tuple[Prompt, ...]]:
    """Those of three prompts."""
    reward = RULE.model_dump(mode="json")
    config = DatasetTaskConfig.model_validate(
        {"name": "dataset", "path": "prompts.jsonl", "reward": reward, "chat": chat, **task}
    )
    return read_tokens(model, PROMPTS, config, response_tokens=response_tokens)


def test_the_longest_prompt_and_the_context_are_in_tokens(tmp_path: Path) -> None:
    known = TokenFacts(longest_prompt=6, context=32, before="", ends={0: "<eos>"})

    assert facts(saved(tmp_path)) == (known, PROMPTS)


@pytest.mark.parametrize(
    ("template", "before", "longest"), [("<s> $A", "<s>", 7), ("<s> $A <eos>", "<s>", 7)]
)
def test_what_begins_a_prompt_counts_and_can_be_written(
    tmp_path: Path, template: str, before: str, longest: int
) -> None:
    found, _ = facts(saved(tmp_path, beginning(tiny_tokenizer(), template)))

    assert (found.before, found.longest_prompt) == (
        before,
        longest,
    )  # an end token at the end is no part of a prompt


def test_what_stands_elsewhere_cannot_be_written_before_a_prompt(tmp_path: Path) -> None:
    found, _ = facts(saved(tmp_path, beginning(tiny_tokenizer(), "$A <s>")))

    assert found.before is None


def test_a_chat_template_counts(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE

    found, _ = facts(saved(tmp_path, tokenizer), chat=True)

    assert (found.longest_prompt, found.before) == (9, None)  # k, six words, l, m


def test_what_ends_a_response_is_known_and_what_the_models_authors_did_not_name(tmp_path: Path) -> None:
    model = saved(tmp_path)
    assert facts(model, stop=["m", "<eos>"])[0].ends == {0: "<eos>", 14: "m"}
    assert facts(model, stop=["m", "<eos>"])[0].stops == (14,)

    GenerationConfig(eos_token_id=[0, 14]).save_pretrained(model)

    assert facts(model, stop=["m"])[0].ends == {0: "<eos>", 14: "m"}
    assert facts(model, stop=["m"])[0].stops == ()  # every sampler reads it there


def test_a_chat_ends_with_its_turn(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["m"]})
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} m {% endfor %}"

    found, _ = facts(saved(tmp_path, tokenizer), chat=True)

    assert found.stops == (14,)


@pytest.mark.parametrize(
    ("response_tokens", "kept", "longest"), [(26, 3, 6), (27, 2, 3), (30, 1, 1), (32, 3, None)]
)
def test_a_prompt_that_leaves_no_room_was_dropped_in_training_and_is_here(
    tmp_path: Path, response_tokens: int, kept: int, longest: int | None
) -> None:
    found, prompts = facts(saved(tmp_path), response_tokens=response_tokens)

    assert (len(prompts), found.longest_prompt) == (kept, longest)


def test_what_cannot_be_read_is_not_known_and_no_error(tmp_path: Path) -> None:
    only_config = tmp_path / "only config"
    save_tiny_model(only_config)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (only_config / name).unlink()

    assert facts(str(tmp_path / "nowhere")) == (TokenFacts(), PROMPTS)
    assert facts(str(only_config)) == (TokenFacts(context=32), PROMPTS)
    assert facts(saved(tmp_path / "no template"), chat=True) == (TokenFacts(context=32), PROMPTS)
    assert facts(saved(tmp_path / "other words"), stop=["xyz"]) == (TokenFacts(context=32), PROMPTS)
