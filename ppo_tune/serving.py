"""A web page for this machine only, and for whoever was told its address.

Any page in any browser here may send requests to this machine. So a request must name this server as its host (a
foreign name that was pointed here does not) and, if it comes from a page, that page must be this server's. Whatever may
change something needs a token besides: the address that is printed holds it, and the browser keeps it as a cookie.
"""

import hmac
import secrets
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ppo_tune.calling import argument
from ppo_tune.errors import PPOTuneError

App = Callable[..., Iterable[bytes]]

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")
"""What this machine calls itself."""

READING = frozenset(("GET", "HEAD"))


class LocalServer(ThreadingMixIn, WSGIServer):
    """Listens on the loopback address."""

    daemon_threads = True
    token = ""

    def page(self, path: str) -> str:
        """The address of a page, to be opened by the one who may change things."""
        return f"http://{ADDRESS}:{self.server_port}{path}?token={self.token}"


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """No line per request."""


def local_server(port: int, app: App) -> LocalServer:
    """A server for this machine; to be used as a context, which closes it.

    Args:
        port: Where; 0 takes a free one.
        app: Answers the requests, by WSGI.

    Raises:
        PPOTuneError: If the port cannot be used.
    """
    try:
        server = make_server(ADDRESS, port, app, server_class=LocalServer, handler_class=_Quiet)
    except OSError as error:
        raise PPOTuneError(
            f"port {port} cannot be used ({error.strerror}); choose another with {argument('port')}"
        ) from None
    server.token = secrets.token_urlsafe(32)
    server.set_app(guarded(app, server.server_port, server.token))
    return server


def guarded(app: App, port: int, token: str) -> App:
    """An app that hears only what was meant for it.

    Args:
        app: By WSGI.
        port: Where the server listens.
        token: What a request that changes something must have as a cookie; a page that is opened with it in its
            address gets it as one.
    """
    hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
    origins = {f"http://{host}" for host in hosts}
    cookie = f"ppo_tune_{port}"  # a browser sends the cookies of all ports to each

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").lower()
        if host not in hosts:
            return _refuse(start_response, f"only requests to {ADDRESS}:{port} are answered")
        if environ.get("HTTP_ORIGIN", next(iter(origins))).lower() not in origins:
            return _refuse(start_response, "requests from other pages are not answered")
        query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        given = dict(query).get("token")
        if given is not None and environ["REQUEST_METHOD"] in READING:
            if not _same(given, token):
                return _refuse(
                    start_response, "this address is of another run; open the one that was printed last"
                )
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            place = quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), encoding="latin-1")
            headers = [
                ("Location", f"http://{host}{place}" + (f"?{rest}" if rest else "")),
                ("Set-Cookie", f"{cookie}={token}; Path=/; HttpOnly; SameSite=Strict"),
                ("Cache-Control", "no-store"),
            ]
            start_response("303 See Other", headers)
            return [b""]
        if environ["REQUEST_METHOD"] not in READING and not _same(_cookie(environ, cookie), token):
            return _refuse(start_response, "to change something, open the address that was printed")
        return app(environ, start_response)

    return answer


def _cookie(environ: dict[str, Any], name: str) -> str:
    # Those of other programs of this machine stand beside it, well formed or not.
    pairs = (pair.strip().partition("=") for pair in environ.get("HTTP_COOKIE", "").split(";"))
    return next((value for key, _, value in pairs if key == name), "")


def _same(given: str, token: str) -> bool:
    """Whether these are equal; says nothing by the time it takes."""
    return hmac.compare_digest(given.encode(), token.encode())


def _refuse(start_response: Callable[..., Any], why: str) -> Iterable[bytes]:
    start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"refused: {why}\n".encode()]
