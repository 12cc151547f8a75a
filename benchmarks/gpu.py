"""A stream of tiles through workers that share a GPU: megapixels a second, and how busy it is.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --workers 1 2 4 --prefetch 0 2 4

Each worker is a process with the real loop and job, an embedded Valkey between, and a ViT-B/16 of
random weights: speed does not depend on what a model knows. Busy is the sum of what CUDA events
say between beginning and end of the image tower's blocks, so the least; of several workers above
100 % where they wait for each other. Where NVIDIA's MPS (`nvidia-cuda-mps-control -d`) does not
run, the GPU does one worker's work at a time.

`--device cpu` tries the benchmark without a GPU, with a clock in place of events:
`--device cpu --architecture ViT-B-32 --side 64 --tiles 4`. Exits 1 where there is no device.
"""

import argparse
import itertools
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.scaling import at_work, serving
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.types import Label
from dgl_rsis.weights.architectures import require_device
from dgl_rsis.weights.checkpoints import ModelError
from samples.studio import sample_images
from workers.messages import SEGMENT_QUEUE, SegmentRequest
from workers.processes.model_worker import ModelWorker
from workers.processes.queue_worker import worker_connection
from workers.processes.segment import load_bench
from workers.queue import tallies
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue
from workers.settings import WorkerSettings

LABELS = tuple(map(Label, ("building", "road", "vegetation", "water", "land", "vehicle")))
BUSY = "benchmark:busy"  # seconds, of all workers
START_SECONDS = 300.0
LOOK_SECONDS = 0.05
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["workers.processes.segment"])


def main() -> int:
    """Command line; 1 where there is no such device."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--architecture", default="ViT-B-16", help="of open_clip")
    parser.add_argument("--side", type=int, default=1024, help="of a tile, pixels")
    parser.add_argument("--tiles", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--prefetch", type=int, nargs="+", default=[0, 2])
    options = parser.parse_args()
    try:
        require_device(options.device)
    except ModelError as error:
        _say(f"nothing is measured: {error}")
        return 1
    name = "CPU" if options.device == "cpu" else torch.cuda.get_device_name(options.device)
    _say(f"{name}, {options.architecture}, {options.tiles} tiles of {options.side}²")
    with tempfile.TemporaryDirectory(prefix="dgl-rsis-bench-") as folder:
        root = Path(folder)
        model = _write_weights(root, options.architecture)
        _write_tiles(root / "tiles", options.tiles, options.side)
        for count, ahead in itertools.product(options.workers, options.prefetch):
            settings = WorkerSettings(
                model=model,
                device=options.device,
                prefetch=ahead,
                local_files_document_root=root / "tiles",
            )
            seconds, busy = _stream(settings, count, options.tiles)
            pixels = options.tiles * options.side**2 / 1e6
            _say(
                f"{count} workers, PREFETCH={ahead}: {pixels / seconds:.3g} Mpx/s, "
                f"device busy {100 * busy / seconds:.0f} %"
            )
    return 0


def _stream(settings: WorkerSettings, count: int, tiles: int) -> tuple[float, float]:
    """Wall-clock seconds that workers need for all tiles, and those that their device was busy."""
    version = load_version(settings)
    with serving() as (url, redis):
        client = SegmentClient(redis)
        running = [PROCESSES.Process(target=be_worker, args=(url, settings)) for _ in range(count)]
        with at_work(running):
            _wait(running, lambda: len(client.ready()) == count, START_SECONDS)
            began = time.perf_counter()
            client.submit(
                [
                    SegmentRequest(
                        f"/data/local-files/?d={i}.png", LABELS, version, task_id=str(i + 1)
                    )
                    for i in range(tiles)
                ]
            )
            _wait(running, lambda: tallies.read(redis).counters["jobs"]["answered"] == tiles)
            seconds = time.perf_counter() - began
        return seconds, float(redis.get(BUSY) or 0)


def _wait(running: list[Any], ready: Callable[[], bool], seconds: float = float("inf")) -> None:
    """Until `ready()`.

    Raises:
        SystemExit: a worker ended first, or the time ran out.
    """
    end = time.monotonic() + seconds
    while not ready():
        ended = [each.exitcode for each in running if not each.is_alive()]
        if ended:
            sys.exit(f"a worker ended with status {ended[0]}: its log is above")
        if time.monotonic() > end:
            sys.exit(f"the workers were not ready after {seconds:.0f} s")
        time.sleep(LOOK_SECONDS)


def load_version(settings: WorkerSettings) -> str:
    """The version that workers with these settings announce."""
    from workers.engine.loading import load_model

    return load_model(settings.model_copy(update={"device": "cpu"})).model_version


# ---- in the workers -------------------------------------------------------------------------


def be_worker(url: str, settings: WorkerSettings) -> None:
    """A segment worker's process, which says at its end how long its device was busy."""
    redis = worker_connection(url)
    bench = load_bench(settings, redis)
    worker = ModelWorker(open_queue(SEGMENT_QUEUE, redis), bench, settings.device)
    worker.warm_up()
    clock = DeviceClock(bench.segmenter.clip)  # type: ignore[attr-defined]
    status = worker.run()
    bench.close()
    redis.incrbyfloat(BUSY, clock.seconds())
    sys.exit(status)


class DeviceClock:
    """How long a device works at the blocks of a model's image tower.

    Args:
        clip: the model.
    """

    def __init__(self, clip: ClipModel) -> None:
        self._cuda = clip.device.startswith("cuda")
        self._marks: list[tuple[Any, Any]] = []
        self._begun: list[Any] = []
        modules = [clip.visual.conv1, *clip.visual.transformer.resblocks]
        for module in modules if clip.pixels is None else [*modules, clip.pixels]:
            module.register_forward_pre_hook(self._begin)
            module.register_forward_hook(self._end)

    def seconds(self) -> float:
        """Of all passes so far; waits until they are done."""
        if not self._cuda:
            return sum(end - begin for begin, end in self._marks)
        torch.cuda.synchronize()
        return sum(begin.elapsed_time(end) for begin, end in self._marks) / 1000

    def _begin(self, *_: object) -> None:
        self._begun.append(self._mark())

    def _end(self, *_: object) -> None:
        self._marks.append((self._begun.pop(), self._mark()))

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


# ---- what they work at ----------------------------------------------------------------------


def _write_weights(folder: Path, architecture: str) -> str:
    """Random weights as a file; returns what MODEL calls them."""
    torch.manual_seed(0)
    model = open_clip.create_model(architecture, load_weights=False)
    file = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    return f"{architecture}:{file}"


def _write_tiles(folder: Path, count: int, side: int) -> None:
    """Different cuts of the largest sample."""
    folder.mkdir()
    scene = max((Image.open(path) for path in sample_images()), key=lambda each: each.width)
    image, rng = scene.convert("RGB"), np.random.default_rng(0)
    cut = min(image.size) // 2
    for i in range(count):
        left, top = (int(rng.integers(0, length - cut)) for length in image.size)
        tile = image.crop((left, top, left + cut, top + cut)).resize((side, side))
        tile.save(folder / f"{i}.png")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
