"""Servers as `with` blocks: start one, wait until it answers, and end exactly that one."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"


class StartError(RuntimeError):
    """A server did not start, or refused a step of the set-up; the message says the way out."""


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of a `with` block; its output goes to `log`.

    It gets a session of its own, so that Ctrl-C reaches us alone and we end it in order: SIGTERM,
    and SIGKILL to what is left of its group after 20 s.
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
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until `ready()`.

    Raises:
        StartError: the program ended first, or the time ran out.
    """
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise StartError(f"{process.args!r} ended with status {process.returncode}")
        if time.monotonic() > end:
            raise StartError(f"{process.args!r} was not ready after {seconds:.0f} s")
        time.sleep(0.3)


def free_port(preferred: int) -> int:
    """`preferred` if nobody listens there, else a free port chosen by the kernel."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return int(probe.getsockname()[1])
    raise StartError(f"no free TCP port on {LOOPBACK}")
