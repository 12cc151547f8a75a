"""`dgl-rsis config`: writes a label config for this backend, or says what becomes of one."""

import json as json_of
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from xml.sax.saxutils import quoteattr

import typer

from backend.commands import check
from backend.commands.labels import LabelsError, config_text, read_names
from backend.commands.options import Labels
from backend.commands.refusals import refuse
from backend.project import colours, label_config
from dgl_rsis.names import names_background

PLACEHOLDER = "Find one thing, with Auto-Annotation on: the large building on the left"


@dataclass(frozen=True)
class Wanted:
    """What a label config should have.

    Attributes:
        names: labels, each once.
        polygons: outlines instead of brush masks.
        instances: one region an object instead of one a class.
        expression: tasks carry a sentence that says what to find.
    """

    names: Sequence[str]
    polygons: bool = False
    instances: bool = False
    expression: bool = False


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
    xml = write(Wanted(names, polygons, instances, expression))
    problems = label_config.parse(xml).problems
    if problems:
        refuse(" ".join(problems))
    sys.stdout.write(xml)


def write(wanted: Wanted) -> str:
    """The label config: masks, smart keypoint and box with the same labels, and a prompt field."""
    palette = colours.colours(wanted.names)
    asked = [n for n in wanted.names if not names_background(n)]
    tag = "PolygonLabels" if wanted.polygons else "BrushLabels"
    mode = ' model_mode="instance"' if wanted.instances else ""
    smart = 'smart="true" smartOnly="true"'
    lines = [
        "<View>",
        *(['  <Text name="expression" value="$expression"/>'] if wanted.expression else []),
        '  <Image name="image" value="$image" zoom="true" zoomControl="true"/>',
        *_control(f'{tag} name="mask" toName="image"{mode}', wanted.names, palette),
        *_control(f'KeyPointLabels name="click" toName="image" {smart}', asked, palette),
        # Without model_skip it would be filled with a box around each object.
        *_control(
            f'RectangleLabels name="box" toName="image" {smart} model_skip="true"', asked, palette
        ),
        '  <TextArea name="prompt" toName="image" editable="true" rows="1" maxSubmissions="1"',
        f"            placeholder={quoteattr(PLACEHOLDER)}/>",
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def _control(start: str, names: Sequence[str], palette: dict[str, str]) -> list[str]:
    inside = [
        f"    <Label value={quoteattr(name)} background={quoteattr(palette[name])}/>"
        for name in names
    ]
    return [f"  <{start}>", *inside, f"  </{start.split()[0]}>"]


def _check(file: Path, json: Path | None) -> int:
    """Write what becomes of a config; the exit status."""
    try:
        text = config_text(file)
    except LabelsError as error:
        refuse(str(error))
    checked = check.check(text)
    sys.stdout.write(check.table(checked))
    if json is not None:
        text = json_of.dumps(checked.to_json(), ensure_ascii=False, indent=1)
        try:
            json.parent.mkdir(parents=True, exist_ok=True)
            json.write_text(text + "\n", "utf-8")
        except OSError as error:
            refuse(f"{json} cannot be written: {error.strerror}")
    return 0 if checked.usable else 1
