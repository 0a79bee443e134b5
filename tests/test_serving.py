"""A server for this machine: who is heard, who may change something, and how they get to."""

from collections.abc import Iterable
from typing import Any

import pytest

from ppo_tune.serving import guarded

TOKEN = "the-token_1"
COOKIE = f"ppo_tune_8080={TOKEN}"


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"heard"]


def answer(port: int = 8080, **environ: str) -> tuple[str, dict[str, str], str]:
    """Status, headers and text that a request gets; by default the page asks for something to read."""
    got: list[Any] = []
    usual = {"REQUEST_METHOD": "GET", "HTTP_HOST": f"127.0.0.1:{port}", "PATH_INFO": "/a"}
    body = guarded(app, port, TOKEN)({**usual, **environ}, lambda *said: got.append(said))
    ((status, headers),) = got
    return status[:3], dict(headers), b"".join(body).decode()


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080"])
def test_this_machine_is_heard_by_its_names(host: str) -> None:
    assert answer(HTTP_HOST=host) == ("200", {}, "heard")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1", "localhost:80", "127.0.0.1:8080.evil.example", "",
     "127.0.0.1:8080,evil.example", "127.0.0.1:8080@evil.example", "192.168.0.1:8080"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_a_foreign_host_is_not_heard_even_with_the_token(host: str, method: str) -> None:
    status, _, text = answer(HTTP_HOST=host, REQUEST_METHOD=method, HTTP_COOKIE=COOKIE)

    assert (status, text) == ("403", "refused: only requests to 127.0.0.1:8080 are answered\n")


def test_on_port_80_a_browser_leaves_the_port_out() -> None:
    assert answer(80, HTTP_HOST="localhost", HTTP_ORIGIN="http://localhost")[0] == "200"


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "https://127.0.0.1:8080", "http://127.0.0.1:8081", "http://127.0.0.1",
     "http://127.0.0.1:8080.evil.example"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_foreign_page_is_not_heard_even_with_the_token(origin: str, method: str) -> None:
    status, _, text = answer(HTTP_ORIGIN=origin, REQUEST_METHOD=method, HTTP_COOKIE=COOKIE)

    assert (status, text) == ("403", "refused: requests from other pages are not answered\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "MADE-UP"])
def test_what_may_change_something_needs_the_token(method: str) -> None:
    refused = ("403", "refused: to change something, open the address that was printed\n")

    for cookie in ("", "ppo_tune_8080=other", f"ppo_tune_8081={TOKEN}", f"x={TOKEN}", "ppo_tune_8080"):
        status, _, text = answer(REQUEST_METHOD=method, HTTP_COOKIE=cookie)
        assert (status, text) == refused
    assert answer(REQUEST_METHOD=method, QUERY_STRING=f"token={TOKEN}")[0] == "403"
    assert answer(REQUEST_METHOD=method, HTTP_COOKIE=COOKIE)[0] == "200"
    assert answer(REQUEST_METHOD=method, HTTP_COOKIE=f'a={{"b"}}; {COOKIE}; c="', HTTP_ORIGIN="http://localhost:8080")[
        0
    ] == "200"  # fmt: skip


def test_who_opens_the_printed_address_gets_the_token_as_a_cookie_and_an_address_without_it() -> None:
    status, headers, _ = answer(
        PATH_INFO="/studies/1 ü".encode().decode("latin-1"), QUERY_STRING=f"x=1&token={TOKEN}"
    )

    assert status == "303"
    assert headers["Location"] == "http://127.0.0.1:8080/studies/1%20%C3%BC?x=1"
    assert headers["Set-Cookie"] == f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict"


def test_the_address_without_the_token_is_always_on_this_server() -> None:
    _, headers, _ = answer(PATH_INFO="//evil.example/a\r\nX: 1", QUERY_STRING=f"token={TOKEN}")

    assert headers["Location"] == "http://127.0.0.1:8080//evil.example/a%0D%0AX%3A%201"


def test_a_wrong_token_gets_no_cookie() -> None:
    status, headers, text = answer(QUERY_STRING="token=old")

    assert (status, "Set-Cookie" in headers) == ("403", False)
    assert text == "refused: this address is of another run; open the one that was printed last\n"
