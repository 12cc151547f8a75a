"""All like this in the whole project: the answer to a prompt reaches the open task alone.

So each of the project's other tasks gets a job that seeks what is like the exemplar in its image,
and a delivery that stores what was found as a prediction. It has a version of its own, and holds
what the task's newest prediction shows besides: Label Studio fills an opened task with the
prediction that was stored last, and nothing is to be missing there.
"""

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.project import label_config
from backend.project.label_config import LabelConfig
from backend.project.tasks import TaskError, task_id_of
from backend.regions import results, writing
from backend.regions.allowance import Allowance
from backend.regions.geometry import RegionError
from backend.studio.client import StudioClient, StudioError
from backend.studio.connection import NOT_CONNECTED, connection_of
from backend.studio.reconciling import referred_to
from dgl_rsis.runs import area, from_runs
from dgl_rsis.types import Json, Mask
from workers.messages import (
    DeliveryRequest,
    Look,
    SegmentReply,
    SegmentRequest,
    SegmentResult,
    version_like,
)
from workers.queue.client import SegmentClient
from workers.queue.connection import STORED_TASK
from workers.queue.control import FULL

LOG = logging.getLogger(__name__)

MOST_TASKS = 500  # of one request: an hour of work for a core
READ_SECONDS = 15.0  # a person waits
OVERLAP = 0.3  # share of a mask that may have its label already
NOTHING = "nothing is stored: nothing there is like it"
NOT_SEARCHED = "the project's other images are not searched"
NO_KEY = f"{NOT_SEARCHED}: start the backend with LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"


@dataclass(frozen=True)
class Sought:
    """What is sought, and where not.

    Attributes:
        project: Label Studio's id, digits; empty when unknown.
        xml: label config of the project.
        label: of the exemplar.
        look: of the exemplar.
        model_version: of the model that made the look.
        task_id: of the exemplar's own task, which has its answer.
        image: reference of the exemplar's image.
    """

    project: str
    xml: str
    label: str
    look: Look
    model_version: str
    task_id: str
    image: str


def seek(sought: Sought, client: SegmentClient, studio: StudioClient | None) -> str:
    """Have the tasks of a project that nobody annotated searched.

    Args:
        sought: what, and where.
        client: the queue.
        studio: Label Studio; None where nothing can be pushed.

    Returns:
        What happens now, for the person who asked.

    Raises:
        QueueError: Redis cannot be reached.
    """
    if studio is None:
        return NO_KEY
    if not sought.project:
        return f"{NOT_SEARCHED}: Label Studio did not say which project this is"
    try:
        if connection_of(sought.project, client, studio) is None:
            return f"{NOT_SEARCHED}: {NOT_CONNECTED}"
        if not _is_there(sought, studio):
            return f"{NOT_SEARCHED}: the project has no such task with this image"
        tasks, total = studio.unannotated(int(sought.project), MOST_TASKS)
    except StudioError as error:
        return f"{NOT_SEARCHED}: {error}"
    own = [task for task in tasks if task_id_of(task) == sought.task_id]
    requests = list(_requests(sought, [task for task in tasks if task not in own]))
    client.seek(sought.project, sought.label, sought.look.digest)
    # In no ledger: each task waits there for what it is without this.
    full = {each.task_id for each in client.submit(requests)}
    if requests and len(full) == len(requests):
        return f"{NOT_SEARCHED}: {FULL}"
    requests = [each for each in requests if each.task_id not in full]
    digest, look = client.store_config(sought.xml), sought.look.digest
    client.deliver(
        [
            DeliveryRequest(int(each.task_id), each.key, digest, sought.project, sought.label, look)
            for each in requests
        ]
    )
    LOG.info("project %s: %d tasks are searched for all like one", sought.project, len(requests))
    return _told(len(requests), total - len(own), version_like(sought.model_version, sought.label))


def push(
    request: DeliveryRequest,
    reply: SegmentReply,
    config: LabelConfig,
    studio: StudioClient,
    still_ours: Callable[[], None],
) -> str:
    """Store what was found for one task, in the place of what was found before for its label.

    Args:
        request: with `like`.
        reply: of the job that sought it.
        config: of the project.
        studio: Label Studio.
        still_ours: called before each change; raises when another one answers the task by now.

    Returns:
        What came of it: "stored", "stored before", or `NOTHING`.

    Raises:
        StudioError: unreachable or refused.
    """
    task, version = request.task_id, version_like(reply.model_version, request.like)
    every = studio.predictions(task)
    former = [each for each in every if each["model_version"] == version]
    shown = every[-1]["result"] if every else []
    kept = [region for region in shown if not _name(region).startswith(_prefix(request.like))]
    found = list(_found(request, reply, config, kept))
    names = {_name(region) for region in found}
    stored = bool(names) and any(names <= _names(each) for each in former)
    if found and not stored:
        score = max(region["score"] for region in found)
        still_ours()
        studio.push(task, {"result": [*kept, *found], "score": score, "model_version": version})
        former = studio.predictions(task, version)  # another one may have stored it at once
    newest = [each for each in former if names and names <= _names(each)][-1:]
    referred = referred_to(studio, task) if len(former) > len(newest) else set()
    for each in former:
        if each not in newest and int(each["id"]) not in referred:
            still_ours()
            studio.delete_prediction(int(each["id"]))
    if not found:
        return NOTHING
    return "stored before" if stored else "stored"


def sought_in(plain: SegmentRequest, label: str) -> SegmentRequest:
    """What is asked about a task that is searched, beside the look of the exemplar.

    Args:
        plain: what the task asks for by itself.
        label: of the exemplar.
    """
    # The modes of the controls say nothing here: equal questions get equal keys.
    return replace(plain, classes=True, objects=False, expression="", label=label)


def _is_there(sought: Sought, studio: StudioClient) -> bool:
    """Whether the exemplar is one of the project's own: anybody may send another image."""
    if not STORED_TASK.fullmatch(sought.task_id):
        return False
    pictures = label_config.parse(sought.xml).pictures
    for task in studio.tasks_of(int(sought.project), [int(sought.task_id)]):
        with contextlib.suppress(TaskError):
            return sought.image in pictures.of(task)
    return False


def _requests(sought: Sought, tasks: Sequence[Json]) -> Iterator[SegmentRequest]:
    config = label_config.parse(sought.xml)
    for task in tasks:
        try:
            plain = config.to_request(task, sought.model_version)
        except TaskError:  # said when Label Studio asks for its masks
            continue
        yield replace(sought_in(plain, sought.label), look=sought.look)


def _told(count: int, total: int, version: str) -> str:
    if not count:
        return "the project has no other image that could be searched: all others are annotated"
    many = f"{count} other image{'s' if count > 1 else ''} of the project"
    rest = f" ({total} have no annotation; ask again when these have one)" if total > count else ""
    return (
        f"{many} {'are' if count > 1 else 'is'} searched now{rest}; what is found there comes as "
        f"predictions of '{version}'"
    )


def _found(
    request: DeliveryRequest, reply: SegmentReply, config: LabelConfig, kept: Sequence[Json]
) -> Iterator[Json]:
    """The regions of what was found, without what has the label already."""
    known = _labelled(kept, request.like, reply)
    for number, segment in enumerate(reply.segments):
        if _is_new(segment, known):
            regions = writing.to_regions(reply, segment, config, f"{request.key}\n{number}")
            for region in regions:
                yield {**region, "id": _prefix(request.like) + region["id"]}


def _labelled(regions: Sequence[Json], label: str, reply: SegmentReply) -> Mask:
    """Where the task has a label: (H, W) bool."""
    size = (reply.height, reply.width)
    union, allowance = np.zeros(size, dtype=np.bool_), Allowance()
    for region in regions:
        if label in results.labels_of(region):
            try:
                union |= from_runs(allowance.mask(region, size))
            except RegionError as error:
                LOG.info("a stored mask cannot be read: %r", str(error))
    return union


def _is_new(segment: SegmentResult, known: Mask) -> bool:
    covered = np.count_nonzero(from_runs(segment.runs) & known)
    return covered <= OVERLAP * area(segment.runs)


def _prefix(label: str) -> str:
    """What the id of a region begins with that is like an exemplar with a label."""
    return f"like-{hashlib.sha256(label.encode()).hexdigest()[:6]}-"


def _name(region: Json) -> str:
    return str(region.get("id", ""))


def _names(prediction: Json) -> set[str]:
    return set(map(_name, prediction["result"]))
