# mypy: ignore-errors
"""A chat template: what it writes around messages, and what ends an answer."""

import pytest

from ppo_tune.errors import ModelError
from ppo_tune.models.chat import exchange, prompt_ids, turn_end
from tests.tokenizers_of import CHATML, KINDS

LLAMA_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
PLAIN_WORDS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
USERS_ONLY = (
    "{% for m in messages %}{% if m['role'] != 'user' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
)


def speaking(template: str | None, kind: str = "byte level"):
    """A tokenizer with this chat template."""
    tokenizer = KINDS[kind]()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "kind", "expected"),
    [
        pytest.param(CHATML, "byte level", "<|im_end|>", id="a token that is not the model's own end"),
        pytest.param(
            CHATML.replace("<|im_end|>", " <|im_end|> <eos>"), "byte level", "<|im_end|>", id="the first"
        ),
        pytest.param(LLAMA_2, "metaspace", "</s>", id="the model's own end"),
        pytest.param(CHATML, "byte fallback", "<|im_end|>", id="of another kind of tokenizer"),
        pytest.param(PLAIN_WORDS, "byte level", None, id="words alone"),
        pytest.param("{{ messages[0]['content'] }}", "byte level", None, id="nothing after an answer"),
    ],
)
def test_a_turn_ends_with_the_first_special_token_after_an_assistants_message(template, kind, expected):
    tokenizer = speaking(template, kind)

    end = turn_end(tokenizer, asked_by="task.chat")

    assert (None if end is None else tokenizer.convert_ids_to_tokens(end)) == expected


def test_a_token_that_was_added_without_being_called_special_ends_a_turn():
    tokenizer = speaking(CHATML.replace("<|im_end|>", "<end>"))
    tokenizer.add_tokens(["<end>"])

    assert turn_end(tokenizer, asked_by="task.chat") == tokenizer.convert_tokens_to_ids("<end>")


def test_a_prompt_is_written_up_to_where_the_assistant_begins():
    tokenizer = speaking(CHATML)

    (ids,) = prompt_ids(tokenizer, ["ok"], chat=True)

    assert tokenizer.decode(ids) == "<|im_start|>user\nok<|im_end|>\n<|im_start|>assistant\n"


def test_an_exchange_is_a_users_and_an_assistants_turn():
    assert exchange(speaking(CHATML), "ok", "sure", asked_by="reward.model") == (
        "<|im_start|>user\nok<|im_end|>\n<|im_start|>assistant\nsure<|im_end|>\n"
    )


def test_a_missing_template_is_one_sentence_with_the_way_out():
    tokenizer = speaking(None)
    tokenizer.name_or_path = "models/base"

    with pytest.raises(ModelError) as caught:
        prompt_ids(tokenizer, ["ok"], chat=True)

    assert str(caught.value) == (
        "task.chat: the tokenizer of 'models/base' has no chat template; save one with it, or write the turns "
        "yourself in a `template`"
    )


@pytest.mark.parametrize("template", [USERS_ONLY, "{% for m in"], ids=["it refuses", "it is broken"])
def test_a_template_that_fails_is_one_sentence(template):
    with pytest.raises(
        ModelError, match=r"^task\.chat: the chat template of .* cannot write a message of the user"
    ):
        turn_end(speaking(template), asked_by="task.chat")
