"""A web server in a process of its own, as `dgl-rsis serve` starts it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests

from backend.web.server import read_state

START_SECONDS = 60
PATIENCE = 60


@dataclass(frozen=True)
class WebProcess:
    """A web server that listens.

    Attributes:
        url: of it.
        process: that it is.
        log: what it wrote.
    """

    url: str
    process: psutil.Process
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def health(self) -> float:
        """Seconds that /health takes, on a new connection."""
        started = time.perf_counter()
        answer = requests.get(f"{self.url}/health", timeout=PATIENCE)
        assert answer.status_code == 200
        return time.perf_counter() - started


@contextmanager
def web_process(
    folder: Path, redis_url: str, *, files: int | None = None, **settings: str
) -> Iterator[WebProcess]:
    """`dgl-rsis serve` on a free port, for the length of a `with` block.

    Args:
        folder: for its files.
        redis_url: of the queue.
        files: that it may open at most.
        settings: by the names of their variables.
    """
    state, log = folder / "web.json", folder / "web.log"
    limited = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"] if files else []
    command = [*limited, sys.executable, "-m", "backend.commands.main", "serve", "--port", "0"]
    environment = os.environ | {"REDIS_URL": redis_url} | settings
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--state", str(state)], env=environment, stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not state.exists():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield WebProcess(str(read_state(state)["url"]), psutil.Process(process.pid), log)
        finally:
            process.terminate()
            process.wait(30)
