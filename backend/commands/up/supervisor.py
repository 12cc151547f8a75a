"""Child processes that live together: start, relay their lines, start again what dies, stop all.

One thread: a loop over the children's pipes and signs of life. Children have sessions of their own,
so Ctrl-C reaches this process only, which stops them in order; on Linux they also get SIGTERM when
this process is killed.

A child that died or hangs starts again, in a crash loop after growing pauses, and takes down no
other. Only while a person is looking does one stop all: in its first life, when it refuses its
settings or what must be there does not come to be.
"""

import logging
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

from backend.commands.up.child import LONGEST_LINE, Child, ChildCommand
from workers.logs import RELAYED
from workers.queue.supervision import Supervised

LOG = logging.getLogger(__name__)

TICK_SECONDS = 0.2
STOP_SECONDS = 15.0
LAST_LINES_SECONDS = 2.0
# Between two ticks: this process was stopped or starved, so its children may have been, and nobody
# heard them. More than `LAST_LINES_SECONDS`, and than a tick waits for an answer.
ABSENT_SECONDS = 3.0


class Supervisor:
    """Runs children until a signal, or until one shows in its first life that it is in vain.

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
        self._commands = commands
        self._children: list[Child] = []
        self._environment = dict(environment)
        self._stop_seconds = stop_seconds
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._failed = False
        self._ticked = 0.0

    def run(self, each_tick: Callable[[], None]) -> int:
        """Run until the end; `each_tick` is called several times a second.

        Returns:
            Exit status: 0 after a signal, 1 when a child's first life was in vain.
        """
        previous = {s: signal.signal(s, self._count) for s in (signal.SIGINT, signal.SIGTERM)}
        with ExitStack() as stack:
            for number, handler in previous.items():
                stack.callback(signal.signal, number, handler)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dgl-rsis-signs-"))
            stack.callback(self._selector.close)
            for command in self._commands:
                child = Child(command, Path(folder))
                stack.callback(child.close)
                self._selector.register(child.notices, selectors.EVENT_READ, child)
                self._children.append(child)
            stack.callback(self._stop_all)
            self._ticked = time.monotonic()
            while not self._signals and not self._failed:
                self._start_due()
                self._relay(TICK_SECONDS)
                self._look_after()
                each_tick()
        return 1 if self._failed else 0

    def processes(self) -> list[Supervised]:
        """How the children are; may be called from another thread."""
        return [described(each) for each in self._children]

    def _count(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and not child.restarts.waits:
                process = child.start(self._environment)
                assert process.stdout is not None
                self._selector.register(process.stdout, selectors.EVENT_READ, child)
                LOG.info("%-8s | started as process %d", child.command.name, process.pid)

    def _relay(self, seconds: float) -> None:
        """Take signs of life, and pass on what the children wrote, line by line, with names."""
        for key, _ in self._selector.select(seconds):
            child: Child = key.data
            if isinstance(key.fileobj, socket.socket):
                child.hear()
                continue
            data = os.read(key.fd, LONGEST_LINE)
            if not data:
                self._selector.unregister(key.fileobj)
            for line in child.lines(data):
                relayed = {RELAYED: (child.command.name, line)}
                LOG.info("%-8s | %s", child.command.name, line, extra=relayed)

    def _look_after(self) -> None:
        if time.monotonic() - self._ticked > ABSENT_SECONDS:
            for child in self._children:
                child.excuse()
        self._ticked = time.monotonic()
        for child in self._children:
            if child.process is None:
                continue
            cause = "" if _has_ended(child.process) else child.hangs()
            if cause:
                LOG.error("%-8s | %s", child.command.name, cause)
            if cause or _has_ended(child.process):
                self._ended(child, child.process, cause)

    def _ended(self, child: Child, process: "subprocess.Popen[bytes]", cause: str) -> None:
        """Say that a child ended, and start it again later or give up."""
        status = self._finish(child, process)
        lived = child.lived
        pause = child.ended(status, cause)
        name, restarts = child.command.name, child.restarts
        if child.is_hopeless(status):
            LOG.error("%-8s | ended with status %d after %.0f s: stopping", name, status, lived)
            self._failed = True
            return
        LOG.warning(
            "%-8s | ended with status %d after %.0f s; starting again in %.0f s (end %d, in a row "
            "%d)",
            name,
            status,
            lived,
            pause,
            restarts.count,
            restarts.in_a_row,
        )

    def _finish(self, child: Child, process: "subprocess.Popen[bytes]") -> int:
        """End it and what it left behind, relay its last lines, return its exit status."""
        _kill_group(process)
        assert process.stdout is not None
        deadline = time.monotonic() + LAST_LINES_SECONDS
        while process.stdout.fileno() in self._selector.get_map() and time.monotonic() < deadline:
            self._relay(TICK_SECONDS)
        if process.stdout.fileno() in self._selector.get_map():
            self._selector.unregister(process.stdout)
        process.stdout.close()
        child.hear()
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


def described(child: Child) -> Supervised:
    """How a child is."""
    restarts, process = child.restarts, child.process
    if process is None:
        again = time.time() + max(0.0, restarts.at - time.monotonic())
    return Supervised(
        host=socket.gethostname(),
        name=child.command.name,
        pid=process.pid if process is not None else 0,
        state="pausing" if process is None else "running" if child.is_ready else "starting",
        ends=restarts.count,
        in_a_row=restarts.in_a_row,
        status=restarts.status,
        cause=restarts.cause,
        ended=child.ended_at,
        again=again if process is None else None,
    )


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a child has ended; left a zombie, so that its group's id stays its own."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """A child leads its own process group, so that its children go with it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
