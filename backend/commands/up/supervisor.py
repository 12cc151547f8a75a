"""Child processes that live and die together: start, relay their lines, restart workers, stop all.

One thread: a loop over the children's pipes. Children have sessions of their own, so Ctrl-C reaches
this process only, which stops them in order; on Linux they also get SIGTERM when this process is
killed.
"""

import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from backend.commands.refusals import REFUSED
from workers.logs import RELAYED
from workers.processes.children import ends_with_parent

LOG = logging.getLogger(__name__)

TICK_SECONDS = 0.2
STOP_SECONDS = 15.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
HEALTHY_SECONDS = 60.0  # a child that lived this long starts counting its failures anew
MOST_FAILURES = 5  # in a row
LAST_LINES_SECONDS = 2.0
LONGEST_LINE = 65536


@dataclass(frozen=True)
class ChildCommand:
    """A child process to run.

    Attributes:
        name: what its lines are prefixed with.
        argv: program and arguments.
        restarts: start it again, with growing pauses, when it dies; else, and when it ends with
            `REFUSED`, all stop.
    """

    name: str
    argv: tuple[str, ...]
    restarts: bool = False


@dataclass
class _Child:
    command: ChildCommand
    process: "subprocess.Popen[bytes] | None" = None
    buffer: bytes = b""
    started: float = 0.0
    failures: int = 0
    starts_at: float = field(default=0.0)


class Supervisor:
    """Runs children until one that must not die does, or until a signal.

    Args:
        commands: in the order of starting, which is also the order of stopping.
        environment: of every child.
        stop_seconds: how long a child may take to stop before it is killed.
    """

    def __init__(
        self,
        commands: Sequence[ChildCommand],
        environment: Mapping[str, str],
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._children = [_Child(command) for command in commands]
        self._environment = dict(environment)
        self._stop_seconds = stop_seconds
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._failed = False

    def run(self, each_tick: Callable[[], None]) -> int:
        """Run until the end; `each_tick` is called several times a second.

        Returns:
            Exit status: 0 after a signal, 1 when a child that must not die did.
        """
        previous = {s: signal.signal(s, self._count) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not self._signals and not self._failed:
                self._start_due()
                self._relay(TICK_SECONDS)
                self._look_after()
                each_tick()
            return 1 if self._failed else 0
        finally:
            self._stop_all()
            self._selector.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _count(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and time.monotonic() >= child.starts_at:
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.started = time.monotonic()
        child.process = subprocess.Popen(
            child.command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
            preexec_fn=ends_with_parent(),
        )
        assert child.process.stdout is not None
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)
        LOG.info("%-8s | started as process %d", child.command.name, child.process.pid)

    def _relay(self, seconds: float) -> None:
        """Pass on what the children wrote, line by line, with their names."""
        for key, _ in self._selector.select(seconds):
            child: _Child = key.data
            data = os.read(key.fd, LONGEST_LINE)
            if not data:
                self._selector.unregister(key.fileobj)
            *lines, child.buffer = (child.buffer + data).split(b"\n")
            if not data or len(child.buffer) >= LONGEST_LINE:
                lines, child.buffer = [*lines, child.buffer], b""
            for line in filter(None, lines):
                said = line.decode(errors="replace").rstrip()
                relayed = {RELAYED: (child.command.name, said)}
                LOG.info("%-8s | %s", child.command.name, said, extra=relayed)

    def _look_after(self) -> None:
        for child in self._children:
            if child.process is not None and _has_ended(child.process):
                self._ended(child, child.process)

    def _ended(self, child: _Child, process: "subprocess.Popen[bytes]") -> None:
        """Say that a child ended, and start it again later or give up."""
        status = self._finish(child, process)
        name = child.command.name
        lived = time.monotonic() - child.started
        child.failures = 1 if lived >= HEALTHY_SECONDS else child.failures + 1
        hopeless = status == REFUSED or child.failures >= MOST_FAILURES
        if hopeless or not child.command.restarts:
            LOG.error("%-8s | ended with status %d after %.0f s: stopping", name, status, lived)
            self._failed = True
            return
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (child.failures - 1), LONGEST_PAUSE_SECONDS)
        child.starts_at = time.monotonic() + pause
        LOG.warning(
            "%-8s | ended with status %d after %.0f s; starting again in %.0f s (failure %d of %d)",
            name,
            status,
            lived,
            pause,
            child.failures,
            MOST_FAILURES,
        )

    def _finish(self, child: _Child, process: "subprocess.Popen[bytes]") -> int:
        """End whatever a child left behind, relay its last lines, return its exit status."""
        _kill_group(process)
        assert process.stdout is not None
        deadline = time.monotonic() + LAST_LINES_SECONDS
        while process.stdout.fileno() in self._selector.get_map() and time.monotonic() < deadline:
            self._relay(TICK_SECONDS)
        if process.stdout.fileno() in self._selector.get_map():
            self._selector.unregister(process.stdout)
        process.stdout.close()
        child.process = None
        return process.wait()

    def _stop_all(self) -> None:
        """Stop in order; kill what does not stop in time, or at once at a second Ctrl-C."""
        for child in self._children:
            if child.process is None:
                continue
            LOG.info("%-8s | stopping", child.command.name)
            # Not `terminate`, which reaps one that has ended by itself meanwhile.
            os.kill(child.process.pid, signal.SIGTERM)
            deadline = time.monotonic() + self._stop_seconds
            while not _has_ended(child.process):
                if time.monotonic() > deadline or self._signals > 1:
                    LOG.warning("%-8s | does not stop: killed", child.command.name)
                    break
                self._relay(TICK_SECONDS)
            self._finish(child, child.process)


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a child has ended; left a zombie, so that its group's id stays its own."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """A child leads its own process group, so that its children go with it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
