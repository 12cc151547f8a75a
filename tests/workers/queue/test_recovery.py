"""Jobs of workers that died, and of those reserved for people who wait."""

import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from redis import Redis
from rq import Queue
from rq.job import JobStatus

from tests.workers.fake_worker import request
from tests.workers.worker_processes import age_misses, declare_dead, status, until, worker_process
from workers.messages import (
    DELIVERY_QUEUE,
    INTERACTIVE_QUEUE,
    DeliveryRequest,
    SegmentReply,
)
from workers.processes.jobs import DEADLY, MOST_ATTEMPTS
from workers.processes.model_worker import ModelWorker
from workers.processes.queue_worker import QueueWorker
from workers.queue import tallies
from workers.queue.client import SegmentClient
from workers.queue.connection import delivery_job_id, open_queue, segment_job_id
from workers.queue.heartbeats import SILENCE_SECONDS, Heartbeat, beat
from workers.queue.recovery import (
    FORGOTTEN_SECONDS,
    MOST_RECOVERIES,
    POPPED_SECONDS,
    SILENT_SECONDS,
    queue_due,
    recover,
    take_over,
)
from workers.queue.replies import Failure, attempts_key, store_failure


def test_the_job_of_a_killed_worker_is_done_by_another(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker
) -> None:
    asked = request("sleep")
    job_id = segment_job_id(asked.key)
    client.submit([asked])
    with worker_process(valkey) as process:
        until(lambda: status(queue, job_id) == JobStatus.STARTED)
        assert recover(queue) == []
        process.kill()
        process.join(10)
    assert client.ready() == []
    assert recover(queue) == [job_id]  # this machine sees that its process is gone
    assert recover(queue) == []  # once is enough
    worker.run(burst=True)
    assert isinstance(client.look_up([asked.key])[asked.key], SegmentReply)
    assert status(queue, job_id) == JobStatus.FINISHED


def test_the_job_of_a_worker_elsewhere_is_given_away_after_half_a_minute_and_a_second_look(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("hang")
    client.submit([asked])
    with worker_process(valkey):
        until(lambda: status(queue, segment_job_id(asked.key)) == JobStatus.STARTED)
        (worker,) = client.workers()
        assert 0 < redis.ttl(f"dgl:worker:{worker.name}") <= SILENCE_SECONDS
        declare_dead(client, redis)
        assert recover(queue) == []  # perhaps it was the server that was away
        age_misses(redis, SILENT_SECONDS - 2)
        assert recover(queue) == []
        age_misses(redis, 2.1)
        beat(redis, worker)
        assert recover(queue) == []  # so it was
        declare_dead(client, redis)
        assert recover(queue) == [segment_job_id(asked.key)]


def test_an_image_that_kills_every_worker_is_given_up_and_the_next_is_served(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker
) -> None:
    deadly, good = request("kill"), request("bright")
    redis.set(attempts_key(deadly.key), MOST_ATTEMPTS - 1)
    client.submit([deadly, good])
    with worker_process(valkey) as process:
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    worker.run(burst=True)  # recovers first, as any worker that starts
    answers = client.look_up([deadly.key, good.key])
    assert answers[deadly.key] == Failure(DEADLY)
    assert isinstance(answers[good.key], SegmentReply)


def test_a_job_lost_between_pop_and_start_is_queued_again(
    redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("bright")
    client.submit([asked])
    Queue.lmove(redis, queue.key, None)  # a worker pops it, and dies
    popped, job_id = queue.intermediate_queue, segment_job_id(asked.key)
    assert popped.get_job_ids() == [job_id]
    assert recover(queue) == []  # it may be about to start
    age_misses(redis, POPPED_SECONDS - 2)
    assert recover(queue) == []
    age_misses(redis, 2.1)
    assert recover(queue) == [job_id]
    assert popped.get_job_ids() == []
    assert queue.job_ids == [job_id]


def test_a_job_that_is_recovered_again_and_again_is_given_up(
    redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("bright")
    job_id = segment_job_id(asked.key)
    client.submit([asked])
    client.deliver([DeliveryRequest(5, asked.key, "digest")])
    for expected in [*[[job_id]] * MOST_RECOVERIES, []]:
        Queue.lmove(redis, queue.key, None)
        assert recover(queue) == []
        age_misses(redis, POPPED_SECONDS + 0.1)
        assert recover(queue) == expected
    assert status(queue, job_id) == JobStatus.FAILED
    assert redis.ttl(f"rq:job:{job_id}") > 0
    answer = client.look_up([asked.key])[asked.key]
    assert isinstance(answer, Failure)
    assert "its worker died 6 times" in answer.message
    assert [(f.stage, f.task_id) for f in client.failures()] == [("segment", "7")]
    assert tallies.read(redis).counters["job_failures"]["worker-died"] == 1
    assert open_queue(DELIVERY_QUEUE, redis).job_ids == [delivery_job_id(5, asked.key, "")]


def _begun(redis: Redis, client: SegmentClient, queue: Queue, name: str) -> str:
    """A job that a worker of that name has begun; its id."""
    asked = request("bright")
    client.submit([asked])
    Queue.lmove(redis, queue.key, None)
    job_id = segment_job_id(asked.key)
    worker = QueueWorker(queue)
    worker.name = name
    job = queue.fetch_job(job_id)
    assert job is not None
    worker.prepare_execution(job)
    worker.prepare_job_execution(job, remove_from_intermediate_queue=True)
    return job_id


def _beats(redis: Redis, name: str, job: str, later: float) -> None:
    at = time.time() + later
    beat(redis, Heartbeat(name, "here", 1, "segment", "cpu", job, at, at))


def test_a_job_whose_end_was_lost_is_queued_again_though_its_worker_lives(
    redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    job_id = _begun(redis, client, queue, "living")
    assert status(queue, job_id) == JobStatus.STARTED
    _beats(redis, "living", "", FORGOTTEN_SECONDS - 5)
    assert recover(queue) == []  # its beat may be of before
    _beats(redis, "living", job_id, FORGOTTEN_SECONDS + 5)
    assert recover(queue) == []  # it has it in hand
    _beats(redis, "living", "another", FORGOTTEN_SECONDS + 5)
    assert recover(queue) == [job_id]
    assert queue.job_ids == [job_id]


def _reserve(redis: Redis) -> None:
    now = time.time()
    beat(redis, Heartbeat("reserved", "here", 1, INTERACTIVE_QUEUE, "cpu", "", now, now))


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
    assert status(queue, segment_job_id(first.key)) == JobStatus.FINISHED
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
    assert status(queue, job.id) == JobStatus.QUEUED
    assert reserved.scheduled_job_registry.count == 0


def test_the_job_of_a_dead_reserved_worker_is_done_by_a_segment_worker(
    valkey: str, redis: Redis, client: SegmentClient, queue: Queue, worker: ModelWorker
) -> None:
    asked = request("sleep")
    job_id = segment_job_id(asked.key)
    reserved = open_queue(INTERACTIVE_QUEUE, redis)
    with worker_process(valkey, queue=INTERACTIVE_QUEUE) as process:
        until(client.workers)
        client.submit([asked], interactive=True)
        until(lambda: status(reserved, job_id) == JobStatus.STARTED)
        process.kill()
        process.join(10)
    worker.run(burst=True)  # its first heartbeat recovers and takes over
    assert isinstance(client.look_up([asked.key])[asked.key], SegmentReply)
    assert queue.finished_job_registry.count == 1


def test_a_job_whose_worker_died_between_two_writes_of_its_retry_is_queued_again(
    redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    """RQ calls it scheduled before it puts it into the timetable."""
    asked = request("bright")
    job_id = segment_job_id(asked.key)
    client.submit([asked])
    Queue.lmove(redis, queue.key, None)
    redis.delete(queue.intermediate_queue.key)
    redis.zadd(queue.started_job_registry.key, {f"{job_id}:gone": time.time() + 600})
    redis.hset(f"rq:job:{job_id}", "status", "scheduled")
    redis.zadd(queue.scheduled_job_registry.key, {job_id: time.time() + 600})
    assert recover(queue) == [], "it waits for its next try"
    redis.zadd(queue.started_job_registry.key, {f"{job_id}:gone": time.time() + 600})
    redis.zrem(queue.scheduled_job_registry.key, job_id)
    assert recover(queue) == [job_id]
    assert queue.job_ids == [job_id]


def test_a_delivery_that_kills_its_workers_ends_and_says_so(
    redis: Redis, client: SegmentClient
) -> None:
    asked, deliveries = request("bright", task="5"), open_queue(DELIVERY_QUEUE, redis)
    client.submit([asked], project="1")
    store_failure(redis, asked.key, "no such file")
    client.deliver([DeliveryRequest(5, asked.key, "digest", "1")])
    job_id = delivery_job_id(5, asked.key, "1")
    assert client.begin_push(5, asked.key, f"{job_id}:run")
    for _ in range(MOST_RECOVERIES + 1):
        Queue.lmove(redis, deliveries.key, None)
        recover(deliveries)
        age_misses(redis, POPPED_SECONDS + 1)
        recover(deliveries)
    entry = client.ledger.entry("1", "5")
    assert entry is not None
    assert entry.state == "given-up"
    assert "its worker died 6 times" in entry.reason
    assert client.claim_open(5, asked.key, "open", 10), "nobody could answer the task"


def test_what_is_due_is_queued_once_whoever_died_before(
    redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    soon, later = request("bright", task="1"), request("dark", task="2")
    client.submit([soon, later])
    redis.delete(queue.key)
    timetable = queue.scheduled_job_registry.key
    jobs = [segment_job_id(each.key) for each in (soon, later)]
    redis.zadd(timetable, {jobs[0]: time.time() - 1, jobs[1]: time.time() + 60, "gone": 1.0})
    assert set(queue_due(queue)) == {jobs[0], "gone"}
    assert queue_due(queue) == []
    assert queue.job_ids == [jobs[0]]
    assert status(queue, jobs[0]) == JobStatus.QUEUED
    assert redis.zrange(timetable, 0, -1) == [jobs[1].encode()]


def test_who_opens_a_task_does_not_wait_for_its_next_try(
    redis: Redis, client: SegmentClient, queue: Queue
) -> None:
    asked = request("bright")
    client.submit([asked])
    redis.delete(queue.key)
    job_id = segment_job_id(asked.key)
    redis.hset(queue.job_class.key_for(job_id), "status", "scheduled")
    redis.zadd(queue.scheduled_job_registry.key, {job_id: time.time() + 600})
    client.submit([asked])
    assert queue.job_ids == []
    client.submit([asked], at_front=True)
    assert queue.job_ids == [job_id]
    assert status(queue, job_id) == JobStatus.QUEUED
