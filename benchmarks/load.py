"""`make load`: many clients at once, with real processes and models that sleep.

`python -m benchmarks.load` starts an embedded Valkey, the web server, a delivery worker, two
segment workers and a reserved one whose models sleep for as long as the starter model computes, and
a stand-in for Label Studio. Fifty clients in two processes call it for a minute, with pauses, as
people and Label Studio do. It prints requests by route and status, their seconds, the memory of
the web server, and whether the queue drains. Exits 1 when an answer was a 5xx or did not come,
/health's p99 is above 100 ms, the memory grew by more than 64 MiB in the second half, or the queue
did not drain.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
from PIL import Image
from redis import Redis
from rich.console import Console
from rich.table import Table

from backend.studio.webhooks import HEADER
from backend.web.server import read_state
from benchmarks.load_parts import IMAGES, SIDE, XML, annotation, task
from workers.processes.embedded import embedded_server
from workers.queue.client import SegmentClient

PROCESSES = 2  # of clients
HEALTH_SECONDS = 0.100
GROWTH = 64 * 2**20  # bytes, between the middle and the end
DRAIN_SECONDS = 120
START_SECONDS = 60
BATCH = 50
POINT = {
    "original_width": SIDE,
    "original_height": SIDE,
    "image_rotation": 0,
    "value": {"x": 40.0, "y": 50.0, "width": 0.3, "keypointlabels": ["building"]},
    "is_positive": True,
    "id": "p1",
    "from_name": "k",
    "to_name": "image",
    "type": "keypointlabels",
    "origin": "manual",
}


def bodies() -> dict[str, str]:
    """Of the calls, by route; `NUMBER` stands for that of a task and its image."""
    event = json.dumps({
        "action": "ANNOTATION_CREATED", "annotation": annotation(1), "task": task("7"),
        "project": {"id": 1, "label_config": XML},
    })  # fmt: skip
    return {
        "/setup": json.dumps({"project": "1.1", "schema": XML}),
        "/predict one": _predict([task("NUMBER")]),
        "/predict batch": _predict([task("NUMBER") for _ in range(BATCH)]),
        "/predict click": _predict([task("NUMBER")], {"result": [POINT]}),
        "/webhook": event,
        "/webhook forged": event,
    }


def _predict(tasks: list[dict[str, Any]], context: Any = None) -> str:
    params = {"login": None, "password": None, "context": context}
    body = {"tasks": tasks, "project": "1.1", "label_config": XML, "params": params}
    return json.dumps(body).replace('"id": "NUMBER"', '"id": NUMBER')


class Run:
    """The processes of one run, in a folder of theirs, for the length of a `with` block."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        self._log = stack.enter_context((self.folder / "log").open("wb"))
        self.redis_url = stack.enter_context(embedded_server(self.folder / "queue"))
        self.client = SegmentClient(stack.enter_context(Redis.from_url(self.redis_url)))
        self._environment = os.environ | {
            "REDIS_URL": self.redis_url,
            "LOG_LEVEL": "WARNING",
            "LABEL_STUDIO_API_KEY": "0" * 40,
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A process that ends with the block."""
        command = [sys.executable, "-m", *arguments]
        process = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=self._log
        )
        self._stack.callback(_end, process)
        return process

    def start_all(self) -> tuple[str, psutil.Process]:
        """Everything but the clients: the web server's address and process."""
        images, state = self.folder / "images", self.folder / "web.json"
        images.mkdir()
        for number in range(IMAGES):
            cells = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(cells).resize((SIDE, SIDE), 0).save(images / f"{number}.png")
        studio = self.start("benchmarks.load_parts", "studio")
        self._environment["LABEL_STUDIO_URL"] = f"http://127.0.0.1:{_line(studio.stdout)}"
        web = self.start("backend.commands.main", "serve", "--port", "0", "--state", str(state))
        self.start("backend.commands.main", "deliver")
        for queue in ("segment", "segment", "interactive"):
            self.start("benchmarks.load_parts", queue, str(images))
        deadline = time.monotonic() + START_SECONDS
        while len(self.client.workers()) < 4 or not state.exists():
            if time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.2)
        return str(read_state(state)["url"]), psutil.Process(web.pid)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _line(stream: IO[bytes] | None) -> Any:
    assert stream is not None
    return json.loads(stream.readline())


def _resident(web: psutil.Process) -> int:
    return sum(each.memory_info().rss for each in (web, *web.children()))


def main() -> int:
    """Run, print, say whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--slow", type=int, default=0, help="half-sent requests besides")
    options = parser.parse_args()
    with ExitStack() as stack:
        run = Run(stack)
        url, web = run.start_all()
        headers = {"/webhook": {HEADER: run.client.identity.token("1")}}
        calls_file = run.folder / "calls.json"
        calls_file.write_text(json.dumps({"bodies": bodies(), "headers": headers}), "utf-8")
        if options.slow:
            run.start("benchmarks.load_parts", "slow", url, str(options.slow))
        before, memory = _resident(web), list[int]()
        arguments = (str(options.seconds), str(options.clients // PROCESSES))
        clients = [
            run.start("benchmarks.load_parts", "clients", url, *arguments, str(1000 * number),
                      str(calls_file))
            for number in range(PROCESSES)
        ]  # fmt: skip
        calls: list[tuple[str, int, float]] = []
        readers = [
            threading.Thread(target=lambda c=each: calls.extend(_line(c.stdout)))
            for each in clients
        ]
        for reader in readers:
            reader.start()
        while any(reader.is_alive() for reader in readers):
            memory.append(_resident(web))
            time.sleep(0.5)
        drained = _drained(run.client)
        status = _report(calls, [before, *memory, _resident(web)], drained)
        if status:
            sys.stdout.write((run.folder / "log").read_text("utf-8")[-2000:])
        return status


def _drained(client: SegmentClient) -> float | None:
    """Seconds until no job waits; None when some still do."""
    started = time.monotonic()
    while time.monotonic() - started < DRAIN_SECONDS:
        if not any(client.waiting().values()):
            return time.monotonic() - started
        time.sleep(0.5)
    return None


def _report(calls: list[tuple[str, int, float]], memory: list[int], drained: float | None) -> int:
    out = Console(highlight=False, width=100)
    table = Table("route", "status: requests", "p50 ms", "p99 ms", "max ms", box=None)
    p99 = {}
    for route in sorted({route for route, _, _ in calls}):
        seconds = [each[2] for each in calls if each[0] == route]
        statuses = sorted(Counter(status for name, status, _ in calls if name == route).items())
        p99[route] = statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else seconds[0]
        shown = (statistics.median(seconds), p99[route], max(seconds))
        counts = ", ".join(f"{status}: {count}" for status, count in statuses)
        table.add_row(route, counts, *(f"{1000 * each:.0f}" for each in shown))
    out.print(table)
    first, middle, last = memory[0], memory[len(memory) // 2], memory[-1]
    megabytes = [f"{each / 2**20:.0f}" for each in (first, middle, last, max(memory))]
    out.print("web memory (RSS), MiB: before {}, middle {}, after {}, peak {}".format(*megabytes))
    out.print("queue: " + ("not drained" if drained is None else f"drained after {drained:.0f} s"))
    failed = sum(status == 0 or status >= 500 for _, status, _ in calls)
    out.print(f"{len(calls)} requests, {failed} failed or 5xx")
    met = not failed and p99["/health"] <= HEALTH_SECONDS and drained is not None
    return 0 if met and last - middle <= GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
