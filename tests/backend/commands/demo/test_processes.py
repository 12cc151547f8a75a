import os
import socket
import sys
import time
from pathlib import Path

import pytest

from backend.commands.demo.processes import LOOPBACK, StartError, free_port, running

SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "os.fork(); print('deaf', flush=True); time.sleep(60)"
)


def test_a_program_ends_with_its_block(tmp_path: Path) -> None:
    with running([sys.executable, "-c", SLEEP], os.environ, tmp_path / "log") as program:
        assert program.process.poll() is None
    assert program.process.returncode is not None


def test_a_program_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", STUBBORN]
    with running(command, os.environ, log, stop_seconds=0.2) as program:
        program.wait_until(lambda: log.read_text().count("deaf") == 2, seconds=10)
    end = time.monotonic() + 5
    while group_exists(program.process.pid):
        assert time.monotonic() < end, "a child was left behind"
        time.sleep(0.05)


def test_output_and_environment(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", "import os; print(os.environ['COLOUR'])"]
    with running(command, {"COLOUR": "green"}, log) as program:
        program.process.wait(10)
    assert log.read_text() == "green\n"


def test_waiting_ends_when_the_program_does(tmp_path: Path) -> None:
    with (
        running(
            [sys.executable, "-c", "print('no such port'); exit(3)"], os.environ, tmp_path / "log"
        ) as program,
        pytest.raises(StartError, match=r"status 3; the end of .*\nno such port"),
    ):
        program.wait_until(lambda: False, seconds=10)


def test_waiting_ends_when_the_time_is_over(tmp_path: Path) -> None:
    with (
        running([sys.executable, "-c", SLEEP], os.environ, tmp_path / "log") as program,
        pytest.raises(StartError, match="not ready after 0 s"),
    ):
        program.wait_until(lambda: False, seconds=0.1)


def test_a_taken_port_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    free = free_port(0)
    assert free_port(free) == free


def group_exists(group: int) -> bool:
    """Whether a process of this group runs; one that only waits to be reaped does not count."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = status.read_text().rpartition(") ")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgrp) == group and state != "Z":
            return True
    return False
