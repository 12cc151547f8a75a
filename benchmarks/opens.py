"""What the product adds to an open: task after task, with a model that answers at once.

`python -m benchmarks.opens` starts an embedded Valkey, the web server and a segment worker of a few
lines, and opens small images that nobody has seen, as Label Studio does when an annotator goes from
task to task. Exits 1 when the median is above 25 ms.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks.backend_calls import predict
from benchmarks.prelabel import generate, serving
from benchmarks.web import XML, server

WARM = 20  # opens, that are not counted
MEDIAN_SECONDS = 0.025


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--opens", type=int, default=300)
    count = parser.parse_args().opens
    with tempfile.TemporaryDirectory(prefix="dgl-rsis-bench-") as name:
        folder = Path(name)
        generate(folder / "images", WARM + count)
        with serving(folder, "opens") as redis_url, server(folder, redis_url) as (url, _):
            seconds = [opened(url, number) for number in range(WARM + count)][WARM:]
    median, p95 = statistics.median(seconds), statistics.quantiles(seconds, n=20)[18]
    Console(highlight=False).print(
        f"{count} opens of new images, no-op model: "
        f"p50 {1000 * median:.1f} ms (≤ {1000 * MEDIAN_SECONDS:.0f}), p95 {1000 * p95:.1f} ms"
    )
    return 0 if median <= MEDIAN_SECONDS else 1


def opened(url: str, number: int) -> float:
    """Seconds of a /predict for one new task, over a connection of its own as Label Studio's."""
    started = time.perf_counter()
    answer = predict(url, XML, [f"{number:06}.png"])
    seconds = time.perf_counter() - started
    if not answer["results"][0]["result"]:
        raise RuntimeError(f"task {number} was opened without masks")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
