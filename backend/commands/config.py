"""`dgl-rsis config`: writes a label config for this backend, or says what becomes of one."""

import json as json_of
import sys
from pathlib import Path
from typing import Annotated

import typer

from backend.commands import check, options, words
from backend.commands.labels import NOTHING_ASKED, LabelsError, config_text, read_names
from backend.commands.options import Labels
from backend.commands.refusals import DISK, refuse, told
from backend.project import label_config
from backend.project.interface import Wanted, write
from dgl_rsis.names import names_background
from dgl_rsis.types import Label
from workers.settings import WorkerSettings


def config(
    labels: Labels = "",
    polygons: Annotated[
        bool, typer.Option("--polygons", help="Outlines instead of brush masks.")
    ] = False,
    instances: Annotated[
        bool, typer.Option("--instances", help="One region an object instead of one a class.")
    ] = False,
    expression: Annotated[
        bool, typer.Option("--expression", help="Tasks carry a sentence under `expression`.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("--check", help="Say what becomes of this label config (XML) instead."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="With --check: file for all that.")] = None,
) -> None:
    """Print a label config that is ready to use, or check one, label by label."""
    if file is not None:
        if labels or polygons or instances or expression:
            refuse("give --check FILE alone, or with --json: it changes nothing in the file")
        raise typer.Exit(_check(file, json))
    if json is not None:
        refuse("--json goes with --check FILE")
    try:
        names = read_names(labels)
    except LabelsError as error:
        refuse(f"{error}; or --check FILE" if not labels else str(error))
    asked = [Label(name) for name in names if not names_background(name)]
    if not asked:
        refuse(f"--labels {labels!r}: {NOTHING_ASKED}")
    for sentence in (*words.left_out(asked, _model()), *words.competing(asked)):
        typer.echo(f"dgl-rsis: {sentence}", err=True)
    xml = write(Wanted(names, polygons, instances, expression))
    problems = label_config.parse(xml).problems
    if problems:
        refuse(" ".join(problems))
    sys.stdout.write(xml)


def _model() -> str:
    return options.read(WorkerSettings).model


def _check(file: Path, json: Path | None) -> int:
    """Write what becomes of a config; the exit status."""
    try:
        text = config_text(file)
    except LabelsError as error:
        refuse(str(error))
    checked = check.check(text, _model())
    sys.stdout.write(check.table(checked))
    if json is not None:
        text = json_of.dumps(checked.to_json(), ensure_ascii=False, indent=1)
        try:
            json.parent.mkdir(parents=True, exist_ok=True)
            json.write_text(text + "\n", "utf-8")
        except OSError as error:
            refuse(told(error) if error.errno in DISK else f"{json}: {error.strerror}")
    return 0 if checked.usable else 1
