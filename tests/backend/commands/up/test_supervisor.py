import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from backend.commands.refusals import REFUSED
from backend.commands.up import supervisor
from backend.commands.up.supervisor import ChildCommand, Supervisor

FOREVER = "import time\nprint('up', flush=True)\ntime.sleep(60)"


def child(name: str, code: str, *, restarts: bool = False) -> ChildCommand:
    return ChildCommand(name, (sys.executable, "-c", code), restarts)


def nothing() -> None:
    """No work at a tick."""


def interrupt_when(condition: Callable[[], bool]) -> Callable[[], None]:
    """A tick that presses Ctrl-C once the condition holds; fails the test after 20 s."""
    deadline = time.monotonic() + 20

    def tick() -> None:
        assert time.monotonic() < deadline
        if condition():
            os.kill(os.getpid(), signal.SIGINT)

    return tick


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def pid_of(name: str, lines: list[str]) -> int:
    starts = [line for line in lines if line.startswith(name) and "started as process" in line]
    return int(starts[-1].rsplit(" ", 1)[1])


def test_ctrl_c_stops_all_in_order(lines: Callable[[], list[str]]) -> None:
    both = [child("one", FOREVER), child("two", FOREVER)]
    up = interrupt_when(lambda: sum(line.endswith("| up") for line in lines()) == 2)
    assert Supervisor(both, os.environ).run(up) == 0
    stops = [line for line in lines() if line.endswith("stopping")]
    assert [line.split()[0] for line in stops] == ["one", "two"]
    for name in ("one", "two"):
        assert not psutil.pid_exists(pid_of(name, lines()))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_lines_of_a_child_carry_its_name(lines: Callable[[], list[str]]) -> None:
    code = "import sys\nprint('a\\nbé')\nprint('c', file=sys.stderr)\nsys.stdout.write('no end')"
    assert Supervisor([child("talk", code)], os.environ).run(nothing) == 1
    said = {line.partition("| ")[2] for line in lines() if line.startswith("talk ")}
    assert {"a", "bé", "c", "no end"} <= said


def test_the_environment_reaches_the_children(lines: Callable[[], list[str]]) -> None:
    code = "import os\nprint(os.environ['REDIS_URL'])"
    Supervisor([child("env", code)], {"REDIS_URL": "unix:///x"}).run(nothing)
    assert any(line.endswith("| unix:///x") for line in lines())


def test_a_child_that_must_not_die_stops_all(lines: Callable[[], list[str]]) -> None:
    both = [child("steady", FOREVER), child("web", "raise SystemExit(3)")]
    assert Supervisor(both, os.environ).run(nothing) == 1
    assert any("web" in line and "ended with status 3" in line for line in lines())
    assert not psutil.pid_exists(pid_of("steady", lines()))


def test_a_worker_is_started_again_with_growing_pauses_and_then_given_up(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.1)
    dying = child("worker", "raise SystemExit(1)", restarts=True)
    assert Supervisor([dying], os.environ).run(nothing) == 1
    starts = [line for line in lines() if "started as process" in line]
    assert len(starts) == supervisor.MOST_FAILURES
    assert "starting again in 0 s (failure 1 of 5)" in "\n".join(lines())
    assert "ended with status 1" in lines()[-1]


def test_a_killed_worker_is_started_again(lines: Callable[[], list[str]]) -> None:
    killed: list[int] = []

    def tick() -> None:
        if not killed and any(line.endswith("| up") for line in lines()):
            killed.append(pid_of("worker", lines()))
            os.kill(killed[0], signal.SIGKILL)
        if sum(line.endswith("| up") for line in lines()) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    worker = child("worker", FOREVER, restarts=True)
    assert Supervisor([worker], os.environ).run(tick) == 0
    assert any("ended with status -9" in line for line in lines())
    assert pid_of("worker", lines()) != killed[0]


def test_a_worker_that_refuses_its_settings_is_not_tried_again(
    lines: Callable[[], list[str]],
) -> None:
    worker = child("worker", f"raise SystemExit({REFUSED})", restarts=True)
    assert Supervisor([worker], os.environ).run(nothing) == 1
    assert sum("started as process" in line for line in lines()) == 1


def test_a_child_that_does_not_stop_is_killed(lines: Callable[[], list[str]]) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
    up = interrupt_when(lambda: any(line.endswith("| up") for line in lines()))
    assert Supervisor([child("deaf", deaf)], os.environ, stop_seconds=0.5).run(up) == 0
    assert any("does not stop: killed" in line for line in lines())
    assert not psutil.pid_exists(pid_of("deaf", lines()))


def test_what_a_child_leaves_behind_is_ended(lines: Callable[[], list[str]]) -> None:
    code = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    )
    started = time.monotonic()
    Supervisor([child("parent", code)], os.environ).run(nothing)
    (left,) = [int(line.partition("| ")[2]) for line in lines() if line[-1].isdigit()
               and "started" not in line and "status" not in line]  # fmt: skip
    assert time.monotonic() - started < 20
    deadline = time.monotonic() + 5
    while psutil.pid_exists(left) and psutil.Process(left).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(2)")
def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import logging, os, sys\n"
        "from backend.commands.up.supervisor import ChildCommand, Supervisor\n"
        "logging.basicConfig(level='INFO', stream=sys.stdout, format='%(message)s')\n"
        f"command = ChildCommand('child', (sys.executable, '-c', {FOREVER!r}))\n"
        "Supervisor([command], os.environ).run(lambda: None)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        child_pid = int(process.stdout.readline().rsplit(" ", 1)[1])
        assert process.stdout.readline().endswith("| up\n")
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child_pid) and psutil.Process(child_pid).status() != "zombie":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_that_ends_by_itself_while_all_stop_is_no_trouble(
    lines: Callable[[], list[str]], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)"

    def tick() -> None:
        if any(line.startswith("ends") and "ended with status" in line for line in lines()):
            go.touch()
            last = psutil.Process(pid_of("waits", lines()))
            while last.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)

    children = [child("waits", waits), child("ends", "raise SystemExit(3)")]
    assert Supervisor(children, os.environ).run(tick) == 1
