"""Settings and log of commands: from the environment, where options of the command line win."""

import logging
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from backend.refusals import refuse
from workers.settings import QueueSettings, WorkerSettings

AnySettings = TypeVar("AnySettings", bound=QueueSettings)

FOR_PEOPLE = "%(message)s"
OURS = ("backend", "workers", "dgl_rsis")

Model = Annotated[str | None, typer.Option(help="As the variable MODEL.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda:0 (env DEVICE).")]
Config = Annotated[
    Path | None, typer.Option(help="A Label Studio label config (XML) instead of --labels.")
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


def local(model: str | None = None, device: str | None = None) -> WorkerSettings:
    """Settings of a command that works in this process; it logs for people."""
    settings = read(WorkerSettings, model=model, device=device)
    log(settings.log_level, FOR_PEOPLE)
    return settings


def log(level: str, form: str) -> None:
    """Log what we say from `level` up, and of the libraries only their warnings."""
    logging.basicConfig(level=logging.WARNING, format=form)
    for package in OURS:
        logging.getLogger(package).setLevel(level)
