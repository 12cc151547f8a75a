"""Numbered images on a server on loopback, which says in which order they are asked for."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

SIDE = 64  # pixels
GONE = 100  # from this number on there are none
WAIT_SECONDS = 60.0  # for what happens within a second or two


class Gallery:
    """Numbered images over HTTP, and in which order they were asked for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[int] = []
        self.held: set[int] = set()  # are not answered until they are released
        self.news = threading.Condition()

    def address(self, number: int) -> str:
        return f"{self.url}/{number}.png"

    def wait(self, number: int) -> None:
        """Until an image was asked for."""
        with self.news:
            assert self.news.wait_for(lambda: number in self.asked, WAIT_SECONDS), self.asked

    def release(self) -> None:
        with self.news:
            self.held.clear()
            self.news.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    gallery: Gallery


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        gallery, number = self.server.gallery, int(self.path.strip("/").removesuffix(".png"))
        with gallery.news:
            gallery.asked.append(number)
            gallery.news.notify_all()
            gallery.news.wait_for(lambda: number not in gallery.held, WAIT_SECONDS)
        content = _png(number)
        self.send_response(404 if number >= GONE else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, SIDE // 2 :] //= 4
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def shown() -> Iterator[Gallery]:
    """Serve them for the length of a `with` block."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.gallery = Gallery(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.gallery
        server.gallery.release()
        server.shutdown()
        thread.join()
