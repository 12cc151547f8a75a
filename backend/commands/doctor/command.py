"""The command `dgl-rsis doctor`."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from backend.commands import options
from backend.commands.doctor import environment, machine, queue, studio
from backend.commands.doctor.findings import Finding, State, examine
from backend.web.settings import Settings
from workers.logs import Redaction
from workers.processes.embedded import running_server
from workers.queue.client import SegmentClient
from workers.settings import SharedSettings, WorkerSettings

MARKS = {State.GOOD: "ok", State.NOTE: "note", State.WRONG: "WRONG"}
COLOURS = {State.GOOD: "green", State.NOTE: "yellow", State.WRONG: "red"}
WRONG = 1  # exit status


def doctor(
    project: Annotated[
        list[int] | None, typer.Option(min=1, help="Only this one, which has to be connected.")
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Address of the web server, if not HOST and PORT.")
    ] = "",
    data: Annotated[Path, typer.Option(help="Folder of the embedded Valkey.")] = options.DATA,
    as_json: Annotated[bool, typer.Option("--json", help="A list of findings.")] = False,
) -> None:
    """Look for what is wrong: settings, Label Studio, queue, processes, weights, memory, GPU.

    Run it with the environment of the servers. Ends with 1 when something is wrong.
    """
    logging.disable(logging.WARNING)  # what the checks say is in their findings
    found = []
    for finding in findings(project or [], backend, data):
        found.append(finding)
        if not as_json:
            _print(finding)
    wrong = sum(each.state is State.WRONG for each in found)
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    else:
        notes = sum(each.state is State.NOTE for each in found)
        sys.stdout.write(f"{wrong} wrong, {notes} to note\n")
        sys.stdout.flush()
    # Not by `typer.Exit`: a check that did not come back would hold up the end.
    sys.stdout.flush()
    os._exit(WRONG if wrong else 0)


def findings(projects: list[int], backend: str, data: Path) -> Iterator[Finding]:
    """All that is found, as it is found, without secrets.

    Args:
        projects: Label Studio's ids; none for those that are connected.
        backend: address of the web server; empty for that of the settings.
        data: folder of the embedded Valkey.
    """
    yield from examine(environment.TOPIC, environment.check)
    try:
        settings, of_workers = Settings(), WorkerSettings()
    except ValidationError:
        return  # said already; without them nothing else can be looked at
    hidden = Redaction(settings.secrets)
    url = _queue_url(settings, data)
    checks = [] if url is None else [(queue.SERVER, partial(queue.check, url, settings))]
    if url is None:
        yield Finding(
            queue.SERVER, State.WRONG, "REDIS_URL is not set, and no `dgl-rsis up` runs here",
            "start `dgl-rsis up`, or give the address of the queue's server",
        )  # fmt: skip
    workers = settings.workers + settings.interactive_workers
    client = None if url is None else SegmentClient.from_url(url)
    checks += [
        (queue.WEB, partial(queue.check_web, settings, backend)),
        (studio.TOPIC, partial(studio.check, settings, client, projects)),
        (machine.WEIGHTS, partial(machine.check, of_workers, workers, data)),
    ]
    for topic, check in checks:
        for finding in examine(topic, check):
            yield Finding(
                finding.topic, finding.state, hidden(finding.said), hidden(finding.way_out)
            )


def _queue_url(settings: SharedSettings, data: Path) -> str | None:
    """The queue's address; None where there is none, or more than one."""
    if settings.redis_url is not None:
        return settings.redis_url
    return running_server(data) or options.only_running()


def _print(finding: Finding) -> None:
    mark = typer.style(MARKS[finding.state].ljust(5), fg=COLOURS[finding.state])
    typer.echo(f"{mark} {finding.topic}: {finding.said}")
    if finding.way_out:
        typer.echo(f"      → {finding.way_out}")
