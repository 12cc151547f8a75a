"""A stand-in for the storages of Label Studio 1.23.2, and for the cloud behind them."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

KEY = "sesame"
IMAGE = b"the bytes of an image"
SIGNED = "X-Amz-Signature=0123"


class Cloud(ThreadingHTTPServer):
    """Answers signed addresses; notes what was asked with which Authorization header."""

    daemon_threads = True
    seen: list[tuple[str, str | None]]

    @property
    def url(self) -> str:
        """Of its root."""
        return f"http://127.0.0.1:{self.server_port}"


class CloudHandler(BaseHTTPRequestHandler):
    server: Cloud

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.seen.append((unquote(parts.path), self.headers["Authorization"]))
        signed = parts.query == SIGNED
        found = parts.path.endswith((".jpg", ".png"))
        answer(self, 403 if not signed else 200 if found else 404, IMAGE if signed else b"<Error/>")

    def log_message(self, format: str, *args: object) -> None: ...


@dataclass
class Studio:
    """What the project of task 5 has.

    Attributes:
        url: of the stand-in.
        cloud: behind its storages.
        presign: whether they sign addresses, or pass the bytes on.
        target: begins the addresses that they sign; empty for the cloud's own.
        moved: address that everything is redirected to, as by a proxy; empty for none.
        buckets: of its storages, `scheme://name`.
        seen: what was asked, with which Authorization header.
    """

    url: str
    cloud: Cloud
    presign: bool = True
    target: str = ""
    moved: str = ""
    buckets: tuple[str, ...] = ("s3://my-bucket", "gs://my-bucket", "azure-blob://my-bucket")
    seen: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def label_studio() -> Iterator[Studio]:
    """Label Studio with cloud storages, on loopback."""
    with (
        Cloud(("127.0.0.1", 0), CloudHandler) as cloud,
        ThreadingHTTPServer(("127.0.0.1", 0), StudioHandler) as server,
    ):
        cloud.seen = []
        server.daemon_threads = True
        studio = Studio(f"http://127.0.0.1:{server.server_port}", cloud)
        StudioHandler.studio = studio
        for each in (cloud, server):
            threading.Thread(target=each.serve_forever, args=(0.01,), daemon=True).start()
        yield studio
        cloud.shutdown()
        server.shutdown()


class StudioHandler(BaseHTTPRequestHandler):
    """`TaskResolveStorageUri` of Label Studio, and its uploads; the rest is not there."""

    studio: Studio

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.studio.seen.append((self.path, self.headers["Authorization"]))
        if self.studio.moved:
            return redirect(self, 301, self.studio.moved + self.path)
        signed = parts.path.startswith("/cloud/")  # another server behind the same proxy
        if self.headers["Authorization"] != (None if signed else f"Token {KEY}"):
            return answer(self, 401, b"{}")
        if parts.path == "/tasks/5/resolve":  # Django puts the slash behind
            return redirect(self, 301, self.path.replace("resolve?", "resolve/?"))
        if parts.path.startswith(("/data/upload/", "/storage-data/uploaded/", "/cloud/")):
            return answer(self, 200, IMAGE)
        if parts.path in ("/tasks/6/resolve/", "/tasks/6/presign/"):  # of another's project
            return answer(self, 403, b"{}")
        if parts.path not in ("/tasks/5/resolve/", "/tasks/5/presign/", "/projects/1/resolve/"):
            return answer(self, 404, b"{}")
        packed = parse_qs(parts.query)["fileuri"][0]
        return self._resolve(base64.urlsafe_b64decode(packed.encode()).decode())

    def _resolve(self, uri: str) -> None:
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if f"{scheme}://{bucket}" not in self.studio.buckets:
            return answer(self, 404, b"{}")
        if not self.studio.presign:
            found = key.endswith((".jpg", ".png"))
            return answer(self, 200 if found else 424, IMAGE if found else b"{}")
        target = self.studio.target or f"{self.studio.cloud.url}/{bucket}"
        return redirect(self, 303, f"{target}/{quote(key)}?{SIGNED}")

    def log_message(self, format: str, *args: object) -> None: ...


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Send a whole answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def redirect(handler: BaseHTTPRequestHandler, status: int, target: str) -> None:
    """Send somebody elsewhere."""
    handler.send_response(status)
    handler.send_header("Location", target)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
