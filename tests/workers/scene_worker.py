"""Segment workers with the small model, as processes: real but for their sentences' lexicons."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from tests.workers.worker_processes import PROCESSES
from workers.engine import scenes
from workers.engine.segmenter import Segmenter
from workers.messages import SEGMENT_QUEUE
from workers.processes import windows
from workers.processes.model_worker import ModelWorker
from workers.processes.queue_worker import worker_connection
from workers.processes.segment import load_bench
from workers.queue.connection import open_queue
from workers.queue.windows import WindowRequest
from workers.settings import WorkerSettings

Place = tuple[int, int]


class Poisoned(scenes.SceneJudge):
    """Dies of one window."""

    place: Place = (0, 0)

    def judge(self, request: WindowRequest, segmenter: Segmenter, say):
        if (request.row, request.column) == self.place:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().judge(request, segmenter, say)


def run(url: str, model: Path, root: Path | None, poison: Place | None) -> None:
    """Be a worker process that is soon back after it could not read a scene."""
    torch.set_num_threads(1)
    windows.AWAY_SECONDS = 0.5
    settings = WorkerSettings(redis_url=url, model=str(model), scenes_root=root)
    redis = worker_connection(url)
    bench = load_bench(settings, redis)
    if poison is not None:
        bench.scenes = Poisoned(settings.scenes_root, settings.max_image_pixels)
        bench.scenes.place = poison
    worker = ModelWorker(open_queue(SEGMENT_QUEUE, redis), bench, "cpu")
    worker._beat_seconds = 0.5
    sys.exit(worker.run())


@contextmanager
def scene_worker(
    url: str, model: Path, root: Path | None, poison: Place | None = None
) -> Iterator[BaseProcess]:
    process = PROCESSES.Process(target=run, args=(url, model, root, poison))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(10)


@contextmanager
def supervised(url: str, model: Path, root: Path, poison: Place) -> Iterator[list[int]]:
    """A worker that is started anew whenever it dies; gives what its runs ended with."""
    over, ends = threading.Event(), []

    def keep_one() -> None:
        while not over.is_set():
            with scene_worker(url, model, root, poison) as process:
                while not over.wait(0.05) and process.is_alive():
                    pass
                if not process.is_alive():
                    ends.append(process.exitcode)

    thread = threading.Thread(target=keep_one)
    thread.start()
    try:
        yield ends
    finally:
        over.set()
        thread.join(30)
