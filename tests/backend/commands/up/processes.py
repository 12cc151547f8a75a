"""`dgl-rsis serve` and `up` as processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from backend.web.server import read_state

START_SECONDS = 40


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """`dgl-rsis` with these arguments, ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "backend.commands.main", *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(
    state: Path, process: "subprocess.Popen[str]", meanwhile: Callable[[], None] = lambda: None
) -> Mapping[str, str | int]:
    deadline = time.monotonic() + START_SECONDS
    while not state.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        meanwhile()
        time.sleep(0.05)
    return read_state(state)
