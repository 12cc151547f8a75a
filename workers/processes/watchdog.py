"""Signs of life of a worker's process, and its end when it is stuck.

A process can be stuck in three ways, and each is seen by what is still awake:

- It is stopped, or gone with its machine. Nothing in it is awake: its supervisor misses the signs
  of life and kills it, and other workers miss its heartbeat.
- Native code holds the interpreter's lock for ever. No Python runs: a timer of `faulthandler`,
  which needs no interpreter and is wound up again each second, tells where all threads are and ends
  the process.
- Native code waits for ever without the lock. This thread runs: a job that uses no processor while
  it should compute, or one that takes far too long, ends the process.

The signs follow sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names, so that systemd
supervises a worker as `dgl-rsis up` does.
"""

import faulthandler
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from workers import blocking
from workers.queue.connection import JOB_SECONDS

log = logging.getLogger(__name__)

NOTIFY_SOCKET = "NOTIFY_SOCKET"
READY = "READY=1"
ALIVE = "WATCHDOG=1"
JOBS = "X_JOBS="  # how many were worked since the start; names of one's own begin so

SIGN_SECONDS = 1.0
LOCKED_SECONDS = 20.0  # nothing of ours holds the interpreter's lock for more than a few
IDLE_SECONDS = 30.0
LEAST_SHARE = 0.02  # of one processor; the heartbeats alone use a tenth of that
HUNG_SECONDS = JOB_SECONDS + 60.0


@dataclass(frozen=True)
class Limits:
    """When a process counts as stuck.

    Attributes:
        locked: seconds without any Python.
        idle: seconds in which a job uses no processor while it should compute; None where jobs
            compute nothing.
        hung: seconds that a job may take at all; what it waits for others does not count.
    """

    locked: float = LOCKED_SECONDS
    idle: float | None = None
    hung: float = HUNG_SECONDS


@dataclass
class _Work:
    """The job in hand, and when it last used the processor."""

    job: str
    began: float
    waited: float
    used_at: float
    used: float


class Watchdog:
    """Watches the process that it is in, once `start` is called.

    Args:
        limits: when the process is stuck.
        sign_seconds: between two signs of life.
    """

    def __init__(self, limits: Limits | None = None, sign_seconds: float = SIGN_SECONDS) -> None:
        self._limits = limits or Limits()
        self._sign_seconds = sign_seconds
        self._work: _Work | None = None
        self._jobs = 0
        self._started = False
        self._ready = False
        self._stopped = threading.Event()

    def start(self) -> "Watchdog":
        """Give signs of life from now on."""
        self._started = True
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()
        return self

    def ready(self) -> None:
        """The process is loaded, and takes jobs. Only from here on it must not be silent."""
        self._ready = True
        if self._started:
            self._wind_up()  # at once: the first job may be the one that holds the lock
        notify(READY)

    @contextmanager
    def watching(self, job: str) -> Iterator[None]:
        """What is done inside must come to an end, and use the processor."""
        now = time.monotonic()
        self._work = _Work(job, now, blocking.waited(), now, time.process_time())
        try:
            yield
        finally:
            self._work = None

    def progressed(self) -> None:
        """A job was worked, whatever came of it."""
        self._jobs += 1
        self._sign()

    def stop(self) -> None:
        """The process ends in order."""
        self._stopped.set()
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        while not self._stopped.wait(self._sign_seconds):
            self._sign()
            if self._ready:
                self._wind_up()
            problem = self._problem()
            if problem:
                log.critical("%s: this process ends, to be started anew", problem)
                os._exit(1)
        faulthandler.cancel_dump_traceback_later()  # `stop` may have come in between

    def _wind_up(self) -> None:
        faulthandler.dump_traceback_later(self._limits.locked, exit=True)

    def _sign(self) -> None:
        notify(f"{ALIVE}\n{JOBS}{self._jobs}")

    def _problem(self) -> str:
        """Why the process must end; empty while all is well."""
        work = self._work
        if work is None:
            return ""
        now = time.monotonic()
        if now - work.began - (blocking.waited() - work.waited) > self._limits.hung:
            return f"{work.job} hangs"
        if self._limits.idle is None:
            return ""
        # All threads count. One that waits for a GPU spins, as CUDA does by default.
        used = time.process_time()
        if blocking.is_waiting() or used - work.used > LEAST_SHARE * self._limits.idle:
            work.used_at, work.used = now, used
        if now - work.used_at > self._limits.idle:
            return f"{work.job} has not used the processor for {self._limits.idle:.0f} s"
        return ""


def notify(message: str) -> None:
    """Tell the supervisor, if there is one; see sd_notify(3)."""
    address = os.environ.get(NOTIFY_SOCKET, "")
    if not address:
        return
    if address.startswith("@"):  # of Linux's abstract names
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)  # a supervisor that is busy has enough of them
        sender.sendto(message.encode(), address)
