"""The delivery job: one finished segmentation becomes one complete set of predictions.

It runs in a process of its own, so that neither the web server nor a GPU ever waits for Label
Studio. It may run any number of times, also twice at once: what is stored already is found, before
anything is pushed and after it. When it is tried again is `DELIVERY_RETRY_SECONDS` of
`workers.queue.asking`, which makes the jobs.
"""

import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rq import Retry, get_current_job
from rq.job import Job

from backend.project.label_config import LabelConfig
from backend.regions.writing import to_predictions
from backend.studio import everywhere
from backend.studio.client import StudioClient, StudioError
from backend.studio.connection import connection_of
from backend.studio.environment import studio_of_environment
from backend.studio.permission import NotPermittedError, permitted
from backend.studio.reconciling import reconcile
from backend.studio.webhooks import secure
from workers import logs
from workers.messages import DELIVERY_QUEUE, DeliveryRequest, SegmentReply
from workers.queue import reach, tallies
from workers.queue.asking import DELIVERY_RETRY_SECONDS
from workers.queue.checks import AGAIN_SECONDS, again, check_later
from workers.queue.client import SegmentClient
from workers.queue.connection import AllowedJob, QueueError
from workers.queue.failures import TaskFailure
from workers.queue.ledger import Outcome, State
from workers.queue.packing import read_or_drop
from workers.queue.replies import Failure
from workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)

# After this a task that is opened finds the prediction in Label Studio itself.
SETTLE_SECONDS = 10.0
# How long a refusal is taken for a restart, a proxy or a change of tokens.
REFUSED_SECONDS = 300.0
NOTHING_ASKED = "dropped: it asks for nothing"
OUTDATED = "nothing is stored: the project was asked for all like another one since"
LOST = "impossible: its segmentation is gone from the queue; retrieve the prediction again"
LEFT = "left to another worker, which took this one for dead"


class NotYetError(Exception):
    """Nothing to push at present; the queue tries again later."""


class LostClaimError(Exception):
    """Another worker runs this delivery, and answers the task."""


@dataclass(frozen=True)
class Run:
    """One run of a delivery.

    Attributes:
        request: what to push where.
        client: the queue.
        studio: Label Studio.
        owner: of the claim, `JOB:RUN`.
        alone: no other worker had the job before, and may still write.
    """

    request: DeliveryRequest
    client: SegmentClient
    studio: StudioClient
    owner: str
    alone: bool = True

    def still_ours(self) -> None:
        """Called before anything is written.

        Raises:
            LostClaimError: this process stood still, and another one runs the delivery.
        """
        if not self.client.holds(self.request.task_id, self.request.key, self.owner):
            raise LostClaimError(LEFT)

    def check_later(self) -> None:
        """Have the task looked at again: something may be stored that nobody was told of."""
        check_later(self.client.server, self.request)


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
    request = read_or_drop(DeliveryRequest.from_json, payload)
    if request is None:
        return NOTHING_ASKED
    logs.add(project=request.project, task=request.task_id)
    outcome = _try(job, request, client)
    if isinstance(outcome, str):
        if outcome.startswith("stored"):
            note(request, client, "delivered")
        done = outcome.startswith("stored") or outcome in (everywhere.NOTHING, OUTDATED, LEFT)
        _tally(client, _counted(outcome))
        level = logging.INFO if done else logging.WARNING
        LOG.log(level, "task %d: prediction %s", request.task_id, outcome)
    return outcome


def check(payload: dict[str, Any]) -> str | Retry:
    """Look whether what was delivered is stored once, and mend it; the function that RQ calls.

    Args:
        payload: a `DeliveryRequest` as JSON.

    Returns:
        What came of it; or when to look again.

    Raises:
        QueueError: Redis cannot be reached at present.
    """
    job = get_current_job()
    assert job is not None, "check() runs as an RQ job only"
    client = SegmentClient(job.connection)
    request = read_or_drop(DeliveryRequest.from_json, payload)
    if request is None:
        return NOTHING_ASKED
    tries = job.number_of_retries or 0
    try:
        run = Run(request, client, studio_of_environment(), _owner(job))
        outcome, looked = _look_again(run), True
    except (NotYetError, StudioError, LostClaimError) as error:
        outcome, looked = f"not looked at again: {error}", False
    LOG.info("task %d: %s", request.task_id, outcome)
    return again() if tries < (1 if looked else len(AGAIN_SECONDS)) else outcome


def _look_again(run: Run) -> str:
    request, client = run.request, run.client
    answer = client.look_up([request.key])[request.key]
    if not isinstance(answer, SegmentReply):
        return "its masks are no longer kept"
    if not _claim(run):
        raise NotYetError("somebody is answering the task")
    try:
        return _push(run, answer)
    finally:
        client.release(request.task_id, request.key, SETTLE_SECONDS, run.owner)


def _try(job: Job, request: DeliveryRequest, client: SegmentClient) -> str | Retry:
    """Push; tell RQ to try again where that may help, unless it was the last try."""
    tries, most = (job.number_of_retries or 0) + 1, len(DELIVERY_RETRY_SECONDS)
    doubtful = False
    try:
        alone = not client.server.hexists(job.key, "recoveries")
        return deliver_request(Run(request, client, studio_of_environment(), _owner(job), alone))
    except NotYetError as error:
        cause = str(error)
    except LostClaimError as error:
        return str(error)
    except StudioError as error:
        cause, doubtful = str(error), not error.retry
        reach.refused(client.server, cause, known=error.status in (403, 404))
    except QueueError:
        raise
    except Exception:
        LOG.exception("task %d: job %s failed", request.task_id, job.id)
        cause = f"an internal error: the delivery worker's log has it under job {job.id}"
    if tries > most:
        return _never(request, client, f"given up after {tries} tries: {cause}")
    if _refused_for(job, doubtful=doubtful) >= REFUSED_SECONDS:
        return _never(request, client, f"refused {tries} times: {cause}")
    _tally(client, "retried")
    LOG.info("task %d: prediction not stored by try %d: %s", request.task_id, tries, cause)
    note(request, client, "delivery", f"try {tries} of {most + 1}: {cause}")
    return Retry(max=most, interval=list(DELIVERY_RETRY_SECONDS))


def _refused_for(job: Job, *, doubtful: bool) -> float:
    """Seconds since Label Studio began to refuse a delivery; the job remembers when."""
    since = job.meta.pop("refused", None)
    if doubtful:
        job.meta["refused"] = since or time.time()
    if doubtful or since:
        job.save_meta()
    return time.time() - since if doubtful and since else 0.0


def _owner(job: Job) -> str:
    """A name of this run, as it stands among those that were begun."""
    run = job.run if isinstance(job, AllowedJob) else ""
    return f"{job.id}:{run or uuid.uuid4().hex}"


def deliver_request(run: Run) -> str:
    """Push one prediction unless the task has one of its version; see `deliver`.

    Args:
        run: what to push where.

    Raises:
        NotYetError: there is nothing to push at present.
        StudioError: unreachable or refused, in a way that may pass.
        LostClaimError: another worker runs the delivery.
    """
    request, client = run.request, run.client
    task, key = request.task_id, request.key
    answer = _result(client, key)
    if answer is None:
        client.release(task, key, 0)
        return _never(request, client, LOST, "failed")
    if isinstance(answer, Failure):  # the segment job has put it on the status page
        client.release(task, key, 0)
        client.following.landed(request.project, "", task, key)
        note(request, client, "failed", answer.message)
        return f"impossible: {answer.message}"
    alone = client.begin_push(task, key, run.owner) and run.alone
    if not alone and not _claim(run):
        raise NotYetError("somebody who opened it is being answered")
    try:
        outcome = _push(run, answer)
    except StudioError as error:
        if error.uncertain:
            run.check_later()
        if error.may_pass:
            client.yield_push(task, key, run.owner)
            raise
        client.release(task, key, 0, run.owner)
        reach.passed(client.server)
        return _never(request, client, f"refused: {error}")
    reach.passed(client.server)
    if not alone:  # others may have stored it, or may yet
        run.check_later()
    # Of what was not stored nobody waits for Label Studio to know it: who asks next is answered.
    settles = SETTLE_SECONDS if outcome.startswith("stored") else 0
    client.release(task, key, settles, run.owner)
    if outcome == "stored" and answer.stored_at:
        with tallies.quietly(client.server) as pipe:
            age = time.time() - answer.stored_at
            tallies.observe(pipe, "delivery_age_seconds", "stored", age)
    if outcome.startswith("stored") and not request.like:
        client.following.landed(request.project, answer.model_version, task, key)
    return outcome


def _result(client: SegmentClient, key: str) -> SegmentReply | Failure | None:
    """What a segmentation gave; None where that is gone, and will not come.

    Raises:
        NotYetError: it is still to come.
    """
    answer = client.look_up([key])[key]
    if answer is None and client.is_coming(key):
        raise NotYetError(f"its segmentation {key} is not finished")
    return answer or client.look_up([key])[key]  # it came between the two questions


def _counted(outcome: str) -> str:
    """What came of a delivery, as the tally `deliveries` calls it."""
    if outcome in ("stored", "stored before"):
        return outcome.replace(" ", "-")
    return "nothing" if outcome in (everywhere.NOTHING, OUTDATED, LEFT) else "given-up"


def _tally(client: SegmentClient, outcome: str) -> None:
    with tallies.quietly(client.server) as pipe:
        tallies.count(pipe, "deliveries", outcome)


def _claim(run: Run) -> bool:
    """Whether this delivery may answer the task.

    A claim that is gone was an open's that answered, or that gave up before: only Label Studio
    knows which, so it is claimed anew and Label Studio asked.
    """
    client, task, key = run.client, run.request.task_id, run.request.key
    return client.begin_push(task, key, run.owner) or (
        client.claim_push(task, key) and client.begin_push(task, key, run.owner)
    )


def _push(run: Run, reply: SegmentReply) -> str:
    """Convert and push, unless it was done before, or must not be."""
    try:
        config = permitted(run.request, reply, run.client, run.studio)
    except NotPermittedError as error:
        return _never(run.request, run.client, f"refused: {error}")
    if run.request.like:
        return _push_alike(run, reply, config)
    _secure_webhooks(run)
    predictions = to_predictions(reply, config, reply.model_version)
    pushed = reconcile(run.request.task_id, predictions, run.studio, run.still_ours)
    return "stored" if pushed else "stored before"


def _secure_webhooks(run: Run) -> None:
    """Have a project's webhook known before its first prediction is there to be corrected.

    Once in some minutes; what does not work here is said by the job that has a project follow.
    """
    project = run.request.project
    if not WorkerSettings().learn or not run.client.identity.is_unsecured(project):
        return
    with suppress(StudioError):
        connection = connection_of(project, run.client, run.studio)
        if connection is not None:
            secure(project, connection, run.client, run.studio)


def _push_alike(run: Run, reply: SegmentReply, config: LabelConfig) -> str:
    """The same for what is like an exemplar, as long as that is the last one that was asked for."""
    request, client = run.request, run.client
    if client.sought(request.project, request.like) != request.look:
        return OUTDATED
    return everywhere.push(request, reply, config, run.studio, run.still_ours)


def _never(
    request: DeliveryRequest, client: SegmentClient, outcome: str, state: State = "given-up"
) -> str:
    """Put a delivery that ends without a prediction on the status page."""
    failure = TaskFailure(DELIVERY_QUEUE, str(request.task_id), outcome, project=request.project)
    client.record_failures([failure])
    client.following.landed(request.project, "", request.task_id, request.key)
    note(request, client, state, outcome)
    return outcome


def note(request: DeliveryRequest, client: SegmentClient, state: State, reason: str = "") -> None:
    """Say on the page how the delivery stands."""
    outcome = Outcome(str(request.task_id), request.key, state, reason)
    client.ledger.settle(request.project, [outcome])
