"""The delivery job: one finished segmentation becomes one prediction in Label Studio.

It runs in a process of its own, so that neither the web server nor a GPU ever waits for Label
Studio. It may run any number of times: what is stored already is found before anything is pushed.
"""

import functools
import logging
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict
from rq import get_current_job

from backend import label_config
from backend.predictions import to_prediction
from backend.studio import StudioClient, StudioError
from workers.client import Failure, SegmentClient
from workers.messages import DeliveryRequest, SegmentReply
from workers.settings import QueueSettings

LOG = logging.getLogger(__name__)

# After this a task that is opened finds the prediction in Label Studio itself.
SETTLE_SECONDS = 10.0


class DeliverySettings(QueueSettings):
    """What the delivery process reads from the environment.

    Attributes:
        label_studio_url: Label Studio's address, with the scheme.
        label_studio_api_key: legacy token or personal access token.
        requests_ca_bundle: file of certificate authorities to trust instead of the built-in ones.
    """

    # An error about one variable would else show the values of all, the token's too.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    label_studio_url: str
    label_studio_api_key: SecretStr
    requests_ca_bundle: Path | None = None


class NotYetError(Exception):
    """Nothing to push at present; the queue tries again later."""


def deliver(payload: dict[str, Any]) -> str:
    """Push one prediction; the function that RQ calls.

    Args:
        payload: a `DeliveryRequest` as JSON.

    Returns:
        What came of it, for the log: "stored", "stored before", or why it never will be.

    Raises:
        NotYetError: the segmentation is not finished, or somebody else is answering the task.
        StudioError: Label Studio cannot be reached at present.
        QueueError: Redis cannot be reached at present.
    """
    job = get_current_job()
    assert job is not None, "deliver() runs as an RQ job only"
    client = SegmentClient(job.connection)
    request = DeliveryRequest.from_json(payload)
    outcome = deliver_request(request, client, _studio(), owner=job.id)
    LOG.info("task %d: prediction %s", request.task_id, outcome)
    return outcome


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
        raise NotYetError(f"task {task}: its segmentation {key} is not finished")
    if isinstance(answer, Failure):
        client.release(task, key, 0)
        return f"impossible: {answer.message}"
    if not _claim(client, request, owner):
        raise NotYetError(f"task {task}: somebody who opened it is being answered")
    try:
        outcome = _push(request, answer, client, studio)
    except StudioError as error:
        if error.retry:
            client.yield_push(task, key, owner)
            raise
        client.release(task, key, 0)
        return f"refused: {error}"
    client.release(task, key, SETTLE_SECONDS)
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
    """Convert and push, unless it was done before."""
    if studio.predictions(request.task_id, request.model_version):
        return "stored before"
    xml = client.config(request.config)
    if xml is None:
        return "impossible: its label config is no longer kept; retrieve the prediction again"
    prediction = to_prediction(reply, label_config.parse(xml), request.model_version)
    studio.push(request.task_id, prediction)
    return "stored"


@functools.cache
def _studio() -> StudioClient:
    """Label Studio as the environment names it; kept, with its connection and access token."""
    settings = DeliverySettings()  # type: ignore[call-arg]  # they come from the environment
    bundle = settings.requests_ca_bundle
    return StudioClient(
        settings.label_studio_url,
        settings.label_studio_api_key.get_secret_value(),
        verify=True if bundle is None else str(bundle),
    )
