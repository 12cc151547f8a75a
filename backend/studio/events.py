"""The job that looks in Label Studio what became of annotations that an event named.

An event says that there is something to look at, and nothing of what it is: masks, project and
whether an annotation is gone are as Label Studio says when it is asked. So it may come late, twice
or from anybody. While Label Studio is away it waits, as deliveries do.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rq import Retry, get_current_job

from backend.project.tasks import TaskError
from backend.studio.client import StudioClient, StudioError
from backend.studio.connection import NOT_CONNECTED, connection_of
from backend.studio.corrections import to_learn
from backend.studio.environment import studio_of_environment
from dgl_rsis.types import Json
from workers.messages import StudioEvent
from workers.queue.asking import DELIVERY_RETRY_SECONDS
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.failures import LEARNING, TaskFailure
from workers.queue.packing import read_or_drop
from workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)

DOUBTFUL_TRIES = 4  # of what Label Studio refuses, as while it starts: seven minutes
MOST_LOOKED_AT = 200  # annotations of a job: what is learnt and delivered next waits behind it


def handle(payload: dict[str, Any]) -> str | Retry:
    """Look at what an event named; the function that RQ calls.

    Args:
        payload: a `StudioEvent` as JSON.

    Returns:
        What came of it, for the log; or when to try again.

    Raises:
        QueueError: Redis cannot be reached at present.
    """
    job = get_current_job()
    assert job is not None, "handle() runs as an RQ job only"
    event, settings = read_or_drop(StudioEvent.from_json, payload), WorkerSettings()
    if event is None:
        return "dropped: it says nothing"
    client = SegmentClient(job.connection, settings.reply_days, settings.refresh_seconds)
    try:
        outcome = look(event, client, studio_of_environment())
    except StudioError as error:
        cause = str(error)
        again = error.retry or (error.may_pass and (job.number_of_retries or 0) < DOUBTFUL_TRIES)
    except QueueError:
        raise
    except Exception:
        LOG.exception("project %s: job %s failed", event.project, job.id)
        cause = f"an internal error: the delivery worker's log has it under job {job.id}"
        again = True
    else:
        LOG.info("project %s: %s", event.project, outcome)
        return outcome
    tries, most = (job.number_of_retries or 0) + 1, len(DELIVERY_RETRY_SECONDS)
    if not again or tries > most:
        return _never(event, client, f"after {tries} tries: {cause}")
    LOG.info("project %s: an event waits, try %d: %s", event.project, tries, cause)
    return Retry(max=most, interval=list(DELIVERY_RETRY_SECONDS))


def look(event: StudioEvent, client: SegmentClient, studio: StudioClient) -> str:
    """Learn from an annotation that is there, take back what was learnt from those that are gone.

    Args:
        event: what to look at; one that is not proven counts for a project that is connected.
        client: the queue.
        studio: Label Studio.

    Returns:
        What came of it.

    Raises:
        StudioError: unreachable or refused.
        QueueError: Redis cannot be reached.
    """
    if not event.proven and connection_of(event.project, client, studio) is None:
        return f"left alone: {NOT_CONNECTED}"
    project = studio.project(int(event.project))  # what is gone in another's eyes alone is not gone
    if event.deleted:
        return _forget(event, client, studio)
    return "; ".join(_learn(int(each), project, client, studio) for each in event.annotations)


def _learn(number: int, project: Json, client: SegmentClient, studio: StudioClient) -> str:
    own, named = str(project["id"]), f"annotation {number}"
    if client.corrections.is_off(own):
        return f"{named}: the project does not learn"
    annotation = studio.annotation(number)
    if annotation is None:
        client.corrections.forget(own, [str(number)])
        return f"{named} is gone"
    if str(annotation.get("project")) != own:
        return f"{named} is of project {annotation.get('project')}: it is left alone"
    tasks = studio.tasks_of(int(own), [int(annotation["task"])])
    if not tasks:
        return f"{named}: its task is gone"
    parent = annotation.get("parent_prediction")
    predicted = studio.prediction(int(parent)) if parent is not None else None
    try:
        request = to_learn(annotation, tasks[0], project, predicted)
    except TaskError as error:
        return f"{named}: nothing is learnt: {error}"
    masks = sum(len(regions) for _, regions in request.marked)
    queued = client.corrections.submit(request)
    return f"{named}: {masks} masks to learn from" if queued else f"{named}: known in a newer state"


def _forget(event: StudioEvent, client: SegmentClient, studio: StudioClient) -> str:
    """Take back what was learnt from annotations that are gone; so many in a job."""
    known = client.corrections.known(event.project)
    wanted = [
        number
        for number, task in known.items()
        if not event.complete or number in event.annotations or task in event.tasks
    ]
    now, later = wanted[:MOST_LOOKED_AT], wanted[MOST_LOOKED_AT:]
    tasks = {known[number] for number in now}
    gone = list(_gone(now, known, _missing(event.project, tasks, studio), studio))
    client.corrections.forget(event.project, gone)
    if later:
        rest = replace(event, annotations=tuple(later), tasks=(), complete=True)
        client.corrections.notice(rest)
    return f"{len(gone)} of {len(now)} annotations taken back, {len(later)} to be looked at"


def _missing(project: str, tasks: set[str], studio: StudioClient) -> set[str]:
    """Those of some tasks that are gone."""
    numbered = {task for task in tasks if task.isdecimal()}
    there = studio.tasks_of(int(project), list(map(int, numbered))) if numbered else []
    return numbered - {str(task["id"]) for task in there}


def _gone(
    annotations: Sequence[str], known: Mapping[str, str], missing: set[str], studio: StudioClient
) -> Iterator[str]:
    for number in annotations:
        if known[number] in missing or studio.annotation(int(number)) is None:
            yield number


def _never(event: StudioEvent, client: SegmentClient, cause: str) -> str:
    """Put an event that was given up on the status page."""
    what = "taken back" if event.deleted else "learnt"
    named = f"annotation {', '.join(event.annotations[:3])}" if event.annotations else "annotations"
    outcome = f"nothing is {what} of {named}, {cause}"
    client.record_failures([TaskFailure(LEARNING, "", outcome, project=event.project)])
    LOG.warning("project %s: %s", event.project, outcome)
    return outcome
