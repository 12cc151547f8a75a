"""A worker on one queue that can be trusted to die well.

RQ's forking worker cannot hold a CUDA model, and its `SimpleWorker` is silent while a job runs. So
a thread of the worker beats for it, and does what else must not wait for a job to end: it recovers
the jobs of dead workers, queues the retries that are due, and ends a process whose job hangs where
RQ's alarm signal, which only interrupts Python, does not reach.
"""

import logging
import os
import socket
import threading
import time
from datetime import timedelta
from types import FrameType
from typing import Any
from uuid import uuid4

from redis import Redis, RedisError
from redis.client import Pipeline
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer
from rq.utils import now

from workers.queue.connection import JOB_SECONDS, AllowedJob
from workers.queue.heartbeats import BEAT_SECONDS, Heartbeat, beat, fall_silent, this_machine
from workers.queue.recovery import drop_unreadable, recover

log = logging.getLogger(__name__)

WAIT_SECONDS = 60  # RQ looks up from an empty queue this often, less 15 s
MAINTENANCE_SECONDS = 300
HUNG_SECONDS = JOB_SECONDS + 60
RQ_BEATS_APART = timedelta(seconds=10)  # RQ takes a worker for dead after two minutes


class QueueWorker(SimpleWorker):
    """Works on one queue, in this process.

    One queue only: then RQ pops a job into a second list, from which it can be recovered.

    Args:
        queue: to work on.
        device: where the worker's model is; "" without one.
        model: its version; "" without one.
        beat_seconds: between two heartbeats.
        hung_seconds: a job of more ends the process.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        device: str = "",
        model: str = "",
        beat_seconds: float = BEAT_SECONDS,
        hung_seconds: float = HUNG_SECONDS,
    ) -> None:
        super().__init__(
            [queue],
            name=f"{queue.name}.{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}",
            connection=queue.connection,
            job_class=AllowedJob,
            serializer=JSONSerializer,
            worker_ttl=WAIT_SECONDS,
            maintenance_interval=MAINTENANCE_SECONDS,
            log_job_description=False,
        )
        self._queue = queue
        self._device = device
        self._model = model
        self._beat_seconds = beat_seconds
        self._hung_seconds = hung_seconds
        self._silent = threading.Event()
        self._job: tuple[str, float] | None = None  # id, started at (monotonic)
        self._asked_to_stop = False
        self._self_test_at = 0.0
        # Never started as a process: forking beside CUDA and threads is asking for trouble.
        self._timetable = RQScheduler(
            [queue],
            connection=queue.connection,
            interval=round(beat_seconds),
            logging_level="WARNING",
            serializer=JSONSerializer,
        )

    def run(self, *, burst: bool = False) -> int:
        """Work until asked to stop by SIGTERM or SIGINT; the job in work is finished first.

        Args:
            burst: stop when the queue is empty.

        Returns:
            Exit status: 0 when asked to stop, 1 when something else ended the work.
        """
        self._tick()  # before RQ's own maintenance, which would fail what can be recovered
        pulse = threading.Thread(target=self._beat_until_silent, name="heartbeat", daemon=True)
        pulse.start()
        log.info("worker %s is ready", self.name)
        try:
            self.work(burst=burst, logging_level="WARNING")
        finally:
            self._silent.set()
            pulse.join()
            self._leave()
        return 0 if self._asked_to_stop or burst else 1

    def dequeue_job_and_maintain_ttl(self, *args: Any, **kwargs: Any) -> tuple[Job, Queue] | None:
        """RQ's wait for the next job, which ends with what is no text in the queue."""
        while True:
            try:
                return super().dequeue_job_and_maintain_ttl(*args, **kwargs)
            except UnicodeDecodeError:
                drop_unreadable(self._queue, all_that_waits=True)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job, known to the heartbeat."""
        self._job = (job.id, time.monotonic())
        try:
            super().execute_job(job, queue)
        finally:
            self._job = None

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """RQ's sign of life, every now and then instead of three times a job.

        Each costs three round trips, together nine of the 23 that a job took. The first of a job
        goes with others in a pipeline and covers the whole of it; ours come from the thread.
        """
        last = self.last_heartbeat
        if pipeline is None and last is not None and now() - last < RQ_BEATS_APART:
            return
        super().heartbeat(timeout, pipeline)

    def clean_registries(self) -> None:
        """RQ's maintenance, after ours."""
        recover(self._queue)
        super().clean_registries()  # type: ignore[no-untyped-call]

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """First signal: finish the job in work, then stop."""
        self._asked_to_stop = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Second signal: die at once and leave the job to be recovered.

        RQ raises SystemExit, which inside a job its own handler records as the job's failure.
        """
        try:
            super().request_force_stop(signum, frame)
        except SystemExit:
            os._exit(1)

    def subscribe(self) -> None:
        """Not at all: RQ's remote commands are not used, and one way less in."""

    def _beat_until_silent(self) -> None:
        while not self._silent.wait(self._beat_seconds):
            self._end_if_hung()
            self._tick()

    def _end_if_hung(self) -> None:
        job = self._job
        if job is not None and time.monotonic() - job[1] > self._hung_seconds:
            log.critical("job %s hangs: this process ends, its supervisor starts another", job[0])
            os._exit(1)

    def _tick(self) -> None:
        try:
            self._beat()
            recover(self._queue)
            if self._timetable.acquire_locks():
                self._timetable.enqueue_scheduled_jobs()
        except RedisError as error:
            log.warning("no heartbeat: the queue does not answer (%s)", error)
        except Exception:
            log.exception("a heartbeat failed")  # the next one may not

    def _beat(self) -> None:
        beat(self.connection, self._heartbeat())

    def _heartbeat(self) -> Heartbeat:
        job = self._job
        return Heartbeat(
            name=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queue=self._queue.name,
            device=self._device,
            job=job[0] if job is not None else "",
            at=time.time(),
            self_test=self._self_test_at,
            model=self._model,
            machine=this_machine(),
        )

    def _leave(self) -> None:
        try:
            self._timetable.release_locks()
            fall_silent(self.connection, self.name)
        except RedisError as error:
            log.warning("left without a word: the queue does not answer (%s)", error)
        finally:
            self._timetable.connection.close()


def worker_connection(url: str | None) -> Redis:
    """A client for a worker, which may wait for its queue.

    Raises:
        ValueError: no address.
    """
    if url is None:
        raise ValueError("REDIS_URL is not set: a worker needs the address of its queue")
    return Redis.from_url(url, socket_connect_timeout=5.0, health_check_interval=30)
