"""A real HTTP server on loopback for large files: ranges, tags, and all that goes wrong."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Shelf:
    """What the server has, and how it behaves.

    Attributes:
        files: path → content.
        ranges: whether it understands Range.
        tags: whether it sends ETags.
        cuts: bytes after which it drops the connection, one entry a request; then it behaves.
        statuses: to answer with, one a request, instead of a file.
        moves: path → address to redirect to.
        seen: the Range header of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tags: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    moves: dict[str, str] = field(default_factory=dict)
    seen: list[str | None] = field(default_factory=list)
    url: str = ""


class _Server(ThreadingHTTPServer):
    shelf: Shelf


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        shelf = self.server.shelf
        shelf.seen.append(self.headers["Range"])
        content = shelf.files.get(self.path)
        if shelf.statuses:
            self._plain(shelf.statuses.pop(0))
        elif self.path in shelf.moves:
            self.send_response(302)
            self.send_header("Location", shelf.moves[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif content is None:
            self._plain(404)
        else:
            self._file(content)

    def _plain(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, content: bytes) -> None:
        shelf = self.server.shelf
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = self._start(tag)
        if start is not None and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if shelf.tags:
            self.send_header("ETag", tag)
        body = content[start or 0 :]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if shelf.cuts:
            self.wfile.write(body[: shelf.cuts.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _start(self, tag: str) -> int | None:
        match = re.match(r"bytes=(\d+)-$", self.headers["Range"] or "")
        changed = self.headers["If-Range"] not in (None, tag)
        return int(match[1]) if match and self.server.shelf.ranges and not changed else None

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def file_server(**files: bytes) -> Iterator[Shelf]:
    """Serve what is on a shelf; `shelf.url` + path is the address of a file."""
    shelf = Shelf({f"/{name}": content for name, content in files.items()})
    with _Server(("127.0.0.1", 0), Handler) as server:
        server.shelf = shelf
        shelf.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield shelf
        server.shutdown()
        thread.join()
