"""A delivery goes out when its masks are there: nothing waits for what has happened.

Real workers and a real queue; the model and Label Studio are small ones.
"""

import base64
import contextlib
import io
from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image
from redis import Redis

from backend.project import label_config
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio, fake_studio, lead_here
from tests.workers import fake_worker
from tests.workers.worker_processes import delivery_process, until, worker_process
from workers.messages import DELIVERY_QUEUE, DeliveryRequest, SegmentRequest
from workers.queue.client import SegmentClient
from workers.queue.handover import WAITING_KEY, sweep
from workers.queue.replies import reply_key

TASKS = 1000
PART = 4  # tasks asked for at once
OPEN = 16  # at most: how fast the workers are on a busy machine is not what is measured
SEGMENT_WORKERS, DELIVERY_WORKERS = 4, 2
LATEST_SECONDS = 5.0  # after its result
XML = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
    '<Label value="pause"/></BrushLabels></View>'
)


def picture(number: int) -> str:
    """A picture of 12 × 8 pixels as a data: URL, of another colour for each number."""
    pixels = np.full((8, 12, 3), (number // 250, number % 250, 200), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def requests(studio: FakeStudio) -> list[SegmentRequest]:
    """One for each task, as Label Studio has it; none with the key of another."""
    studio.tasks = set(range(1, TASKS + 1))
    studio.images = {task: picture(task) for task in studio.tasks}
    config = label_config.parse(XML)
    return [config.to_request(studio.listed(n), fake_worker.VERSION) for n in studio.tasks]


def ask(client: SegmentClient, part: Sequence[SegmentRequest], config: str) -> None:
    client.submit(part, project="1")
    client.deliver([DeliveryRequest(int(r.task_id), r.key, config, "1") for r in part])


def has_posted(studio: FakeStudio, count: int) -> bool:
    return len(studio.predictions) >= count


def stored_at(redis: Redis, key: str) -> float:
    """When a reply was stored, seconds since the epoch."""
    return float(redis.pexpiretime(reply_key(key))) / 1000 - fake_worker.REPLY_SECONDS


def test_of_a_thousand_tasks_none_waits_for_its_delivery(valkey: str, redis: Redis) -> None:
    client = SegmentClient(redis)
    with fake_studio() as studio, contextlib.ExitStack() as workers:
        every = requests(studio)
        lead_here(studio, redis, XML)
        for _ in range(SEGMENT_WORKERS):
            workers.enter_context(worker_process(valkey))
        for _ in range(DELIVERY_WORKERS):
            workers.enter_context(delivery_process(valkey, studio.url, LEGACY_TOKEN))
        until(lambda: len(client.workers()) == SEGMENT_WORKERS + DELIVERY_WORKERS)
        config = client.store_config(XML)
        for start in range(0, TASKS, PART):
            ask(client, every[start : start + PART], config)
            until(partial(has_posted, studio, start + PART - OPEN))
            assert sweep(redis, look_seconds=-1) == [], "a delivery waited in vain"
        until(partial(has_posted, studio, TASKS))
        until(lambda: client.ledger.entries("1", ["queued", "delivery"], count=1) == [])
    posted = studio.posted()
    late = [posted[int(r.task_id)][0] - stored_at(redis, r.key) for r in every]
    assert max(late) < LATEST_SECONDS
    assert {task: len(times) for task, times in posted.items()} == dict.fromkeys(posted, 1)
    assert not redis.exists(WAITING_KEY)
    assert client.waiting()[DELIVERY_QUEUE] == 0
