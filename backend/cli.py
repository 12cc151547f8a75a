"""The command `dgl-rsis`."""

import importlib
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from backend import evaluate as evaluation
from backend import models
from backend.refusals import refuse, refuse_known
from backend.settings import Settings
from workers.settings import QueueSettings, WorkerSettings

AnySettings = TypeVar("AnySettings", bound=QueueSettings)

LOG = logging.getLogger("backend.cli")  # `__name__` is "__main__" under python -m
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
OURS = ("backend", "workers", "dgl_rsis")

app = typer.Typer(
    help="DGL-RSIS pre-labels remote-sensing images in Label Studio with masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(models.app, name="models")

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
    data: Data = Path(".dgl-rsis"),
) -> None:
    """Run everything on this machine: queue, workers and web server."""
    from backend import up as everything
    from workers.embedded import EmbeddedServerError

    settings = _settings(host, port)
    _read(WorkerSettings, {})  # else it is the workers that refuse them, again and again
    _log(settings.log_level, "%(message)s")
    try:
        status = everything.run(settings, data, state)
    except EmbeddedServerError as error:
        refuse(str(error))
    raise typer.Exit(status)


@app.command()
def serve(host: Host = None, port: Port = None, state: State = None) -> None:
    """Run the web server that Label Studio calls."""
    from backend.server import Server, write_state

    settings = _settings(host, port)
    _log(settings.log_level, LOG_FORMAT)
    _require_queue(settings)

    def listening(address: str) -> None:
        LOG.info("listening at %s", address)
        if state is not None:
            write_state(state, url=address)

    Server(settings, listening).run()


@app.command()
def worker(
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Answer people who wait, and nobody else.")
    ] = False,
) -> None:
    """Run a segment worker: it holds the models and owns the device (env DEVICE, MODEL, …)."""
    _run("workers.warm", "run_interactive_worker" if interactive else "run_segment_worker")


@app.command()
def deliver() -> None:
    """Run a delivery worker: it pushes predictions to Label Studio when they are ready."""
    _run("workers.delivery", "run_delivery_worker")


@app.command()
def segment(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    labels: Annotated[str, typer.Option(help='As in "building,road,water".')] = "",
    config: Annotated[
        Path | None, typer.Option(help="A Label Studio label config (XML) instead of --labels.")
    ] = None,
    expression: Annotated[
        str, typer.Option(help='Find this instead of classes: "the white tank on the left".')
    ] = "",
    top_k: Annotated[int, typer.Option(min=1, help="Candidates for the expression.")] = 3,
    explain: Annotated[bool, typer.Option(help="Draw the activation maps, too.")] = False,
    model: Annotated[str | None, typer.Option(help="As the variable MODEL.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda:0 (env DEVICE).")] = None,
) -> None:
    """Segment images, without queue or server: into classes, or by one expression."""
    from backend import local

    settings = _local_settings(model, device)
    rest = (
        out, settings.model, settings.device, settings.max_image_pixels, settings.proposals
    )  # fmt: skip
    try:
        if expression:
            if labels or config:
                refuse("give --expression alone: its own noun says what to look for")
            status = local.refer(local.ReferringRun(images, expression, top_k, explain, *rest))
        else:
            status = local.run(local.LocalRun(images, local.read_config(labels, config), *rest))
    except (local.LocalError, OSError) as error:
        refuse(str(error))
    except ValueError as error:
        refuse_known(error)
    raise typer.Exit(status)


@app.command()
def parse() -> None:
    """Split expressions, one a line on standard input, into noun, modifiers and anchors (JSON)."""
    from backend import local

    for line in local.parse(text.rstrip("\n") for text in sys.stdin):
        sys.stdout.write(line + "\n")


@app.command()
def evaluate(
    task: Annotated[evaluation.Task, typer.Argument(help="What to measure.")],
    dataset: Annotated[str, typer.Argument(help="NAME or NAME:FOLDER; see README.")],
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
    model: Annotated[str | None, typer.Option(help="As the variable MODEL.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda:0 (env DEVICE).")] = None,
) -> None:
    """Measure on a labelled data set, with the whole ladder of what each stage adds."""
    settings = _local_settings(model, device)
    run = evaluation.EvaluationRun(
        task, dataset, split, limit, per_image, piece, top_k, thing, min_area, json, plot,
        settings.model, settings.device,
    )  # fmt: skip
    try:
        status = evaluation.run(run)
    except OSError as error:
        refuse(str(error))
    except ValueError as error:
        refuse_known(error)
    raise typer.Exit(status)


def _settings(host: str | None, port: int | None) -> Settings:
    """Settings from the environment; options of the command line win."""
    given = {"host": host, "port": port}
    return _read(Settings, {name: value for name, value in given.items() if value is not None})


def _local_settings(model: str | None, device: str | None) -> WorkerSettings:
    """The same for a command that works in this process; it logs for people."""
    given = {"model": model, "device": device}
    settings = _read(WorkerSettings, {k: v for k, v in given.items() if v is not None})
    _log(settings.log_level, "%(message)s")
    return settings


def _read(kind: type[AnySettings], given: dict[str, Any]) -> AnySettings:
    try:
        return kind(**given)
    except ValidationError as error:
        wrong = [(".".join(map(str, e["loc"])).upper(), e["msg"]) for e in error.errors()]
        refuse("; ".join(f"{name}: {message}" if name else message for name, message in wrong))


def _log(level: str, form: str) -> None:
    """Log what we say from `level` up, and of the libraries only their warnings."""
    logging.basicConfig(level=logging.WARNING, format=form)
    for package in OURS:
        logging.getLogger(package).setLevel(level)


def _run(module: str, function: str) -> None:
    """Run a worker; its module is imported here, since it may load torch."""
    from workers.queues import QueueError, reaching_redis

    settings = _read(WorkerSettings, {})
    _log(settings.log_level, LOG_FORMAT)
    _require_queue(settings)
    try:
        with reaching_redis():
            status = getattr(importlib.import_module(module), function)(settings)
    except QueueError as error:
        LOG.critical("%s", error)
        raise typer.Exit(1) from None  # it may come back: whoever supervises starts this again
    except Exception as error:
        refuse_known(error)
    raise typer.Exit(status)


def _require_queue(settings: QueueSettings) -> None:
    if settings.redis_url is None:
        refuse(
            "REDIS_URL is not set: give the address of a Redis or Valkey server, such as "
            "redis://127.0.0.1:6379/0, or run `dgl-rsis up`, which starts one"
        )


def main() -> None:
    """Entry point of the command."""
    app(prog_name="dgl-rsis")


if __name__ == "__main__":
    main()
