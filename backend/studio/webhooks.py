"""The secret in the webhooks of a project: by it the web server knows Label Studio's events.

Label Studio makes a webhook by itself when a backend is connected, at the backend's address and
/webhook, without any header. The header is set afterwards, and again whenever it is not there: so
it does not matter who made the webhook, or when.
"""

import logging
from collections.abc import Iterator
from urllib.parse import urlsplit

from backend.studio.client import StudioClient, StudioError
from dgl_rsis.types import Json
from workers.messages import StudioEvent
from workers.queue.client import SegmentClient
from workers.queue.identity import Connection

LOG = logging.getLogger(__name__)

HEADER = "X-DGL-RSIS-Webhook"
PATH = "/webhook"
NOT_ALLOWED = (401, 403, 404)


def secure(
    project: str, connection: Connection, client: SegmentClient, studio: StudioClient
) -> str:
    """Have the webhooks of a project that lead here carry its secret.

    Args:
        project: Label Studio's id, digits; of a project that is connected.
        connection: how.
        client: the queue.
        studio: Label Studio.

    Returns:
        What a person has to set instead; empty for nothing.

    Raises:
        StudioError: unreachable, or it refuses for another reason than rights.
        QueueError: Redis cannot be reached.
    """
    token = client.identity.token(project)
    try:
        ours = list(_leading_here(project, connection, client, studio))
        news = False
        for webhook in ours:
            headers = webhook.get("headers") or {}
            if headers.get(HEADER) != token:
                studio.set_webhook_headers(webhook, {**headers, HEADER: token})
                LOG.info("project %s: its webhook %s got the secret", project, webhook["url"])
                news = True
        if news and (early := client.corrections.early()):
            client.corrections.notice(StudioEvent(project, False, tuple(early)))
    except StudioError as error:
        if error.status not in NOT_ALLOWED:
            raise
        return (
            "Nothing is learnt from the project's annotations, since its webhook cannot be given "
            f"the secret by which this backend knows it: {error}"
        )
    return "" if any(each.get("is_active") for each in ours) else _missing(connection)


def _leading_here(
    project: str, connection: Connection, client: SegmentClient, studio: StudioClient
) -> Iterator[Json]:
    """The webhook of our own address; of others under such a path those that are nobody else's.

    Somebody may have made one by hand, for another name of this server. One that has such a header
    from elsewhere belongs to another server of ours.
    """
    unclaimed = []
    for webhook in studio.webhooks(int(project)):
        held = str((webhook.get("headers") or {}).get(HEADER, ""))
        proven = bool(held) and client.identity.project_of(held) == project
        if proven or webhook["url"] == _webhook_of(connection.url):
            yield webhook
        elif not held and urlsplit(webhook["url"]).path.endswith(PATH):
            unclaimed.append(webhook)
    if unclaimed:
        backends = studio.model_versions(int(project))["live"] or ()
        theirs = {_webhook_of(each["url"]) for each in backends}
        yield from (each for each in unclaimed if each["url"] not in theirs)


def _webhook_of(url: str) -> str:
    return url.rstrip("/") + PATH


def _missing(connection: Connection) -> str:
    return (
        "Nothing is learnt from the project's annotations, since no active webhook of it leads to "
        "this backend: in Label Studio, project → Settings → Webhooks, add or activate "
        f"{_webhook_of(connection.url)}, with payload"
    )
