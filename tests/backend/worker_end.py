"""What a segment worker leaves in Redis, and the projects and tasks that Label Studio sends."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from redis import Redis

from backend.project import label_config
from dgl_rsis import runs
from workers.messages import SegmentReply, SegmentResult
from workers.queue import replies
from workers.queue.client import SegmentClient

VERSION = "dgl-rsis-0.1.0-starter-0123abcd"
PROJECT = "1.1795419101"
# As recorded from Label Studio 1.23.2.
XML = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="brush" toName="image">
    <Label value="ship" background="#FF0000"/><Label value="water" background="#0000FF"/>
  </BrushLabels>
  <KeyPointLabels name="kp" toName="image" smart="true"><Label value="ship"/></KeyPointLabels>
  <TextArea name="prompt" toName="image" editable="true" rows="2" maxSubmissions="1"/>
</View>"""


def task(number: int, **data: Any) -> dict[str, Any]:
    """A task as Label Studio 1.23.2 sends it to /predict."""
    return {
        "id": number,
        "data": data or {"image": f"/data/upload/1/8885ccc6-t{number}.png"},
        "meta": {},
        "created_at": "2026-11-23T07:32:21.322511Z",
        "updated_at": "2026-11-23T07:32:21.322548Z",
        "is_labeled": False,
        "overlap": 1,
        "inner_id": number,
        "total_annotations": 0,
        "cancelled_annotations": 0,
        "total_predictions": 0,
        "comment_count": 0,
        "unresolved_comment_count": 0,
        "last_comment_updated_at": None,
        "project": 1,
        "updated_by": None,
        "file_upload": 1,
        "comment_authors": [],
        "annotations": [],
        "predictions": [],
    }


def predict_body(*tasks: Any, context: Any = None, xml: str = XML) -> dict[str, Any]:
    """The body of /predict."""
    return {
        "tasks": list(tasks),
        "project": PROJECT,
        "label_config": xml,
        "params": {"login": None, "password": None, "context": context},
    }


def key_of(task: dict[str, Any], xml: str = XML) -> str:
    """The key under which a worker keeps the task's reply."""
    return label_config.parse(xml).to_request(task, VERSION).key


def reply(label: str = "ship") -> SegmentReply:
    """A reply with one mask."""
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[5:15, 5:25] = True
    results = tuple(
        SegmentResult(label, 0.75, level, runs.to_runs(mask)) for level in ("class", "object")
    )
    return SegmentReply(20, 30, VERSION, results)


def candidates(*scores: float, label: str = "ship") -> SegmentReply:
    """The reply to an expression: one small mask for each score, best first."""
    results = []
    for number, score in enumerate(scores):
        mask = np.zeros((20, 30), dtype=np.bool_)
        mask[5:15, 5 * number : 5 * number + 4] = True
        results.append(SegmentResult(label, score, "candidate", runs.to_runs(mask)))
    return SegmentReply(20, 30, VERSION, tuple(results))


def answer(redis: Redis, *tasks: dict[str, Any], label: str = "ship") -> None:
    """Store replies as the worker does."""
    for one in tasks:
        replies.store_reply(redis, key_of(one), reply(label), 3600)


@contextmanager
def answering_later(redis: Redis, seconds: float, *tasks: dict[str, Any]) -> Iterator[None]:
    """Store replies after some seconds, while the context goes on."""

    def work() -> None:
        time.sleep(seconds)
        answer(redis, *tasks)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def waiting(redis: Redis) -> dict[str, int]:
    """Jobs in the queues."""
    return SegmentClient(redis).waiting()
