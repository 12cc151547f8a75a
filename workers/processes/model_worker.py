"""A worker with a model in its process, which it trusts only after a test."""

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from redis import RedisError
from rq import Queue
from rq.job import Job

from dgl_rsis.types import Label
from workers.images.pictures import Picture
from workers.messages import SEGMENT_QUEUE
from workers.processes.jobs import Workbench
from workers.processes.ordered import Ordered
from workers.processes.queue_worker import QueueWorker
from workers.processes.watchdog import Watchdog
from workers.queue import recovery
from workers.queue.connection import AllowedJob
from workers.queue.heartbeats import Announcement, announce
from workers.queue.waiting import images_of, next_images
from workers.queue.windows import queue_name

if TYPE_CHECKING:
    from workers.engine.model import Model

log = logging.getLogger(__name__)

SELF_TEST_SIDE = 64  # pixels
SELF_TEST_LABELS = (Label("building"), Label("water"))
SELF_TEST_SENTENCE = "the largest building on the right of the blue water"
IDLE_SECONDS = 300.0  # an idle model is tested this often: a device may fail while nobody looks


class SelfTestError(RuntimeError):
    """The model does not answer as it must."""


class ModelWorker(QueueWorker):
    """A worker with a model in its process. It beats only while the model passes its self-test.

    Args:
        queue: the segment queue, or the one for people who wait.
        bench: what its jobs work with.
        device: where the model is.
        watchdog: as `QueueWorker`.
    """

    def __init__(
        self, queue: Queue, bench: Workbench, device: str, watchdog: Watchdog | None = None
    ) -> None:
        version = bench.segmenter.model_version
        windows = None
        if queue.name == SEGMENT_QUEUE and bench.scenes is not None:
            windows = Ordered.called(queue_name(version), queue.connection)
        super().__init__(queue, device=device, model=version, watchdog=watchdog, behind=windows)
        self._windows = windows
        self._next: dict[str, tuple[str, ...]] = {}  # ids of the next jobs → their images
        self._bench = bench
        bench.known_as(self.name)
        bench.segmenter.say = bench.stages

    def warm_up(self) -> None:
        """Pass the self-test, then announce the model.

        Raises:
            SelfTestError: it did not pass.
        """
        self._test()
        # Lexicons, grammar and gradients load with the first sentence: nobody should wait for them.
        segmenter = self._bench.segmenter
        segmenter.refer(_generated(), SELF_TEST_SENTENCE, SELF_TEST_LABELS, segmenter.batch)
        announce(self.connection, self._announcement())
        log.info("model %s is warm on %s", segmenter.model_version, self._device)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job; after an unexpected failure, see whether the model still works."""
        assert isinstance(job, AllowedJob)
        job.bench = self._bench
        self._look_ahead(job)
        try:
            super().execute_job(job, queue)
        finally:
            self._bench.stages.end()
        if self._windows is not None:
            self._windows.opens_at = self._bench.windows_from
        if self._bench.suspect:
            self._test_or_exit()

    def _look_ahead(self, job: AllowedJob) -> None:
        """Have the images of the next jobs prepared while this one is worked at."""
        ahead, pictures = self._bench.ahead, self._bench.pictures
        if ahead is None or ahead.most == 0 or self._queue.name != SEGMENT_QUEUE:
            return  # people click into the image that they have before them
        with suppress(RedisError):  # the job itself finds out
            self._next = next_images(self._queue, ahead.most, self._next)
        wanted = [image for images in self._next.values() for image in images]
        held = images_of(job.func_name or "", job.args)
        ahead.prepare([image for image in wanted if not pictures.knows(image)], held)

    def run_maintenance_tasks(self) -> None:
        """RQ's, and the self-test of a model that nobody used for a while."""
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        if time.time() - self._self_test_at > IDLE_SECONDS:
            self._test_or_exit()

    def _beat(self) -> None:
        super()._beat()
        if self._queue.name == SEGMENT_QUEUE:
            recovery.take_over(self._queue)
        announce(self.connection, self._announcement(), if_lost=True)

    def _announcement(self) -> Announcement:
        return Announcement(self._bench.segmenter.model_version, self._device, time.time())

    def _test(self) -> None:
        started = time.perf_counter()
        with self._watchdog.watching("the self-test"):
            self_test(self._bench.segmenter)
        self._bench.suspect = False
        self._self_test_at = time.time()
        log.debug("self-test passed in %.2f s", time.perf_counter() - started)

    def _test_or_exit(self) -> None:
        """A CUDA fault does not heal in the process that met it: end, to be started anew."""
        try:
            self._test()
        except Exception:
            log.critical("the self-test failed: this process ends", exc_info=True)
            raise SystemExit(1) from None


def self_test(segmenter: "Model") -> None:
    """Segment a generated image and check the answer's form.

    Raises:
        SelfTestError: a size is wrong, or a number is not finite.
    """
    picture = _generated()
    segmentation = segmenter.segment(picture, SELF_TEST_LABELS, segmenter.batch)
    if segmentation.class_map.shape != picture.pixels.shape[:2]:
        raise SelfTestError(
            f"the class map is {segmentation.class_map.shape}, not {picture.pixels.shape[:2]}"
        )
    if not np.isfinite(segmentation.probability).all():
        raise SelfTestError("some probabilities are not finite numbers")


def _generated() -> Picture:
    """Something blue beside something grey."""
    image = np.zeros((SELF_TEST_SIDE, SELF_TEST_SIDE, 3), dtype=np.uint8)
    image[:, : SELF_TEST_SIDE // 2] = (30, 60, 120)
    image[:, SELF_TEST_SIDE // 2 :] = (180, 170, 160)
    return Picture(image)
