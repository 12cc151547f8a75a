"""Workers as processes of their own, to be killed in earnest, and what their queue says of them."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from redis import Redis
from rq import Queue
from rq.job import JobStatus

from tests.workers import fake_worker
from workers.messages import SEGMENT_QUEUE
from workers.processes.watchdog import Limits
from workers.queue.client import SegmentClient
from workers.queue.recovery import missed_key

# Forked from a server that has imported torch once: a process in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.workers.fake_worker"])


@contextmanager
def worker_process(
    url: str,
    beat: float = 5.0,
    limits: Limits = fake_worker.NO_LIMITS,
    queue: str = SEGMENT_QUEUE,
    output: Path | None = None,
) -> Iterator[BaseProcess]:
    process = PROCESSES.Process(target=fake_worker.run, args=(url, beat, limits, queue, output))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(10)


@contextmanager
def delivery_process(url: str, studio: str, key: str) -> Iterator[BaseProcess]:
    """A real delivery worker, for a Label Studio."""
    process = PROCESSES.Process(target=fake_worker.run_delivery, args=(url, studio, key))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(10)


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def status(queue: Queue, job_id: str) -> JobStatus | None:
    job = queue.fetch_job(job_id)
    return job.get_status() if job is not None else None


def declare_dead(client: SegmentClient, redis: Redis) -> None:
    """What the expiry of the heartbeat does after half a minute without one."""
    for each in client.workers():
        redis.delete(f"dgl:worker:{each.name}")


def age_misses(redis: Redis, seconds: float) -> None:
    """Let what was missed be missed for longer."""
    for key in redis.scan_iter(missed_key("*")):
        redis.pexpire(key, max(1, round(redis.pttl(key) - 1000 * seconds)))
