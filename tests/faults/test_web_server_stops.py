"""A web server that is told to stop finishes what it can, and one that hangs ends."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from backend.web.server import GRACE_SECONDS, BindError, Server, address_of, bind
from backend.web.settings import Settings
from tests.backend.worker_end import VERSION, predict_body, task
from tests.security.web_process import WebProcess, web_process
from workers.queue.heartbeats import Announcement, announce


def opened_task(web: WebProcess) -> tuple[threading.Thread, list[Any]]:
    """Somebody who opens a task and waits; what is answered, or the error."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            body = predict_body(task(1))
            answers.append(requests.post(f"{web.url}/predict", json=body, timeout=60).json())
        except requests.RequestException as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


@pytest.mark.parametrize(("wait", "is_answered"), [("2", True), ("40", False)])
def test_what_waits_gets_some_seconds(
    valkey: str, redis: Redis, tmp_path: Path, wait: str, is_answered: bool
) -> None:
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    with web_process(tmp_path, valkey, SINGLE_TASK_SECONDS=wait) as web:
        thread, answers = opened_task(web)
        deadline = time.monotonic() + 20
        while not redis.llen("rq:queue:segment"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with socket.create_connection(web.address) as idle:
            web.process.send_signal(signal.SIGTERM)
            assert web.process.wait(GRACE_SECONDS + 10) in (0, None)  # None: its parent took it
            assert idle.recv(10) == b""
        thread.join()
        assert (answers == [{"results": [[]]}]) == is_answered
        with pytest.raises(OSError):  # noqa: PT011  # refused, or reset
            socket.create_connection(web.address, 5)
        assert "Traceback" not in web.log.read_text()


def test_a_server_that_only_computes_ends() -> None:
    """The loop does not turn: no /health can be answered, and nobody would notice."""
    program = (
        "from types import SimpleNamespace\n"
        "from backend.web import server\n"
        "server.HUNG_SECONDS = 0.3\n"
        "def hang(*_):\n"
        "    while True: pass\n"
        "stuck = server.Server(None, None)\n"
        "stuck._front = SimpleNamespace(turn=hang)\n"
        "stuck._pass()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert ended.returncode == -signal.SIGPROF


@pytest.mark.parametrize(("host", "others"), [("::", ["127.0.0.1", "::1"]), ("::1", ["::1"])])
def test_it_listens_on_ipv6_and_with_it_on_ipv4(host: str, others: list[str]) -> None:
    with bind(host, 0) as listener:
        name = listener.getsockname()
        assert address_of(name) == f"http://[::1]:{name[1]}"
        for other in others:
            socket.create_connection((other, name[1]), 5).close()


def test_a_port_in_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.web.server.BIND_SECONDS", 0.0)
    with bind("127.0.0.1", 0) as listener:
        settings = Settings(port=listener.getsockname()[1], redis_url="redis://127.0.0.1:1/0")
        with pytest.raises(BindError, match=r"End what listens there, or .* HOST and PORT"):
            Server(settings, print).run()


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(BindError, match=r"cannot listen at 203\.0\.113\.7 port 9"):
        bind("203.0.113.7", 9)
