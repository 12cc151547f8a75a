import time

import pytest
from redis import Redis

from tests.workers.fake_worker import request
from tests.workers.worker_processes import until, worker_process
from workers.messages import SEGMENT_QUEUE
from workers.processes.stages import FIRST, Stages
from workers.queue.client import SegmentClient
from workers.queue.connection import segment_job_id
from workers.queue.heartbeats import Heartbeat
from workers.queue.running import in_hand

KEY = "a" * 32
JOB = segment_job_id(KEY)


def test_stages_are_told(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Heartbeat("w", "host", 1, SEGMENT_QUEUE, "cpu", JOB, time.time(), 0.0)
    stages = Stages(redis, "w")
    stages("a self-test")
    assert in_hand(redis, [worker]) == []
    with redis.pipeline() as pipe:
        stages.begin(pipe, JOB, KEY, "5")
        pipe.execute()
    (begun,) = in_hand(redis, [worker])
    assert (begun.task_id, begun.stage) == ("5", FIRST)
    stages("finding regions")
    (later,) = in_hand(redis, [worker])
    assert (later.stage, later.since) == ("finding regions", begun.since)
    stages.end()
    stages("another self-test")
    assert in_hand(redis, [worker]) == [later]


def test_without_a_server_nothing_happens() -> None:
    stages = Stages(Redis.from_url("redis://127.0.0.1:1/0"), "w")
    with Redis().pipeline() as pipe:
        stages.begin(pipe, JOB, KEY, "5")
    stages("finding regions")


def test_a_worker_tells_what_it_has_in_hand(valkey: str, client: SegmentClient) -> None:
    asked = request("sleep", task="5")
    client.submit([asked])
    with worker_process(valkey, beat=0.1):
        until(lambda: client.running(client.workers()))
        (held,) = client.running(client.workers())
        assert (held.task_id, held.key, held.segments) == ("5", asked.key, True)
        until(lambda: not client.running(client.workers()))
    assert client.answered([asked.key]) == {asked.key}
