"""Whether a project of Label Studio is connected to this backend: Label Studio says it itself.

Whoever reaches the web server can name any project in /setup and /predict, under any Host. So it is
asked the other way round: Label Studio lists the backends of the project, and calls each for its
versions; the one that answers with a nonce that only this queue holds leads here. Nothing is called
from here but Label Studio, so an address that a stranger wrote there reaches nobody.
"""

import logging

from backend.studio.client import StudioClient, StudioError
from dgl_rsis.types import Json
from workers.messages import base_of, is_ours
from workers.queue.client import SegmentClient
from workers.queue.identity import Connection

LOG = logging.getLogger(__name__)

NOT_CONNECTED = (
    "the project is not connected to this backend: in Label Studio, project → Settings → Model, "
    "connect it, or see there that it answers"
)


def connection_of(project: str, client: SegmentClient, studio: StudioClient) -> Connection | None:
    """How a project is connected to this backend; None where it is not.

    Label Studio is asked once in some minutes.

    Args:
        project: Label Studio's id, digits; empty when unknown.
        client: the queue.
        studio: Label Studio.

    Raises:
        StudioError: Label Studio is away or refuses, as of a project that it does not have or that
            the token's user may not see; or a backend that may be this one does not answer it.
        QueueError: Redis cannot be reached.
    """
    if not project:
        return None
    known = client.identity.connection(project)
    if known is None:
        known = _ask(int(project), client, studio)
        client.identity.remember(project, known)
        LOG.info("project %s: %s", project, known.url or "not connected to this backend")
    return known if known.url else None


def _ask(project: int, client: SegmentClient, studio: StudioClient) -> Connection:
    backends = studio.model_versions(project)["live"] or []
    xml = str(studio.project(project).get("label_config") or "")
    backend = _leading_here(backends, client, studio)
    return Connection() if backend is None else Connection(backend["url"], client.store_config(xml))


def _leading_here(backends: list[Json], client: SegmentClient, studio: StudioClient) -> Json | None:
    """The backend that answers with our nonce.

    Raises:
        StudioError: none does, and one that may be ours gave no answer.
    """
    nonce, silent = client.identity.challenge(), None
    for backend in sorted(backends, key=lambda each: not is_ours(each.get("model_version"))):
        ours = is_ours(backend.get("model_version"))
        try:
            answer = studio.backend_versions(int(backend["id"]))
        except StudioError as error:
            silent = error if ours else silent
            continue
        if nonce in (answer.get("versions") or ()) or _is_hosted(backend, answer, client):
            return backend
    if silent is not None:
        raise StudioError(f"Label Studio could not ask this backend: {silent}", retry=True)
    return None


def _is_hosted(backend: Json, answer: Json, client: SegmentClient) -> bool:
    """Whether label-studio-ml's own server answers for us, which has no /versions.

    The model then stands for the queue. Another installation with the same model would pass there
    for this one: it gets what it would have made itself.
    """
    announced = client.announced()
    if announced is None or "message" not in answer:
        return False
    return base_of(str(backend.get("model_version"))) == announced.model_version
