"""What Label Studio's webhook says → what there is to learn or to take back.

Label Studio 1.23 posts every event of a project, with all masks, inside the request of the person
who caused it, gives it 1 s and does not try again. So the answer goes out as soon as the body is
read, and the rest is done by a thread of this process. The body holds tokens and logins of the
project: only the fields named here are read, and only they go on.
"""

import json
import logging
import re
import threading
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from backend.project import label_config
from backend.project.label_config import LabelConfig
from backend.project.tasks import TaskError, task_id_of
from backend.regions.allowance import Allowance, Budget
from backend.regions.findings import Findings
from backend.regions.reading import Decode, Wanted, image_size, read_regions
from backend.regions.results import whole
from backend.regions.touched import touched
from workers.messages import LearnRequest, Marked
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError

LOG = logging.getLogger(__name__)

# `predictions to annotations` (ANNOTATIONS_CREATED) is left out: nobody looked at those masks, and
# a model that learns from its own answers only grows more confident of them.
LEARN_ACTIONS = frozenset({"ANNOTATION_CREATED", "ANNOTATION_UPDATED"})
FORGET_ACTIONS = frozenset({"ANNOTATIONS_DELETED", "TASKS_DELETED"})
FIRST_ACTION = re.compile(rb'\s{0,9}\{\s{0,9}"action"\s{0,9}:\s{0,9}"([A-Z_]{1,64})"')
# A larger event is not read: parsing holds up all other threads of the process, /health included.
# The masks of a tile take some 100 KB, those that were predicted once more.
MOST_EVENT_BYTES = 2**24
MOST_WAITING = 4096  # events, and
MOST_WAITING_BYTES = 2**25  # their packed bytes, that wait for the thread; then some are dropped
FAST_COMPRESSION = 1
CHUNK_BYTES = 2**16
MICROSECONDS = 1_000_000
# Of masks of one event that are decoded: ten times those of a prompt, since nobody waits.
EVENT = Budget(masks=10_000, items=20_000_000)


@dataclass(frozen=True)
class Taken:
    """What was taken back.

    Attributes:
        project: Label Studio's id.
        annotations: that were deleted.
        tasks: that were deleted, with all their annotations.
    """

    project: str
    annotations: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


class EventError(ValueError):
    """An event of Label Studio that cannot be used; the message says why."""


class Corrections:
    """Takes events and sees to them one after the other, in a thread of its own.

    Args:
        client: the queue.
        learns: whether anything is learnt at all (setting LEARN).
    """

    def __init__(self, client: SegmentClient, *, learns: bool) -> None:
        self._client = client
        self._learns = learns
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="corrections")
        self._lock = threading.Lock()
        self._waiting, self._bytes = 0, 0

    def accept(self, body: bytes) -> Future[None] | None:
        """Take an event, as `head_of` read it; None when there is nothing to do about it."""
        if not self._learns or not concerns(body):
            return None
        if len(body) > MOST_EVENT_BYTES:
            LOG.warning("an event of more than %d MiB is dropped", MOST_EVENT_BYTES // 2**20)
            return None
        packed = zlib.compress(body, FAST_COMPRESSION)  # masks shrink to a fifth
        with self._lock:
            if self._waiting >= MOST_WAITING or self._bytes + len(packed) > MOST_WAITING_BYTES:
                LOG.warning("an event is dropped: %d wait already", self._waiting)
                return None
            self._waiting, self._bytes = self._waiting + 1, self._bytes + len(packed)
        return self._thread.submit(self._handle, packed)

    def _handle(self, packed: bytes) -> None:
        with self._leaving(len(packed)):
            try:
                self._see_to(zlib.decompress(packed))
            except (EventError, TaskError) as error:
                LOG.warning("nothing is learnt from an event: %s", error)
            except QueueError as error:
                LOG.error("an event is lost: %s", error)
            except Exception:  # a thread has nobody else to tell
                LOG.exception("an event is lost")

    def _see_to(self, body: bytes) -> None:
        correction = read(body)
        if isinstance(correction, Taken):
            self._client.corrections.forget(
                correction.project, correction.annotations, correction.tasks
            )
            counts = len(correction.annotations), len(correction.tasks)
            LOG.info(
                "project %s: %d annotations and %d tasks taken back", correction.project, *counts
            )
        elif correction is not None and self._client.corrections.submit(correction):
            LOG.info(
                "task %s: %d masks to learn from",
                correction.task_id,
                sum(len(regions) for _, regions in correction.marked),
            )

    @contextmanager
    def _leaving(self, size: int) -> Iterator[None]:
        try:
            yield
        finally:
            with self._lock:
                self._waiting, self._bytes = self._waiting - 1, self._bytes - size


def head_of(stream: IO[bytes]) -> bytes:
    """An event's body, or somewhat more than `MOST_EVENT_BYTES` of it.

    Read to its end all the same: an unread one would break the connection.
    """
    parts, size = [], 0
    while chunk := stream.read(CHUNK_BYTES):
        if size <= MOST_EVENT_BYTES:
            parts.append(chunk)
            size += len(chunk)
    return b"".join(parts)


def concerns(body: bytes) -> bool:
    """Whether an event may be one to see to, without reading all of it.

    Label Studio puts the action first. Where it stands elsewhere, any mention of one will do.
    """
    if first := FIRST_ACTION.match(body):
        return first[1].decode() in LEARN_ACTIONS | FORGET_ACTIONS
    return any(action.encode() in body for action in LEARN_ACTIONS | FORGET_ACTIONS)


def read(body: bytes) -> LearnRequest | Taken | None:
    """An event as Label Studio posts it.

    Args:
        body: JSON.

    Returns:
        None when it is none of ours.

    Raises:
        EventError, TaskError: it cannot be used.
    """
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EventError(f"the body is no JSON: {error}") from None
    action = event.get("action") if isinstance(event, Mapping) else None
    if action in FORGET_ACTIONS:
        return Taken(_id(event, "project"), _ids(event, "annotations"), _ids(event, "tasks"))
    if action in LEARN_ACTIONS:
        return _correction(event)
    return None


def _correction(event: Mapping[str, Any]) -> LearnRequest:
    """An annotation as something to learn from. One that was skipped has nothing to teach."""
    annotation, task = event.get("annotation"), event.get("task")
    if not isinstance(annotation, Mapping) or not isinstance(task, Mapping):
        raise EventError("it has no annotation, or no task")
    project = event.get("project")
    xml = project.get("label_config") if isinstance(project, Mapping) else None
    config = label_config.parse(xml if isinstance(xml, str) else "")
    result = [] if annotation.get("was_cancelled") else _answers(annotation.get("result"), config)
    decode = Allowance(EVENT).mask
    taught = touched(result, _answers(_predicted(annotation), config), decode)
    images = config.pictures.of(task)
    first, *more = (
        (image, _regions(each, taught, config, f"task {task_id_of(task)}", decode))
        for image, each in zip(images, _by_image(result, config, len(images)), strict=True)
    )
    return LearnRequest(
        project=_id(event, "project"),
        annotation=_id(event, "annotation"),
        stamp=_stamp(annotation.get("updated_at")),
        image=first[0],
        regions=first[1],
        task_id=task_id_of(task),
        more=tuple(more),
    )


def _by_image(result: Any, config: LabelConfig, count: int) -> list[list[Any]]:
    """The regions of a result by the image of the task that they lie on."""
    held: list[list[Any]] = [[] for _ in range(count)]
    for region in result if isinstance(result, list) else []:
        if isinstance(region, Mapping):
            number = config.pictures.number_of(dict(region), count)
            if number is not None:
                held[number].append(region)
    return held


def _predicted(annotation: Mapping[str, Any]) -> Any:
    """The regions that an annotation started from; None where that is not known.

    Label Studio keeps with an annotation the prediction of the version that the project showed when
    it was submitted. An editor may have started from another one.
    """
    held, parent = annotation.get("prediction"), annotation.get("parent_prediction")
    if not isinstance(held, Mapping) or (parent is not None and held.get("id") != parent):
        return None
    return held.get("result")


def _answers(result: Any, config: LabelConfig) -> Any:
    """What stands in controls that the model is asked about, put together.

    A box that a prompt left behind, or a mask in a control with model_skip, is no answer to that.
    """
    if not isinstance(result, list):
        return result
    return [region for region in whole(result) if _from_name(region) not in config.skipped]


def _from_name(region: Any) -> str:
    name = region.get("from_name") if isinstance(region, Mapping) else None
    return name if isinstance(name, str) else ""


def _regions(
    result: Any, taught: Collection[str] | None, config: LabelConfig, where: str, decode: Decode
) -> Marked:
    """Label and mask of the regions of some classes; None for all.

    The regions of other classes are as good as not there: nobody looked at them.
    """
    size = image_size(result)
    if size is None or (taught is not None and not taught):
        return ()
    known = None if taught is None else {config.names.get(name, name) for name in taught}
    regions = read_regions(result, size, where, Findings(), Wanted(names=config.names), decode)
    return tuple((r.label, r.runs) for r in regions if known is None or r.label in known)


def _stamp(updated: Any) -> int:
    """Microseconds since the epoch; now, where Label Studio does not say."""
    try:
        seconds = datetime.fromisoformat(updated).timestamp()
    except (TypeError, ValueError, OverflowError):
        seconds = time.time()
    return round(seconds * MICROSECONDS)


def _id(event: Mapping[str, Any], name: str) -> str:
    """The id of a part of an event, digits.

    Raises:
        EventError: it has none.
    """
    part = event.get(name)
    value = part.get("id") if isinstance(part, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise EventError(f"its {name} has no id")
    return str(value)


def _ids(event: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The ids of a list of parts; empty where there is none."""
    parts = event.get(name)
    return tuple(_id({name: part}, name) for part in (parts if isinstance(parts, list) else []))
