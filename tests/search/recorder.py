"""A channel of a worker that keeps what is sent on it."""

from ppo_tune.search.workers import Channel, Message


class Recorder(Channel):
    """Keeps what is sent, and never asks for a stop."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def stop_requested(self) -> bool:
        return False
