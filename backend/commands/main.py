"""The command `dgl-rsis`."""

import logging
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from backend.commands import evaluate as evaluation
from backend.commands import options
from backend.commands.lazy import STYLE, Commands
from backend.commands.options import OURS, Device, Model
from backend.commands.refusals import DISK, REFUSED, refuse, refuse_known, told
from backend.web.settings import Settings
from workers.extras import way_out
from workers.settings import SharedSettings, WorkerSettings

LOG = logging.getLogger("backend.commands.main")  # `__name__` is "__main__" under python -m

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    **STYLE,
)


def tell_version(asked: bool) -> None:
    """Say which version is installed, and end."""
    if asked:
        typer.echo(f"dgl-rsis {metadata.version('dgl-rsis')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=tell_version, is_eager=True, help="Say which version this is."
        ),
    ] = False,
) -> None:
    """DGL-RSIS pre-labels remote-sensing images in Label Studio with masks."""


Host = Annotated[str | None, typer.Option(help="Address to listen on (env HOST).")]
Port = Annotated[int | None, typer.Option(help="Port; 0 takes a free one (env PORT).")]
State = Annotated[
    Path | None, typer.Option(help="JSON file to write the address to, once it is known.")
]
Data = Annotated[Path, typer.Option(help="Folder of the embedded Valkey; for no REDIS_URL.")]


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    state: State = None,
    data: Data = options.DATA,
) -> None:
    """Run everything on this machine: queue, workers and web server."""
    from backend.commands.up import run
    from workers.processes.children import SocketPathError
    from workers.processes.embedded import EmbeddedServerError

    settings = options.read(Settings, host=host, port=port)
    options.read(WorkerSettings)  # else it is the workers that refuse them, endlessly
    options.log(settings, "json" if settings.log_format == "json" else None)
    try:
        status = run.run(settings, data, state)
    except (EmbeddedServerError, SocketPathError) as error:
        refuse(str(error))
    raise typer.Exit(status)


@app.command()
def serve(host: Host = None, port: Port = None, state: State = None) -> None:
    """Run the web server that Label Studio calls."""
    from backend.web.server import BindError, Server, write_state

    settings = options.read(Settings, host=host, port=port)
    options.log(settings, settings.log_format)
    _require_queue(settings)

    def listening(address: str) -> None:
        LOG.info("listening at %s", address)
        if state is not None:
            write_state(state, url=address)

    try:
        Server(settings, listening).run()
    except BindError as error:
        LOG.critical("%s", error)
        raise typer.Exit(1) from None  # whoever supervises starts this again


@app.command()
def worker(
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Answer people who wait, and nobody else.")
    ] = False,
) -> None:
    """Run a segment worker: it holds the models and owns the device (env DEVICE, MODEL, …)."""

    def work(settings: WorkerSettings) -> int:
        from workers.processes import memory

        memory.leave_out_compiler()
        from workers.processes import segment  # torch

        return (
            segment.run_interactive_worker(settings)
            if interactive
            else (segment.run_segment_worker(settings))
        )

    _run(work)


@app.command()
def deliver() -> None:
    """Run a delivery worker: it pushes predictions to Label Studio when they are ready."""
    from workers.processes import delivery

    _run(delivery.run_delivery_worker)


@app.command()
def evaluate(
    task: Annotated[evaluation.Task, typer.Argument(help="What to measure.")],
    dataset: Annotated[str, typer.Argument(help="NAME or NAME:FOLDER; see docs/MODELS.md.")],
    split: Annotated[str | None, typer.Option(help="Part of it, such as val or 6.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many only.")] = None,
    per_image: Annotated[
        int | None, typer.Option(min=1, help="The first so many expressions of an image.")
    ] = None,
    piece: Annotated[
        int | None, typer.Option(min=0, help="Cut larger images into this side; 0 never.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Answers that count for the oracle.")] = 3,
    thing: Annotated[str, typer.Option(help="Whose objects proposals must cover.")] = "building",
    min_area: Annotated[int, typer.Option(min=1, help="Smaller objects do not count.")] = 100,
    json: Annotated[Path | None, typer.Option(help="File for all numbers.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Folder for pictures.")] = None,
    labels: Annotated[
        str, typer.Option(help="Asked for instead of those that are usual for the data set.")
    ] = "",
    model: Model = None,
    device: Device = None,
) -> None:
    """Measure on a labelled data set, with the whole ladder of what each stage adds."""
    settings = options.local(model, device)
    run = evaluation.EvaluationRun(
        task, dataset, split, limit, per_image, piece, top_k, thing, min_area, json, plot,
        labels, settings,
    )  # fmt: skip
    try:
        status = evaluation.run(run)
    except OSError as error:
        refuse(told(error))
    except ValueError as error:
        refuse_known(error)
    raise typer.Exit(status)


def _run(work: Callable[[WorkerSettings], int]) -> None:
    """Run a worker by the settings of the environment, until it ends."""
    from workers.queue.connection import QueueError, reaching_redis

    settings = options.read(WorkerSettings)
    options.log(settings, settings.log_format)
    _require_queue(settings)
    try:
        with reaching_redis():
            status = work(settings)
    except QueueError as error:
        if not error.passes:
            refuse(str(error))
        LOG.critical("%s", error)
        raise typer.Exit(1) from None  # it may come back: whoever supervises starts this again
    except Exception as error:
        refuse_known(error)
    raise typer.Exit(status)


def _require_queue(settings: SharedSettings) -> None:
    if settings.redis_url is None:
        refuse(
            "REDIS_URL is not set: give the address of a Redis or Valkey server, such as "
            "redis://127.0.0.1:6379/0, or run `dgl-rsis up`, which starts one"
        )


def main() -> None:
    """Entry point of the command."""
    try:
        app(prog_name="dgl-rsis")
    except OSError as error:  # of a disk that fills up or fails while a command runs
        if error.errno not in DISK:
            raise
        typer.echo(f"dgl-rsis: {told(error)}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in OURS:
            raise
        needed = (
            f"dgl-rsis: this needs {error.name}, which is not installed here: {way_out(error.name)}"
        )
        typer.echo(needed, err=True)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
