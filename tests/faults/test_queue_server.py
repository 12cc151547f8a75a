"""The embedded server dies, hangs or has a full disk: it comes back, and nobody else falls over."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis, RedisError
from redis.exceptions import ResponseError

from tests.workers.fake_worker import request
from tests.workers.worker_processes import status, until, worker_process
from workers.messages import SEGMENT_QUEUE, SegmentReply
from workers.processes import children
from workers.processes.embedded import EmbeddedServer
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue, segment_job_id
from workers.queue.servers import connect

BACK_SECONDS = 10.0  # what is promised


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "data", silence_seconds=2.0) as server:
        server.look_after()
        yield server


def back(server: EmbeddedServer) -> None:
    """Look after the server until it answers again."""

    def answers() -> bool:
        server.look_after()
        with contextlib.suppress(RedisError):
            return server.pid != 0 and server._answers()
        return False

    until(answers, BACK_SECONDS)


def kill(server: EmbeddedServer) -> None:
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_killed_server_is_back_at_its_address_with_its_data(server: EmbeddedServer) -> None:
    with connect(server.url) as redis:
        redis.set("kept", "value")
        before = server.pid
        kill(server)
        back(server)
        assert redis.get("kept") == b"value"  # by the client that knew it before
    assert server.pid != before
    told = server.described()
    assert (told.state, told.ends, told.status) == ("running", 1, -signal.SIGKILL)


def test_a_server_that_does_not_answer_is_killed_and_started_again(server: EmbeddedServer) -> None:
    with connect(server.url) as redis:
        redis.set("kept", "value")
        os.kill(server.pid, signal.SIGSTOP)
        until(lambda: server.look_after() or server.restarts.count == 1, BACK_SECONDS)
        back(server)
        assert redis.get("kept") == b"value"
    assert server.restarts.cause.startswith("no answer for ")


def test_a_crash_loop_of_the_server_backs_off_and_says_so(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FIRST_PAUSE_SECONDS", 0.1)
    pauses = []
    for ends in range(3):
        kill(server)
        until(lambda ends=ends: server.look_after() or server.restarts.count > ends)
        pauses.append(server.restarts.at - time.monotonic())
        assert server.described().state == "pausing"
        back(server)
    assert server.restarts.in_a_row == 3
    assert pauses == pytest.approx([0.1, 0.2, 0.4], abs=0.05)


def _limit_files(server: EmbeddedServer, size: int) -> None:
    """Let the server's files grow no further, as on a full disk; -1: let them."""
    process = psutil.Process(server.pid)
    _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (size if size >= 0 else hard, hard))


def _refuses(redis: Redis) -> bool:
    try:
        redis.set("something", "x" * 10_000)
    except ResponseError as error:
        return str(error).startswith("MISCONF")
    return False


Break = Callable[[EmbeddedServer, Redis], None]
Mend = Callable[[EmbeddedServer], None]


def _fill_disk(server: EmbeddedServer, redis: Redis) -> None:
    _limit_files(server, 20_000)
    until(lambda: _refuses(redis))


def _kill(server: EmbeddedServer, redis: Redis) -> None:
    kill(server)


@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="needs prlimit(2)")
@pytest.mark.parametrize(
    ("break_it", "mend"),
    [(_kill, back), (_fill_disk, lambda server: _limit_files(server, -1))],
    ids=["dead", "disk full"],
)
def test_a_worker_waits_and_its_result_is_not_lost(
    server: EmbeddedServer, tmp_path: Path, break_it: Break, mend: Mend
) -> None:
    output = tmp_path / "worker.log"
    asked, later = request("sleep"), request("bright")
    with connect(server.url) as redis:
        client, queue = SegmentClient(redis), open_queue(SEGMENT_QUEUE, redis)
        client.submit([asked])
        with worker_process(server.url, beat=0.5, output=output) as process:
            until(lambda: status(queue, segment_job_id(asked.key)) == "started")
            break_it(server, redis)
            until(lambda: "waiting for the queue" in output.read_text())  # with its result
            mend(server)
            assert isinstance(client.wait([asked.key], 60)[asked.key], SegmentReply)
            until(lambda: "heartbeats reach the queue again" in output.read_text())
            break_it(server, redis)  # while it is idle
            until(lambda: output.read_text().count("no heartbeats") == 2)
            mend(server)
            until(lambda: not _refuses(redis))
            client.submit([later])
            assert isinstance(client.wait([later.key], 60)[later.key], SegmentReply)
            assert process.is_alive()
            process.terminate()
            process.join(30)
            assert process.exitcode == 0
        assert redis.get(f"dgl:attempts:{asked.key}") is None
    said = output.read_text()
    assert (
        said.count("the queue answers and writes again") == said.count("waiting for the queue") <= 2
    )
    assert said.count("no heartbeats") <= 2  # one line for each outage
    assert "Traceback" not in said


def test_a_worker_waits_at_its_start_and_can_be_stopped_while_it_waits(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    output = tmp_path / "worker.log"
    asked = request("bright")
    with connect(server.url) as redis:
        client = SegmentClient(redis)
        client.submit([asked])
        kill(server)
        with worker_process(server.url, beat=0.5, output=output) as process:
            until(lambda: output.exists() and "waiting for the queue" in output.read_text())
            back(server)
            assert isinstance(client.wait([asked.key], 60)[asked.key], SegmentReply)
            kill(server)
            until(lambda: output.read_text().count("no heartbeats") == 1)
            process.terminate()
            process.join(30)
            assert process.exitcode == 0
    assert "Traceback" not in output.read_text()
