"""Who may write to Redis runs no code here, and stops nobody: what is no job is dropped."""

import json
import logging
import os
import pickle
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue

from dgl_rsis.types import Label
from tests.workers.fake_worker import VERSION, fake_bench, picture
from workers.messages import SEGMENT_FUNCTION, SEGMENT_QUEUE, SegmentReply, SegmentRequest
from workers.processes.model_worker import ModelWorker
from workers.queue.client import SegmentClient
from workers.queue.connection import AllowedJob, open_queue
from workers.queue.packing import unpacked
from workers.queue.recovery import queue_due, recover
from workers.queue.replies import Failure, look_up, reply_key

CALL = [SEGMENT_FUNCTION, None, [{}], {}]


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return open_queue(SEGMENT_QUEUE, redis)


def packed(call: Any) -> bytes:
    return zlib.compress(json.dumps(call).encode())


def put(queue: Queue, fields: dict[str, Any], name: str = "rubbish") -> None:
    """What somebody writes into Redis by hand, as a job that waits."""
    whole = {"status": "queued", "origin": queue.name, "data": packed(CALL), **fields}
    whole = {key: value for key, value in whole.items() if value is not None}
    queue.connection.hset(AllowedJob.key_for(name), mapping=whole)
    queue.connection.rpush(queue.key, name)


RUBBISH: dict[str, dict[str, Any]] = {
    "no call": {"data": None, "created_at": "x"},
    "a call that is not packed": {"data": json.dumps(CALL)},
    "packed rubbish": {"data": zlib.compress(b"\xff\xfe rubbish")},
    "cut short": {"data": packed(CALL)[:-9]},
    "a call of five parts": {"data": packed([*CALL, 1])},
    "a call of no function": {"data": packed([None, None, [], {}])},
    "a call of numbers": {"data": packed([1, 2, 3, 4])},
    "a call without arguments": {"data": packed([SEGMENT_FUNCTION, None, [], {}])},
    "a call of text": {"data": packed([SEGMENT_FUNCTION, None, ["x"], {}])},
    "a request of nothing": {"data": packed(CALL)},
    "a request of rubbish": {
        "data": packed([SEGMENT_FUNCTION, None, [{"labels": [{"name": 1}], "image": []}], {}])
    },
    "deeply nested": {"data": zlib.compress(b"[" * 200_000 + b"]" * 200_000)},
    "a bomb": {"data": zlib.compress(bytes(2**28 + 2**20), 1)},
    "a time that is none": {"created_at": "yesterday"},
    "a state that is none": {"status": "happy"},
    "a state of bytes": {"origin": b"\xff\xfe"},
    "a time-out that is none": {"timeout": "soon"},
    "a number that is none": {"result_ttl": "x", "failure_ttl": "y"},
    "dependencies that are none": {"dependency_ids": "[["},
    "retries that are none": {"retry_intervals": "{", "retries_left": "many"},
    "retries without end": {"retry_intervals": "[0]", "retries_left": str(10**9)},
    "pickles": {name: pickle.dumps(Touch(Path("never"))) for name in ("result", "meta", "exc_info")}
    | {"data": zlib.compress(pickle.dumps(Touch(Path("never"))))},
}  # fmt: skip


def answer_one(redis: Redis, queue: Queue) -> None:
    """A worker does what is in the queue, and answers a request behind it."""
    client = SegmentClient(redis)
    asked = SegmentRequest(picture(), (Label("bright"),), VERSION)
    client.submit([asked])
    worker = ModelWorker(queue, fake_bench(redis), "cpu")
    worker.run(burst=True)
    assert isinstance(client.look_up([asked.key])[asked.key], SegmentReply)


@pytest.mark.parametrize("name", RUBBISH)
def test_a_worker_drops_it_and_goes_on(
    redis: Redis, queue: Queue, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.INFO)
    put(queue, RUBBISH[name])
    answer_one(redis, queue)
    assert queue.job_ids == []
    assert queue.intermediate_queue.get_job_ids() in ([], ["rubbish"])  # by name alone: settled
    assert queue.scheduled_job_registry.get_job_ids() == []
    assert "Traceback" not in caplog.text


OTHER_TYPES: dict[str, Callable[[Redis, str], object]] = {
    "text": lambda redis, key: redis.set(key, b"\xff{"),
    "a list": lambda redis, key: redis.rpush(key, "x"),
    "a set": lambda redis, key: redis.sadd(key, "x"),
    "a timetable": lambda redis, key: redis.zadd(key, {"x": 1.0}),
    "a stream": lambda redis, key: redis.xadd(key, {"x": "y"}),
}


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_what_is_no_job_at_all_is_dropped(
    redis: Redis, queue: Queue, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Whatever stands under a job's name, waiting, taken, begun or to be tried again."""
    caplog.set_level(logging.INFO)
    names = ("waiting", "taken", "begun", "later")
    for name in names:
        OTHER_TYPES[kind](redis, AllowedJob.key_for(name))
    redis.rpush(queue.key, "waiting")
    redis.rpush(queue.intermediate_queue.key, "taken")
    redis.zadd(queue.started_job_registry.key, {"begun:run": time.time() + 60})
    redis.zadd(queue.scheduled_job_registry.key, {"later": 1.0})
    answer_one(redis, queue)
    assert redis.exists(AllowedJob.key_for("waiting")) == 0
    assert queue_due(queue) == []
    assert redis.zscore(queue.scheduled_job_registry.key, "later") is None
    assert "Traceback" not in caplog.text


NAMES = [b"a b", b"\xff\xfe", b"", b"x" * 100_000, b"../a", b"\0", b":", b"a:b:c"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:9])
def test_an_id_that_is_none_ends_no_worker(
    redis: Redis, queue: Queue, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    redis.rpush(queue.key, name, name)
    redis.rpush(queue.intermediate_queue.key, name)
    redis.zadd(queue.started_job_registry.key, {name: 1.0})
    asked = SegmentRequest(picture(), (Label("bright"),), VERSION)
    client = SegmentClient(redis)
    client.submit([asked])
    ModelWorker(queue, fake_bench(redis), "cpu").run(burst=True)
    recover(queue)
    assert isinstance(client.look_up([asked.key])[asked.key], SegmentReply)
    assert redis.lrange(queue.key, 0, -1) == []
    assert redis.lrange(queue.intermediate_queue.key, 0, -1) == []
    assert redis.zrange(queue.started_job_registry.key, 0, -1) == []
    assert "Traceback" not in caplog.text


def test_nothing_is_ever_unpickled(redis: Redis, queue: Queue, tmp_path: Path) -> None:
    attack = pickle.dumps(Touch(tmp_path / "made"))
    pickle.loads(attack)  # it works
    assert (tmp_path / "made").exists()
    (tmp_path / "made").rmdir()
    fields = ("result", "meta", "exc_info", "description", "worker_name", "webhooks",
              "success_callback_name", "group_id")  # fmt: skip
    for number, field in enumerate(fields):
        put(queue, {field: attack}, f"plain-{number}")
        put(queue, {field: zlib.compress(attack)}, f"packed-{number}")
    put(queue, {"data": attack}, "data")
    put(queue, {"data": zlib.compress(attack)}, "packed-data")
    ModelWorker(queue, fake_bench(redis), "cpu").run(burst=True)
    assert queue.job_ids == []
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "reply", [b"", b"rubbish", zlib.compress(b"{}"), zlib.compress(b"[1]"), zlib.compress(b"null"),
              zlib.compress(bytes(2**28 + 1), 1), zlib.compress(b"[" * 100_000),
              pickle.dumps({})]
)  # fmt: skip
def test_a_damaged_reply_is_a_failure_with_a_way_out(redis: Redis, reply: bytes) -> None:
    redis.set(reply_key("0" * 32), reply)
    answer = look_up(redis, ["0" * 32])["0" * 32]
    assert isinstance(answer, Failure)
    assert "retrieve the prediction again" in answer.message


def test_what_was_packed_is_unpacked_up_to_its_limit() -> None:
    assert unpacked(zlib.compress(b"x" * 100), 100) == b"x" * 100
    with pytest.raises(ValueError, match="more than 99"):
        unpacked(zlib.compress(b"x" * 100), 99)
    with pytest.raises(ValueError, match="no packed bytes"):
        unpacked(b"rubbish")
