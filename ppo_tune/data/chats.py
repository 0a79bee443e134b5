"""Conversations: lists of messages as data sets and chat templates have them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

ROLES = {
    "system": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant",
}  # fmt: skip
"""Who speaks, by what data sets call them: ShareGPT's names and those of chat templates."""

NAMES = (("role", "content"), ("from", "value"))
"""What a message calls its speaker and its text."""

Turn = Mapping[str, str]
"""A message, with its `role`, one of the values of `ROLES`, and its `content`."""


class Chat(str):
    """A conversation up to the assistant's next turn; a text to all who read no turns.

    That text is the user's message where it is the only one, else every message after its speaker's name.

    Args:
        turns: At least one message; the last is the user's.
    """

    turns: tuple[Turn, ...]

    def __new__(cls, turns: Sequence[Turn]) -> Self:
        """The text with its turns."""
        chat = super().__new__(cls, _text(turns))
        chat.turns = tuple(turns)
        return chat

    def __getnewargs__(self) -> tuple[Any, ...]:
        """What a copy in another process is made of."""
        return (self.turns,)


def turns_of(prompt: str) -> list[Turn]:
    """The messages of a prompt; a plain text is a user's."""
    return [*prompt.turns] if isinstance(prompt, Chat) else [{"role": "user", "content": prompt}]


def has_turns(prompts: Iterable[str]) -> bool:
    """Whether any of some prompts is a conversation."""
    return any(isinstance(prompt, Chat) for prompt in prompts)


def read_chat(messages: Sequence[Any]) -> tuple[Chat, list[str]]:
    """A conversation as a data set has it, and what the assistant says at its end.

    Raises:
        ValueError: If it is none, in words that follow the column's name.
    """
    turns = [_turn(message, number) for number, message in enumerate(messages, start=1)]
    answers: list[str] = []
    while turns and turns[-1]["role"] == "assistant":
        answers.insert(0, turns.pop()["content"])
    if not turns or turns[-1]["role"] != "user":
        raise ValueError("must hold a message of the user that the assistant has to answer")
    return Chat(turns), answers


def _turn(message: Any, number: int) -> Turn:
    if not isinstance(message, Mapping):
        raise ValueError(f"must hold messages, but message {number} is {message!r}")
    speaker, text = next((pair for pair in NAMES if {*pair} <= {*message}), (None, None))
    if speaker is None or text is None:
        told = ", ".join(map(str, message))
        raise ValueError(f"must hold messages with role and content, but message {number} has {told}")
    role, content = ROLES.get(message[speaker]), message[text]
    if role is None:
        raise ValueError(
            f"must name {', '.join(ROLES)} as roles, but message {number} has {message[speaker]!r}"
        )
    if isinstance(content, list) and all(isinstance(p, Mapping) and p.get("type") == "text" for p in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"must hold text in every message, but message {number} has {content!r}")
    return {"role": role, "content": content}


def _text(turns: Sequence[Turn]) -> str:
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns)
