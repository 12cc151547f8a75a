"""One supervised process: its command, its life, its lines, its signs of life."""

import re
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.commands.refusals import REFUSED
from workers.processes.children import Pulse, Restarts, ends_with_parent, socket_path
from workers.processes.watchdog import ALIVE, JOBS, NOTIFY_SOCKET, READY

START_SECONDS = 600.0  # to load weights from a slow disk
SILENCE_SECONDS = 25.0  # a worker gives a sign of life each second
# The same while it loads, once it has given one: imports and weights hold it up for far less.
LOADING_SILENCE_SECONDS = 120.0
HEALTHY_SECONDS = 60.0  # one that lived so long, or worked a job, is in no crash loop
LONGEST_LINE = 65536
LONGEST_CAUSE = 300
KEPT_LINES = 30
LONGEST_NOTICE = 4096
# Lines that say why a process ends: of its log, of Python, of its fault handler, of our commands.
CAUSE = re.compile(r"\b(CRITICAL|ERROR)\b|^\w*(Error|Exception)\b|^(Fatal|Timeout|dgl-rsis:)")


@dataclass(frozen=True)
class ChildCommand:
    """A process to run, and to start again whenever it dies or hangs.

    Attributes:
        name: what its lines are prefixed with.
        argv: program and arguments.
        again: the same for later starts, where they depend on the first; None for `argv`.
        ask: whether it is well; raises without an answer. None: it says so itself, by sd_notify(3).
        must_start: it has to be ready once; where it ends before, all stop.
        silence: seconds without an answer or a sign of life, once it was ready: it hangs.
        start: seconds until it must be ready.
    """

    name: str
    argv: tuple[str, ...]
    again: Callable[[], tuple[str, ...]] | None = None
    ask: Callable[[], bool] | None = None
    must_start: bool = False
    silence: float = SILENCE_SECONDS
    start: float = START_SECONDS


class Child:
    """A command as it runs, or waits to run again.

    Args:
        command: what to run.
        folder: where its socket for signs of life is made.

    Raises:
        SocketPathError: the folder's path is too long.
    """

    def __init__(self, command: ChildCommand, folder: Path) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = Restarts()
        self.ended_at: float | None = None  # seconds since the epoch
        self._address = socket_path(folder / f"{command.name.replace(' ', '-')}.notify")
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(self._address)
        self.notices.setblocking(False)
        self._pulse = Pulse(command.ask) if command.ask is not None else None
        self._started = 0.0
        self._sign_at = 0.0
        self._ready = False
        self._signed = False
        self._was_ready = False
        self._jobs = 0
        self._buffer = b""
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)

    @property
    def pid(self) -> int:
        """Of its process; 0 while none runs."""
        return self.process.pid if self.process is not None else 0

    @property
    def is_ready(self) -> bool:
        """Whether it got as far as to answer, or to say that it is ready."""
        if self._pulse is not None and self._pulse.answered_at > self._started:
            self._ready = True
        return self._ready

    @property
    def lived(self) -> float:
        """Seconds since it was started last."""
        return time.monotonic() - self._started

    def start(self, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start it."""
        again = self.command.again if self._was_ready else None
        self._started = self._sign_at = time.monotonic()
        self._ready, self._signed, self._jobs, self._buffer = False, False, 0, b""
        self._lines.clear()
        self.process = subprocess.Popen(
            again() if again is not None else self.command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, NOTIFY_SOCKET: self._address},
            start_new_session=True,
            preexec_fn=ends_with_parent(),
        )
        return self.process

    def ended(self, status: int, cause: str) -> float:
        """Note that its process ended; seconds until it starts again."""
        self._was_ready = self._was_ready or self.is_ready
        self.process = None
        self.ended_at = time.time()
        healthy = self._jobs > 0 or self.lived >= HEALTHY_SECONDS
        cause = cause or self._own_words()
        return self.restarts.ended(status, cause, healthy=healthy, hopeless=status == REFUSED)

    def is_hopeless(self, status: int) -> bool:
        """Whether all must stop, now that it ended for the first time: a person is looking."""
        first = self.restarts.count == 1
        return first and (status == REFUSED or (self.command.must_start and not self._was_ready))

    def lines(self, data: bytes) -> list[str]:
        """The lines that are complete with what it wrote; b"" at its end."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if not data or len(self._buffer) >= LONGEST_LINE:
            lines, self._buffer = [*lines, self._buffer], b""
        said = [line.decode(errors="replace").rstrip() for line in lines if line]
        self._lines.extend(said)
        return said

    def hear(self) -> None:
        """Take the signs of life that have come."""
        while True:
            try:
                notice = self.notices.recv(LONGEST_NOTICE)
            except BlockingIOError:
                return
            for line in notice.decode(errors="replace").splitlines():
                if line in (READY, ALIVE):
                    self._sign_at = time.monotonic()
                    self._signed = True
                    self._ready = self._ready or line == READY
                elif line.startswith(JOBS) and line[len(JOBS) :].isdecimal():
                    self._jobs = int(line[len(JOBS) :])

    def hangs(self) -> str:
        """How it shows that it hangs; empty while all is well."""
        sign = max(self._sign_at, self._pulse.answered_at if self._pulse is not None else 0.0)
        silent = time.monotonic() - sign
        if self.is_ready and silent > self.command.silence:
            return f"no sign of life for {silent:.0f} s: killed"
        if self._signed and silent > max(LOADING_SILENCE_SECONDS, self.command.silence):
            return f"no sign of life for {silent:.0f} s, while it loads: killed"
        if not self.is_ready and silent > self.command.start:
            return f"not ready after {self.lived:.0f} s: killed"
        return ""

    def excuse(self) -> None:
        """Count its silence anew: it was the supervisor who did not listen."""
        self._sign_at = time.monotonic()

    def close(self) -> None:
        """Listen no more."""
        if self._pulse is not None:
            self._pulse.stop()
        self.notices.close()

    def _own_words(self) -> str:
        """The last line of its that says why it ended; empty where none does."""
        said = (line for line in reversed(self._lines) if CAUSE.search(line))
        return next(said, "")[:LONGEST_CAUSE]
