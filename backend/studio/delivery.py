"""The delivery job: one finished segmentation becomes one prediction in Label Studio.

It runs in a process of its own, so that neither the web server nor a GPU ever waits for Label
Studio. It may run any number of times: what is stored already is found before anything is pushed.
When it is tried again is `DELIVERY_RETRY_SECONDS` of `workers.queue.client`, which makes the jobs.
"""

import logging
from typing import Any

from rq import Retry, get_current_job
from rq.job import Job

from backend.project.label_config import LabelConfig
from backend.regions.writing import to_predictions
from backend.studio import everywhere
from backend.studio.client import StudioClient, StudioError
from backend.studio.environment import studio_of_environment
from backend.studio.permission import NotPermittedError, permitted
from workers.messages import DELIVERY_QUEUE, DeliveryRequest, SegmentReply
from workers.queue.client import DELIVERY_RETRY_SECONDS, SegmentClient
from workers.queue.connection import QueueError
from workers.queue.failures import TaskFailure
from workers.queue.ledger import Outcome, State
from workers.queue.replies import Failure

LOG = logging.getLogger(__name__)

# After this a task that is opened finds the prediction in Label Studio itself.
SETTLE_SECONDS = 10.0
OUTDATED = "nothing is stored: the project was asked for all like another one since"


class NotYetError(Exception):
    """Nothing to push at present; the queue tries again later."""


def deliver(payload: dict[str, Any]) -> str | Retry:
    """Push one prediction; the function that RQ calls.

    What may pass is tried again, with one line in the log; what nobody foresaw, too, with its
    traceback. Given up, it stands on the status page.

    Args:
        payload: a `DeliveryRequest` as JSON.

    Returns:
        What came of it: "stored", "stored before", or why it never will be; or when to try again.

    Raises:
        QueueError: Redis cannot be reached at present.
    """
    job = get_current_job()
    assert job is not None, "deliver() runs as an RQ job only"
    client = SegmentClient(job.connection)
    request = DeliveryRequest.from_json(payload)
    outcome = _try(job, request, client)
    if isinstance(outcome, str):
        if outcome.startswith("stored"):
            note(request, client, "delivered")
        done = outcome.startswith("stored") or outcome in (everywhere.NOTHING, OUTDATED)
        level = logging.INFO if done else logging.WARNING
        LOG.log(level, "task %d: prediction %s", request.task_id, outcome)
    return outcome


def _try(job: Job, request: DeliveryRequest, client: SegmentClient) -> str | Retry:
    """Push; tell RQ to try again where that may help, unless it was the last try."""
    try:
        return deliver_request(request, client, studio_of_environment(), owner=job.id)
    except (NotYetError, StudioError) as error:
        cause = str(error)
    except QueueError:
        raise
    except Exception:
        LOG.exception("task %d: job %s failed", request.task_id, job.id)
        cause = f"an internal error: the delivery worker's log has it under job {job.id}"
    tries, most = (job.number_of_retries or 0) + 1, len(DELIVERY_RETRY_SECONDS)
    if tries > most:
        return _never(request, client, f"given up after {tries} tries: {cause}")
    LOG.info("task %d: prediction not stored by try %d: %s", request.task_id, tries, cause)
    note(request, client, "delivery", f"try {tries} of {most + 1}: {cause}")
    return Retry(max=most, interval=list(DELIVERY_RETRY_SECONDS))


def deliver_request(
    request: DeliveryRequest, client: SegmentClient, studio: StudioClient, owner: str
) -> str:
    """Push one prediction unless the task has one of its version; see `deliver`.

    Args:
        request: what to push where.
        client: the queue.
        studio: Label Studio.
        owner: a name for the claim that is the same in every try.
    """
    task, key = request.task_id, request.key
    answer = client.look_up([key])[key]
    if answer is None:
        raise NotYetError(f"its segmentation {key} is not finished")
    if isinstance(answer, Failure):  # the segment job has put it on the status page
        client.release(task, key, 0)
        client.following.landed(request.project, "", task, key)
        note(request, client, "failed", answer.message)
        return f"impossible: {answer.message}"
    if not _claim(client, request, owner):
        raise NotYetError("somebody who opened it is being answered")
    try:
        outcome = _push(request, answer, client, studio)
    except StudioError as error:
        if error.retry:
            client.yield_push(task, key, owner)
            raise
        client.release(task, key, 0)
        return _never(request, client, f"refused: {error}")
    # Of what was not stored nobody waits for Label Studio to know it: who asks next is answered.
    client.release(task, key, SETTLE_SECONDS if outcome.startswith("stored") else 0)
    if outcome.startswith("stored") and not request.like:
        client.following.landed(request.project, answer.model_version, task, key)
    return outcome


def _claim(client: SegmentClient, request: DeliveryRequest, owner: str) -> bool:
    """Whether this delivery may answer the task.

    A claim that is gone was an open's that answered, or that gave up before: only Label Studio
    knows which, so it is claimed anew and Label Studio asked.
    """
    task, key = request.task_id, request.key
    return client.begin_push(task, key, owner) or (
        client.claim_push(task, key) and client.begin_push(task, key, owner)
    )


def _push(
    request: DeliveryRequest, reply: SegmentReply, client: SegmentClient, studio: StudioClient
) -> str:
    """Convert and push, unless it was done before, or must not be."""
    try:
        config = permitted(request, reply, client, studio)
    except NotPermittedError as error:
        return _never(request, client, f"refused: {error}")
    if request.like:
        return _push_alike(request, reply, config, client, studio)
    stored = studio.predictions(request.task_id, reply.model_version)
    predictions = to_predictions(reply, config, reply.model_version)
    missing = predictions[len(stored) :]  # the candidates of an expression are several
    for prediction in missing:
        studio.push(request.task_id, prediction)
    return "stored" if missing else "stored before"


def _push_alike(
    request: DeliveryRequest,
    reply: SegmentReply,
    config: LabelConfig,
    client: SegmentClient,
    studio: StudioClient,
) -> str:
    """The same for what is like an exemplar, as long as that is the last one that was asked for."""
    if client.sought(request.project, request.like) != request.look:
        return OUTDATED
    return everywhere.push(request, reply, config, studio)


def _never(request: DeliveryRequest, client: SegmentClient, outcome: str) -> str:
    """Put a delivery that ends without a prediction on the status page."""
    failure = TaskFailure(DELIVERY_QUEUE, str(request.task_id), outcome, project=request.project)
    client.record_failures([failure])
    client.following.landed(request.project, "", request.task_id, request.key)
    note(request, client, "given-up", outcome)
    return outcome


def note(request: DeliveryRequest, client: SegmentClient, state: State, reason: str = "") -> None:
    """Say on the page how the delivery stands."""
    outcome = Outcome(str(request.task_id), request.key, state, reason)
    client.ledger.settle(request.project, [outcome])
