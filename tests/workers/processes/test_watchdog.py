import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers import blocking
from workers.processes.watchdog import JOBS, Limits, Watchdog, notify


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What a process has at NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "s"))
        yield listening


def test_signs_of_life_and_jobs_are_told(supervisor: socket.socket) -> None:
    watchdog = Watchdog(Limits(locked=600.0), sign_seconds=0.05).start()
    assert supervisor.recv(100).decode() == f"WATCHDOG=1\n{JOBS}0"
    watchdog.progressed()
    said = {supervisor.recv(100).decode() for _ in range(3)}
    assert f"WATCHDOG=1\n{JOBS}1" in said
    watchdog.ready()
    while supervisor.recv(100) != b"READY=1":
        pass
    watchdog.stop()


def test_without_a_supervisor_or_with_one_that_is_gone_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")


def test_an_abstract_address_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{tmp_path}")
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{tmp_path}")
        notify("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_a_job_must_use_the_processor_unless_it_waits_for_others() -> None:
    watchdog = Watchdog(Limits(idle=0.2))
    assert watchdog._problem() == ""
    with watchdog.watching("job a"):
        assert watchdog._problem() == ""
        time.sleep(0.25)
        assert watchdog._problem() == "job a has not used the processor for 0 s"
    with watchdog.watching("job b"), blocking.waiting():
        time.sleep(0.25)
        assert watchdog._problem() == ""
    with watchdog.watching("job c"):
        until = time.process_time() + 0.25
        while time.process_time() < until:
            sum(range(1000))
        assert watchdog._problem() == ""


def test_a_job_may_take_so_long_and_its_waits_do_not_count() -> None:
    watchdog = Watchdog(Limits(hung=0.2))
    with watchdog.watching("job a"):
        with blocking.waiting():
            time.sleep(0.25)
        assert watchdog._problem() == ""
        time.sleep(0.25)
        assert watchdog._problem() == "job a hangs"
