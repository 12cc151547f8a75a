"""What an annotation teaches, as Label Studio has it."""

import contextlib
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.project.tasks import TaskError
from backend.regions import brush
from backend.studio.corrections import to_learn
from dgl_rsis.runs import Runs, from_runs, to_runs
from tests.backend.worker_end import XML
from tests.loading import MODELS, SCENES, loads_none_of
from tests.paths import PAYLOADS, ROOT
from workers.messages import LearnRequest

SHIP = np.zeros((64, 64), dtype=bool)
SHIP[10:30, 20:50] = True
TASK = {"id": 5, "data": {"image": "/data/upload/1/8885ccc6-t1.png"}}
PROJECT = {"id": 1, "label_config": XML}


def brush_region(mask: Any = SHIP, label: str = "ship", **values: Any) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "id": "reg1",
        "from_name": "brush",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "origin": "prediction",
        "value": {
            "format": "rle",
            "rle": brush.encode(to_runs(mask)),
            "brushlabels": [label],
        },
    } | values


def annotation(*regions: Any, **values: Any) -> dict[str, Any]:
    """As recorded from Label Studio 1.23.2."""
    return {
        "id": 11,
        "result": list(regions or [brush_region()]),
        "was_cancelled": False,
        "updated_at": "2026-11-23T07:46:22.714609Z",
        "task": 5,
        "project": 1,
        "completed_by": 1,
        "parent_prediction": None,
    } | values


def learnt(content: Any, predicted: Any = None, xml: str = XML) -> LearnRequest:
    return to_learn(content, TASK, PROJECT | {"label_config": xml}, predicted)


def test_an_annotation_becomes_something_to_learn_from() -> None:
    road = np.zeros((64, 64), dtype=bool)
    road[40:44] = True
    request = learnt(annotation(brush_region(), brush_region(road, "water")))
    assert (request.project, request.annotation, request.task_id) == ("1", "11", "5")
    assert request.image == "/data/upload/1/8885ccc6-t1.png"
    assert request.stamp == 1_795_419_982_714_609
    assert [(label, from_runs(runs).sum()) for label, runs in request.regions] == [
        ("ship", 600),
        ("water", 256),
    ]


def test_other_shapes_count_too_and_what_is_no_mask_does_not() -> None:
    rectangle = brush_region(type="rectanglelabels") | {
        "value": {"x": 25, "y": 25, "width": 50, "height": 50, "rectanglelabels": ["ship"]}
    }
    keypoint = brush_region(type="keypointlabels") | {
        "value": {"x": 25, "y": 25, "width": 1, "keypointlabels": ["ship"]}
    }
    broken = brush_region() | {"value": {"format": "rle", "rle": [1, 2], "brushlabels": ["ship"]}}
    request = learnt(annotation(rectangle, keypoint, broken, "junk"))
    ((label, runs),) = request.regions
    assert (label, sum(runs.counts[1::2])) == ("ship", 32 * 32)


@pytest.mark.parametrize(
    "content", [annotation(was_cancelled=True), annotation(result=[]), annotation("junk")]
)
def test_what_teaches_nothing_takes_the_former_share_away(content: Any) -> None:
    assert learnt(content).regions == ()


ROAD = np.zeros((64, 64), dtype=bool)
ROAD[40:44] = True
PREDICTED = [brush_region(id="a"), brush_region(ROAD, "water", id="b")]


@pytest.mark.parametrize(
    ("changed", "taught"),
    [
        (PREDICTED, ["ship", "water"]),
        ([PREDICTED[0], PREDICTED[1] | {"origin": "prediction-changed"}], ["water"]),
        ([PREDICTED[0]], []),  # the water was deleted, and nobody looked at the ship
        ([*PREDICTED, brush_region(id="c", origin="manual")], ["ship", "ship"]),
    ],
)
def test_only_classes_that_the_person_touched_teach(changed: Any, taught: list[str]) -> None:
    request = learnt(annotation(result=changed), {"id": 3, "result": PREDICTED})
    assert [label for label, _ in request.regions] == taught


BOX = {
    **brush_region(type="rectanglelabels", id="stray", from_name="box", origin="manual"),
    "value": {"x": 0, "y": 0, "width": 100, "height": 100, "rectanglelabels": ["ship"]},
}
POINT = {
    **BOX,
    "type": "keypointlabels",
    "value": {"x": 25, "y": 25, "width": 1, "keypointlabels": ["ship"]},
}
OVAL = {
    **BOX,
    "type": "ellipselabels",
    "value": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 20, "ellipselabels": ["ship"]},
}
ASKING = XML.replace(
    "</View>",
    '<RectangleLabels name="box" toName="image" smart="true" model_skip="true">'
    '<Label value="ship"/></RectangleLabels></View>',
)


@pytest.mark.parametrize("stray", [BOX, POINT, OVAL])
@pytest.mark.parametrize("known", [True, False], ids=["with prediction", "without"])
def test_what_a_prompt_left_behind_neither_teaches_nor_changes(stray: Any, known: bool) -> None:
    predicted = {"id": 3, "result": PREDICTED} if known else None
    taught = learnt(annotation(result=[*PREDICTED, stray]), predicted, ASKING).regions
    assert [(label, from_runs(runs).sum()) for label, runs in taught] == [
        ("ship", 600),
        ("water", 256),
    ]


def test_what_does_not_say_where_it_stands_counts() -> None:
    nowhere = brush_region()
    del nowhere["from_name"]
    for region in (nowhere, brush_region(from_name="elsewhere")):
        assert [label for label, _ in learnt(annotation(region)).regions] == ["ship"]


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["id", "data", "result", "image", "type", "value", "original_width", "x"]
                ),
                x,
            )
        ),
        max_leaves=20,
    )
)
def test_no_result_raises_anything_else(junk: Any) -> None:
    with contextlib.suppress(TaskError):
        learnt(annotation(result=junk), {"result": junk})
    with contextlib.suppress(TaskError):
        to_learn(annotation(), {"id": 5, "data": junk}, PROJECT, None)


POLYGON = brush_region(type="polygonlabels") | {
    "value": {"points": [[25, 25], [75, 25], [75, 75], [25, 75]], "polygonlabels": ["ship"]}
}
ELLIPSE = brush_region(type="ellipselabels") | {
    "original_width": 8192,
    "original_height": 8192,
    "value": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "ellipselabels": ["ship"]},
}
READING = """
import json, resource, sys
from backend.studio import events
from backend.studio.corrections import to_learn
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
request = to_learn(*json.load(sys.stdin), None)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(len(request.regions), sum(request.regions[0][1].counts[1::2]), grown < 32 * 1024)
""" + loads_none_of(*MODELS, *SCENES)


@pytest.mark.parametrize(("shape", "area"), [(POLYGON, 32 * 32), (ELLIPSE, 4_216_500)])
def test_the_delivery_worker_stays_small_whatever_is_drawn(shape: Any, area: int) -> None:
    """It has neither rasterio nor room for planes of the image's size."""
    done = subprocess.run(
        [sys.executable, "-c", READING],
        input=json.dumps([annotation(shape), TASK, PROJECT]).encode(),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.decode().split() == ["1", str(area), "True"]


def test_the_recorded_annotation_is_read() -> None:
    file = PAYLOADS / "09_webhook_ANNOTATION_CREATED.json"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    body = json.loads(file.read_text("utf-8"))["body"]
    request = to_learn(body["annotation"], body["task"], body["project"], None)
    assert (request.project, request.annotation, request.task_id) == ("1", "1", "1")
    ((label, runs),) = request.regions
    assert (label, runs.height, runs.width) == ("ship", 64, 64)
    assert isinstance(runs, Runs)
    assert sum(runs.counts[1::2]) > 0
