"""`<Labels>` beside shapes, and ellipses, get pre-labels that read back as the masks they were."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from backend.project import label_config
from backend.regions.findings import Findings
from backend.regions.reading import read_regions
from backend.regions.writing import to_prediction
from dgl_rsis.runs import Runs, from_runs, to_runs
from workers.messages import SegmentReply, SegmentResult

H, W = 60, 90


def shared(*shapes: str) -> str:
    controls = "".join(f'<{each} name="{each.lower()}" toName="image"/>' for each in shapes)
    labels = '<Labels name="labels" toName="image"><Label value="roof"/></Labels>'
    return f'<View><Image name="image" value="$image"/>{labels}{controls}</View>'


def predicted(xml: str, runs: Runs) -> list[dict[str, object]]:
    segments = tuple(SegmentResult("roof", 0.8, level, runs) for level in ("class", "object"))
    reply = SegmentReply(H, W, "v", segments)
    result: list[dict[str, object]] = to_prediction(reply, label_config.parse(xml), "v")["result"]
    return result


@pytest.mark.parametrize("shape", ["Brush", "Bitmask", "Polygon", "Rectangle", "Ellipse"])
def test_a_shape_and_its_labels_are_two_results_of_one_id(shape: str) -> None:
    mask = np.zeros((H, W), dtype=np.bool_)
    mask[10:40, 20:70] = True
    xml = shared(shape)
    drawn, labels = predicted(xml, to_runs(mask))
    assert (drawn["type"], labels["type"]) == (shape.lower(), "labels")
    assert (drawn["from_name"], labels["from_name"]) == (shape.lower(), "labels")
    assert drawn["id"] == labels["id"]
    (region,) = read_regions([drawn, labels], (H, W), "task 1", Findings())
    assert (region.label, region.kind) == ("roof", shape.lower())
    if shape != "Ellipse":
        np.testing.assert_array_equal(from_runs(region.runs), mask)


def test_of_shapes_that_share_labels_the_most_exact_gets_the_masks() -> None:
    config = label_config.parse(shared("Rectangle", "Polygon", "Brush"))
    assert [control.name for control in config.controls] == ["brush"]
    assert sum("share the labels" in problem for problem in config.problems) == 2


def test_shapes_without_labels_are_said_to_be_left_alone() -> None:
    config = label_config.parse(
        '<View><Image name="image" value="$image"/><Brush name="b" toName="image"/></View>'
    )
    assert config.controls == ()
    assert "<Brush name='b'> is left alone" in config.problems[0]


@given(
    st.tuples(st.floats(25, 65), st.floats(20, 40)),
    st.tuples(st.floats(6, 24), st.floats(4, 18)),
    st.floats(0, 180),
)
@settings(max_examples=40, deadline=None)
def test_an_ellipse_comes_back_as_the_ellipse_it_was(
    centre: tuple[float, float], radii: tuple[float, float], turn: float
) -> None:
    rows, columns = np.mgrid[:H, :W] + 0.5
    angle = np.radians(turn)
    x, y = columns - centre[0], rows - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    mask = (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1
    assume(not (mask[[0, -1]].any() or mask[:, [0, -1]].any()))  # cut off, it is no ellipse
    xml = (
        '<View><Image name="image" value="$image"/><EllipseLabels name="e" toName="image">'
        '<Label value="roof"/></EllipseLabels></View>'
    )
    result = predicted(xml, to_runs(mask))
    assert LabelInterface(xml).validate_prediction({"result": result, "score": 0.5})
    (region,) = read_regions(result, (H, W), "task 1", Findings())
    found = from_runs(region.runs)
    assert (found & mask).sum() / (found | mask).sum() > 0.85
