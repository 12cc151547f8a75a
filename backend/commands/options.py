"""Settings and log of commands, and the options that several of them share.

Settings are from the environment, where options of the command line win.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from backend.commands.refusals import refuse
from backend.commands.running import running
from workers import logs
from workers.logs import LogFormat
from workers.settings import SharedSettings, WorkerSettings

if TYPE_CHECKING:
    from backend.studio.client import StudioClient

AnySettings = TypeVar("AnySettings", bound=SharedSettings)
Client = TypeVar("Client", bound="StudioClient")

DATA = Path(".dgl-rsis")  # of the embedded server that `up` starts
OURS = ("backend", "workers", "dgl_rsis")
GDALS = ("rasterio", "pyogrio")

Model = Annotated[str | None, typer.Option(help="As the variable MODEL.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda:0 (env DEVICE).")]
Labels = Annotated[
    str,
    typer.Option(help='As in "building,road,water", or @worldcover; see docs/LABELS.md.'),
]
Config = Annotated[
    Path | None, typer.Option(help="A Label Studio label config (XML) instead of --labels.")
]
ProjectId = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Id of a Label Studio project, instead of files (env LABEL_STUDIO_URL, "
        "LABEL_STUDIO_API_KEY).",
    ),
]
Bands = Annotated[
    str,
    typer.Option(help='GeoTIFF: shown as red, green and blue: "4,3,2"; else the file decides.'),
]
Nodata = Annotated[
    float | None,
    typer.Option(
        help="Raster: a value that says that nothing was measured, beside what the file declares."
    ),
]
Metres = Annotated[
    str,
    typer.Option(
        "--metres-per-pixel",
        help='Of the ground, as "0.3" or "30 cm"; else what tasks or files say.',
    ),
]


def read(kind: type[AnySettings], **given: Any) -> AnySettings:
    """Settings of a kind; what is wrong with them ends the command.

    Args:
        kind: which settings.
        given: options of the command line; None for those that were not given.
    """
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = [(".".join(map(str, e["loc"])).upper(), e["msg"]) for e in error.errors()]
        refuse("; ".join(f"{name}: {message}" if name else message for name, message in wrong))


def local(
    model: str | None = None, device: str | None = None, metres: str = "", redis_url: str = ""
) -> WorkerSettings:
    """Settings of a command that works in this process; it logs for people."""
    given = {
        "model": model,
        "device": device,
        "metres_per_pixel": metres or None,
        "redis_url": redis_url or None,
    }
    settings = read(WorkerSettings, **given)
    log(settings)
    return settings


def studio(settings: SharedSettings, kind: type[Client]) -> Client:
    """A client of Label Studio; without an address or a token the command ends."""
    url, key = settings.label_studio_url, settings.label_studio_api_key
    if url is None or key is None:
        refuse("set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: it is Label Studio that is asked")
    return kind(url, key.get_secret_value(), verify=settings.verify)


def queue_url(settings: SharedSettings, instead: str = "") -> str:
    """Address of the queue's server: REDIS_URL, or that of the one `up` that runs.

    With several the one in this folder counts. Without any, or where it is not clear which, the
    command ends.

    Args:
        settings: with the address, if one is set.
        instead: what else the user may do, for the end of the message.
    """
    from workers.processes.embedded import (
        running_server,  # loads Redis' client, which few commands need
    )

    url = settings.redis_url or running_server(DATA)
    if url is not None:
        return url
    every = running()
    if not every:
        refuse(
            "REDIS_URL is not set and no `dgl-rsis up` of yours runs on this machine: give the "
            f"address of the queue's Redis or Valkey server{instead}"
        )
    if len({each.redis_url for each in every}) > 1:
        listed = "".join(f"\n  REDIS_URL={each.shown_url}  # {each.folder}" for each in every)
        refuse(f"{len(every)} `dgl-rsis up` run on this machine: set REDIS_URL to one of{listed}")
    return every[0].redis_url


def only_running() -> str | None:
    """Address of the queue of the one `up` that runs here; None for none, or for several."""
    urls = {each.redis_url for each in running()}
    return urls.pop() if len(urls) == 1 else None


def bands(text: str) -> tuple[int, ...] | None:
    """The numbers of "4,3,2"; None for an empty text. Anything else ends the command."""
    if not text.strip():
        return None
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        refuse(f"--bands {text!r}: give three numbers from 1, as in 4,3,2")


def metres(text: str) -> float | None:
    """The metres of "0.3" or "30 cm"; None for an empty text. Anything else ends the command."""
    if not text.strip():
        return None
    from dgl_rsis.resolution import parse_metres  # NumPy comes with it, which few commands need

    try:
        return parse_metres(text)
    except ValueError as error:
        refuse(f"--metres-per-pixel: {error}")


def log(settings: SharedSettings, form: LogFormat | None = None) -> None:
    """Log what we say from the level of the settings up, and of the libraries only their warnings.

    Args:
        settings: with the level, and what must not be written.
        form: of the lines; None for nothing but the message, for people.
    """
    logs.configure(logging.WARNING, form, settings.secrets)
    for package in OURS:
        logging.getLogger(package).setLevel(settings.log_level)
    for package in GDALS:  # what is wrong comes as an error, which we put into words
        logging.getLogger(package).setLevel(logging.CRITICAL)
