"""A web page for this machine only."""

from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ppo_tune.errors import PPOTuneError


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """No line per request."""


def local_server(port: int, app: Callable[..., Any]) -> WSGIServer:
    """A server that listens on the loopback address; to be used as a context, which closes it.

    Args:
        port: Where; 0 takes a free one.
        app: Answers the requests, by WSGI.

    Raises:
        PPOTuneError: If the port cannot be used.
    """
    try:
        return make_server("127.0.0.1", port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise PPOTuneError(
            f"port {port} cannot be used ({error.strerror}); choose another with --port"
        ) from None
