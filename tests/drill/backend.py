"""`dgl-rsis up` as a service manager runs it: started again when it ends."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import requests

from backend.commands.demo.processes import LOOPBACK

PAUSE_SECONDS = 2.0  # of the service manager, before it starts it again
STOP_SECONDS = 60.0
ANSWER_SECONDS = 5.0
# Loaded by Python itself in every process of ours: see there.
HOOKS = Path(__file__).with_name("hooks")


class Service:
    """`dgl-rsis up` that is kept up.

    Args:
        folder: for its data, which may be on a disk of its own, and its log.
        data: folder of the queue's data.
        port: that it listens on.
        environment: its settings.
    """

    def __init__(self, folder: Path, data: Path, port: int, environment: Mapping[str, str]) -> None:
        self.url = f"http://{LOOPBACK}:{port}"
        self.starts = 0
        self._command = [sys.executable, "-m", "backend.commands.main", "up", "--host", LOOPBACK]
        self._command += ["--port", str(port), "--data", str(data)]
        self._environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(HOOKS), **environment}
        self._log = folder / "up.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="service manager")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep it up for the length of a `with` block, then stop it in order."""
        self._keeper.start()
        try:
            yield
        finally:
            self._over.set()
            self._keeper.join()

    def is_ready(self) -> bool:
        """Whether a task would be served now."""
        try:
            return requests.get(f"{self.url}/ready", timeout=ANSWER_SECONDS).ok
        except requests.RequestException:
            return False

    def process(self, name: str) -> psutil.Process | None:
        """The process of that kind that was started last; None while there is none."""
        if self._process is None or self._process.poll() is not None:
            return None
        with contextlib.suppress(psutil.Error):
            up = psutil.Process(self._process.pid)
            if name == "up":
                return up
            found = [child for child in up.children(recursive=True) if _name_of(child) == name]
            return max(found, key=psutil.Process.create_time, default=None)
        return None

    def serving(self, queue: str) -> psutil.Process | None:
        """A process of ours that serves a queue now, as the status page shows it."""
        with contextlib.suppress(requests.RequestException, psutil.Error, KeyError):
            state = requests.get(f"{self.url}/api/status", timeout=ANSWER_SECONDS).json()
            for worker in state["workers"]:
                if worker["queue"] == queue and worker["live"]:
                    return psutil.Process(worker["pid"])
        return None

    def _keep(self) -> None:
        with self._log.open("ab") as log:
            while not self._over.is_set():
                self.starts += 1
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                while self._process.poll() is None and not self._over.wait(0.1):
                    pass
                if not self._over.is_set():
                    self._over.wait(PAUSE_SECONDS)
            self._stop()

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _name_of(process: psutil.Process) -> str:
    """What a child of `up` does; empty for one that is none of its own, or has ended."""
    try:
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED):
            return ""
        words = process.cmdline()
    except psutil.Error:
        return ""
    if words and "valkey" in Path(words[0]).name:
        return "valkey"
    if "--interactive" in words:
        return "clicks"
    kinds = {"serve": "web", "deliver": "deliver", "worker": "worker"}
    return next((kind for word, kind in kinds.items() if word in words), "")


def wait_for(there: Callable[[], psutil.Process | None], seconds: float) -> psutil.Process | None:
    """A process, as soon as it is there; None after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (process := there()) is not None:
            return process
        time.sleep(0.2)
    return None
