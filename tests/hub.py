"""A hub on this machine that speaks the protocol of the Hugging Face hub, as far as its libraries ask: read only."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Files = Mapping[str, bytes]


def files_of(folder: Path) -> dict[str, bytes]:
    """What a folder holds, by relative names."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def commit_of(files: Files) -> str:
    """A commit's name, by what it holds."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@dataclass
class Hub:
    """Repositories by kind (`models`, `datasets`) and name, each with its revisions.

    Attributes:
        repos: Files by revision; `main` is the default.
        private: Those that a token opens.
        token: What opens them.
        asked: Paths that were asked for.
        address: Of the hub.
    """

    repos: dict[tuple[str, str], dict[str, Files]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    token: str = "secret"
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of what a path asks for."""
        self.asked.append(path)
        parts = [unquote(part) for part in urlsplit(path).path.strip("/").split("/")]
        if parts[0] == "api":
            kind, repo, rest = parts[1], "/".join(parts[2:4]), parts[4:]
        else:
            kind, parts = ("datasets", parts[1:]) if parts[0] == "datasets" else ("models", parts)
            repo, rest = "/".join(parts[:2]), parts[2:]
        revisions = self.repos.get((kind, repo))
        if revisions is None or (repo in self.private and token != f"Bearer {self.token}"):
            return 404, {"X-Error-Code": "RepoNotFound"}, b'{"error": "Repository not found"}'
        what = rest[0] if rest else "info"
        revision = rest[1] if len(rest) > 1 else "main"
        files = next((f for name, f in revisions.items() if revision in (name, commit_of(f))), None)
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b'{"error": "Revision not found"}'
        commit = commit_of(files)
        if what == "resolve":
            return self._file(files, "/".join(rest[2:]), commit)
        if what == "tree":
            return 200, {}, json.dumps(_tree(files, "/".join(rest[2:]))).encode()
        if what == "paths-info":
            return 200, {}, json.dumps(_tree(files, "")).encode()
        info = {"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files], "tags": []}
        return (
            200,
            {},
            json.dumps({**info, "private": repo in self.private, "downloads": 0, "likes": 0}).encode(),
        )

    @staticmethod
    def _file(files: Files, name: str, commit: str) -> tuple[int, dict[str, str], bytes]:
        headers = {"X-Repo-Commit": commit}
        if name not in files:
            return 404, {**headers, "X-Error-Code": "EntryNotFound"}, b"Entry not found"
        return 200, {**headers, "ETag": f'"{_oid(files[name])}"'}, files[name]


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _tree(files: Files, under: str) -> list[dict[str, Any]]:
    """Files, and the folders that they lie in."""
    inside = [name for name in files if name.startswith(f"{under}/" if under else "")]
    folders = {
        parent.as_posix() for name in inside for parent in Path(name).parents if parent.as_posix() != "."
    }
    found = [{"type": "file", "path": n, "size": len(files[n]), "oid": _oid(files[n])} for n in inside]
    return [
        *({"type": "directory", "path": path, "size": 0, "oid": _oid(path.encode())} for path in folders),
        *found,
    ]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub answers at its address meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            status, headers, body = hub.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in {
                "Content-Length": str(len(body)),
                "Content-Type": "application/json",
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = _reply

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()
