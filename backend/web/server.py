"""Waitress around the web application: one process, one loop, many threads.

One process, since almost all of a request is waiting for the queue, and since two would double the
memory and halve what the status page knows. Whoever runs it starts it again when it ends.
"""

import ctypes
import errno
import json
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from backend.web.connections import BACKLOG, Front, Limits
from backend.web.settings import Settings

LOG = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # a request that still waits after this is answered by nobody; it asks again
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
BIND_SECONDS = 10.0  # for the predecessor to leave the port
LOOP_SECONDS = 1.0
# Of computing without a pass of the loop: then no request is read or answered any more. Processor
# time, since a machine that slept, or has other work, is no reason.
HUNG_SECONDS = 60.0
MOST_FILES = 65536
OTHER_FILES = 256  # of the queue's connections, and what else the process opens
MOST_CONNECTIONS = 4096  # the loop looks at each of them in every pass, which takes about 2 µs
RECEIVED_BODIES = 4  # of the largest size, that may be on their way at once
SWITCH_SECONDS = 0.001  # how long a thread computes before another may; the loop is one of them
ARENAS, MAPPED = -8, -3  # M_ARENA_MAX and M_MMAP_THRESHOLD of malloc.h
MOST_ARENAS = 2
MAPPED_BYTES = 256 * 1024  # from which on memory goes back to the system when it is freed


class BindError(Exception):
    """It cannot listen at its address; the message says why."""


class Server:
    """Serves until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, listening: Callable[[str], None]) -> None:
        """Nothing listens before `run`.

        Args:
            settings: of the web process.
            listening: called once with the address, such as "http://127.0.0.1:9090".
        """
        self._settings = settings
        self._listening = listening
        self._front: Front | None = None
        self._stops = False

    def run(self) -> None:
        """Bind, serve, and after a signal give what is in work `GRACE_SECONDS`.

        Raises:
            BindError: it cannot listen at its address.
        """
        from backend.web.app import create_app
        from backend.web.parts import NAME

        listener = bind(self._settings.host, self._settings.port)
        keep_memory_small()
        sys.setswitchinterval(SWITCH_SECONDS)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        limits = limits_of(self._settings, raise_file_limit())
        app = create_app(self._settings)
        metrics = app.extensions[NAME].metrics

        def refused(status: int) -> None:
            metrics.requests.labels("refused", status).inc()

        if self._settings.warning:
            LOG.warning("%s", self._settings.warning)
        self._front = Front(app, listener, self._settings, limits, refused)
        self._listening(address_of(listener.getsockname()))
        while not self._stops:
            self._pass()
        self._finish(self._front)

    def _pass(self) -> None:
        assert self._front is not None
        signal.setitimer(signal.ITIMER_PROF, HUNG_SECONDS)
        self._front.turn(LOOP_SECONDS)

    def _finish(self, front: Front) -> None:
        """Accept nobody any more, and end what is in work."""
        deadline = time.monotonic() + GRACE_SECONDS
        front.del_channel()
        front.socket.close()
        while time.monotonic() < deadline:
            busy = [c for c in front.connections if not c.waits or c.total_outbufs_len]
            for connection in set(front.connections) - set(busy):
                if connection.request is None:
                    connection.drop()
            if not front.connections:
                break
            front.turn(0.1)
        signal.setitimer(signal.ITIMER_PROF, 0)
        front.task_dispatcher.shutdown()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stops = True
        if self._front is not None:
            self._front.pull_trigger()  # the loop may sleep


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address; `::` takes IPv4, too.

    Raises:
        BindError: it cannot be had; one that is in use, not for `BIND_SECONDS`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + BIND_SECONDS
    while True:
        try:
            both = host == "::" and socket.has_dualstack_ipv6()
            return socket.create_server(
                (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise BindError(
                    f"cannot listen at {host} port {port}: {error.strerror or error}. End what "
                    "listens there, or choose another with HOST and PORT."
                ) from None
        LOG.warning("port %d is in use; trying again", port)
        time.sleep(1.0)


def limits_of(settings: Settings, files: int) -> Limits:
    """What connections may hold, when the process may open so many files.

    A connection needs its socket and, for a large body, a file.
    """
    return Limits(
        connections=max(16, min(MOST_CONNECTIONS, (files - OTHER_FILES) // 2)),
        received=RECEIVED_BODIES * settings.max_body_bytes,
        body=settings.max_body_bytes,
    )


def raise_file_limit() -> int:
    """Let this process open as many files as it may; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


def keep_memory_small() -> None:
    """Have what one thread frees be there for others, and large bodies go back to the system.

    Only glibc has these settings; by default it gives each thread a heap of its own, and keeps what
    is as large as anything that was freed before.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(ARENAS, MOST_ARENAS)
        library.mallopt(MAPPED, MAPPED_BYTES)


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
