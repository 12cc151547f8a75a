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
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FrameType
from uuid import uuid4

from redis import Redis, RedisError
from redis.client import Pipeline
from redis.exceptions import ResponseError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer
from rq.utils import now

from workers import logs
from workers.queue.connection import JOB_SECONDS, AllowedJob
from workers.queue.heartbeats import (
    BEAT_SECONDS,
    Heartbeat,
    beat,
    fall_silent,
    resident_bytes,
    this_machine,
)
from workers.queue.recovery import give_back, recover
from workers.queue.server_checks import check_or_nothing
from workers.queue.server_errors import explain
from workers.queue.servers import connect_worker

log = logging.getLogger(__name__)

WAIT_SECONDS = 60  # RQ looks up from an empty queue this often, less 15 s
MAINTENANCE_SECONDS = 300
HUNG_SECONDS = JOB_SECONDS + 60
LONGEST_PAUSE_SECONDS = 15.0  # between two tries at a server that refuses
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
        self._insist(self._beat)
        for warning in check_or_nothing(self.connection).warnings:
            log.warning("%s", warning)
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

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """RQ's, which waits while the server cannot be reached; ours also while it refuses.

        A full server or one that became a replica may take jobs again; to end would only mean to
        meet it once more.
        """
        for pause in _pauses():
            try:
                return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
            except ResponseError as error:
                log.error("no job is taken: %s", explain(error).message)
                time.sleep(pause)
        raise AssertionError("the pauses never end")

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job, known to the heartbeat."""
        assert isinstance(job, AllowedJob)
        self._job = (job.id, time.monotonic())
        logs.begin(request=job.request_id, job=job.id)
        try:
            super().execute_job(job, queue)
        except RedisError as error:
            log.error("job %s: %s", job.id, explain(error).message)
            self._insist(self._beat)
            if not self._asked_to_stop and give_back(queue, job.id, self.name):
                log.warning("job %s: queued again, since it could not be begun", job.id)
        finally:
            self._job = None
            logs.begin()

    def check_for_suspension(self, burst: bool) -> None:
        """Not at all: workers are stopped, never suspended, and a round trip a job is saved."""

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """RQ's sign of life, every now and then instead of three times a job.

        Each costs three round trips, together nine of the 23 that a job took. The first of a job
        goes with others in a pipeline and covers the whole of it; ours come from the thread.
        """
        last = self.last_heartbeat
        if pipeline is None and last is not None and now() - last < RQ_BEATS_APART:
            return
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        try:
            super().heartbeat(timeout)
        except RedisError as error:  # RQ would end the process for it
            log.warning("no sign of life: %s", explain(error).message)

    def run_maintenance_tasks(self) -> None:
        """RQ's; put off where the server is away."""
        try:
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        except RedisError as error:
            log.warning("no maintenance: %s", explain(error).message)

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

    def _insist(self, write: Callable[[], None]) -> None:
        """Return when the server took what is written, or when asked to stop.

        Raises:
            RedisError: only a person can help.
        """
        for pause in _pauses():
            try:
                write()
                return
            except RedisError as error:
                cause = explain(error)
                if not cause.passes:
                    raise
                if self._asked_to_stop:
                    return
                log.warning("waiting: %s", cause.message)
                time.sleep(pause)

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
            log.warning("no heartbeat: %s", explain(error).message)
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
            resident=resident_bytes(),
        )

    def _leave(self) -> None:
        try:
            self._timetable.release_locks()
            fall_silent(self.connection, self.name)
        except RedisError as error:
            log.warning("left without a word: %s", explain(error).message)
        finally:
            self._timetable.connection.close()


def _pauses() -> Iterator[float]:
    """Seconds between tries, growing to `LONGEST_PAUSE_SECONDS`."""
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def worker_connection(url: str | None) -> Redis:
    """A client for a worker, which may wait for its queue.

    Raises:
        ValueError: no address.
    """
    if url is None:
        raise ValueError("REDIS_URL is not set: a worker needs the address of its queue")
    return connect_worker(url)
