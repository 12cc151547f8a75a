"""Images of the next jobs, made ready by other processes while the model works at this one's.

What an image costs before the model sees it (fetching, decoding, the region tree) needs no device.
It is done without taking the job: the queue, its tries and its deaths know nothing of it, and what
came of it is taken or left. So an image that kills whoever opens it kills a process here, which
nobody counts, and then, three times, the worker that has its job.
"""

import faulthandler
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from workers.blocking import waiting
from workers.engine.providers import REGIONS, RegionProvider, Remembered
from workers.images.cache import ImageCache, cache_key
from workers.images.fetch import Fetcher
from workers.images.pictures import Pictures, Prepared
from workers.processes.memory import limit_memory, return_freed_memory, room
from workers.settings import WorkerSettings

log = logging.getLogger(__name__)

MIB = 2**20
MADE_SECONDS = 60.0  # beside the fetching: longer than an image takes that is worth it
MOST_BROKEN = 5  # pools in a row that nothing came of
UNAVAILABLE = (RuntimeError, OSError, EOFError, MemoryError)  # a broken pool; no process, no thread
BADNESS = Path("/proc/self/oom_score_adj")


class _Begun(NamedTuple):
    """An image that a process has in hand.

    Attributes:
        future: what comes of it; None where the image cannot be had.
        at: when it was asked for, by the monotonic clock.
    """

    future: Future[Prepared | None]
    at: float


class Ahead:
    """Prepares the images that are needed next.

    Args:
        settings: of the worker: what may be fetched, the cache, and how many images.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self.most = settings.prefetched
        self._settings = settings
        self._seconds = settings.fetch_seconds + MADE_SECONDS
        self._pool: ProcessPoolExecutor | None = None
        self._begun: dict[str, _Begun] = {}  # by the key of a reference
        self._broken = 0  # in a row

    def prepare(self, references: Sequence[str], held: Sequence[str] = ()) -> None:
        """Begin with what is needed next; what was begun besides is not needed any more.

        Args:
            references: of images, in order; no more than `most` are begun.
            held: of those that are needed now, and stay where they were begun.
        """
        wanted = {cache_key(reference): reference for reference in references[: self.most]}
        for key in self._begun.keys() - wanted.keys() - set(map(cache_key, held)):
            self._begun.pop(key).future.cancel()
        for key, reference in wanted.items():
            if key not in self._begun:
                self._begin(key, reference)

    def take(self, reference: str) -> Prepared | None:
        """What was made of an image, once it is there; None where it was not begun, or failed.

        Why it failed is for whoever needs the image to find out, by opening it.
        """
        begun = self._begun.pop(cache_key(reference), None)
        if begun is None or begun.future.cancel():
            return None
        try:
            with waiting():
                made = begun.future.result(self._seconds)
        except (BrokenProcessPool, TimeoutError):  # a process died, or was stopped
            self._break()
            return None
        self._broken = 0
        return made and replace(made, age=time.monotonic() - begun.at)

    def close(self) -> None:
        """End the processes; what they have in hand is lost."""
        self._end()

    def _begin(self, key: str, reference: str) -> None:
        if self._broken >= MOST_BROKEN:
            return
        try:
            future = self._started().submit(_prepared, reference)
        except UNAVAILABLE:
            self._break()
        else:
            self._begun[key] = _Begun(future, time.monotonic())

    def _break(self) -> None:
        """A process came to nothing: by an image, or as none can be had."""
        self._broken += 1
        if self._broken == MOST_BROKEN:
            log.warning("images are not prepared any more: it failed %d times", MOST_BROKEN)
        self._end()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Forked from a process that has no model, device or thread, and all that they import.
            processes = multiprocessing.get_context("forkserver")
            processes.set_forkserver_preload([__name__])
            self._pool = ProcessPoolExecutor(
                self.most,
                processes,
                _begin_process,
                (self._settings, self._seconds),
            )
        return self._pool

    def _end(self) -> None:
        """The next image gets a new pool."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool, self._begun = None, {}


# ---- in the other processes -----------------------------------------------------------------


class _Tools(NamedTuple):
    pictures: Pictures
    cache: ImageCache
    regions: RegionProvider | None
    seconds: float


_tools: _Tools | None = None


def _begin_process(settings: WorkerSettings, seconds: float) -> None:
    """Make ready a process that prepares images."""
    global _tools
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the parent ends us in order
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    with suppress(OSError):  # when memory is short, this one goes, and not the worker
        BADNESS.write_text("1000")
    return_freed_memory()
    limit_memory()
    share = settings.cache_mb * MIB // settings.prefetched
    cache = ImageCache(share, settings.cache_dir, settings.cache_disk_mb * MIB)
    fetch = Fetcher.from_settings(settings).fetch
    pictures = Pictures(cache, fetch, settings.max_image_pixels, room=room)
    regions = RegionProvider(Remembered(cache)) if settings.proposals == REGIONS else None
    _tools = _Tools(pictures, cache, regions, seconds)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _prepared(reference: str) -> Prepared | None:
    """Fetch, decode and cut one image; a process that hangs at it ends itself.

    Not all errors survive the way between processes; whoever needs the image meets them again.
    """
    assert _tools is not None
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(_tools.seconds, exit=True, file=nowhere)
        try:
            picture, _ = _tools.pictures.open(reference)
            if _tools.regions is not None:
                _tools.regions.prepare(picture)
            return Prepared(picture.digest, _tools.cache.take())
        except Exception:
            _tools.cache.take()
            return None
        finally:
            faulthandler.cancel_dump_traceback_later()
