"""How far one scene spreads over workers: windows a second, and what the command itself costs.

python -m benchmarks.hosts
python -m benchmarks.hosts --real

The workers are real processes with the real loop and job. First the model's time for a window is
measured; then its judge only sleeps that long and gives back a window that the model judged before,
so that what is left is the queue's and the command's own cost. With --real the model works.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from redis import Redis

from backend.commands.segment.queued import SceneQueue
from backend.commands.segment.scene_work import LocalSceneSegmenter, SceneJob, SceneOptions
from benchmarks.scaling import at_work
from benchmarks.scenes import LABELS, make_scene
from dgl_rsis.classes import vocabulary
from dgl_rsis.scenes import pipeline
from dgl_rsis.scenes.cells import Cells
from dgl_rsis.scenes.pipeline import SceneWork
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import Label
from workers.engine.loading import load_segmenter
from workers.engine.scenes import SceneJudge
from workers.engine.segmenter import Segmenter
from workers.messages import SEGMENT_QUEUE
from workers.processes.embedded import embedded_server
from workers.processes.model_worker import ModelWorker
from workers.processes.queue_worker import worker_connection
from workers.processes.segment import load_bench
from workers.queue.connection import open_queue
from workers.queue.windows import WindowQueue, WindowRequest
from workers.settings import WorkerSettings

WANTED = tuple(Label(name) for name in LABELS)
JOB = SceneJob(WANTED, {}, SceneOptions())
SAMPLES = 3  # windows whose time is measured
WORKERS = (1, 2, 4)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["benchmarks.scenes"])


@dataclass(frozen=True)
class Measured:
    """What the model takes for a window.

    Attributes:
        seconds: of the fastest of some windows, without its packing.
        packed: of that window.
    """

    seconds: float
    packed: bytes


class SleepingJudge(SceneJudge):
    """Takes its time and none of the processor's; says of all windows what one said."""

    measured: Measured

    def judge(
        self, request: WindowRequest, segmenter: Segmenter, say: Callable[[str], None]
    ) -> Cells | None:
        """The measured window, at the size of the asked one."""
        started = time.perf_counter()
        work = self._work(request, segmenter).work
        _, _, width, height = work.area((request.row, request.column))
        known = Cells.unpack(self.measured.packed)
        across, down = known.cell.shape[1], known.cell.shape[0]
        rows, columns = np.arange(height) % down, np.arange(width) % across
        cells = Cells(known.rows, known.cell[rows[:, None], columns])
        time.sleep(max(0.0, self.measured.seconds - (time.perf_counter() - started)))
        return cells


def be_worker(url: str, root: Path, measured: Measured | None) -> None:
    """A segment worker's process; without a measurement its model works."""
    settings = WorkerSettings(redis_url=url, scenes_root=root)
    redis = worker_connection(url)
    bench = load_bench(settings, redis)
    if measured is not None:
        sleeping = SleepingJudge(settings.scenes_root, settings.max_image_pixels)
        sleeping.measured = measured
        bench.scenes = sleeping
    sys.exit(ModelWorker(open_queue(SEGMENT_QUEUE, redis), bench, "cpu").run())


def measure(path: Path, segmenter: Segmenter) -> Measured:
    """The model's time for a window of a scene."""
    with open_scene(path) as scene:
        words = vocabulary.prepare(WANTED, segmenter.clip)
        windows = JOB.options.windows
        work = pipeline.prepare(
            scene, words, segmenter.clip, segmenter.parameters, windows, segmenter.propose
        )
        found = []
        for place in list(work.places())[:SAMPLES]:
            started = time.perf_counter()
            cells = work.judge(place)
            assert cells is not None, "a generated scene is valid everywhere"
            seconds = time.perf_counter() - started
            packed = cells.pack()
            found.append(Measured(seconds, packed))
            _say(
                f"a window: {found[-1].seconds:.2f} s, {len(packed)} bytes, {len(cells.rows)} rows"
            )
    return min(found, key=lambda each: each.seconds)


def spread(path: Path, segmenter: Segmenter, count: int, measured: Measured | None) -> None:
    """Segment a scene by some workers, and say what came of it."""
    root = path.parent.resolve()
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_server(Path(folder) / "queue") as url,
        Redis.from_url(url) as redis,
        at_work(
            [PROCESSES.Process(target=be_worker, args=(url, root, measured)) for _ in range(count)]
        ),
    ):
        queue = WindowQueue(redis, segmenter.model_version)
        while len(queue.workers()[0]) < count:
            time.sleep(0.1)
        scene = SceneQueue(redis, root).scene(
            JOB.options, Path(folder) / "windows", segmenter.model_version
        )
        clock = _Clock()

        def judge(work: SceneWork) -> Any:
            clock.begin(sum(1 for _ in work.places()))
            yield from scene(work)
            clock.end()

        LocalSceneSegmenter(segmenter).segment(
            path, Path(folder), JOB, lambda done, total: None, judge=judge
        )
        most = int(redis.info("memory")["used_memory_peak"])
    rate = clock.windows / clock.seconds
    line = f"{count} workers: {clock.windows} windows in {clock.seconds:.1f} s, {rate:.3f} a second"
    if measured is not None:
        line += f", {100 * rate * measured.seconds / count:.1f} % of what is possible"
    line += f"; the command: {1000 * clock.used / clock.windows:.0f} ms of processor a window"
    _say(f"{line}; peak of the queue's server {most / 2**20:.1f} MiB")


class _Clock:
    """From the first window that is asked for to the last that is blended."""

    def begin(self, windows: int) -> None:
        self.windows = windows
        self._began, self._used = time.perf_counter(), _processor()

    def end(self) -> None:
        self.seconds, self.used = time.perf_counter() - self._began, _processor() - self._used


def _processor() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=5000, help="of the scene, pixels")
    parser.add_argument("--workers", type=int, nargs="*", default=WORKERS)
    parser.add_argument("--seconds", type=float, help="of a window, instead of the model's")
    parser.add_argument("--real", action="store_true", help="the model works")
    options = parser.parse_args()
    segmenter = load_segmenter(WorkerSettings())
    with tempfile.TemporaryDirectory() as folder:
        path = make_scene(Path(folder), options.side)
        measured = measure(path, segmenter)
        if options.seconds:
            measured = Measured(options.seconds, measured.packed)
        for count in options.workers:
            spread(path, segmenter, count, None if options.real else measured)


if __name__ == "__main__":
    main()
