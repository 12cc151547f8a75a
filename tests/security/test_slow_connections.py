"""Clients that send or take slowly hold no thread, and give way when there are too many."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests
from redis import Redis

from tests.backend.worker_end import VERSION, XML, predict_body, task
from tests.security.web_process import WebProcess, web_process
from workers.queue.heartbeats import Announcement, announce

HEALTH_SECONDS = 1.0
MANY = 400
HALF_A_HEADER = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "
HALF_A_BODY = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{"
HALF_A_CHUNK = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"
WHOLE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def web(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder: Path = tmp_path_factory.mktemp("web")
    settings = {"THREADS": "8", "SINGLE_TASK_SECONDS": "0", "MAX_BODY_BYTES": "2000000"}
    with web_process(folder, valkey, **settings) as started:
        yield started


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    """Closes what is opened in a test."""
    with ExitStack() as stack:
        yield stack


def opened(web: WebProcess, sockets: ExitStack, sent: bytes) -> socket.socket:
    connection = sockets.enter_context(socket.create_connection(web.address, 20))
    connection.sendall(sent)
    return connection


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """Status and all that came."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return int(received.split()[1]), received


@pytest.mark.parametrize("sent", [HALF_A_HEADER, HALF_A_BODY, HALF_A_CHUNK, WHOLE, b""])
def test_slow_clients_hold_up_nobody(web: WebProcess, sockets: ExitStack, sent: bytes) -> None:
    """Half a request, an answer that is not read, or nothing at all, on fifty times the threads."""
    for _ in range(MANY):
        opened(web, sockets, sent)
    assert max(web.health() for _ in range(5)) < HEALTH_SECONDS
    end = time.monotonic() + 20
    while (
        answer := requests.post(f"{web.url}/predict", json=predict_body(), timeout=20)
    ).status_code == 503:
        assert (
            time.monotonic() < end
        )  # while whole requests wait for a thread, it is told to ask again
        time.sleep(0.2)
    assert answer.ok
    assert web.process.memory_info().rss < 300 * 2**20


def test_drops_of_a_request_are_a_request(web: WebProcess, sockets: ExitStack) -> None:
    connection = opened(web, sockets, b"")
    for byte in WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"):
        connection.sendall(bytes([byte]))
    assert answer_of(connection)[0] == 200


def test_the_oldest_give_way(valkey: str, tmp_path: Path, sockets: ExitStack) -> None:
    """More connections than it may open files: whoever comes is served, who waits is closed."""
    with web_process(tmp_path, valkey, files=800) as web:
        connections = [opened(web, sockets, HALF_A_HEADER) for _ in range(900)]
        assert max(web.health() for _ in range(5)) < HEALTH_SECONDS
        with suppress(ConnectionResetError):  # where it had sent more than was read
            assert connections[0].recv(100) == b""
        assert web.process.num_fds() < 800
        connections[-1].sendall(b"1\r\nConnection: close\r\n\r\n")
        assert answer_of(connections[-1])[0] == 200
        assert web.log.read_text().count("more connections than can be held") == 1


def test_who_uploads_while_others_hold_back_is_served(
    web: WebProcess, sockets: ExitStack, redis: Redis
) -> None:
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    for _ in range(MANY):
        opened(web, sockets, HALF_A_BODY)
    body = json.dumps(predict_body(task(1, image="/data/upload/1/a.png"), xml=XML)).encode()
    answers: list[int] = []

    def upload() -> None:
        pieces = (body[start : start + 500] for start in range(0, len(body), 500))
        answers.append(requests.post(f"{web.url}/predict", data=pieces, timeout=30).status_code)

    threads = [threading.Thread(target=upload) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20
