"""Bulk pre-labelling through the queue with a model that answers at once; killed and resumed.

`python -m benchmarks.prelabel` starts an embedded server and one segment worker: the real
loop, the real job function, and a model of a few lines. It generates images, runs `dgl-rsis
prelabel` over them, and says how many tasks a second come through. Then it does the same anew, ends
the command by SIGKILL several times on the way, and counts what the worker computed and what the
output holds: nothing may be lost and nothing be there twice.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from redis import Redis
from rich.console import Console

from dgl_rsis.types import Label, Segment
from workers.images.cache import ImageCache
from workers.images.download import Downloader
from workers.images.fetch import Fetcher
from workers.images.pictures import Picture, Pictures
from workers.messages import SEGMENT_QUEUE
from workers.processes.embedded import embedded_server
from workers.processes.jobs import Workbench
from workers.processes.model_worker import ModelWorker
from workers.processes.queue_worker import worker_connection
from workers.queue.connection import open_queue
from workers.settings import SharedSettings

SIDE = 64  # pixels
KILLS = 3


@dataclass(frozen=True)
class Segmentation:
    """What a job reads of a segmentation."""

    classes: tuple[Segment, ...]
    objects: tuple[Segment, ...]
    class_map: Any
    probability: Any
    margin: float
    seconds: dict[str, float]


class CountingSegmenter:
    """A model of a few lines.

    Args:
        answered: digest of an image → how often it was segmented.
    """

    batch = 1
    model_version = "no-op"

    def __init__(self, answered: Counter[str]) -> None:
        self._answered = answered

    def segment(
        self, picture: Picture, labels: Sequence[Label], batch: int, learnt: Any = None
    ) -> Segmentation:
        """Bright pixels are of the first label."""
        if picture.digest:  # the self-test's has none
            self._answered[picture.digest] += 1
        bright = picture.pixels[..., 0] > 127
        return Segmentation(
            (Segment(labels[0].name, 0.75, bright),), (), bright.astype(np.uint16),
            np.where(bright, np.float32(0.75), np.float32(0.25)), 0.5, {"all": 0.0},
        )  # fmt: skip

    def refer(self, *_: object) -> None:
        """Called to warm up, and never again."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--worker", nargs=2, metavar=("ROOT", "COUNTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        sys.exit(be_worker(Path(options.worker[0]), Path(options.worker[1])))
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="dgl-rsis-bench-") as name:
        folder = Path(name)
        generate(folder / "images", options.tasks)
        straight(folder, options.tasks, console)
        killed(folder, options.tasks, console)


def be_worker(root: Path, counts: Path) -> int:
    """A segment worker; on its end it leaves how often it answered for each image."""
    redis = worker_connection(SharedSettings().redis_url)
    answered = Counter[str]()

    downloader = Downloader(None, None, frozenset(), max_bytes=10**6, seconds=5.0)
    pictures = Pictures(ImageCache(0), Fetcher(downloader, root.resolve()).fetch, 10**6)
    segmenter: Any = CountingSegmenter(answered)
    bench = Workbench(segmenter, pictures, redis, reply_seconds=3600)
    worker = ModelWorker(open_queue(SEGMENT_QUEUE, redis), bench, "cpu")
    worker.warm_up()
    try:
        return worker.run()
    finally:
        counts.write_text(json.dumps(answered), "utf-8")


def generate(folder: Path, count: int) -> None:
    """Small pictures, each another one."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = np.repeat(np.repeat(rng.integers(0, 256, (8, 8, 3), np.uint8), 8, 0), 8, 1)
        Image.fromarray(pixels).save(folder / f"{number:06}.png", compress_level=1)


def straight(folder: Path, count: int, console: Console) -> None:
    """All tasks in one go."""
    out = folder / "straight"
    with serving(folder, "straight") as url, Redis.from_url(url) as redis:
        redis.config_resetstat()
        started = time.perf_counter()
        if command(folder, url, out).wait():
            raise RuntimeError((folder / "prelabel.log").read_text("utf-8")[-2000:])
        seconds = time.perf_counter() - started
        stats = redis.info("commandstats")
        calls = sum(each["calls"] for each in stats.values())
        memory = redis.info("memory")["used_memory_peak"]
        replies = sum(1 for _ in redis.scan_iter("dgl:reply:*", count=1000))
    console.print(
        f"{count} tasks in {seconds:.1f} s: {count / seconds:.0f} tasks/s with one worker; "
        f"{calls / count:.1f} Redis commands a task, peak memory of Redis {memory / 2**20:.0f} MiB"
    )
    _check(out, folder / "straight.json", count, console)
    console.print(f"{replies} replies in Redis at the end")


def killed(folder: Path, count: int, console: Console) -> None:
    """The same, with the command killed several times on the way."""
    out = folder / "killed"
    with serving(folder, "killed") as url:
        for number in range(KILLS):
            running = command(folder, url, out)
            wanted = count * (number + 1) // (KILLS + 2)
            while running.poll() is None and _done(out) < wanted:
                time.sleep(0.02)
            running.send_signal(signal.SIGKILL)
            running.wait()
            with (out / "journal.jsonl").open("ab") as journal:
                journal.write(b'{"done": "torn')
            console.print(f"killed with {_done(out)} in the journal, and its last line torn")
        status = command(folder, url, out).wait()
        console.print(f"the last run ended with status {status}")
    _check(out, folder / "killed.json", count, console)


@contextlib.contextmanager
def serving(folder: Path, name: str) -> Iterator[str]:
    """A fresh server and one worker."""
    with embedded_server(folder / f"{name}-queue") as url:
        words = [sys.executable, "-m", "benchmarks.prelabel", "--worker"]
        words += [str(folder / "images"), str(folder / f"{name}.json")]
        with (
            (folder / f"{name}.log").open("wb") as log,
            subprocess.Popen(words, env=_environment(url), stderr=log) as worker,
            Redis.from_url(url) as redis,
        ):
            try:
                while worker.poll() is None and not redis.exists("dgl:workers"):
                    time.sleep(0.05)
                if worker.poll() is not None:
                    raise RuntimeError((folder / f"{name}.log").read_text("utf-8")[-2000:])
                yield url
            finally:
                worker.terminate()


def command(folder: Path, url: str, out: Path) -> "subprocess.Popen[bytes]":
    """The command over all images."""
    words = [sys.executable, "-m", "backend.commands.main", "prelabel", str(folder / "images")]
    words += ["--labels", "bright"]
    words += ["--out", str(out), "--root", str(folder / "images")]
    with (folder / "prelabel.log").open("ab") as log:
        return subprocess.Popen(words, env=_environment(url), stderr=log)


def _environment(url: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "REDIS_URL": url, "OMP_NUM_THREADS": "1"}


def _done(out: Path) -> int:
    journal = out / "journal.jsonl"
    return journal.read_bytes().count(b'"done"') if journal.exists() else 0


def _check(out: Path, counts: Path, count: int, console: Console) -> None:
    """Count what was computed and what was written.

    Raises:
        AssertionError: something is lost, or there twice.
    """
    tasks = [
        task["data"]["image"]
        for file in sorted(out.glob("predictions-*.json"))
        for task in json.loads(file.read_bytes())
    ]
    computed = Counter(json.loads(counts.read_text("utf-8")))
    twice = sum(number > 1 for number in computed.values())
    console.print(
        f"computed {len(computed)} images, {twice} of them twice; written {len(tasks)} tasks, "
        f"{len(set(tasks))} of them different"
    )
    assert len(tasks) == len(set(tasks)) == len(computed) == count
    assert not twice


if __name__ == "__main__":
    main()
