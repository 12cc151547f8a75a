"""A worker that is stopped or stuck is ended, its job is done elsewhere, and late is not twice."""

import base64
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from redis import Redis
from rq import Queue
from rq.job import JobStatus

from tests.workers.fake_worker import picture, request
from tests.workers.worker_processes import (
    age_misses,
    declare_dead,
    status,
    until,
    worker_process,
)
from workers.messages import DELIVERY_QUEUE, DeliveryRequest, SegmentReply
from workers.processes.model_worker import ModelWorker
from workers.processes.watchdog import IDLE_SECONDS, LOCKED_SECONDS, Limits
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue, segment_job_id
from workers.queue.heartbeats import BEAT_SECONDS, SILENCE_SECONDS
from workers.queue.recovery import POPPED_SECONDS, SILENT_SECONDS, recover

PROMISED_SECONDS = 60.0  # from the hang until the job is in other hands


@contextmanager
def slow_picture(seconds: float) -> Iterator[str]:
    """Where a picture is served that takes its time."""

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(seconds)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(base64.b64decode(picture().partition(",")[2]))

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/slow.png"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("label", "limits", "said"),
    [
        ("hold", Limits(locked=1.5, idle=600.0), "Timeout (0:00:01.5"),
        ("deadlock", Limits(locked=600.0, idle=1.5), "has not used the processor for"),
    ],
    ids=["with the interpreter's lock", "without it"],
)
def test_native_code_that_does_not_come_back_ends_its_process(
    valkey: str,
    redis: Redis,
    client: SegmentClient,
    queue: Queue,
    tmp_path: Path,
    label: str,
    limits: Limits,
    said: str,
) -> None:
    output = tmp_path / "worker.log"
    asked = request(label)
    client.submit([asked])
    with worker_process(valkey, limits=limits, output=output) as process:
        process.join(30)
        assert process.exitcode == 1
    assert said in output.read_text()
    assert recover(queue) == [segment_job_id(asked.key)]  # at once: its process is gone


def test_a_job_that_waits_for_an_image_is_not_taken_for_stuck(
    valkey: str, client: SegmentClient
) -> None:
    with slow_picture(seconds=3.0) as url:
        asked = request("bright", image=url)
        client.submit([asked])
        limits = Limits(locked=600.0, idle=1.0)
        with worker_process(valkey, limits=limits) as process:
            assert isinstance(client.wait([asked.key], 30)[asked.key], SegmentReply)
            assert process.is_alive()


def test_a_stopped_worker_that_goes_on_later_does_not_end_its_job_twice(
    valkey: str,
    redis: Redis,
    client: SegmentClient,
    queue: Queue,
    worker: ModelWorker,
    tmp_path: Path,
) -> None:
    output = tmp_path / "worker.log"
    asked = request("sleep")
    job_id = segment_job_id(asked.key)
    client.submit([asked])
    client.deliver([DeliveryRequest(5, asked.key, "digest")])
    with worker_process(valkey, beat=0.5, output=output) as process:
        assert process.pid is not None
        until(lambda: status(queue, job_id) == JobStatus.STARTED)
        os.kill(process.pid, signal.SIGSTOP)
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        declare_dead(client, redis)
        assert recover(queue) == []
        age_misses(redis, SILENT_SECONDS + 0.1)
        worker.run(burst=True)
        assert isinstance(client.look_up([asked.key])[asked.key], SegmentReply)
        ended = redis.hgetall(f"rq:job:{job_id}")
        os.kill(process.pid, signal.SIGCONT)
        until(lambda: "was given to another worker" in output.read_text())
        assert process.is_alive()  # and it goes on with the next
        again = request("bright")
        client.submit([again])
        assert isinstance(client.wait([again.key], 30)[again.key], SegmentReply)
    assert redis.hgetall(f"rq:job:{job_id}") in (ended, {})
    assert open_queue(DELIVERY_QUEUE, redis).count == 1
    assert client.failures() == []
    assert "Traceback" not in output.read_text()


def test_what_is_promised_follows_from_the_spans() -> None:
    """Someone looks every beat; what a stopped worker had begun takes two looks."""
    silent = SILENCE_SECONDS + BEAT_SECONDS + SILENT_SECONDS + BEAT_SECONDS
    popped = BEAT_SECONDS + POPPED_SECONDS + BEAT_SECONDS
    assert max(silent, popped) < PROMISED_SECONDS
    assert max(IDLE_SECONDS, LOCKED_SECONDS) + 2 * BEAT_SECONDS < PROMISED_SECONDS
