"""The whole product under real work: one 1024² image, then 100 jobs, with the starter weights.

`python -m benchmarks.serving` starts `dgl-rsis up` on free ports and measures the seconds of
a warm 1024² image, and then, while a real worker does 100 jobs, the latency of /health and the
memory of every process.
"""

import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
from PIL import Image
from rich.console import Console

from benchmarks.backend_calls import backend, predict
from samples.studio import LABEL_CONFIG, sample_images

JOBS = 100
JOB_SIDE = 256  # pixels: small, so that 100 real jobs take minutes and not hours


def main() -> None:
    """Command line."""
    console = Console(highlight=False)
    with backend(SINGLE_TASK_SECONDS="90") as started:
        _one_large(started.url, started.images, console)
        _many(started.url, started.images, started.program.process.pid, console)


def _one_large(url: str, images: Path, console: Console) -> None:
    """A 1024² image: the first after the warm-up, then nine more, each another cut."""
    scene = Image.open(sample_images()[-1]).convert("RGB")
    seconds = []
    for i in range(10):
        left, top = 10 * i % (scene.width - 1000), 3 * i % (scene.height - 1000)
        cut = scene.crop((left, top, left + 1000, top + 1000)).resize((1024, 1024))
        cut.save(images / f"large-{i}.png")
        start = time.perf_counter()
        answer = predict(url, LABEL_CONFIG, [f"large-{i}.png"])["results"][0]
        seconds.append(time.perf_counter() - start)
        assert answer, "the task was not answered in time"
    console.print(
        f"1024² through the queue, warm, {len(seconds)} images: median "
        f"{statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
    )


def _many(url: str, images: Path, up: int, console: Console) -> None:
    """100 distinct images in one /predict, and /health asked all the while."""
    rng = np.random.default_rng(0)
    scene = np.asarray(Image.open(sample_images()[0]).convert("RGB"))
    names = []
    for i in range(JOBS):
        top = int(rng.integers(0, scene.shape[0] - JOB_SIDE))
        left = int(rng.integers(0, scene.shape[1] - JOB_SIDE))
        names.append(f"small-{i}.png")
        Image.fromarray(scene[top : top + JOB_SIDE, left : left + JOB_SIDE]).save(
            images / names[-1]
        )
    answers: list[Any] = []
    start = time.perf_counter()
    batch = threading.Thread(
        target=lambda: answers.extend(predict(url, LABEL_CONFIG, names)["results"])
    )
    batch.start()
    waits, peaks = [], dict[str, int]()
    with requests.Session() as session:
        while batch.is_alive():
            asked = time.perf_counter()
            session.get(f"{url}/health", timeout=10)
            waits.append(time.perf_counter() - asked)
            for name, size in _memory(up).items():
                peaks[name] = max(size, peaks.get(name, 0))
            time.sleep(0.05)
    batch.join()
    seconds = time.perf_counter() - start
    console.print(
        f"{sum(map(bool, answers))} of {JOBS} jobs of {JOB_SIDE}² answered in {seconds:.0f} s; "
        f"/health p50 {1000 * statistics.median(waits):.1f} ms, "
        f"p99 {1000 * statistics.quantiles(waits, n=100)[98]:.1f} ms of {len(waits)}"
    )
    for name, size in peaks.items():
        console.print(f"peak memory (RSS) {name}: {size / 2**20:.0f} MiB")


def _memory(up: int) -> dict[str, int]:
    """Resident bytes of each of our processes, by its sub-command."""
    resident: dict[str, int] = {}
    for process in psutil.Process(up).children(recursive=True):
        try:
            words, size = process.cmdline(), process.memory_info().rss
        except psutil.Error:
            continue
        name = next((w for w in ("serve", "deliver", "worker") if w in words), "valkey")
        resident[name] = max(size, resident.get(name, 0))
    return resident


if __name__ == "__main__":
    main()
