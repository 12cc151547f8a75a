"""Workers on a real server, some of them as processes of their own, killed in earnest."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from redis import Redis
from redis.connection import AbstractConnection
from rq import Queue
from rq.job import JobStatus

from tests.workers import fake_worker
from tests.workers.fake_worker import VERSION, fake_engine, request
from workers import jobs
from workers.client import SegmentClient
from workers.heartbeats import SILENCE_SECONDS, Announcement, Heartbeat, announce, beat
from workers.jobs import DEADLY, MOST_ATTEMPTS
from workers.messages import (
    DELIVERY_QUEUE,
    INTERACTIVE_QUEUE,
    SEGMENT_QUEUE,
    DeliveryRequest,
    SegmentReply,
)
from workers.model_worker import ModelWorker, SelfTestError
from workers.queues import JOB_SECONDS, delivery_job_id, open_queue, segment_job_id
from workers.recovery import MOST_RECOVERIES, recover, take_over
from workers.replies import Failure, attempts_key

# Forked from a server that has imported torch once: a process in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.workers.fake_worker"])


@pytest.fixture
def client(redis: Redis) -> SegmentClient:
    return SegmentClient(redis)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return open_queue(SEGMENT_QUEUE, redis)


@pytest.fixture
def worker(redis: Redis, queue: Queue, tmp_path: Path) -> Iterator[ModelWorker]:
    """A worker in this process, to be run in one burst."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    worker = ModelWorker(queue, fake_engine(redis, tmp_path), "cpu")
    worker.warm_up()
    yield worker
    jobs._engine = None
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def _process(
    url: str, beat: float = 20.0, hung: float = 660.0, queue: str = SEGMENT_QUEUE
) -> Iterator[BaseProcess]:
    process = PROCESSES.Process(target=fake_worker.run, args=(url, beat, hung, queue))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(10)


def _until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _status(queue: Queue, job_id: str) -> JobStatus | None:
    job = queue.fetch_job(job_id)
    return job.get_status() if job is not None else None


def _declare_dead(client: SegmentClient, redis: Redis) -> None:
    """What the expiry of the heartbeat does after a minute without one."""
    for each in client.workers():
        redis.delete(f"dgl:worker:{each.name}")


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


def test_the_job_of_a_killed_worker_is_done_by_another(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker
) -> None:
    asked = request("sleep")
    job_id = segment_job_id(asked.key)
    client.submit([asked])
    with _process(valkey) as process:
        _until(lambda: _status(queue, job_id) == JobStatus.STARTED)
        process.kill()
        process.join(10)
    (dead,) = client.ready()
    assert 0 < redis.ttl(f"dgl:worker:{dead.name}") <= SILENCE_SECONDS
    assert recover(queue) == []  # it may still be alive
    _declare_dead(client, redis)
    assert recover(queue) == [job_id]
    assert recover(queue) == []  # once is enough
    worker.run(burst=True)
    assert isinstance(client.look_up([asked.key])[asked.key], SegmentReply)
    assert _status(queue, job_id) == JobStatus.FINISHED


def test_an_image_that_kills_every_worker_is_given_up_and_the_next_is_served(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker
) -> None:
    deadly, good = request("kill"), request("bright")
    redis.set(attempts_key(deadly.key), MOST_ATTEMPTS - 1)
    client.submit([deadly, good])
    with _process(valkey) as process:
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    _declare_dead(client, redis)
    worker.run(burst=True)  # recovers first, as any worker that starts
    answers = client.look_up([deadly.key, good.key])
    assert answers[deadly.key] == Failure(DEADLY)
    assert isinstance(answers[good.key], SegmentReply)


def test_sigterm_lets_the_job_in_work_end(valkey: str, client: SegmentClient, queue: Queue) -> None:
    asked, later = request("sleep"), request("bright")
    client.submit([asked, later])
    with _process(valkey, beat=0.05) as process:
        _until(lambda: any(each.job == segment_job_id(asked.key) for each in client.ready()))
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
    with _process(valkey) as process:
        _until(lambda: _status(queue, segment_job_id(asked.key)) == JobStatus.STARTED)
        process.terminate()
        time.sleep(1.2)  # RQ takes two signals within a second for one
        process.terminate()
        process.join(30)
        assert process.exitcode == 1
    _declare_dead(client, redis)
    assert recover(queue) == [segment_job_id(asked.key)]


def test_a_job_that_hangs_ends_its_process(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("hang")
    client.submit([asked])
    with _process(valkey, beat=0.05, hung=0.3) as process:
        process.join(60)
        assert process.exitcode == 1
    _declare_dead(client, redis)
    assert recover(queue) == [segment_job_id(asked.key)]


def test_a_job_lost_between_pop_and_start_is_queued_again(
    redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("bright")
    client.submit([asked])
    Queue.lmove(redis, queue.key, None)  # a worker pops it, and dies
    popped, job_id = queue.intermediate_queue, segment_job_id(asked.key)
    assert popped.get_job_ids() == [job_id]
    assert recover(queue) == []  # it may be about to start
    redis.set(popped.get_first_seen_key(job_id), time.time() - 61)
    assert recover(queue) == [job_id]
    assert popped.get_job_ids() == []
    assert queue.job_ids == [job_id]


def test_a_job_that_is_recovered_again_and_again_is_given_up(
    redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("bright")
    job_id = segment_job_id(asked.key)
    client.submit([asked])
    client.deliver([DeliveryRequest(5, asked.key, "digest", VERSION)])
    for expected in [*[[job_id]] * MOST_RECOVERIES, []]:
        Queue.lmove(redis, queue.key, None)
        redis.set(queue.intermediate_queue.get_first_seen_key(job_id), time.time() - 61)
        assert recover(queue) == expected
    assert _status(queue, job_id) == JobStatus.FAILED
    assert redis.ttl(f"rq:job:{job_id}") > 0
    answer = client.look_up([asked.key])[asked.key]
    assert isinstance(answer, Failure)
    assert "its worker died 6 times" in answer.message
    assert [(f.stage, f.task_id) for f in client.failures()] == [("segment", "7")]
    assert open_queue(DELIVERY_QUEUE, redis).job_ids == [delivery_job_id(5, asked.key)]


def test_a_retry_waits_for_its_time(
    redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker
) -> None:
    asked = request("bright", image="http://127.0.0.1:9/a.png")
    client.submit([asked])
    worker.run(burst=True)
    job_id = segment_job_id(asked.key)
    assert _status(queue, job_id) == JobStatus.SCHEDULED
    client.submit([asked])
    assert queue.job_ids == []  # it is pending, so it is not queued twice
    for _ in range(MOST_ATTEMPTS - 1):
        redis.zadd(queue.scheduled_job_registry.key, {job_id: time.time() - 1})
        worker = ModelWorker(queue, worker._engine, "cpu")
        worker.run(burst=True)
    answer = client.look_up([asked.key])[asked.key]
    assert isinstance(answer, Failure)
    assert "cannot be reached" in answer.message
    assert _status(queue, job_id) == JobStatus.FINISHED


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
    client.deliver([DeliveryRequest(5, asked.key, "digest", VERSION)])
    worker.run(burst=True)
    assert client.look_up([asked.key])[asked.key] is not None
    assert open_queue(DELIVERY_QUEUE, redis).job_ids == [delivery_job_id(5, asked.key)]


def test_a_forbidden_job_fails_and_the_worker_goes_on(
    redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    evil = queue.enqueue("os.mkdir", str(mark))
    asked = request("bright")
    client.submit([asked])
    worker.run(burst=True)
    assert not mark.exists()
    assert _status(queue, evil.id) == JobStatus.FAILED
    assert isinstance(client.look_up([asked.key])[asked.key], SegmentReply)


def test_a_warm_worker_announces_its_model(client: SegmentClient, worker: ModelWorker) -> None:
    announced = client.announced()
    assert announced is not None
    assert (announced.model_version, announced.device) == (VERSION, "cpu")
    assert client.ready() == []  # it beats once it runs
    worker._tick()
    (beat,) = client.ready()
    assert (beat.pid, beat.device, beat.job) == (os.getpid(), "cpu", "")
    assert 0 <= time.time() - beat.self_test < 60


def test_an_announcement_that_the_server_lost_is_made_again(
    redis: Redis, client: SegmentClient, worker: ModelWorker
) -> None:
    first = client.announced()
    worker._tick()
    assert client.announced() == first
    redis.flushdb()  # a restart without data
    worker._tick()
    again = client.announced()
    assert again is not None
    assert again.model_version == VERSION
    announce(redis, Announcement("newer", "cpu", 0.0))
    worker._tick()
    assert client.announced() == Announcement("newer", "cpu", 0.0)


def test_after_an_unexpected_failure_a_sound_model_works_on(
    client: SegmentClient, worker: ModelWorker
) -> None:
    broken, good = request("broken"), request("bright")
    client.submit([broken, good])
    worker.run(burst=True)
    assert not worker._engine.suspect
    assert isinstance(client.look_up([good.key])[good.key], SegmentReply)


def test_after_an_unexpected_failure_a_dead_model_ends_the_process(
    client: SegmentClient, queue: Queue, worker: ModelWorker, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object) -> object:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    worker._engine.segment = fault  # type: ignore[assignment]
    first, second = request("bright"), request("sleep")
    client.submit([first, second])
    with caplog.at_level(logging.CRITICAL), pytest.raises(SystemExit, match="1"):
        worker.run()
    assert "the self-test failed" in caplog.text
    assert queue.job_ids == [segment_job_id(second.key)]  # not burnt
    assert _status(queue, segment_job_id(first.key)) == JobStatus.SCHEDULED
    assert client.ready() == []


def test_a_model_that_answers_nonsense_is_not_announced(redis: Redis, queue: Queue) -> None:
    engine = fake_engine(redis)
    answer = engine.segment

    def not_finite(*arguments: object) -> object:
        found = answer(*arguments)  # type: ignore[arg-type]
        found.probability[0, 0] = np.nan
        return found

    engine.segment = not_finite  # type: ignore[assignment]
    with pytest.raises(SelfTestError, match="not finite"):
        ModelWorker(queue, engine, "cpu").warm_up()
    engine.segment = lambda picture, labels, batch: answer(
        replace(picture, pixels=picture.pixels[1:]), labels, batch
    )
    with pytest.raises(SelfTestError, match=r"the class map is \(63, 64\), not \(64, 64\)"):
        ModelWorker(queue, engine, "cpu").warm_up()
    assert SegmentClient(redis).announced() is None


# ---- a worker reserved for people who wait -------------------------------------------------------


def _reserve(redis: Redis) -> None:
    now = time.time()
    beat(redis, Heartbeat("reserved", "here", 1, INTERACTIVE_QUEUE, "cpu", "", now, now))


def test_a_batch_in_work_does_not_hold_up_who_waits(valkey: str, client: SegmentClient) -> None:
    with _process(valkey, queue=INTERACTIVE_QUEUE), _process(valkey, beat=0.05):
        _until(lambda: len(client.workers()) == 2)
        batch, click = request("sleep"), request("bright")
        client.submit([batch])
        _until(lambda: any(each.job for each in client.ready()))
        client.submit([click], interactive=True)
        answers = client.wait([click.key], 60)
        assert isinstance(answers[click.key], SegmentReply)
        assert client.look_up([batch.key])[batch.key] is None  # still in work
        assert isinstance(client.wait([batch.key], 60)[batch.key], SegmentReply)


def test_what_waits_for_a_reserved_worker_that_left_is_done_by_the_others(
    redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker
) -> None:
    batch, first, last = request("dark"), request("bright"), request("bright", task="8")
    last = replace(last, objects=False)
    client.submit([batch])
    _reserve(redis)
    client.submit([first], interactive=True)
    client.submit([last], interactive=True)
    assert take_over(queue) == []  # its worker lives
    redis.delete("dgl:worker:reserved")
    assert take_over(queue) == [segment_job_id(key) for key in (last.key, first.key)]
    assert queue.job_ids == [segment_job_id(r.key) for r in (last, first, batch)]
    assert take_over(queue) == []
    worker.run(burst=True)
    answers = client.look_up([batch.key, first.key, last.key])
    assert all(isinstance(answer, SegmentReply) for answer in answers.values())
    assert _status(queue, segment_job_id(first.key)) == JobStatus.FINISHED
    assert queue.finished_job_registry.count == 3


def test_a_retry_that_waits_for_a_reserved_worker_is_taken_over(
    redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("bright")
    _reserve(redis)
    client.submit([asked], interactive=True)
    reserved = open_queue(INTERACTIVE_QUEUE, redis)
    (job,) = reserved.jobs
    reserved.remove(job)
    job.set_status(JobStatus.SCHEDULED)
    reserved.scheduled_job_registry.schedule(job, datetime.now(UTC) + timedelta(hours=1))
    redis.delete("dgl:worker:reserved")
    assert take_over(queue) == [job.id]
    assert queue.job_ids == [job.id]
    assert _status(queue, job.id) == JobStatus.QUEUED
    assert reserved.scheduled_job_registry.count == 0


def test_the_job_of_a_dead_reserved_worker_is_done_by_a_segment_worker(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker
) -> None:
    asked = request("sleep")
    job_id = segment_job_id(asked.key)
    reserved = open_queue(INTERACTIVE_QUEUE, redis)
    with _process(valkey, queue=INTERACTIVE_QUEUE) as process:
        _until(client.workers)
        client.submit([asked], interactive=True)
        _until(lambda: _status(reserved, job_id) == JobStatus.STARTED)
        process.kill()
        process.join(10)
    _declare_dead(client, redis)
    worker.run(burst=True)  # its first heartbeat recovers and takes over
    assert isinstance(client.look_up([asked.key])[asked.key], SegmentReply)
    assert queue.finished_job_registry.count == 1
