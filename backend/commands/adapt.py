"""`dgl-rsis adapt`: what projects learnt from corrections; see it, forget it, switch it off."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, TypeVar

import typer

from backend.commands import options
from backend.commands.refusals import refuse
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.corrections import CorrectionsClient
from workers.queue.prototypes import Learnt
from workers.settings import SharedSettings

HEADER = ("PROJECT", "LEARNS", "REVISION", "ANNOTATIONS", "WITHOUT EXAMPLES", "SIZE")

Result = TypeVar("Result")

FOLLOWS = "open tasks that were predicted before get new predictions, then their scores follow\n"
CAME_BACK = (
    "predictions of the former version count again; open tasks without one get it, "
    "then their scores follow\n"
)

app = typer.Typer(
    help="What projects learnt from corrections. The queue is that of the `dgl-rsis up` that runs, "
    "or of REDIS_URL.",
    no_args_is_help=True,
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
    sys.stdout.write(f"project {project}: forgotten; {CAME_BACK}")


@app.command()
def off(project: Project) -> None:
    """Let a project neither learn nor use what it learnt; that is kept."""
    _asking(lambda client: client.switch(str(project), on=False))
    sys.stdout.write(f"project {project}: switched off; {CAME_BACK}")


@app.command()
def on(project: Project) -> None:
    """Let a project learn again, and use what it learnt."""
    _asking(lambda client: client.switch(str(project), on=True))
    sys.stdout.write(f"project {project}: switched on; {FOLLOWS}")


@app.command("renew-secret")
def renew_secret() -> None:
    """Have Label Studio's webhooks carry another secret; the present one counts for a day more."""
    count = _asking_queue(SegmentClient.renew_secret)
    sys.stdout.write(f"webhooks of {count} projects get another secret now, others when used\n")


def table(client: CorrectionsClient, project: int | None) -> str:
    """One project, or all that learnt something: lines of columns, then what each learnt from."""
    rows, projects = [HEADER], client.projects() if project is None else [str(project)]
    all_learnt = [client.learnt(each) for each in projects]
    for learnt in all_learnt:
        size = f"{learnt.nbytes / 1024:.0f} KiB"
        counts = (str(len(learnt.annotations)), str(learnt.others), size)
        learns = "no" if learnt.off else "yes"
        rows.append((learnt.project, learns, learnt.revision or "-", *counts))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *_sources(all_learnt)]) + "\n"


def _sources(all_learnt: Sequence[Learnt]) -> Iterator[str]:
    """Of each project that learnt something its classes, and the annotations they are from."""
    for learnt in all_learnt:
        if learnt.examples:
            counts = ", ".join(f"{count} of {name}" for name, count in learnt.examples.items())
            yield f"\nproject {learnt.project} learnt {counts}"
        if learnt.annotations:
            named = [f"{each} (task {learnt.tasks.get(each, '?')})" for each in learnt.annotations]
            yield f"  from {'annotation' if len(named) == 1 else 'annotations'} {', '.join(named)}"


def _asking(question: Callable[[CorrectionsClient], Result]) -> Result:
    return _asking_queue(lambda client: question(client.corrections))


def _asking_queue(question: Callable[[SegmentClient], Result]) -> Result:
    """Ask the queue's server; end with the reason where it cannot be."""
    settings = options.read(SharedSettings)
    url, quiet = options.queue_url(settings), settings.refresh_seconds
    try:
        return question(SegmentClient.from_url(url, refresh_seconds=quiet))
    except QueueError as error:
        refuse(str(error))
