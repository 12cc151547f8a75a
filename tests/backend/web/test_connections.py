import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from backend.web import connections
from backend.web.connections import WAITING_FOR_WORK, Front, Limits
from backend.web.settings import Settings

REQUEST = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HALF = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n"


@dataclass
class Running:
    """A front whose application answers /predict only when it is let."""

    front: Front
    address: tuple[str, int]
    go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    refused: list[int] = field(default_factory=list)
    clients: list[socket.socket] = field(default_factory=list)

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(self.address, 20)
        self.clients.append(connection)
        connection.sendall(sent)
        return connection

    def ask(self, path: bytes) -> tuple[int, bytes]:
        with closing(self.connect(REQUEST % path)) as connection:
            return read(connection)


Start = Callable[..., Running]


def read(connection: socket.socket) -> tuple[int, bytes]:
    """Status and all that came."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return int(received.split()[1]), received


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(threads=…, **limits)`: a front in a thread of this process."""
    ends, started = threading.Event(), list[tuple[Running, threading.Thread]]()

    def begin(threads: int = 2, **limits: int) -> Running:
        given = {"connections": 50, "received": 10**6, "body": 10**5} | limits

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if environ["PATH_INFO"] == "/predict":
                running.begun.release()
                running.go.wait(20)
            body = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]

        listener = socket.create_server(("127.0.0.1", 0))
        settings = Settings(threads=threads)
        refused: list[int] = []
        front = Front(application, listener, settings, Limits(**given), refused.append)
        running = Running(front, listener.getsockname(), refused=refused)

        def loop() -> None:
            while not ends.is_set():
                front.turn(0.05)

        thread = threading.Thread(target=loop)
        thread.start()
        started.append((running, thread))
        return running

    yield begin
    ends.set()
    for running, thread in started:
        running.go.set()
        thread.join()
        for client in running.clients:
            client.close()
        running.front.task_dispatcher.shutdown()
        for connection in running.front.connections:
            connection.drop()
        running.front.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_overload_is_told_at_once_and_health_answers(start: Start) -> None:
    running = start(threads=2)
    pool = running.front.task_dispatcher._pools["work"]
    until(lambda: pool.active_count == 0)  # they have begun
    held = [running.connect(REQUEST % b"/predict") for _ in range(2 + 2 * WAITING_FOR_WORK)]
    until(lambda: len(pool.queue) == len(held) - 2)
    status, answer = running.ask(b"/predict")
    assert status == 503
    assert b"Retry-After: 5" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"]
    for path in (b"/health", b"/setup", b"/ready"):
        assert running.ask(path)[0] == 200
    running.go.set()
    assert [read(connection)[0] for connection in held] == [200] * len(held)
    assert running.refused == [503]


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (b"GET /health HTTP/1.1\r\nX: ", "FIRST_SECONDS"),
        (HALF + b"{", "FIRST_SECONDS"),
        (b"", "IDLE_SECONDS"),
        (REQUEST.replace(b"close", b"keep-alive") % b"/health", "IDLE_SECONDS"),
    ],
)
def test_what_takes_too_long_is_closed(
    start: Start, monkeypatch: pytest.MonkeyPatch, sent: bytes, seconds: str
) -> None:
    monkeypatch.setattr(connections, seconds, 0.1)
    running = start()
    with closing(running.connect(sent)) as connection:
        while connection.recv(1000):
            pass
    until(lambda: not running.front.connections)


def test_an_answer_that_nobody_takes_is_dropped(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STALLED_SECONDS", 0.2)
    size = 20_000_000
    running = start(body=size, received=2 * size)
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(running.address)
        connection.sendall(b"POST /health HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
        connection.sendall(b"x" * size)
        until(lambda: any(each.total_outbufs_len for each in running.front.connections))
        until(lambda: not running.front.connections)


def test_a_request_in_work_is_not_too_slow(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.1)
    running = start()
    with closing(running.connect(REQUEST % b"/predict")) as connection:
        time.sleep(2.2)  # two looks at all connections
        running.go.set()
        assert read(connection)[0] == 200


def test_the_oldest_unfinished_give_way(start: Start) -> None:
    running = start(connections=21)
    working = running.connect(REQUEST % b"/predict")
    running.begun.acquire(timeout=20)
    half = [running.connect(HALF) for _ in range(19)]
    until(lambda: len(running.front.connections) == 20)
    newest = running.connect(HALF + b"x" * 900)
    assert half[0].recv(100) == b""
    running.go.set()
    newest.shutdown(socket.SHUT_WR)
    assert read(newest)[0] == 200
    assert read(working)[0] == 200


def test_who_comes_while_others_are_closed_is_served(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number of a closed socket goes to the next one at once, and nothing else of it."""
    monkeypatch.setattr(connections, "FIRST_SECONDS", 0.0)
    running = start(connections=30)
    ends = time.monotonic() + 3  # several looks at all connections
    while time.monotonic() < ends:
        for _ in range(40):
            running.connect(HALF)
        assert running.ask(b"/health")[0] == 200


def test_half_bodies_hold_no_more_than_the_limit(start: Start) -> None:
    running = start(received=300_000)
    head = b"POST /predict HTTP/1.1\r\nContent-Length: 90000\r\n\r\n"
    for _ in range(6):
        running.connect(head + b"x" * 80_000)
    until(lambda: 1 < len(running.front.connections) <= 3)
    assert sum(each.bytes_received for each in running.front.connections) <= 300_000


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_too_large_a_body_is_refused_and_the_refusal_arrives(start: Start, expect: bytes) -> None:
    running = start(body=1000)
    head = b"POST /predict HTTP/1.1\r\n%bContent-Length: 3000000\r\n\r\n" % expect
    with closing(running.connect(head)) as connection:
        if not expect:  # who does not wait for leave has sent all of it before it reads
            connection.sendall(b"x" * 3_000_000)
        status, answer = read(connection)
    assert status == 413
    assert b"MAX_BODY_BYTES" in answer
    assert b"100 Continue" not in answer


def test_who_waits_for_leave_to_send_gets_it(start: Start) -> None:
    running = start()
    running.go.set()
    head = b"POST /predict HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\n"
    with closing(running.connect(head + b"Content-Length: 4\r\n\r\n")) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"body")
        assert read(connection)[1].endswith(b"body")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000, 431),
        (b"no request at all\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX : y\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_what_is_no_request_is_told_so(start: Start, sent: bytes, status: int) -> None:
    with closing(start().connect(sent)) as connection:
        got, answer = read(connection)
    assert got == status
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error", "request_id"}
    assert b"waitress" not in answer
