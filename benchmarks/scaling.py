"""How far one queue carries: memory a task, and results a second of many workers.

python -m benchmarks.scaling

The workers are real processes with the real loop and job; their model only sleeps as long as a
forward pass would take, so that what is left is the queue's own cost. On few cores the processes
take it from each other: a number far below workers / seconds is the machine's limit, not the
queue's.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from redis import Redis

from benchmarks.prelabel import CountingSegmenter, Segmentation
from dgl_rsis.runs import Runs
from dgl_rsis.types import Label
from workers.images.cache import ImageCache
from workers.images.download import Downloader
from workers.images.fetch import Fetcher
from workers.images.pictures import Picture, Pictures
from workers.messages import (
    SEGMENT_QUEUE,
    DeliveryRequest,
    SegmentReply,
    SegmentRequest,
    SegmentResult,
)
from workers.processes.embedded import embedded_server
from workers.processes.jobs import Workbench
from workers.processes.model_worker import ModelWorker
from workers.processes.queue_worker import worker_connection
from workers.queue import tallies
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue
from workers.queue.replies import store_reply

LABELS = tuple(
    Label(name, ("a synonym",))
    for name in ("building", "road", "vegetation", "water", "land", "vehicle")
)
FORWARD_SECONDS = (0.05, 0.25, 4.3)
WORKERS = (1, 2, 4, 8)
BUSY_SECONDS = 6.0  # each measurement, if the queue cost nothing
SIDE, RUN = 1024, 16  # of a reply's masks, and of the runs in them: those of a real tile
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["benchmarks.prelabel"])


class SleepingSegmenter(CountingSegmenter):
    """A model that takes its time and none of the processor's."""

    seconds = 0.0

    def segment(
        self, picture: Picture, labels: Sequence[Label], batch: int, learnt: Any = None
    ) -> Segmentation:
        """Bright pixels, after a while."""
        if picture.digest:
            time.sleep(self.seconds)
        return super().segment(picture, labels, batch, learnt)


def be_worker(url: str, root: Path, seconds: float) -> None:
    """A segment worker's process."""
    redis = worker_connection(url)
    downloader = Downloader(None, None, frozenset(), max_bytes=10**6, seconds=5.0)
    pictures = Pictures(ImageCache(0), Fetcher(downloader, root.resolve()).fetch, 10**6)
    segmenter: Any = SleepingSegmenter(Counter())
    segmenter.seconds = seconds
    worker = ModelWorker(
        open_queue(SEGMENT_QUEUE, redis), Workbench(segmenter, pictures, redis, 3600), "cpu"
    )
    worker.warm_up()
    sys.exit(worker.run())


def requests_of(count: int) -> list[SegmentRequest]:
    """Requests of different images."""
    return [
        SegmentRequest(
            f"/data/local-files/?d={i}.png", LABELS, CountingSegmenter.model_version,
            task_id=str(i + 1),
        )
        for i in range(count)
    ]  # fmt: skip


def memory(count: int) -> None:
    """What a task takes in the server: waiting, with its delivery, and with its reply."""
    with serving() as (_, redis):
        client = SegmentClient(redis)
        before = _used(redis)
        requests = requests_of(count)
        for start in range(0, count, 250):  # as Label Studio sends them
            part = requests[start : start + 250]
            client.submit(part, project="1")
            client.deliver([DeliveryRequest(int(r.task_id), r.key, "0" * 64, "1") for r in part])
        waiting = (_used(redis) - before) / count
        _say(f"{count} tasks that wait, with delivery and ledger: {waiting:.0f} bytes each")
        before, some = _used(redis), requests[:200]
        rng = np.random.default_rng(0)
        for request in some:
            store_reply(redis, request.key, ragged(regular(), rng), 3600)
        held = (_used(redis) - before) / len(some)
        _say(f"a reply of {len(LABELS)} masks of {SIDE}² with ragged runs: {held:.0f} bytes")


def regular() -> SegmentReply:
    """A reply of a mask for each label."""
    runs = Runs(SIDE, SIDE, (RUN,) * (SIDE * SIDE // RUN))
    segments = tuple(SegmentResult(label.name, 0.5, "class", runs) for label in LABELS)
    return SegmentReply(SIDE, SIDE, "v1", segments)


def ragged(reply: SegmentReply, rng: np.random.Generator) -> SegmentReply:
    """The same masks with runs of all lengths, which do not compress as equal ones do."""
    cut = np.sort(rng.choice(SIDE * SIDE, SIDE * 6, replace=False))
    counts = np.diff(np.concatenate([[0], cut, [SIDE * SIDE]]))
    runs = Runs(SIDE, SIDE, tuple(int(count) for count in counts))
    segments = tuple(SegmentResult(s.label, s.score, s.level, runs) for s in reply.segments)
    return SegmentReply(SIDE, SIDE, reply.model_version, segments)


def throughput(seconds: float, workers: int) -> float:
    """Results a second."""
    count = max(3 * workers, round(BUSY_SECONDS * workers / seconds))
    with serving() as (url, redis), tempfile.TemporaryDirectory() as images:
        root = Path(images)
        for number in range(count):
            pixels = np.full((64, 64, 3), number % 256, dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"{number}.png")
        client = SegmentClient(redis)
        running = [
            PROCESSES.Process(target=be_worker, args=(url, root, seconds)) for _ in range(workers)
        ]
        with at_work(running):
            while len(client.ready()) < workers:
                time.sleep(0.05)
            began = time.perf_counter()
            client.submit(requests_of(count), project="1")
            while tallies.read(redis).counters["jobs"]["answered"] < count:
                time.sleep(0.05)
            return count / (time.perf_counter() - began)


@contextmanager
def at_work(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Workers for the length of a `with` block."""
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(60)


@contextmanager
def serving() -> Iterator[tuple[str, Redis]]:
    """A server of its own, empty."""
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_server(Path(folder)) as url,
        Redis.from_url(url) as redis,
    ):
        yield url, redis


def _used(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000, help="of the measurement of memory")
    options = parser.parse_args()
    memory(options.tasks)
    for seconds in FORWARD_SECONDS:
        for workers in WORKERS:
            rate, ideal = throughput(seconds, workers), workers / seconds
            _say(
                f"{seconds} s, {workers} workers: {rate:.2f} results/s, {100 * rate / ideal:.0f} % "
                f"of {ideal:.2f}"
            )


if __name__ == "__main__":
    main()
