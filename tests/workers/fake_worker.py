"""A segment worker whose model is a few lines of NumPy."""

import base64
import ctypes
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from redis import Redis

from dgl_rsis.classes.prototypes import KEY_LENGTH, Prototypes
from dgl_rsis.expressions.exemplars import Alike, Look
from dgl_rsis.regions import proposals
from dgl_rsis.types import Floats, InputError, Label, Mask, Prompt, Proposals, Refined, Segment
from workers.images.cache import ImageCache
from workers.images.download import Downloader
from workers.images.fetch import Fetcher
from workers.images.pictures import Picture, Pictures
from workers.messages import SEGMENT_QUEUE, SegmentRequest
from workers.processes.delivery import run_delivery_worker
from workers.processes.jobs import Workbench
from workers.processes.model_worker import ModelWorker
from workers.processes.queue_worker import worker_connection
from workers.processes.watchdog import Limits, Watchdog
from workers.queue.connection import open_queue
from workers.settings import WorkerSettings

VERSION = "fake-1"
REPLY_SECONDS = 7200
NO_LIMITS = Limits(locked=600.0, idle=600.0)


def _deadlock() -> None:
    """Native code that waits for ever, without the interpreter's lock."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


STUCK: Mapping[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "pause": lambda: time.sleep(0.05),
    "sleep": lambda: time.sleep(1.5),
    "hang": lambda: time.sleep(60.0),
    "deadlock": _deadlock,
    "hold": lambda: ctypes.PyDLL(None).sleep(60),  # native code that keeps the interpreter's lock
}


@dataclass(frozen=True)
class Brightness:
    """What jobs read of a `ClassSegmentation`."""

    classes: tuple[Segment, ...]
    objects: tuple[Segment, ...]
    class_map: NDArray[np.uint16]
    probability: Floats
    margin: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Answered:
    """What jobs read of an `ExpressionSegmentation`."""

    @dataclass(frozen=True)
    class Candidate:
        """One of its candidates."""

        mask: NDArray[np.bool_]
        score: float

    candidates: tuple[Candidate, ...]
    reason: str
    seconds: Mapping[str, float] = field(default_factory=dict)


class FakeSegmenter:
    """A `Segmenter` that knows bright from dark."""

    batch = 64
    model_version = VERSION

    def segment(
        self,
        picture: Picture,
        labels: Sequence[Label],
        batch: int,
        learnt: Prototypes | None = None,
    ) -> Any:
        """The first label takes bright pixels. Some labels make it behave badly instead."""
        if not labels:
            raise InputError("no labels to look for: give at least one")
        name = labels[0].name
        if name in STUCK:
            STUCK[name]()
        if name == "broken":
            raise ZeroDivisionError("what nobody foresaw")
        if name == "wide" and batch > 32:
            raise torch.OutOfMemoryError("more than half a batch")
        if name == "huge":
            raise torch.OutOfMemoryError("however small the batch")
        if name == "huge for NumPy":
            np.empty((2**30, 2**20), dtype=np.uint8)
        if name == "huge for PyTorch":
            torch.empty((2**40, 2**10))
        bright = _bright(picture)
        return Brightness(
            classes=(Segment(name, 0.75, bright),),
            objects=(Segment(name, 0.5, bright),),
            class_map=bright.astype(np.uint16),
            probability=np.where(bright, 0.75, 0.25).astype(np.float32),
            margin=0.375,
            seconds={"all": 0.001},
        )

    def refer(
        self, picture: Picture, expression: str, labels: Sequence[Label], batch: int, most: int = 0
    ) -> Any:
        """Bright pixels, then dark ones; "nothing" is not found. The label is the last one."""
        if expression == "nothing":
            return Answered((), "nothing here is nothing"), labels[-1].name
        bright = _bright(picture)
        candidates = (Answered.Candidate(bright, 0.75), Answered.Candidate(~bright, 0.25))
        return Answered(candidates, ""), labels[-1].name

    def point(self, picture: Picture, prompt: Prompt) -> Refined:
        """The prior, or the half of the first positive point; some prompts make it behave badly."""
        if prompt.prior is not None:
            return Refined(prompt.prior, 0.5)
        if prompt.box == (0, 0, 12, 8):
            raise ZeroDivisionError("what nobody foresaw")
        bright = _bright(picture)
        if not len(prompt.positive):
            return Refined(np.zeros_like(bright), 0.0)
        column, row = np.floor(prompt.positive[0]).astype(int)
        return Refined(bright == bright[row, column], 0.875)

    def alike(self, picture: Picture, exemplar: Mask, marked: Mask, batch: int) -> Alike:
        """Two halves of what is as bright as the exemplar and not marked; none of the dark."""
        return _halves(_bright(picture) & ~marked, 2 if _bright(picture)[exemplar].all() else 0)

    def look(self, picture: Picture, exemplar: Mask, batch: int) -> Look:
        """How bright an exemplar is."""
        one = np.ones(1, dtype=np.float32)
        brightness = torch.tensor([[1.0, float(_bright(picture)[exemplar].all())]])
        return Look(brightness, one * np.count_nonzero(exemplar), one, np.ones((1, 3)), None)

    def alike_elsewhere(self, picture: Picture, look: Look, label: str, batch: int) -> Alike:
        """Two halves of what is as bright; none of the dark."""
        return _halves(_bright(picture), 2 if look.directions[0, 1] else 0)

    def label_of(self, picture: Picture, mask: Mask, labels: Sequence[Label], batch: int) -> str:
        """The first label for bright masks, the last for dark ones."""
        return labels[0 if _bright(picture)[mask].all() else -1].name

    def marked_examples(
        self, picture: Picture, marked: NDArray[np.int32], labels: Sequence[str]
    ) -> Prototypes:
        """One example for each marked class: the mean of its pixels."""
        owners = np.unique(marked[marked >= 0]).astype(np.int64)
        keys = np.zeros((len(owners), KEY_LENGTH), dtype=np.float32)
        keys[:, 0] = [picture.pixels[marked == owner].mean() for owner in owners]
        return Prototypes(tuple(labels), keys, owners, np.zeros_like(owners))


def _bright(picture: Picture) -> Mask:
    bright: Mask = picture.pixels.mean(axis=2) > 127
    return bright


def _halves(bright: Mask, count: int) -> Alike:
    """The first halves of a mask, upper and lower."""
    halves = [bright & side for side in (_upper(bright), ~_upper(bright))]
    height, width = bright.shape
    found = proposals.of_masks(halves, height, width)
    kept = Proposals(found.masks[:count], found.boxes[:count], found.quality[:count], height, width)
    return Alike(kept, np.array([0.75, 0.5], dtype=np.float32)[:count])


def _upper(mask: Mask) -> Mask:
    upper: Mask = np.zeros_like(mask)
    upper[: len(mask) // 2] = True
    return upper


def fake_bench(redis: Redis, root: Path | None = None) -> Workbench:
    return Workbench(FakeSegmenter(), pictures(root), redis, REPLY_SECONDS)


def pictures(root: Path | None = None, *, max_pixels: int = 10_000) -> Pictures:
    downloader = Downloader(
        label_studio_url=None,
        credentials=None,
        allowed_hosts=frozenset({"127.0.0.1"}),
        max_bytes=1_000_000,
        seconds=5.0,
    )
    return Pictures(ImageCache(10_000), Fetcher(downloader, root).fetch, max_pixels)


def picture() -> str:
    """A 12 × 8 picture as a data: URL, bright in its right half."""
    pixels = np.zeros((8, 12, 3), dtype=np.uint8)
    pixels[:, 6:] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def request(*labels: str, image: str | None = None, task: str = "7") -> SegmentRequest:
    return SegmentRequest(
        image=picture() if image is None else image,
        labels=tuple(Label(label) for label in labels),
        model_version=VERSION,
        objects=True,
        task_id=task,
    )


def run(
    url: str,
    beat_seconds: float,
    limits: Limits = NO_LIMITS,
    queue: str = SEGMENT_QUEUE,
    output: Path | None = None,
) -> None:
    """Be a worker process, whose log and errors go to a file if one is given."""
    if output is not None:
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    redis = worker_connection(url)
    watchdog = Watchdog(limits, sign_seconds=0.1).start()
    worker = ModelWorker(open_queue(queue, redis), fake_bench(redis), "cpu", watchdog)
    worker._beat_seconds = beat_seconds
    worker.warm_up()
    sys.exit(worker.run())


def run_with_settings(url: str) -> None:
    """Be a worker process that reaches its queue as real ones do."""
    redis = worker_connection(WorkerSettings(redis_url=url).redis_url)
    worker = ModelWorker(open_queue(SEGMENT_QUEUE, redis), fake_bench(redis), "cpu")
    worker._beat_seconds = 0.5
    worker.warm_up()
    sys.exit(worker.run())


def run_delivery(url: str, studio: str = "", key: str = "") -> None:
    """Be a delivery worker's process; the worker is the real one.

    Args:
        url: of the queue.
        studio: address of Label Studio; empty for what the environment says.
        key: of its API.
    """
    if studio:
        os.environ.update(LABEL_STUDIO_URL=studio, LABEL_STUDIO_API_KEY=key)
    sys.exit(run_delivery_worker(WorkerSettings(redis_url=url)))
