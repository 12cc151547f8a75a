"""`dgl-rsis adapt`: what projects learnt from corrections; see it, forget it, switch it off."""

import sys
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from backend.commands import options
from backend.commands.refusals import refuse
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.corrections import CorrectionsClient
from workers.settings import SharedSettings

HEADER = ("PROJECT", "LEARNS", "REVISION", "ANNOTATIONS", "WITHOUT EXAMPLES", "SIZE")

Result = TypeVar("Result")

app = typer.Typer(
    help="What projects learnt from corrections (env REDIS_URL).", no_args_is_help=True
)

Project = Annotated[int, typer.Argument(min=0, help="Label Studio's id of the project.")]


@app.command()
def status(
    project: Annotated[
        int | None, typer.Argument(min=0, help="Label Studio's id; else all that learnt.")
    ] = None,
) -> None:
    """Show what projects learnt."""
    sys.stdout.write(_asking(lambda client: table(client, project)))


@app.command()
def reset(project: Project) -> None:
    """Forget all that a project learnt. Annotations in Label Studio stay as they are."""
    _asking(lambda client: client.reset(str(project)))
    sys.stdout.write(f"project {project}: forgotten\n")


@app.command()
def off(project: Project) -> None:
    """Let a project neither learn nor use what it learnt; that is kept."""
    _asking(lambda client: client.switch(str(project), on=False))
    sys.stdout.write(f"project {project}: switched off\n")


@app.command()
def on(project: Project) -> None:
    """Let a project learn again, and use what it learnt."""
    _asking(lambda client: client.switch(str(project), on=True))
    sys.stdout.write(f"project {project}: switched on\n")


def table(client: CorrectionsClient, project: int | None) -> str:
    """One project, or all that learnt something, as lines of columns."""
    rows = [HEADER]
    for each in client.projects() if project is None else [str(project)]:
        learnt = client.learnt(each)
        size = f"{learnt.nbytes / 1024:.0f} KiB"
        counts = (str(len(learnt.annotations)), str(learnt.others), size)
        rows.append((each, "no" if learnt.off else "yes", learnt.revision or "-", *counts))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _asking(question: Callable[[CorrectionsClient], Result]) -> Result:
    """Ask the queue's server; end with the reason where it cannot be."""
    url = options.queue_url(options.read(SharedSettings))
    try:
        return question(SegmentClient.from_url(url).corrections)
    except QueueError as error:
        refuse(str(error))
