import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from redis import Redis

from tests.workers.worker_processes import until, worker_process
from workers.messages import INTERACTIVE_QUEUE, SEGMENT_QUEUE
from workers.queue.client import SegmentClient
from workers.queue.heartbeats import (
    FRESH_SECONDS,
    SILENCE_SECONDS,
    Heartbeat,
    beat,
    beats,
    last_sign,
    live,
    this_machine,
)

NOW = time.time()
WORKER = Heartbeat("w", "host", os.getpid(), SEGMENT_QUEUE, "cpu", "", NOW, NOW, "v", "elsewhere")


def test_a_worker_serves_while_its_beat_is_fresh(redis: Redis) -> None:
    beat(redis, replace(WORKER, at=0.0))  # its clock is wrong: that does not matter
    assert [each.name for each in live(redis, SEGMENT_QUEUE)] == ["w"]
    assert list(live(redis, INTERACTIVE_QUEUE)) == []
    redis.expire("dgl:worker:w", round(SILENCE_SECONDS - FRESH_SECONDS - 1))
    (silent,) = beats(redis)
    assert silent.age == pytest.approx(FRESH_SECONDS + 1, abs=0.5)
    assert not silent.is_live
    assert list(live(redis, SEGMENT_QUEUE)) == []
    assert last_sign(redis, "w") is not None  # its jobs are not given away yet


@pytest.mark.skipif(not this_machine(), reason="needs /proc")
def test_a_process_of_this_machine_that_is_gone_does_not_serve() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = replace(WORKER, pid=process.pid, machine=this_machine())
    assert here.is_live
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not here.is_live  # dead, though its parent has not looked yet
    process.communicate()
    assert not here.is_live
    assert replace(here, machine="another").is_live  # nobody here can tell
    assert replace(here, machine="").is_live
    assert replace(here, pid=os.getpid()).is_live


def test_a_beat_of_a_former_version_is_read(redis: Redis) -> None:
    redis.sadd("dgl:workers", "old")
    old = '{"name":"old","host":"h","pid":1,"queue":"segment","device":"cpu","job":"","at":1.0,'
    redis.set("dgl:worker:old", old + '"self_test":1.0}', ex=SILENCE_SECONDS)
    assert [each.name for each in live(redis, SEGMENT_QUEUE)] == ["old"]


def test_a_killed_worker_is_not_ready_any_more(valkey: str, client: SegmentClient) -> None:
    with worker_process(valkey) as process:
        until(client.ready)
        process.kill()
        process.join(10)
        assert client.ready() == []
        assert [each.is_live for each in client.workers()] == [False]
