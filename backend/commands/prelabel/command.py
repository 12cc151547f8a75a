"""`dgl-rsis prelabel`: what the options mean, and what is refused before anything is begun."""

import hashlib
import json
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from backend.commands import options
from backend.commands.folders import make_writable
from backend.commands.journal import Journal, JournalError
from backend.commands.labels import LabelsError, read_config
from backend.commands.options import Config, Device, Labels, Metres, Model, ProjectId
from backend.commands.prelabel.engines import Engine, LocalEngine, QueueEngine
from backend.commands.prelabel.import_files import MOST_BYTES, ImportFiles
from backend.commands.prelabel.items import PrelabelError, Stop
from backend.commands.prelabel.overlaps import CONTEXT, Overlaps
from backend.commands.prelabel.push import Project, Push
from backend.commands.prelabel.requests import Requests
from backend.commands.prelabel.run import Prelabel
from backend.commands.prelabel.sources import Shown, Source, read_sources
from backend.commands.progress import Meter
from backend.commands.refusals import refuse, refuse_known, told
from backend.project import label_config
from backend.project.label_config import LabelConfig
from backend.studio.client import StudioClient, StudioError
from backend.web.settings import Settings
from dgl_rsis.weights.identity import STARTER
from workers.messages import versioned
from workers.queue.client import SegmentClient
from workers.queue.servers import connect
from workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)

QUEUE_SECONDS = 30.0  # nobody waits for this command within a second, as for the web server
KEPT_SECONDS = 600  # of an answer in Redis, once it is on the disk
KEPT_UNTIL_PUSHED_SECONDS = 3600  # Label Studio may be down for a while
MB = 1_000_000


class Order(StrEnum):
    """What the score of a prediction says."""

    CONFIDENCE = "confidence"
    UNCERTAINTY = "uncertainty"


@dataclass(frozen=True)
class Given:
    """The options, as they were given."""

    sources: list[str]
    out: Path
    labels: str
    config: Path | None
    project: int | None
    push: bool
    local: bool
    image_prefix: str
    order: Order
    retry_failed: bool
    split_mb: int
    metres: float | None


def prelabel(
    out: Annotated[Path, typer.Option(help="Folder for results and journal; again: goes on.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, globs in quotes, images, or text lists of paths and addresses; or one "
            "JSON list of tasks."
        ),
    ] = None,
    labels: Labels = "",
    config: Config = None,
    project: ProjectId = None,
    push: Annotated[
        bool, typer.Option("--push", help="With --project: store the predictions there at once.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--local", help="Work in this process; else through REDIS_URL.")
    ] = False,
    image_prefix: Annotated[
        str,
        typer.Option(help="Label Studio finds a file at this and its path within the source."),
    ] = "",
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder of local files of Label Studio and of the workers (env "
            "LOCAL_FILES_DOCUMENT_ROOT); bytes of files elsewhere travel through the queue."
        ),
    ] = None,
    order: Annotated[
        Order,
        typer.Option(
            help="What predictions have as score. uncertainty: the mean over the pixels of "
            "p(best class) - p(second); sort Label Studio's data manager by prediction score, "
            "ascending, and the most doubtful tasks come first."
        ),
    ] = Order.CONFIDENCE,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Take the items of failed.json again.")
    ] = False,
    split_mb: Annotated[
        int, typer.Option(min=1, max=250, help="Size of a file; an upload takes 250 MB.")
    ] = MOST_BYTES // MB,
    metres: Metres = "",
    model: Model = None,
    device: Device = None,
) -> None:
    """Pre-label whole data sets: import JSON for Label Studio, or pushed into a project.

    Of a project, the tasks that have no prediction of this model version.

    May be ended at any time: the same command goes on, and does nothing twice.

    What cannot be segmented is listed in failed.json, with exit status 1.

    With no worker alive at the start it refuses; later it waits for one.
    """
    if (model or device) and not here:
        refuse("--model and --device go with --local: else it is the workers that hold the model")
    settings = options.local(model, device)
    if root is not None:
        settings = _with_root(settings, root)
    given = Given(
        sources or [], out, labels, config, project, push, here, image_prefix, order,
        retry_failed, split_mb, options.metres(metres),
    )  # fmt: skip
    try:
        status = _run(given, settings, learns=options.read(Settings).learn)
    except (JournalError, PrelabelError, LabelsError, StudioError, OSError) as error:
        refuse(told(error))
    except ValueError as error:
        refuse_known(error)
    raise typer.Exit(status)


def _with_root(settings: WorkerSettings, root: Path) -> WorkerSettings:
    try:
        checked = WorkerSettings(local_files_document_root=root).local_files_document_root
    except ValueError as error:
        refuse(f"--root: {error}")
    return settings.model_copy(update={"local_files_document_root": checked})


def _run(given: Given, settings: WorkerSettings, *, learns: bool) -> int:
    from backend.commands import words  # the algorithm's knowledge, which few runs need

    studio = _check(given, settings)
    with _stopping() as stop:
        config = _config(given, studio)
        make_writable(given.out)
        files = None if studio is not None else _source(given, settings, config)
        failed_before: set[str] = set()
        engine = _engine(given, settings, stop, failed_before)
        left_out = words.warn(config.labels, _model(engine))
        prototypes = _prototypes(given, engine) if learns else ""
        version = versioned(engine.model_version, prototypes)
        project = (
            Project(studio, given.project, version, stop) if studio and given.project else None
        )
        source = files if project is None else project.source()
        assert source is not None  # files or a project, as `_check` saw to
        root = None if given.local else settings.local_files_document_root
        overlaps = Overlaps.of(source.items() if project is None else (), config, given.out)
        requests = Requests(
            config, version, root, settings.max_image_bytes, prototypes, given.metres, overlaps
        )
        about = _about(given, settings, config, version) | {"prototypes": prototypes}
        if overlaps.tiles:
            about["context"] = CONTEXT
        with Journal(given.out, about) as journal:
            if given.retry_failed:
                failed_before.update(journal.progress.failed)
            sink: Push | ImportFiles
            if project is not None and given.push:
                sink = Push(project, journal)
            else:
                sink = ImportFiles(given.out, journal, version, given.split_mb * MB)
            run = Prelabel(
                source, config, journal, engine, requests, sink, stop,
                given.retry_failed, given.order is Order.UNCERTAINTY,
            )  # fmt: skip
            try:
                return max(run.run(Meter(source.total)), int(left_out))
            except PrelabelError as error:  # it had begun, so another try may do
                LOG.error("%s", error)
                return 1
            finally:
                LOG.info("%s", sink.note())


def _check(given: Given, settings: WorkerSettings) -> StudioClient | None:
    """Refuse what does not go together; Label Studio, if it takes part."""
    if (given.project is None) == (not given.sources):
        raise PrelabelError("give sources (folders, globs, lists), or else --project")
    if given.project is None:
        if given.push:
            raise PrelabelError("--push goes with --project: it needs tasks that are stored there")
        return None
    if given.labels or given.config:
        raise PrelabelError("with --project the label config is that of the project")
    return options.studio(settings, StudioClient)


def _config(given: Given, studio: StudioClient | None) -> LabelConfig:
    if studio is not None and given.project is not None:
        config = label_config.parse(str(studio.project(given.project)["label_config"]))
    else:
        config = read_config(given.labels, given.config)
    if not config.controls:
        raise PrelabelError(" ".join(config.problems))
    for problem in config.problems:
        LOG.warning("%s", problem)
    return config


def _engine(given: Given, settings: WorkerSettings, stop: Stop, failed_before: set[str]) -> Engine:
    if given.local:
        return LocalEngine(settings, stop)
    url = options.queue_url(settings, ", or --local to work in this process")
    client = SegmentClient(
        connect(url, QUEUE_SECONDS), settings.reply_days, most_waiting=settings.max_waiting
    )
    kept = KEPT_UNTIL_PUSHED_SECONDS if given.push else KEPT_SECONDS
    return QueueEngine(client, stop, failed_before, kept)


def _model(engine: Engine) -> str:
    """The name of the model that answers, which may be that of other machines."""
    stem = engine.model_version.rpartition("-")[0]
    return STARTER if stem.endswith(f"-{STARTER}") else stem


def _prototypes(given: Given, engine: Engine) -> str:
    """What the project learnt; a run that goes on keeps to what it began with.

    Annotators go on correcting, and each correction makes another version: a long run would never
    end otherwise.
    """
    if given.project is None or not isinstance(engine, QueueEngine):
        return ""
    before = Journal.about(given.out)
    kept = str(before.get("prototypes", ""))
    if before.get("model_version") == versioned(engine.model_version, kept):
        return kept
    return engine.learnt(given.project)


def _source(given: Given, settings: WorkerSettings, config: LabelConfig) -> Source:
    shown = Shown(given.image_prefix, settings.local_files_document_root)
    return read_sources(given.sources, shown, config.pictures)


def _about(
    given: Given, settings: WorkerSettings, config: LabelConfig, version: str
) -> dict[str, Any]:
    """What the predictions in a folder depend on."""
    parts = {
        "labels": [asdict(label) for label in config.labels],
        "controls": [{**asdict(c), "labels": sorted(c.labels)} for c in config.controls],
        "keys": [config.image_key, config.expression_key],
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    where = f"project {given.project} of {settings.label_studio_url}" if given.project else "files"
    about = {
        "model_version": version,
        "label_config": digest,
        "from": where,
        "pushed": given.push,
        "image_prefix": given.image_prefix,
        "score": str(given.order),
    }
    return about if given.metres is None else about | {"metres_per_pixel": given.metres}


@contextmanager
def _stopping() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM end the run at the next safe place; the second one ends it at once."""
    stop = Stop()

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        LOG.warning("stopping; once more ends at once")

    before = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
