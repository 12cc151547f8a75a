"""Speed of the queue on an embedded server: what a retrieve of many tasks costs the web process.

python -m benchmarks.queue --tasks 1000
python -m benchmarks.queue --full 100000    # one /predict that fills the queue: time and memory
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr
from redis import Redis

from backend.web.metrics import Metrics
from backend.web.service import PredictionService
from backend.web.settings import Settings
from dgl_rsis.runs import Runs
from dgl_rsis.types import Label
from workers.messages import (
    SEGMENT_QUEUE,
    DeliveryRequest,
    SegmentReply,
    SegmentRequest,
    SegmentResult,
)
from workers.processes.embedded import embedded_server
from workers.queue import heartbeats
from workers.queue.client import SegmentClient
from workers.queue.control import Control
from workers.queue.heartbeats import Announcement
from workers.queue.replies import store_reply

LABELS = tuple(Label(name, ("a synonym",)) for name in ("building", "road", "water", "land"))
CONFIG = """<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">
  <Label value="building"/><Label value="road"/><Label value="water"/><Label value="vegetation"/>
  <Label value="land"/><Label value="car"/></BrushLabels></View>"""
SIDE = 1024  # of the replies' masks, pixels
RUN = 16  # pixels: a ragged mask, as the segmentation of a real tile


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    """Write a line with the seconds of the body."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    sys.stdout.write(f"{what:<44} {seconds:7.3f} s {1000 * seconds / count:8.3f} ms each\n")


def reply() -> SegmentReply:
    """A reply of four ragged masks."""
    runs = Runs(SIDE, SIDE, (RUN,) * (SIDE * SIDE // RUN))
    segments = tuple(SegmentResult(label.name, 0.5, "class", runs) for label in LABELS)
    return SegmentReply(SIDE, SIDE, "v1", segments, {})


def run(redis: Redis, tasks: int) -> None:
    """Time each of the web side's calls."""
    client = SegmentClient(redis)
    requests = [
        SegmentRequest(f"/data/upload/1/{i:06}.png", LABELS, "v1", task_id=str(i))
        for i in range(tasks)
    ]
    deliveries = [DeliveryRequest(i, r.key, "digest") for i, r in enumerate(requests)]
    keys = [request.key for request in requests]
    with timed(f"submit {tasks} new requests", tasks):
        client.submit(requests)
    with timed(f"submit {tasks} waiting requests again", tasks):
        client.submit(requests)
    with timed("move the last to the front", 1):
        client.submit(requests[-1:], at_front=True)
    with timed(f"deliver {tasks} waiting requests", tasks):
        client.deliver(deliveries)
    with timed(f"look up {tasks} waiting requests", tasks):
        client.look_up(keys)
    with timed(f"store a reply of 4 masks of {SIDE}²", 1):
        store_reply(redis, keys[0], reply(), 60)
    with timed("look up that reply", 1):
        client.look_up(keys[:1])
    with timed("100 × announced, as /setup does", 100):
        for _ in range(100):
            client.announced()


def fill(redis: Redis, tasks: int) -> None:
    """Time one /predict of so many tasks and one beyond, and what the queue's server keeps."""
    heartbeats.announce(redis, Announcement("v1", "cpu", 0.0))
    settings = Settings(
        label_studio_url="http://127.0.0.1:1",
        label_studio_api_key=SecretStr("0" * 40),
        max_waiting=tasks,
    )
    client = SegmentClient(redis, most_waiting=tasks)
    service = PredictionService(client, settings, Metrics())
    every = [
        {"id": n, "data": {"image": f"/data/upload/12/8885ccc6-tile-{n:06}.jpg"}}
        for n in range(1, tasks + 2)
    ]
    before = _used(redis)
    with timed(f"/predict of {tasks + 1} tasks", tasks):
        answers = list(service.predict("12.1795419101", CONFIG, every))
    assert answers == [[]] * (tasks + 1)
    used = _used(redis) - before
    counted, peak = client.waiting(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(
        f"{counted[SEGMENT_QUEUE]} wait; queue {used / 1e6:.0f} MB, {used / tasks:.0f} bytes a "
        f"task; this process at most {peak / 1e3:.0f} MB\n"
    )
    with timed("the same call again", tasks):
        list(service.predict("12.1795419101", CONFIG, every))
    with timed("cancel all that waits", tasks):
        control = Control(client, delivers=True)
        while entries := client.ledger.entries("12", ("queued",), 0, 1000):
            control.cancel("12", entries)


def _used(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--full", type=int, default=0, metavar="TASKS")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_server(Path(folder)) as url,
        Redis.from_url(url) as redis,
    ):
        redis.ping()
        if given.full:
            fill(redis, given.full)
        else:
            run(redis, given.tasks)


if __name__ == "__main__":
    main()
