"""Gunicorn around the web application: one process, many threads.

One process, since almost all of a request is waiting for the queue, and since two would double the
memory and halve what the status page knows.
"""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from backend.web.settings import Settings

LOG = logging.getLogger(__name__)

GRACE_SECONDS = 5  # a request that still waits after this is answered by nobody; it asks again
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class _Lines(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's lines go where all others do, in their form and without secrets."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn."""
        super().setup(cfg)
        self.error_log.propagate = True

    def _set_handler(self, *arguments: Any, **named: Any) -> None:
        """None of its own."""


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Serves until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, listening: Callable[[str], None]) -> None:
        """Nothing listens before `run`.

        Args:
            settings: of the web process.
            listening: called once with the address, such as "http://127.0.0.1:9090".
        """
        self._settings = settings
        self._listening = listening
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.cfg.set("bind", f"{host}:{settings.port}")
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("workers", 1)
        self.cfg.set("threads", settings.threads)
        self.cfg.set("graceful_timeout", GRACE_SECONDS)
        self.cfg.set("control_socket_disable", True)
        self.cfg.set("loglevel", settings.log_level.lower())
        self.cfg.set("logger_class", _Lines)
        self.cfg.set("when_ready", self._ready)

    def _ready(self, arbiter: Any) -> None:
        self._listening(address_of(arbiter.LISTENERS[0].sock.getsockname()))

    def load(self) -> Flask:
        """Called by gunicorn in the process that serves; the one that watches it stays small."""
        from backend.web.app import create_app

        return create_app(self._settings)


def address_of(name: tuple[Any, ...]) -> str:
    """The URL at which a socket that listens can be reached from this machine."""
    host = ANY_ADDRESS.get(name[0], name[0])
    return f"http://[{host}]:{name[1]}" if ":" in host else f"http://{host}:{name[1]}"


def write_state(path: Path, **values: str | int) -> None:
    """Write a small JSON file, at once and for this user only (an address may hold a password)."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        json.dump(values, file, indent=2)
    draft.replace(path)


def read_state(path: Path) -> dict[str, str | int]:
    """What `write_state` wrote."""
    values: dict[str, str | int] = json.loads(path.read_text())
    return values
