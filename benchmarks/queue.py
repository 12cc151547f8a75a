"""Speed of the queue on an embedded server: what a retrieve of many tasks costs the web process.

python -m benchmarks.queue --tasks 1000
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from dgl_rsis.runs import Runs
from dgl_rsis.types import Label
from workers.messages import (
    DeliveryRequest,
    SegmentReply,
    SegmentRequest,
    SegmentResult,
)
from workers.processes.embedded import embedded_server
from workers.queue.client import SegmentClient
from workers.queue.replies import store_reply

LABELS = tuple(Label(name, ("a synonym",)) for name in ("building", "road", "water", "land"))
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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    tasks = parser.parse_args().tasks
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_server(Path(folder)) as url,
        Redis.from_url(url) as redis,
    ):
        redis.ping()
        run(redis, tasks)


if __name__ == "__main__":
    main()
