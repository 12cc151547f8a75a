"""The web process under load: /health and /setup while 100 opened tasks wait for their masks.

`python benchmarks/web.py` starts an embedded Valkey and the web server, opens 100 tasks that
nobody answers, retrieves a batch of 1,000 on top, and prints the latencies and the memory. Exits 1
when /health's p99 is above 50 ms, the batch takes more than 2 s, or a process holds more than
200 MiB.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests
from redis import Redis
from rich.console import Console

from backend.web.server import read_state
from workers.processes.embedded import embedded_server
from workers.queue.heartbeats import Announcement, announce

OPENED = 100
BATCH = 1000
HEALTH_SECONDS = 0.050
BATCH_SECONDS = 2.0
MEMORY = 200 * 2**20
WATCHED_SECONDS = 10.0
XML = (
    '<View><Image name="image" value="$image"/><BrushLabels name="b" toName="image">'
    '<Label value="building"/><Label value="road"/><Label value="water"/></BrushLabels></View>'
)


@contextmanager
def server(folder: Path, redis_url: str) -> Iterator[tuple[str, psutil.Process]]:
    """`dgl-rsis serve` on a free port: its address and its process."""
    state = folder / "web.json"
    command = [
        sys.executable,
        "-m",
        "backend.commands.main",
        "serve",
        "--port",
        "0",
        "--state",
        str(state),
    ]
    studio = {"LABEL_STUDIO_URL": "http://127.0.0.1:1", "LABEL_STUDIO_API_KEY": "none"}
    environment = os.environ | studio | {"REDIS_URL": redis_url, "LOG_LEVEL": "WARNING"}
    process = subprocess.Popen(command, env=environment)
    try:
        while not state.exists():
            if process.poll() is not None:
                raise RuntimeError(f"the web server ended with status {process.returncode}")
            time.sleep(0.1)
        yield str(read_state(state)["url"]), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def predict(url: str, first: int, count: int) -> float:
    """Seconds that /predict takes for new tasks."""
    tasks = [{"id": n, "data": {"image": f"/{n}.png"}} for n in range(first, first + count)]
    body: dict[str, Any] = {"tasks": tasks, "project": "1", "label_config": XML, "params": {}}
    start = time.perf_counter()
    requests.post(f"{url}/predict", json=body, timeout=100).raise_for_status()
    return time.perf_counter() - start


def timed(call: threading.Event, url: str, path: str, body: dict[str, str] | None) -> list[float]:
    """Seconds of each call to a path, as Label Studio makes them, until the event."""
    seconds = []
    while not call.is_set():
        start = time.perf_counter()
        requests.request("POST" if body else "GET", f"{url}{path}", json=body, timeout=10)
        seconds.append(time.perf_counter() - start)
        time.sleep(0.01)
    return seconds


def main() -> int:
    """Run, print, say whether the targets are met."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(OPENED + 3) as pool:
        folder = Path(name)
        with embedded_server(folder / "queue") as redis_url, Redis.from_url(redis_url) as redis:
            announce(redis, Announcement("bench", "cpu", time.time()))
            with server(folder, redis_url) as (url, process):
                opened = [pool.submit(predict, url, n, 1) for n in range(OPENED)]
                time.sleep(1.0)
                over = threading.Event()
                health = pool.submit(timed, over, url, "/health", None)
                setup = pool.submit(timed, over, url, "/setup", {"project": "1", "schema": XML})
                time.sleep(WATCHED_SECONDS)
                over.set()
                batch = predict(url, OPENED, BATCH)
                memory = max(p.memory_info().rss for p in (process, *process.children()))
                waited = statistics.median(one.result() for one in opened)
    return _report(health.result(), setup.result(), batch, memory, waited)


def _report(
    health: list[float], setup: list[float], batch: float, memory: int, waited: float
) -> int:
    p99 = {name: statistics.quantiles(s, n=100)[98] for name, s in (("h", health), ("s", setup))}
    out = Console()
    out.print(f"{OPENED} opened tasks, each answered after {waited:.1f} s (median)")
    out.print(f"/health p99 {1e3 * p99['h']:.1f} ms of {len(health)} calls (≤ 50)")
    out.print(f"/setup  p99 {1e3 * p99['s']:.1f} ms of {len(setup)} calls")
    out.print(f"/predict of {BATCH} tasks {batch:.2f} s (≤ 2)")
    out.print(f"memory of the larger process {memory / 2**20:.0f} MiB (≤ 200)")
    met = p99["h"] <= HEALTH_SECONDS and batch <= BATCH_SECONDS and memory <= MEMORY
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
