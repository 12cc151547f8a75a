import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.commands.refusals import REFUSED
from backend.commands.up import supervisor
from backend.commands.up.child import ChildCommand
from backend.commands.up.supervisor import Supervisor
from workers.processes import children
from workers.queue.supervision import Supervised

FOREVER = "import time\nprint('up', flush=True)\ntime.sleep(60)"


def child(name: str, code: str, **how: Any) -> ChildCommand:
    return ChildCommand(name, (sys.executable, "-c", code), **how)


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
    assert Supervisor([child("talk", code, must_start=True)], os.environ).run(nothing) == 1
    said = {line.partition("| ")[2] for line in lines() if line.startswith("talk ")}
    assert {"a", "bé", "c", "no end"} <= said


def test_the_environment_reaches_the_children(lines: Callable[[], list[str]]) -> None:
    code = "import os\nprint(os.environ['REDIS_URL'])"
    Supervisor([child("env", code, must_start=True)], {"REDIS_URL": "unix:///x"}).run(nothing)
    assert any(line.endswith("| unix:///x") for line in lines())


def test_a_child_that_must_start_and_does_not_stops_all(lines: Callable[[], list[str]]) -> None:
    both = [child("steady", FOREVER), child("web", "raise SystemExit(3)", must_start=True)]
    assert Supervisor(both, os.environ).run(nothing) == 1
    assert any("web" in line and "ended with status 3" in line for line in lines())
    assert not psutil.pid_exists(pid_of("steady", lines()))


def test_a_crash_loop_backs_off_and_takes_down_nothing_else(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(children, "LONGEST_PAUSE_SECONDS", 0.4)
    dying = child("worker", "raise SystemExit('ValueError: no luck')")
    both = Supervisor([child("web", FOREVER, must_start=True), dying], os.environ)
    told: list[Supervised] = []

    def eighth() -> bool:
        web, worker = both.processes()
        told[:] = [web, worker]
        return worker.ends == 8 and worker.state == "pausing"

    began = time.monotonic()
    assert both.run(interrupt_when(eighth)) == 0
    # 0.05, 0.1, 0.2 and then four times the longest; without a cap it would be 6.35.
    assert time.monotonic() - began > 0.05 + 0.1 + 0.2 + 4 * 0.4
    web, worker = told
    assert (web.ends, web.status, web.again) == (0, None, None)
    assert (worker.in_a_row, worker.status, worker.cause) == (8, 1, "ValueError: no luck")
    assert worker.again is not None
    assert worker.ended is not None
    assert 0 <= worker.again - worker.ended < 0.5
    assert sum(line.startswith("web") and "started" in line for line in lines()) == 1


def test_a_child_that_works_jobs_before_it_dies_is_in_no_crash_loop(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FIRST_PAUSE_SECONDS", 0.05)
    code = (
        "from workers.processes.watchdog import Watchdog\n"
        "Watchdog().progressed()\n"
        "raise SystemExit(1)"
    )
    one = Supervisor([child("worker", code)], os.environ)
    assert one.run(interrupt_when(lambda: one.processes()[0].ends == 4)) == 0
    assert one.processes()[0].in_a_row == 1


def test_a_child_that_falls_silent_is_killed_and_started_again(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FIRST_PAUSE_SECONDS", 0.05)
    code = (
        "import time\nfrom workers.processes.watchdog import Watchdog\n"
        "watchdog = Watchdog(sign_seconds=0.1).start()\nwatchdog.ready()\ntime.sleep(60)"
    )
    one = Supervisor([child("worker", code, silence=2.0)], os.environ)
    stopped: list[int] = []

    def back() -> bool:
        (worker,) = one.processes()
        if worker.state == "running" and not stopped:
            stopped.append(worker.pid)
            os.kill(worker.pid, signal.SIGSTOP)
        return worker.state == "running" and worker.ends > 0

    assert one.run(interrupt_when(back)) == 0
    (worker,) = one.processes()
    assert (worker.ends, worker.status) == (1, -signal.SIGKILL)
    assert worker.cause.startswith("no sign of life for ")
    assert not psutil.pid_exists(stopped[0])


def test_a_child_that_does_not_answer_is_killed_and_started_again_as_it_was(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(children, "ASK_SECONDS", 0.1)
    well = [True]
    again = (sys.executable, "-c", "import time\nprint('again', flush=True)\ntime.sleep(60)")
    web = child("web", FOREVER, again=lambda: again, ask=lambda: well[0], silence=0.5)

    one = Supervisor([web], os.environ)

    def back() -> bool:
        well[0] = well[0] and one.processes()[0].state != "running"
        return any(line.endswith("| again") for line in lines())

    assert one.run(interrupt_when(back)) == 0
    assert any("no sign of life for" in line for line in lines())


def test_a_supervisor_that_slept_excuses_the_silence_of_its_children(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "ABSENT_SECONDS", 0.5)
    code = (
        "import time\nfrom workers.processes.watchdog import READY, notify\n"
        "notify(READY)\ntime.sleep(60)"
    )
    one = Supervisor([child("worker", code, silence=0.6)], os.environ)
    slept: list[str] = []

    def looked_at_again() -> bool:
        (worker,) = one.processes()
        if worker.state == "running" and not slept:
            time.sleep(1.0)
            slept.append("")
        elif slept:
            slept.append(worker.state)
        return len(slept) > 1

    assert one.run(interrupt_when(looked_at_again)) == 0
    assert slept[1:] == ["running"]


def test_a_killed_worker_is_started_again(lines: Callable[[], list[str]]) -> None:
    killed: list[int] = []

    def tick() -> None:
        if not killed and any(line.endswith("| up") for line in lines()):
            killed.append(pid_of("worker", lines()))
            os.kill(killed[0], signal.SIGKILL)
        if sum(line.endswith("| up") for line in lines()) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    worker = child("worker", FOREVER)
    assert Supervisor([worker], os.environ).run(tick) == 0
    assert any("ended with status -9" in line for line in lines())
    assert pid_of("worker", lines()) != killed[0]


def test_a_worker_that_refuses_its_settings_is_not_tried_again(
    lines: Callable[[], list[str]],
) -> None:
    worker = child("worker", f"raise SystemExit({REFUSED})")
    assert Supervisor([worker], os.environ).run(nothing) == 1
    assert sum("started as process" in line for line in lines()) == 1


def test_a_worker_that_refuses_its_settings_later_takes_nothing_down(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(children, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(children, "LONGEST_PAUSE_SECONDS", 5.0)
    mark = tmp_path / "mark"
    code = (
        f"import pathlib\nmark = pathlib.Path({str(mark)!r})\n"
        f"status = {REFUSED} if mark.exists() else 1\nmark.touch()\nraise SystemExit(status)"
    )
    one = Supervisor([child("worker", code)], os.environ)
    assert one.run(interrupt_when(lambda: one.processes()[0].ends == 2)) == 0
    assert "ended with status 2" in "\n".join(lines())
    assert "starting again in 5 s" in "\n".join(lines())  # it will hardly help


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
    Supervisor([child("parent", code, must_start=True)], os.environ).run(nothing)
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
        "from backend.commands.up.child import ChildCommand\n"
        "from backend.commands.up.supervisor import Supervisor\n"
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

    children = [child("waits", waits), child("ends", "raise SystemExit(3)", must_start=True)]
    assert Supervisor(children, os.environ).run(tick) == 1
