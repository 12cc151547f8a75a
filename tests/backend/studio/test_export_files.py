import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from backend.studio import export
from backend.studio.export import Reading
from dgl_rsis.types import Json
from tests.backend.studio.exports import annotation, box, brushed, mask_of, region, task

SQUARE = {"points": [[20, 20], [50, 20], [50, 60], [20, 60]]}
DRAWN = box(8, 12, 24, 30)


def row(identity: int, number: int, **controls: list[Json]) -> Json:
    """As JSON_MIN has an annotation: the values of a control's regions, with the image's size."""
    size = {"original_width": 60, "original_height": 40}
    held = {name: [{**value, **size} for value in values] for name, values in controls.items()}
    return {
        "image": f"/data/upload/1/{identity}.png", "id": identity, **held, "annotator": 3,
        "annotation_id": number, "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-02T00:00:00Z", "lead_time": 2.5,
    }  # fmt: skip


def rows() -> list[Json]:
    rle = brushed(DRAWN, "road")["value"]
    return [
        row(1, 10, poly=[{**SQUARE, "polygonlabels": ["roof"]}], mask=[rle]),
        row(1, 11, mask=[rle]),
        row(2, 12),
        row(3, 13, shape=[SQUARE], kinds=[{**SQUARE, "labels": ["roof"]}]),
    ]


def table(every: list[Json], delimiter: str) -> str:
    file = io.StringIO()
    names = list(dict.fromkeys(key for each in every for key in each))
    writer = csv.DictWriter(file, names, delimiter=delimiter)
    writer.writeheader()
    for each in every:
        writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in each.items()})
    return file.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", ["JSON_MIN", "CSV", "TSV"])
def test_rows_hold_enough_of_what_was_marked(tmp_path: Path, form: str, encoding: str) -> None:
    every = rows()
    text = {
        "JSON_MIN": json.dumps(every), "CSV": table(every, ","), "TSV": table(every, "\t"),
    }[form]  # fmt: skip
    path = tmp_path / "export"
    path.write_text(text, encoding)
    reading = Reading(measure=lambda reference: (40, 60))
    items = list(export.read(path, reading))
    assert not reading.findings.problems
    assert [item.task_id for item in items] == [1, 2, 3]
    assert [item.image for item in items] == [f"/data/upload/1/{n}.png" for n in (1, 2, 3)]
    assert [[one.id for one in item.annotations] for item in items] == [[10, 11], [12], [13]]
    marked = [[r for one in item.annotations for r in one.regions] for item in items]
    assert [[r.label for r in each] for each in marked] == [["roof", "road", "road"], [], ["roof"]]
    for each in (one for held in marked for one in held):
        np.testing.assert_array_equal(mask_of(each.runs), DRAWN)
    assert {one.annotator for item in items for one in item.annotations} == {"3"}
    assert not any(one.start_known for item in items for one in item.annotations)


def test_lines_are_tasks(tmp_path: Path) -> None:
    path = tmp_path / "export.ndjson"
    every = [task(number, annotation(brushed(DRAWN, "road"))) for number in (1, 2)]
    path.write_text("\n".join(json.dumps(each) for each in every) + "\n\n")
    assert [item.task_id for item in export.read(path)] == [1, 2]


def test_annotations_may_be_called_completions(tmp_path: Path) -> None:
    old = task(1)
    del old["annotations"]
    old["completions"] = [annotation(region("polygonlabels", ["roof"], SQUARE))]
    path = tmp_path / "export.json"
    path.write_text(json.dumps([old]))
    (item,) = export.read(path)
    assert [each.label for each in item.annotations[0].regions] == ["roof"]
