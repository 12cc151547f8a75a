"""Files that Label Studio exports → tasks, whatever their format, one by one.

JSON holds tasks. A line of NDJSON is one. JSON_MIN, CSV and TSV have a row for each annotation, in
which the regions of a control stand under its name, without their types and ids: that is enough to
draw them. Other formats have lost what was marked, or where, and are answered with the way out.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from backend.regions.findings import ExportError
from backend.regions.geometry import LABELS
from backend.regions.results import form_held
from backend.studio import json_stream
from dgl_rsis.types import Json

WAY_OUT = "in Label Studio, export the project as JSON"
HEAD_BYTES = 4096
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
ARCHIVE = b"PK\x03\x04"
# Of a row, what is neither the task's data nor a control.
OF_ANNOTATION = frozenset({"id", "annotator", "annotation_id", "created_at", "updated_at"})
LONGEST_CELL = 2**30  # characters: the run lengths of all masks of an image


def tasks_in(path: Path) -> Iterator[Json]:
    """The tasks of a file that Label Studio exported; it is never held as a whole.

    Raises:
        ExportError: no such file, or nothing that holds what was marked.
    """
    head = _head(path)
    if head.startswith(ARCHIVE):
        raise ExportError(f"{path} is an archive (ZIP): {WAY_OUT}, or unpack it")
    encoding = "utf-16" if head.startswith(UTF_16) else "utf-8-sig"
    text = head.decode(encoding, "replace").lstrip("\ufeff").lstrip()
    if text.startswith("["):
        yield from _of_list(path, encoding)
    elif text.startswith("{"):
        yield from _of_lines(path, encoding)
    elif text.startswith("<"):
        raise ExportError(f"{path} is XML, as of Pascal VOC: {WAY_OUT}")
    else:
        yield from _of_table(path, encoding)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from None


def _of_list(path: Path, encoding: str) -> Iterator[Json]:
    """JSON or JSON_MIN: what the first element is, all are."""
    every = json_stream.elements(path, encoding)
    first = next(every, None)
    if first is None:
        return
    if isinstance(first, dict) and "data" in first:
        yield first
        yield from (each if isinstance(each, dict) else {} for each in every)
    elif isinstance(first, dict) and "annotation_id" in first:
        yield from _of_rows([first], every)
    else:
        raise ExportError(
            f"{path} begins with what is no task with data and annotations: {WAY_OUT}"
        )


def _of_lines(path: Path, encoding: str) -> Iterator[Json]:
    """NDJSON: a task a line."""
    with path.open(encoding=encoding) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                task = json.loads(line)
            except (ValueError, RecursionError):
                task = None
            if not isinstance(task, dict) or "data" not in task:
                raise ExportError(
                    f"{path} is one object, or lines of them that are no tasks (line {number}), as "
                    f"of COCO: {WAY_OUT}"
                )
            yield task


def _of_table(path: Path, encoding: str) -> Iterator[Json]:
    """CSV or TSV, as Label Studio writes it: a row an annotation."""
    csv.field_size_limit(LONGEST_CELL)
    try:
        with path.open(encoding=encoding, newline="") as file:
            header = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter="\t" if "\t" in header else ",")
            if "annotation_id" not in (rows.fieldnames or ()):
                raise ExportError(
                    f"{path} is no export of Label Studio with what was marked (JSON, NDJSON, "
                    f"JSON_MIN, CSV or TSV): {WAY_OUT}"
                )
            yield from _of_rows([], map(_cells, rows))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExportError(f"{path} cannot be read as a table ({error}): {WAY_OUT}") from None


def _cells(row: Mapping[str, Any]) -> Json:
    """The cells of a row of a table; empty ones are not there, lists and numbers are such."""
    return {key: _cell(text) for key, text in row.items() if isinstance(text, str) and text}


def _cell(text: str) -> Any:
    if not text.startswith(("[", "{")) and not text.isdigit():
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _of_rows(first: Iterable[Any], others: Iterable[Any]) -> Iterator[Json]:
    """Tasks of rows; those of one task follow each other."""

    def all_rows() -> Iterator[Json]:
        yield from (row for every in (first, others) for row in every if isinstance(row, dict))

    for identity, rows in groupby(all_rows(), key=lambda row: row.get("id", object())):
        annotations: list[Json] = []
        data: Json = {}
        for row in rows:
            annotation, data = _annotation(row)
            annotations.append(annotation)
        named = {"id": identity} if isinstance(identity, int | str) else {}
        yield {**named, "data": data, "annotations": annotations}


def _annotation(row: Json) -> tuple[Json, Json]:
    """The annotation of a row, and the data of its task."""
    results = {key: held for key, each in row.items() if (held := _results(key, each))}
    data = {
        key: each for key, each in row.items() if key not in results and key not in OF_ANNOTATION
    }
    annotation = {
        "id": row.get("annotation_id"),
        "completed_by": row.get("annotator"),
        "created_at": row.get("created_at"),
        "updated_at": row.get("updated_at"),
        "result": [region for held in results.values() for region in held],
    }
    return annotation, data


def _results(control: str, held: Any) -> list[Json]:
    """The regions that a control holds in a row; none where it is no control of regions."""
    values = held if isinstance(held, list) else []
    if not values or not all(isinstance(value, dict) and form_held(value) for value in values):
        return []
    return [
        {
            "from_name": control,
            "type": _type(value),
            "original_width": value.get("original_width"),
            "original_height": value.get("original_height"),
            "value": value,
            **({"item_index": value["item_index"]} if "item_index" in value else {}),
        }
        for value in values
    ]


def _type(value: Json) -> str:
    return next((key for key in value if key.endswith(LABELS)), form_held(value))
