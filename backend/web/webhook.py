"""What Label Studio's webhook says: that something became of annotations, and of which.

Label Studio 1.23 posts every event of a project, with all masks, inside the request of the person
who caused it, gives it 1 s and does not try again. Anybody else who reaches this server may post
the same. So nothing of it is believed: a header has to hold the secret of the project's webhook
(`backend.studio.webhooks`), of the body the action and ids are read, and a job looks in Label
Studio what became of them. Masks are never parsed here, so any number of events takes no memory.
"""

import contextlib
import json
import logging
import re
import threading
import time
from dataclasses import dataclass
from typing import IO, Any

from flask import Request
from werkzeug.exceptions import Forbidden

from backend.studio.webhooks import HEADER
from backend.web.forgery import check_origin
from backend.web.held_events import HeldEvents
from backend.web.metrics import Metrics
from backend.web.settings import Settings
from workers.messages import StudioEvent
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.identity import TOKEN

LOG = logging.getLogger(__name__)

# `predictions to annotations` (ANNOTATIONS_CREATED) is left out: nobody looked at those masks, and
# a model that learns from its own answers only grows more confident of them.
LEARN_ACTIONS = frozenset({"ANNOTATION_CREATED", "ANNOTATION_UPDATED"})
DELETIONS = {"ANNOTATIONS_DELETED": "annotations", "TASKS_DELETED": "tasks"}
OURS = LEARN_ACTIONS | DELETIONS.keys()
HEAD_BYTES = 2**16  # of a body: Label Studio puts the action first, then ids
CHUNK_BYTES = 2**16
MENDED_SECONDS = 600.0  # after which refused events have the webhooks of our projects seen to
NO_KEY = (
    "nothing is learnt from corrections, since they are read in Label Studio: start the backend "
    "with LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"
)
NO_SECRET = (
    f"This event has no valid secret in the header {HEADER}. Label Studio's webhooks get it by "
    "themselves, soon after the backend is connected; or open the project's Settings → Model."
)


def _beginning(json_text: bytes) -> re.Pattern[bytes]:
    """A pattern of JSON in which blanks stand for any few."""
    return re.compile(json_text.replace(b" ", rb"\s{0,9}"))


ACTION = _beginning(rb' \{ "action" : "([A-Z_]{1,64})" ,? ')
ANNOTATION = _beginning(rb'"annotation" : \{ "id" : ([0-9]{1,18}) [,}]')
LIST = _beginning(rb'"(annotations|tasks)" : \[ ')
ONE_ID = _beginning(rb'\{ "id" : ([0-9]{1,18}) \} ([,\]]) ')


class EventError(ValueError):
    """An event of Label Studio that cannot be used; the message says why."""


@dataclass(frozen=True)
class EventsView:
    """How events are taken, as it is shown.

    Attributes:
        off: why nothing is learnt; empty where something is.
        refused: events without the secret since this process began.
        last: when the last one came, seconds since the epoch; None for none.
    """

    off: str
    refused: int
    last: float | None


class Corrections:
    """Takes events, and has looked at what they name.

    Args:
        client: the queue.
        settings: of the web process.
        metrics: counts the events.
    """

    def __init__(self, client: SegmentClient, settings: Settings, metrics: Metrics) -> None:
        self._client = client
        self._learns = settings.learn and settings.delivers
        self._off = "" if self._learns else NO_KEY if settings.learn else "LEARN is off"
        self._metrics = metrics
        self._lock = threading.Lock()
        self._refused, self._last, self._mended = 0, 0.0, float("-inf")
        self._held = HeldEvents(self._take)
        if settings.learn and not settings.delivers:
            LOG.warning(NO_KEY)

    def view(self) -> EventsView:
        """How events are taken."""
        with self._lock:
            return EventsView(self._off, self._refused, self._last or None)

    def accept(self, request: Request) -> bool:
        """Take an event; whether there is anything to do about it.

        Raises:
            Forbidden: it is not from a webhook that this backend set up.
            QueueError: Redis cannot be reached, and so many events wait for it already that this
                one is lost.
        """
        check_origin(request)
        head, complete = head_of(request.stream)
        if not self._learns:
            return self._count("ignored")
        if is_strange(head):  # "Start training" comes like this, without any header
            return self._count("ignored")
        secret = request.headers.get(HEADER, "")
        try:
            project = self._client.identity.project_of(secret)
            if not project:
                self._refuse(head, complete=complete)
            event = read(head, project, complete=complete)
            if event is None:
                return self._count("ignored")
            self._client.corrections.notice(event)
        except EventError as error:
            LOG.warning("project %s: nothing is learnt from an event: %s", project, error)
            return self._count("unreadable")
        except QueueError as error:
            if not self._hold(secret, head, complete=complete):
                LOG.error("an event is lost: %s", error)
                self._count("lost")
                raise
            LOG.warning("an event waits for the queue: %s", error)
            return not self._count("held")
        return not self._count("accepted")

    def _hold(self, secret: str, head: bytes, *, complete: bool) -> bool:
        """Keep an event until the queue's server is back; False where there is no room."""
        named = TOKEN.fullmatch(secret)
        try:
            event = read(head, named[1], complete=complete) if named else None
        except EventError:
            return True  # nor could it be used then
        return event is None or self._held.hold(secret, event)

    def _take(self, secret: str, event: StudioEvent) -> None:
        """Have an event that was held looked at, if its secret is one.

        Raises:
            QueueError: Redis cannot be reached.
        """
        if self._client.identity.project_of(secret) == event.project:
            self._client.corrections.notice(event)
        else:
            self._count("refused")

    def _count(self, outcome: str) -> bool:
        self._metrics.count("webhook_events", outcome)
        return False

    def _refuse(self, head: bytes, *, complete: bool) -> None:
        """Count what has no secret, and see that the webhooks of our projects have theirs.

        A project that was connected a moment ago has none yet: what it submits is kept until then.

        Raises:
            Forbidden: always.
        """
        self._count("refused")
        with contextlib.suppress(EventError, QueueError):
            event = read(head, "", complete=complete)
            if event is not None and not event.deleted:
                self._client.corrections.note_early(event.annotations)
        now = time.monotonic()
        with self._lock:
            self._refused, self._last = self._refused + 1, time.time()
            mends = now - self._mended > MENDED_SECONDS
            self._mended = now if mends else self._mended
        if mends:
            LOG.warning("events are refused, %d so far: %s", self._refused, NO_SECRET)
            with contextlib.suppress(QueueError):
                for project in self._client.known_projects():
                    self._client.following.called(project)
        raise Forbidden(NO_SECRET)


def head_of(stream: IO[bytes]) -> tuple[bytes, bool]:
    """The first bytes of an event's body, and whether they are all.

    Read to its end all the same: an unread one would break the connection.
    """
    head, complete = b"", True
    while chunk := stream.read(CHUNK_BYTES):
        complete = len(head) + len(chunk) <= HEAD_BYTES
        head = head if len(head) >= HEAD_BYTES else (head + chunk)[:HEAD_BYTES]
    return head, complete


def is_strange(head: bytes) -> bool:
    """Whether an event says first that it is none of ours."""
    action = ACTION.match(head)
    return action is not None and action[1].decode() not in OURS


def read(head: bytes, project: str, *, complete: bool) -> StudioEvent | None:
    """An event as Label Studio posts it.

    Args:
        head: of the body.
        project: Label Studio's id, of whose webhook it is.
        complete: the head is all of the body.

    Returns:
        None when it is none of ours.

    Raises:
        EventError: it cannot be used.
    """
    action = ACTION.match(head)
    if action is None:
        return _of_json(head, project, complete=complete)
    name, start = action[1].decode(), action.end()
    if name in LEARN_ACTIONS:
        if (annotation := ANNOTATION.match(head, start)) is None:
            return _of_json(head, project, complete=complete)
        return StudioEvent(project, deleted=False, annotations=(annotation[1].decode(),))
    if name not in DELETIONS:
        return None
    listed = LIST.match(head, start)
    if listed is None or listed[1].decode() != DELETIONS[name]:
        return _of_json(head, project, complete=complete)
    ids, ended = _listed(head, listed.end())
    return _deletion(project, DELETIONS[name], ids, complete=ended)


def _listed(head: bytes, start: int) -> tuple[tuple[str, ...], bool]:
    """The ids of a list, as far as it was read, and whether it ended."""
    ids: list[str] = []
    if head.startswith(b"]", start):
        return (), True
    while (one := ONE_ID.match(head, start)) is not None:
        ids.append(one[1].decode())
        start = one.end()
        if one[2] == b"]":
            return tuple(ids), True
    return tuple(ids), False


def _of_json(head: bytes, project: str, *, complete: bool) -> StudioEvent | None:
    """The same of a body in any other order, where it is short."""
    if not complete:
        raise EventError(f"its first {HEAD_BYTES} bytes do not say what it is about")
    try:
        event = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise EventError(f"the body is no JSON: {error}") from None
    action = event.get("action") if isinstance(event, dict) else None
    if action in LEARN_ACTIONS:
        return StudioEvent(project, deleted=False, annotations=(_id(event.get("annotation")),))
    if action not in DELETIONS:
        return None
    parts = event.get(DELETIONS[action])
    ids = tuple(_id(part) for part in (parts if isinstance(parts, list) else ()))
    return _deletion(project, DELETIONS[action], ids, complete=True)


def _deletion(project: str, kind: str, ids: tuple[str, ...], *, complete: bool) -> StudioEvent:
    annotations, tasks = (ids, ()) if kind == "annotations" else ((), ids)
    return StudioEvent(project, True, annotations, tasks, complete)


def _id(part: Any) -> str:
    value = part.get("id") if isinstance(part, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**18:
        raise EventError("what it is about has no id")
    return str(value)
