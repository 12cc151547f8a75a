"""A worker on one queue that can be trusted to die well.

RQ's forking worker cannot hold a CUDA model, and its `SimpleWorker` is silent while a job runs. So
a thread of the worker beats for it, and does what else must not wait for a job to end: it recovers
the jobs of dead workers and queues the retries that are due. Another one, the watchdog, ends a
process that is stuck where RQ's alarm signal, which only interrupts Python, does not reach.
"""

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from types import FrameType
from typing import Any
from uuid import uuid4

from redis import Redis, RedisError
from redis.client import Pipeline
from rq import Queue, SimpleWorker
from rq.executions import Execution
from rq.job import Job
from rq.registry import clean_registries
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker_registration import clean_worker_registry

from workers import logs
from workers.processes.ordered import Ordered
from workers.processes.watchdog import Watchdog
from workers.queue.connection import AllowedJob
from workers.queue.heartbeats import (
    BEAT_SECONDS,
    Heartbeat,
    beat,
    fall_silent,
    resident_bytes,
    this_machine,
)
from workers.queue.patience import Patience, patience_of
from workers.queue.recovery import drop_unreadable, queue_due, recover
from workers.queue.server_checks import check_or_nothing
from workers.queue.server_errors import explain
from workers.queue.servers import connect_worker

log = logging.getLogger(__name__)

WAIT_SECONDS = 60  # RQ looks up from an empty queue this often, less 15 s
MAINTENANCE_SECONDS = 300
RQ_BEATS_APART = timedelta(seconds=10)  # RQ takes a worker for dead after two minutes


class TakenOverError(Exception):
    """A job is not this worker's any more."""


class QueueWorker(SimpleWorker):
    """Works on one queue, in this process, and on another while nothing waits in that.

    A job is always popped into a second list, from which it can be recovered (`processes.ordered`).

    Args:
        queue: to work on.
        device: where the worker's model is; "" without one.
        model: its version; "" without one.
        beat_seconds: between two heartbeats.
        watchdog: of this process; one that was not started watches nothing.
        behind: a queue whose jobs are done while none waits in the first; None for none.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        device: str = "",
        model: str = "",
        beat_seconds: float = BEAT_SECONDS,
        watchdog: Watchdog | None = None,
        behind: Queue | None = None,
    ) -> None:
        super().__init__(
            [queue] if behind is None else [queue, behind],
            name=f"{queue.name}.{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}",
            connection=queue.connection,
            job_class=AllowedJob,
            serializer=JSONSerializer,
            worker_ttl=WAIT_SECONDS,
            maintenance_interval=MAINTENANCE_SECONDS,
            log_job_description=False,
        )
        self.queue_class = Ordered  # pops; RQ would not take the queue, which is none
        self._queue = queue
        self._device = device
        self._model = model
        self._beat_seconds = beat_seconds
        self._watchdog = watchdog or Watchdog()
        self._silent = threading.Event()
        self._job = ""  # id of the one in work
        self._held: Execution | None = None
        self._asked_to_stop = False
        self._heard = True  # the last heartbeat reached the queue
        self._self_test_at = 0.0

    def run(self, *, burst: bool = False) -> int:
        """Work until asked to stop by SIGTERM or SIGINT; the job in work is finished first.

        Args:
            burst: stop when the queue is empty.

        Returns:
            Exit status: 0 when asked to stop, 1 when something else ended the work.
        """
        self._beat()  # waits for the server
        for warning in check_or_nothing(self.connection).warnings:
            log.warning("%s", warning)
        self._tick()  # before RQ's own maintenance, which would fail what can be recovered
        pulse = threading.Thread(target=self._beat_until_silent, name="heartbeat", daemon=True)
        pulse.start()
        self._watchdog.ready()
        log.info("worker %s is ready", self.name)
        try:
            self.work(burst=burst, logging_level="WARNING")
        finally:
            self._silent.set()
            pulse.join()
            self._leave()
            self._watchdog.stop()
        return 0 if self._asked_to_stop or burst else 1

    def dequeue_job_and_maintain_ttl(self, *args: Any, **kwargs: Any) -> tuple[Job, Queue] | None:
        """RQ's wait for the next job, which ends with what is no text in the queue."""
        while True:
            try:
                return super().dequeue_job_and_maintain_ttl(*args, **kwargs)
            except UnicodeDecodeError:
                for queue in self.queues:
                    drop_unreadable(queue, all_that_waits=True)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job, known to the heartbeat and the watchdog."""
        assert isinstance(job, AllowedJob)
        self._job = job.id
        logs.begin(request=job.request_id, job=job.id)
        try:
            with self._watchdog.watching(job.id):
                super().execute_job(job, queue)
        except TakenOverError:
            log.warning("job %s was given to another worker, as this one was silent", job.id)
        finally:
            self._job = ""
            logs.begin()
        self._watchdog.progressed()

    def check_for_suspension(self, burst: bool) -> None:
        """Not at all: workers are stopped, never suspended, and a round trip a job is saved."""

    def prepare_execution(self, job: Job) -> Execution:
        """RQ's; the entry that it makes is this worker's title to the job, and names the run."""
        self._held = super().prepare_execution(job)
        if isinstance(job, AllowedJob):
            job.run = self._held.id
        return self._held

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """Before RQ books what came of a job: whether it is still this worker's.

        A process that was stopped for a while goes on as if nothing had happened. Its job has been
        given to another meanwhile, and there must not be two ends of it.

        Raises:
            TakenOverError: the job was given to another.
        """
        job.ended_at = now()
        held = self._held
        assert held is not None
        if self.connection.zscore(queue.started_job_registry.key, held.composite_key) is None:
            raise TakenOverError(job.id)

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
        """RQ's maintenance, after ours, and without its rule for jobs that were not begun."""
        for queue in self.queues:
            recover(queue)
            if queue.acquire_maintenance_lock():
                clean_registries(queue, self._exc_handlers)
                clean_worker_registry(queue)
                queue.release_maintenance_lock()
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """First signal: finish the job in work, then stop."""
        self._asked_to_stop = True
        if self._patience is not None:
            self._patience.hurry()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Second signal: die at once and leave the job to be recovered.

        RQ raises SystemExit, which inside a job its own handler records as the job's failure.
        """
        try:
            super().request_force_stop(signum, frame)
        except SystemExit:
            os._exit(1)

    def set_shutdown_requested_date(self) -> None:
        """Not at all: nobody reads it, and a signal handler must not wait for the queue."""

    def register_death(self) -> None:
        """RQ's; a queue that is away forgets this worker by itself."""
        with suppress(RedisError):
            super().register_death()  # type: ignore[no-untyped-call]

    def subscribe(self) -> None:
        """Not at all: RQ's remote commands are not used, and one way less in."""

    @property
    def _patience(self) -> Patience | None:
        return patience_of(self.connection)

    def _beat_until_silent(self) -> None:
        while not self._silent.wait(self._beat_seconds):
            self._tick()

    def _tick(self) -> None:
        try:
            self._beat()
            for queue in self.queues:
                recover(queue)
                queue_due(queue)
            if not self._heard:
                log.info("heartbeats reach the queue again")
            self._heard = True
        except RedisError as error:
            if self._heard:  # one line for all the while that it is away
                log.warning("no heartbeats: %s", explain(error).message)
            self._heard = False
        except Exception:
            log.exception("a heartbeat failed")  # the next one may not

    def _beat(self) -> None:
        beat(self.connection, self._heartbeat())

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            name=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queue=self._queue.name,
            device=self._device,
            job=self._job,
            at=time.time(),
            self_test=self._self_test_at,
            model=self._model,
            machine=this_machine(),
            resident=resident_bytes(),
        )

    def _leave(self) -> None:
        try:
            fall_silent(self.connection, self.name)
        except RedisError as error:
            log.warning("left without a word: %s", explain(error).message)


def worker_connection(url: str | None) -> Redis:
    """A client for a worker, which waits for its queue; see `Patience`.

    Raises:
        ValueError: no address.
    """
    if url is None:
        raise ValueError("REDIS_URL is not set: a worker needs the address of its queue")
    return connect_worker(url)
