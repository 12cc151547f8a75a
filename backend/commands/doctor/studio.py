"""Label Studio, and each of its projects that is connected to this backend."""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from backend.commands.doctor.findings import Finding, State
from backend.project import label_config
from backend.studio.client import StudioClient, StudioError
from backend.studio.connection import connection_of
from backend.studio.webhooks import HEADER, PATH
from backend.web.settings import Settings
from dgl_rsis.types import Json
from workers.messages import is_ours
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError

TOPIC = "Label Studio"
SECONDS = 10.0  # for an answer
MOST_PROJECTS = 50
TESTED = (1, 23)
REFUSES = (1, 23, 1)  # from then on, private addresses by default
SWITCHES = "ML_BLOCK_LOCAL_IP=false SSRF_PROTECTION_ENABLED=false"
MODEL = "project → Settings → Model"


def check(
    settings: Settings, client: SegmentClient | None, projects: Sequence[int]
) -> Iterator[Finding]:
    """Label Studio, then its projects.

    Args:
        settings: with its address and key.
        client: the queue; None where that cannot be reached.
        projects: to look at; none for those that are connected.
    """
    url, key = settings.label_studio_url, settings.label_studio_api_key
    if url is None or key is None:
        yield Finding(
            TOPIC, State.NOTE,
            "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not both set: predictions cannot be "
            "delivered later, corrections teach nothing, uploaded images cannot be read",
            "set both; the key is a personal access token or a legacy token (Account & Settings)",
        )  # fmt: skip
        return
    studio = StudioClient(url, key.get_secret_value(), SECONDS, settings.verify)
    try:
        studio.check_token()
    except StudioError as error:
        said, _, way_out = str(error).partition("; ")
        yield Finding(TOPIC, State.WRONG, said, way_out)
        return
    version = _version(studio)
    shown = ".".join(map(str, version)) if version else "of an unknown version"
    yield Finding(TOPIC, State.GOOD, f"{url} answers and takes the key ({shown})")
    if version and version[:2] < TESTED:
        yield Finding(
            TOPIC, State.NOTE, f"this was tested with {TESTED[0]}.{TESTED[1]}; it is older",
            "update Label Studio, if anything fails",
        )  # fmt: skip
    yield from _projects(studio, client, projects, version)


def _version(studio: StudioClient) -> tuple[int, ...]:
    """Of Label Studio; empty where it does not say."""
    try:
        told = studio.about()
    except StudioError:
        return ()
    package = told.get("label-studio-os-package")
    text = str((package if isinstance(package, dict) else {}).get("version") or told.get("release"))
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, numbers.groups())) if numbers else ()


def _projects(
    studio: StudioClient,
    client: SegmentClient | None,
    wanted: Sequence[int],
    version: tuple[int, ...],
) -> Iterator[Finding]:
    try:
        listed = [studio.project(each) for each in wanted] or studio.projects(MOST_PROJECTS)
    except StudioError as error:
        yield _of_error(TOPIC, error)
        return
    connected = 0
    for project in listed:
        found = list(_project(project, client, studio, wanted=bool(wanted)))
        connected += bool(found)
        yield from found
    if connected:
        return
    way_out = (
        f"{MODEL} → Connect model, with the address at which Label Studio reaches this backend"
    )
    if version >= REFUSES:
        way_out += f"; for a private address start Label Studio with {SWITCHES}"
    said = f"none of its {len(listed)} newest projects is connected to this backend"
    yield Finding(TOPIC, State.NOTE, said, way_out)


def _project(
    listed: Json, client: SegmentClient | None, studio: StudioClient, *, wanted: bool
) -> Iterator[Finding]:
    """What is to be said of a project; nothing of one that has nothing to do with this backend."""
    number = int(listed["id"])
    topic = f"project {number}"
    try:
        backends = list(studio.model_versions(number)["live"] or [])
        connection = connection_of(str(number), client, studio) if client and backends else None
    except StudioError as error:
        yield _of_error(topic, error, f"start Label Studio with {SWITCHES}, if the backend's "
                        "address is a private one, and see that the web server runs")  # fmt: skip
        return
    except QueueError as error:
        yield Finding(topic, State.WRONG, str(error))
        return
    ours = [
        each
        for each in backends
        if (connection and each["url"] == connection.url)
        or (connection is None and client is None and is_ours(each.get("model_version")))
    ]
    if not ours:
        if wanted:
            yield Finding(topic, State.WRONG, "it is not connected to this backend",
                          f"{MODEL} → Connect model")  # fmt: skip
        return
    yield Finding(topic, State.GOOD, f"connected as {ours[0]['title']!r} at {ours[0]['url']}")
    yield from _backend(topic, ours[0])
    try:
        yield from _webhook(topic, ours[0], studio.webhooks(number))
        yield from _settings(topic, ours[0], studio.project(number))
    except StudioError as error:
        yield _of_error(topic, error)


def _backend(topic: str, backend: Json) -> Iterator[Finding]:
    if backend.get("is_interactive") is False:
        yield Finding(
            topic, State.WRONG, "Interactive preannotations is off: no clicks and no sentences",
            f"{MODEL} → … → Edit: switch Interactive preannotations on",
        )  # fmt: skip
    if backend.get("error_message"):
        said = str(backend["error_message"]).splitlines()[0][:200]
        yield Finding(topic, State.NOTE, f"Label Studio says of it: {said}",
                      f"{MODEL}: if it still says so there, Edit and Validate")  # fmt: skip


def _webhook(topic: str, backend: Json, webhooks: Sequence[Json]) -> Iterator[Finding]:
    address = str(backend["url"]).rstrip("/") + PATH
    here = [w for w in webhooks if w["url"] == address]
    here = here or [w for w in webhooks if urlsplit(w["url"]).path.endswith(PATH)]
    if not here:
        yield Finding(
            topic, State.WRONG, "it has no webhook that leads here, so nothing is learnt",
            f"project → Settings → Webhooks: add {address} with payload; Label Studio makes it "
            "itself when it is started with SSRF_PROTECTION_ENABLED=false and the backend is "
            "connected anew",
        )  # fmt: skip
    elif not any(each.get("is_active") for each in here):
        yield Finding(topic, State.WRONG, "its webhook is switched off, so nothing is learnt",
                      "project → Settings → Webhooks: activate it")  # fmt: skip
    elif not any(HEADER in (each.get("headers") or {}) for each in here):
        yield Finding(
            topic, State.NOTE, "its webhook does not carry the secret yet",
            "it gets it some seconds after the first prediction: open a task and look again; the "
            "key's user must be allowed to change the project's webhooks",
        )  # fmt: skip
    else:
        yield Finding(topic, State.GOOD, "its webhook carries a secret of this product")


def _settings(topic: str, backend: Json, project: Json) -> Iterator[Finding]:
    shown = str(project.get("model_version") or "")
    title = str(backend["title"])
    if shown not in (title, str(backend.get("model_version"))):
        yield Finding(
            topic, State.NOTE,
            f"it shows predictions of {shown!r}, not of this backend" if shown else
            "it shows no predictions yet, so the score column is empty",
            f"retrieve predictions once; else project → Settings → Annotation: choose {title!r}",
        )  # fmt: skip
    else:
        yield Finding(topic, State.GOOD, f"it shows predictions of {shown!r}")
    if project.get("show_collab_predictions") is False:
        yield Finding(
            topic, State.NOTE, "predictions are not shown to annotators",
            "project → Settings → Annotation: use predictions to prelabel tasks",
        )  # fmt: skip
    config = label_config.parse(str(project.get("label_config") or ""))
    if not config.controls:
        yield Finding(topic, State.WRONG, f"its label config: {' '.join(config.problems)}",
                      "`dgl-rsis config check` says more")  # fmt: skip
        return
    names = ", ".join(label.name for label in config.labels[:8])
    more = f" and {len(config.labels) - 8} more" if len(config.labels) > 8 else ""
    yield Finding(topic, State.GOOD, f"{len(config.labels)} labels: {names}{more}")


def _of_error(topic: str, error: StudioError, way_out: str = "") -> Finding:
    said, _, rest = str(error).partition("; ")
    return Finding(topic, State.WRONG, said, way_out or rest)
