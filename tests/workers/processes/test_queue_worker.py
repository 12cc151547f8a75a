"""Workers on a real server, some of them as processes of their own."""

import time
from pathlib import Path

import pytest
from redis import Redis
from redis.connection import AbstractConnection
from rq import Queue
from rq.job import JobStatus

from tests.workers.fake_worker import request
from tests.workers.worker_processes import status, until, worker_process
from workers.messages import (
    DELIVERY_QUEUE,
    INTERACTIVE_QUEUE,
    DeliveryRequest,
    SegmentReply,
)
from workers.processes.jobs import RETRY_SECONDS
from workers.processes.model_worker import ModelWorker
from workers.processes.watchdog import Limits
from workers.queue.client import SegmentClient
from workers.queue.connection import JOB_SECONDS, delivery_job_id, open_queue, segment_job_id
from workers.queue.recovery import recover
from workers.queue.replies import Failure


def test_a_job_takes_few_round_trips(
    client: SegmentClient, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RQ alone takes 20, of which nine are its signs of life."""
    trips: list[float] = []
    kind = type(worker.connection.connection_pool.get_connection())
    send = kind.send_packed_command

    def count(connection: AbstractConnection, *arguments: object, **options: object) -> object:
        trips.append(time.monotonic())
        return send(connection, *arguments, **options)

    def run(*labels: str) -> int:
        client.submit([request(label) for label in labels])
        trips.clear()
        worker.run(burst=True)
        return len(trips)

    run("warm")
    monkeypatch.setattr(kind, "send_packed_command", count)
    one, eleven = run("a"), run(*"bcdefghijkl")
    assert 8 <= (eleven - one) / 10 <= 15


def test_sigterm_lets_the_job_in_work_end(valkey: str, client: SegmentClient, queue: Queue) -> None:
    asked, later = request("sleep"), request("bright")
    client.submit([asked, later])
    with worker_process(valkey, beat=0.05) as process:
        until(lambda: any(each.job == segment_job_id(asked.key) for each in client.ready()))
        process.terminate()
        process.join(30)
        assert process.exitcode == 0
    answers = client.look_up([asked.key, later.key])
    assert isinstance(answers[asked.key], SegmentReply)
    assert answers[later.key] is None
    assert queue.job_ids == [segment_job_id(later.key)]
    assert client.workers() == []


def test_a_second_sigterm_leaves_the_job_to_be_recovered(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("hang")
    client.submit([asked])
    with worker_process(valkey) as process:
        until(lambda: status(queue, segment_job_id(asked.key)) == JobStatus.STARTED)
        process.terminate()
        time.sleep(2)  # RQ takes two signals within a second for one
        process.terminate()
        process.join(30)
        assert process.exitcode == 1
    assert recover(queue) == [segment_job_id(asked.key)]


def test_a_job_that_hangs_ends_its_process(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("hang")
    client.submit([asked])
    with worker_process(valkey, limits=Limits(hung=0.3)) as process:
        process.join(60)
        assert process.exitcode == 1
    assert recover(queue) == [segment_job_id(asked.key)]


def test_a_retry_waits_for_its_time(
    redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker
) -> None:
    asked = request("bright", image="http://127.0.0.1:9/a.png")
    client.submit([asked])
    worker.run(burst=True)
    job_id = segment_job_id(asked.key)
    assert status(queue, job_id) == JobStatus.SCHEDULED
    client.submit([asked])
    assert queue.job_ids == []  # it is pending, so it is not queued twice
    for _ in RETRY_SECONDS:
        redis.zadd(queue.scheduled_job_registry.key, {job_id: time.time() - 1})
        worker = ModelWorker(queue, worker._bench, "cpu")
        worker.run(burst=True)
    answer = client.look_up([asked.key])[asked.key]
    assert isinstance(answer, Failure)
    assert "cannot be reached" in answer.message
    assert status(queue, job_id) == JobStatus.FINISHED


def test_a_job_beyond_its_time_is_a_failure_of_that_image(
    redis: Redis, client: SegmentClient, worker: ModelWorker
) -> None:
    slow, good = request("sleep"), request("bright")
    client.submit([slow, good])
    redis.hset(f"rq:job:{segment_job_id(slow.key)}", "timeout", 1)
    worker.run(burst=True)
    answers = client.look_up([slow.key, good.key])
    assert answers[slow.key] == Failure(
        f"the image took longer than {JOB_SECONDS} s: make it smaller, or tile it"
    )
    assert isinstance(answers[good.key], SegmentReply)


@pytest.mark.parametrize("label", ["bright", "huge"])
def test_a_delivery_follows_its_segment_job_whatever_came_of_it(
    redis: Redis, client: SegmentClient, worker: ModelWorker, label: str
) -> None:
    asked = request(label)
    client.submit([asked])
    client.deliver([DeliveryRequest(5, asked.key, "digest")])
    worker.run(burst=True)
    assert client.look_up([asked.key])[asked.key] is not None
    assert open_queue(DELIVERY_QUEUE, redis).job_ids == [delivery_job_id(5, asked.key, "")]


def test_a_forbidden_job_fails_and_the_worker_goes_on(
    redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    evil = queue.enqueue("os.mkdir", str(mark))
    asked = request("bright")
    client.submit([asked])
    worker.run(burst=True)
    assert not mark.exists()
    assert status(queue, evil.id) == JobStatus.FAILED
    assert isinstance(client.look_up([asked.key])[asked.key], SegmentReply)


def test_a_batch_in_work_does_not_hold_up_who_waits(valkey: str, client: SegmentClient) -> None:
    with worker_process(valkey, queue=INTERACTIVE_QUEUE), worker_process(valkey, beat=0.05):
        until(lambda: len(client.workers()) == 2)
        batch, click = request("sleep"), request("bright")
        client.submit([batch])
        until(lambda: any(each.job for each in client.ready()))
        client.submit([click], interactive=True)
        answers = client.wait([click.key], 60)
        assert isinstance(answers[click.key], SegmentReply)
        assert client.look_up([batch.key])[batch.key] is None  # still in work
        assert isinstance(client.wait([batch.key], 60)[batch.key], SegmentReply)
