"""A body of any kind holds up nobody, takes little memory, and is told what is wrong."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from tests.backend.worker_end import VERSION, XML, predict_body, task
from tests.security.web_process import WebProcess, web_process
from workers.queue.heartbeats import Announcement, announce

SIZE = 12_000_000  # bytes
MEMORY = 300 * 2**20
HEALTH_SECONDS = 1.0
REST = b'"project": "1", "label_config": ' + json.dumps(XML).encode()


@pytest.fixture(scope="module")
def web(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder: Path = tmp_path_factory.mktemp("web")
    settings = {"SINGLE_TASK_SECONDS": "0", "BATCH_SECONDS": "0"}
    settings["MAX_BODY_BYTES"] = str(2 * SIZE)
    with web_process(folder, valkey, **settings) as started:
        yield started


def listed(element: bytes, size: int = SIZE) -> bytes:
    """A body whose list of tasks is this element again and again."""
    count = size // (len(element) + 1)
    return b'{%b, "tasks": [%b]}' % (REST, b",".join([element] * count))


def one(data: bytes) -> bytes:
    """A body with one task."""
    return b'{%b, "tasks": [{"id": 1, "data": {"image": %b}}]}' % (REST, data)


def pointed(context: bytes) -> bytes:
    """The body of a prompt."""
    ours = b'"tasks": [{"id": 1, "data": {}}], "params": {"context": %b}' % context
    return b"{%b, %b}" % (REST, ours)


BOMBS: dict[str, tuple[bytes, int, str]] = {
    "lists": (listed(b"[]"), 400, "list of objects"),
    "objects": (listed(b'{"id":1}'), 400, "more than 200000 tasks"),
    "numbers": (listed(b"0"), 400, "list of objects"),
    "NaN": (listed(b"NaN"), 400, "must be a JSON object"),
    "a number": (b'{"tasks": %b}' % (b"1" * SIZE), 400, "got number"),
    "a text": (b'{"tasks": "%b"}' % (b"1" * SIZE), 400, "got str"),
    "depth": (one(b"[" * 5000 + b"]" * 5000), 400, "nested too deep"),
    "endless depth": (b'{"x": ' + b"[" * SIZE, 400, "nested too deep"),
    "keys": (b'{%b "tasks": []}' % (b'"tasks":[],' * (SIZE // 11)), 400, "'label_config'"),
    "label config": (
        b'{"tasks": [], "label_config": "%b"}' % (b"<a>" * (SIZE // 3)),
        400,
        "at most 1000000",
    ),
    "context": (pointed(b"[%b1]" % (b"[]," * (SIZE // 3))), 400, "more than 2000000 values"),
    "values in a task": (one(b"[%b1]" % (b"[]," * (SIZE // 3))), 200, "[[]]"),
    "huge integer": (one(b"9" * 1_000_000), 200, "[[]]"),
    "surrogates": (one(b'"%b"' % (b"\\ud800" * (SIZE // 6))), 400, "more than 200000 surrogates"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_holds_up_nobody(web: WebProcess, redis: Redis, name: str) -> None:
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    body, status, words = BOMBS[name]
    answers: list[requests.Response] = []

    def send() -> None:
        answers.append(requests.post(f"{web.url}/predict", data=body, timeout=60))

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    longest, memory = 0.0, 0
    while any(thread.is_alive() for thread in threads):
        longest = max(longest, web.health())
        memory = max(memory, web.process.memory_info().rss)
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [status] * 2
    assert all(words in answer.text for answer in answers)
    assert longest < HEALTH_SECONDS
    assert memory < MEMORY


def test_a_large_batch_is_no_bomb(web: WebProcess, redis: Redis) -> None:
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    tasks = [task(number, image="/data/upload/1/same.png") for number in range(2000)]
    body = predict_body(*tasks)
    body["tasks"][7]["data"] = {"image": "\ud800"}  # what anybody may import
    body["tasks"][8]["predictions"] = [{"result": [0] * 1_000_000}]
    answer = requests.post(f"{web.url}/predict", json=body, timeout=60)
    assert answer.json() == {"results": [[]] * 2000}
    assert redis.llen("rq:queue:segment") == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xef\xbb\xbf{}", "must be a JSON object"),
        (b'{"schema": 7}', "'schema' must be text"),
        (b'{"schema": "%b"}' % (b"x" * 1_000_001), "at most 1000000"),
    ],
)
def test_setup_says_what_is_wrong(web: WebProcess, body: bytes, words: str) -> None:
    answer = requests.post(f"{web.url}/setup", data=body, timeout=60)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_what_is_larger_is_refused_unread(web: WebProcess) -> None:
    body: Any = (b" " * 1_000_000 for _ in range(2 * SIZE // 1_000_000 + 1))
    for data in (b" " * (2 * SIZE + 1), body):  # with a length, and in chunks
        answer = requests.post(f"{web.url}/predict", data=data, timeout=60)
        assert answer.status_code == 413
        assert "MAX_BODY_BYTES" in answer.json()["error"]
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
