"""Servers as `with` blocks: start one, wait until it answers, and end exactly that one."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
LAST_LINES = 15  # of the log, in an error


class StartError(RuntimeError):
    """A server did not start, or refused a step of the set-up; the message says the way out."""


@dataclass(frozen=True)
class Program:
    """A program that was started.

    Attributes:
        process: ours to end.
        log: file with its output.
    """

    process: subprocess.Popen[bytes]
    log: Path

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready()`.

        Raises:
            StartError: the program ended first, or the time ran out.
        """
        end = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > end:
                raise self._error(f"was not ready after {seconds:.0f} s")
            time.sleep(0.3)

    def check(self) -> None:
        """See that it still runs.

        Raises:
            StartError: it ended.
        """
        if self.process.poll() is not None:
            raise self._error(f"ended with status {self.process.returncode}")

    def _error(self, what: str) -> StartError:
        last = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        command = shlex.join(map(str, self.process.args))  # type: ignore[arg-type]
        return StartError("\n".join([f"`{command}` {what}; the end of {self.log}:", *last]))


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, stop_seconds: float = 60
) -> Iterator[Program]:
    """Run a program for the length of a `with` block; its output goes to `log`.

    It gets a session of its own, so that Ctrl-C reaches us alone and we end it in order: SIGTERM,
    and SIGKILL to its group after `stop_seconds` or at a second Ctrl-C.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Program(process, log)
    finally:
        process.terminate()
        try:
            process.wait(stop_seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port(preferred: int) -> int:
    """`preferred` if nobody listens there, else a free port chosen by the kernel."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return int(probe.getsockname()[1])
    raise StartError(f"no free TCP port on {LOOPBACK}")
