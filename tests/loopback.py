"""A web application served on loopback, in threads of the test's own process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from werkzeug.serving import make_server

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.02  # how soon its end is noticed


@contextmanager
def serving(app: Flask, port: int = 0, certificate: tuple[str, str] | None = None) -> Iterator[int]:
    """Serve for the length of a `with` block; the port.

    Args:
        app: what answers.
        port: 0 takes a free one.
        certificate: files of it and its key, for HTTPS.
    """
    server = make_server(LOOPBACK, port, app, threaded=True, ssl_context=certificate)
    thread = threading.Thread(target=server.serve_forever, args=[POLL_SECONDS], daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
