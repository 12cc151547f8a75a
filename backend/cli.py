"""The command `dgl-rsis`."""

import importlib
import logging
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from backend.settings import Settings
from workers.settings import QueueSettings, WorkerSettings

AnySettings = TypeVar("AnySettings", bound=QueueSettings)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

# Sub-commands of the algorithm's package: imported when called, so that no other command loads
# torch. Name → help.
ALGORITHM = "dgl_rsis.cli"
ALGORITHM_COMMANDS = {
    "segment": "Segment images into classes, without queue or server.",
}

app = typer.Typer(
    help="DGL-RSIS pre-labels remote-sensing images in Label Studio with masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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
        _refuse(str(error))
    raise typer.Exit(status)


@app.command()
def serve(host: Host = None, port: Port = None, state: State = None) -> None:
    """Run the web server that Label Studio calls."""
    from backend.server import Server, write_state

    settings = _settings(host, port)
    _log(settings.log_level, LOG_FORMAT)
    _require_queue(settings)

    def listening(address: str) -> None:
        logging.getLogger(__name__).info("listening at %s", address)
        if state is not None:
            write_state(state, url=address)

    Server(settings, listening).run()


@app.command()
def worker() -> None:
    """Run a segment worker: it holds the model and owns the device (env DEVICE, MODEL)."""
    _run("workers.warm", "run_segment_worker")


@app.command()
def deliver() -> None:
    """Run a delivery worker: it pushes predictions to Label Studio when they are ready."""
    _run("workers.delivery", "run_delivery_worker")


def _add_algorithm_commands() -> None:
    for name, summary in ALGORITHM_COMMANDS.items():
        app.command(
            name,
            help=summary,
            add_help_option=False,  # its own --help knows its options
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )(_forward)


def _forward(context: typer.Context) -> None:
    """Hand the rest of the command line to the command of that name in the algorithm's package."""
    name = str(context.info_name)
    commands = importlib.import_module(ALGORITHM).commands
    typer.main.get_group(commands).main([name, *context.args], prog_name="dgl-rsis")


def _settings(host: str | None, port: int | None) -> Settings:
    """Settings from the environment; options of the command line win."""
    given = {"host": host, "port": port}
    return _read(Settings, {name: value for name, value in given.items() if value is not None})


def _read(kind: type[AnySettings], given: dict[str, Any]) -> AnySettings:
    try:
        return kind(**given)
    except ValidationError as error:
        wrong = [(".".join(map(str, e["loc"])).upper(), e["msg"]) for e in error.errors()]
        _refuse("; ".join(f"{name}: {message}" if name else message for name, message in wrong))


def _log(level: str, form: str) -> None:
    logging.basicConfig(level=level, format=form)


def _run(module: str, function: str) -> None:
    """Run a worker; its module is imported here, since it may load torch."""
    settings = _read(WorkerSettings, {})
    _log(settings.log_level, LOG_FORMAT)
    _require_queue(settings)
    raise typer.Exit(getattr(importlib.import_module(module), function)(settings))


def _require_queue(settings: QueueSettings) -> None:
    if settings.redis_url is None:
        _refuse(
            "REDIS_URL is not set: give the address of a Redis or Valkey server, such as "
            "redis://127.0.0.1:6379/0, or run `dgl-rsis up`, which starts one"
        )


def _refuse(message: str) -> NoReturn:
    typer.echo(f"dgl-rsis: {message}", err=True)
    raise typer.Exit(2)


_add_algorithm_commands()


def main() -> None:
    """Entry point of the command."""
    app(prog_name="dgl-rsis")


if __name__ == "__main__":
    main()
