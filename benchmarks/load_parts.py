"""What stands around the web server in `benchmarks.load`: workers, a Label Studio, clients.

Each is a process of its own: `python -m benchmarks.load_parts segment|interactive ROOT`, `studio`,
`slow URL COUNT` or `clients URL SECONDS COUNT SEED CALLS`.
"""

import http.client
import json
import random
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from benchmarks.prelabel import Segmentation
from dgl_rsis.types import Prompt, Refined, Segment
from workers.images.cache import ImageCache
from workers.images.download import Downloader
from workers.images.fetch import Fetcher
from workers.images.pictures import Picture, Pictures
from workers.messages import INTERACTIVE_QUEUE, SEGMENT_QUEUE
from workers.processes.jobs import Workbench
from workers.processes.model_worker import ModelWorker
from workers.processes.queue_worker import worker_connection
from workers.queue.connection import open_queue
from workers.settings import SharedSettings

IMAGES = 400
FORWARD_SECONDS = 0.3  # 256² with the starter weights on an idle core of two
CLICK_SECONDS = 0.15
LONGEST_SECONDS = 120
PAUSES = (0.5, 1.5)  # seconds, of a client between two calls
# (route, how often): a person opens, clicks and corrects; Label Studio asks /health and /setup
# before each of its calls; others look at the page.
# What a slow client sends of a request, or whose answer it does not read.
SLOW = (
    b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b"",
)
LOOK_SECONDS = 5.0
EVENT_NUMBERS = 1_300_000  # of a mask in an annotation: 5 MB
SIDE = 256  # pixels of an image
XML = (
    '<View><Image name="image" value="$image"/><BrushLabels name="b" toName="image">'
    '<Label value="building"/><Label value="road"/></BrushLabels>'
    '<KeyPointLabels name="k" toName="image" smart="true"><Label value="building"/>'
    "</KeyPointLabels></View>"
)
CALLS = {
    "/health": 30,
    "/setup": 20,
    "/predict one": 20,
    "/predict click": 12,
    "/status": 8,
    "/webhook": 4,
    "/webhook forged": 1,
    "/ready": 4,
    "/predict batch": 1,
}


class SleepingSegmenter:
    """A model that takes its time, and no processor."""

    batch = 1
    model_version = "sleeping"

    def segment(self, picture: Picture, labels: Any, batch: int, learnt: Any = None) -> Any:
        """The first label takes bright pixels."""
        time.sleep(FORWARD_SECONDS)
        bright = picture.pixels[..., 0] > 127
        return Segmentation(
            (Segment(labels[0].name, 0.75, bright),), (), bright.astype(np.uint16),
            np.where(bright, np.float32(0.75), np.float32(0.25)), 0.5, {"all": 0.0},
        )  # fmt: skip

    def point(self, picture: Picture, prompt: Prompt) -> Refined:
        """Bright pixels again."""
        time.sleep(CLICK_SECONDS)
        return Refined(picture.pixels[..., 0] > 127, 0.75)

    def refer(self, *_: object) -> None:
        """Called to warm up, and never again."""


def be_worker(queue: str, root: Path) -> int:
    """A segment worker, until it is asked to stop."""
    redis = worker_connection(SharedSettings().redis_url)
    downloader = Downloader(None, None, frozenset(), max_bytes=10**6, seconds=5.0)
    pictures = Pictures(ImageCache(0), Fetcher(downloader, root.resolve()).fetch, 10**6)
    segmenter: Any = SleepingSegmenter()
    worker = ModelWorker(
        open_queue(queue, redis), Workbench(segmenter, pictures, redis, reply_seconds=3600), "cpu"
    )
    worker.warm_up()
    return worker.run()


class Studio(BaseHTTPRequestHandler):
    """What a delivery asks of Label Studio."""

    protocol_version = "HTTP/1.1"
    stored: dict[str, list[dict[str, Any]]] = {}  # noqa: RUF012  # of the one server of the process

    def do_GET(self) -> None:
        """The predictions of a task, project and annotations of events; nothing of the rest."""
        parts = urlsplit(self.path)
        if parts.path == "/api/predictions/":
            self._answer(200, self.stored.get(parse_qs(parts.query)["task"][0], []))
        elif parts.path == "/api/projects/1/":
            self._answer(200, {"id": 1, "label_config": XML})
        elif parts.path.startswith("/api/annotations/"):
            self._answer(200, annotation(int(parts.path.split("/")[3])))
        elif parts.path == "/api/tasks/":
            self._answer(200, {"tasks": [task("7")], "total": 1})
        else:
            self._answer(200, {"tasks": [], "total": 0, "static": [], "live": []})

    def do_POST(self) -> None:
        """Keep which version a task has."""
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        task, version = str(sent["task"]), sent["model_version"]
        kept = {"id": len(self.stored) + 1, "task": sent["task"], "model_version": version}
        self.stored.setdefault(task, []).append(kept)
        self._answer(201, kept)

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def be_studio() -> int:
    """A Label Studio that stores predictions; says its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Studio) as server:
        say(server.server_address[1])
        server.serve_forever()
    return 0


def task(number: str) -> dict[str, Any]:
    """A task as Label Studio sends it."""
    image = f"/data/local-files/?d={number}.png"
    return {"id": number, "data": {"image": image}, "annotations": [], "predictions": []}


def annotation(number: int) -> dict[str, Any]:
    """An annotation of project 1 with 5 MB of masks.

    It was skipped, so has nothing to teach: the workers of this benchmark do not learn.
    """
    numbers = np.random.default_rng(0).integers(0, 256, EVENT_NUMBERS).tolist()
    region = {"type": "brushlabels", "from_name": "b", "value": {"rle": numbers}}
    skipped = {"id": number, "project": 1, "task": 7, "was_cancelled": True}
    return {**skipped, "result": [region], "updated_at": "2026-01-01T00:00:00Z"}


class Client:
    """Somebody who calls the backend, again and again.

    Args:
        url: of the backend.
        bodies: of the calls, by route; what stands for a task's number is replaced.
        headers: of the calls, by route.
        seed: of what it does.
    """

    def __init__(
        self, url: str, bodies: dict[str, str], headers: dict[str, dict[str, str]], seed: int
    ) -> None:
        self._host = urlsplit(url).netloc
        self._bodies, self._headers = bodies, headers
        self._random = random.Random(seed)
        self.calls: list[tuple[str, int, float]] = []  # route, status, seconds

    def work(self, until: float) -> None:
        """Call until then, on the monotonic clock."""
        while time.monotonic() < until:
            route = self._random.choices(list(CALLS), list(CALLS.values()))[0]
            started = time.perf_counter()
            status = self._call(route)
            self.calls.append((route, status, time.perf_counter() - started))
            time.sleep(self._random.uniform(*PAUSES))

    def _call(self, route: str) -> int:
        """As Label Studio does, on a new connection; 0 for an answer that did not come."""
        connection = http.client.HTTPConnection(self._host, timeout=LONGEST_SECONDS)
        path, body = route.split()[0], self._body(route)
        try:
            method, headers = "GET" if body is None else "POST", self._headers.get(route, {})
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException) as error:
            sys.stderr.write(f"{route}: {error!r}\n")
            return 0
        finally:
            connection.close()

    def _body(self, route: str) -> bytes | None:
        body = self._bodies.get(route)
        if body is None:
            return None
        while "NUMBER" in body:
            body = body.replace("NUMBER", str(self._random.randrange(IMAGES)), 2)
        return body.encode()


def be_slow(url: str, count: int) -> int:
    """So many clients that send a part of a request and wait, until asked to stop."""
    parts = urlsplit(url)
    clients: list[socket.socket] = []
    while True:
        for number in range(len(clients), count):
            client = socket.create_connection((parts.hostname, parts.port), LONGEST_SECONDS)
            client.sendall(SLOW[number % len(SLOW)])
            clients.append(client)
        time.sleep(LOOK_SECONDS)
        clients = [client for client in clients if not _is_closed(client)]


def _is_closed(client: socket.socket) -> bool:
    """Whether the server closed it, or sent an answer that is not read."""
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def be_clients(url: str, seconds: float, count: int, seed: int, calls: Path) -> int:
    """Several clients, each a thread; say what they saw."""
    read = json.loads(calls.read_text("utf-8"))
    clients = [Client(url, read["bodies"], read["headers"], seed + n) for n in range(count)]
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=each.work, args=(until,)) for each in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say([call for each in clients for call in each.calls])
    return 0


def say(value: Any) -> None:
    """One line of JSON for whoever started this process."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Be one of them."""
    part, *arguments = sys.argv[1:]
    if part == "studio":
        return be_studio()
    if part == "slow":
        return be_slow(arguments[0], int(arguments[1]))
    if part == "clients":
        url, seconds, count, seed, calls = arguments
        return be_clients(url, float(seconds), int(count), int(seed), Path(calls))
    queue = {"segment": SEGMENT_QUEUE, "interactive": INTERACTIVE_QUEUE}[part]
    return be_worker(queue, Path(arguments[0]))


if __name__ == "__main__":
    sys.exit(main())
