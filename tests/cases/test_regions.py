"""Every shape that Label Studio stores, under every way to label it, becomes a mask."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.mask import decode

from backend.commands.export.formats import coco
from backend.regions import brush
from backend.regions.findings import Findings
from backend.regions.reading import Wanted, read_regions
from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.types import Json
from tests.cases.exporting import DATA, exported

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

H, W = 100, 200  # of `a.jpg`


def box(top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
    mask = np.zeros((H, W), dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def export_file(folder: Path, *result: Json, **data: Any) -> Path:
    annotation = {"id": 10, "result": list(result), "updated_at": "2024-01-01T00:00:00Z"}
    task = {"id": 1, "data": {"image": "/data/upload/1/a.jpg", **data}, "annotations": [annotation]}
    path = folder / "export.json"
    path.write_text(json.dumps([task]))
    return path


def result_of(kind: str, value: Json, **more: Any) -> Json:
    size = {"original_width": W, "original_height": H, "image_rotation": 0}
    names = {"id": "r", "from_name": "mask", "to_name": "image"}
    return {**names, **size, "type": kind, "value": value, **more}


SQUARE = [[10, 10], [50, 10], [50, 50], [10, 50]]


def test_labels_in_results_of_their_own_are_those_of_the_shapes(tmp_path: Path) -> None:
    found = exported(tmp_path, DATA / "labels-plus-brush.json")
    assert found.status == 0
    (polygon, _), (brushed, brushed_mask) = found.masks[0], found.masks[1]
    assert (polygon, brushed) == ("building", "road")
    np.testing.assert_array_equal(found.masks[0][1], box(10, 20, 50, 100))
    np.testing.assert_array_equal(brushed_mask, brushed_by(DATA / "labels-plus-brush.json", "w"))


def test_a_brush_without_labels_has_those_beside_it(tmp_path: Path) -> None:
    source = DATA / "brush-without-labels.json"
    ((label, mask),) = exported(tmp_path, source).masks
    assert label == "ObjectFound"
    np.testing.assert_array_equal(mask, brushed_by(source, "w"))


def brushed_by(source: Path, identity: str) -> NDArray[np.bool_]:
    (task,) = json.loads(source.read_text())
    held = next(each for each in task["annotations"][0]["result"] if each["id"] == identity)
    return from_runs(brush.decode(held["value"]["rle"], H, W))


def test_negative_sides_are_turned_round(tmp_path: Path) -> None:
    ((label, mask),) = exported(tmp_path, DATA / "negative-rectangle.json").masks
    assert label == "ship"
    np.testing.assert_array_equal(mask, box(35, 33, 96, 139))


def test_what_lies_outside_the_image_is_cut_off(tmp_path: Path) -> None:
    ((label, mask),) = exported(tmp_path, DATA / "polygon-outside.json").masks
    assert label == "building"
    np.testing.assert_array_equal(mask, box(10, 0, H, 100))


def test_an_outline_that_crosses_itself_keeps_both_parts(tmp_path: Path) -> None:
    eight = [[10, 10], [50, 50], [50, 10], [10, 50]]
    shape = result_of("polygonlabels", {"points": eight, "polygonlabels": ["eight"]})
    source = export_file(tmp_path, shape)
    ((_, mask),) = exported(tmp_path / "out", source).masks
    np.testing.assert_array_equal(mask, inside(eight))
    assert mask[30, 25]
    assert mask[30, 95]


def inside(points: list[list[float]]) -> NDArray[np.bool_]:
    """What Shapely finds of a polygon that it has made valid, by the centres of pixels."""
    corners = np.array(points) * (W / 100, H / 100)
    area = shapely.make_valid(shapely.Polygon(corners))
    rows, columns = np.mgrid[:H, :W] + 0.5
    return np.asarray(shapely.intersects_xy(area, columns, rows), dtype=np.bool_)


def test_an_outline_may_have_any_number_of_corners(tmp_path: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, 30_000, endpoint=False)
    circle = np.stack([50 + 20 * np.cos(angles), 50 + 40 * np.sin(angles)], axis=1).tolist()
    value = {"points": circle, "polygonlabels": ["tank"]}
    source = export_file(tmp_path, result_of("polygonlabels", value))
    ((_, mask),) = exported(tmp_path / "out", source).masks
    assert mask.sum() == pytest.approx(np.pi * 40 * 40, rel=0.01)


def test_vectors_are_lines_and_closed_ones_areas(tmp_path: Path) -> None:
    ends = [{"x": 10, "y": 50.5, "id": "a"}, {"x": 60, "y": 50.5, "id": "b", "prevPointId": "a"}]
    corners = [{"x": x, "y": y} for x, y in SQUARE]
    source = export_file(
        tmp_path,
        result_of("vectorlabels", {"vertices": ends, "vectorlabels": ["road"]}),
        result_of("vectorlabels", {"vertices": corners, "closed": True, "vectorlabels": ["roof"]},
                  id="other"),
    )  # fmt: skip
    found = dict(exported(tmp_path / "out", source).masks)
    np.testing.assert_array_equal(found["road"], box(50, 20, 51, 121))
    np.testing.assert_array_equal(found["roof"], box(10, 20, 50, 100))


def test_a_curve_bends_towards_its_control_points() -> None:
    start = {"x": 10, "y": 50, "id": "a", "isBezier": True, "controlPoint2": {"x": 10, "y": 0}}
    end = {"x": 60, "y": 50, "prevPointId": "a", "isBezier": True,
           "controlPoint1": {"x": 60, "y": 0}}  # fmt: skip
    value = {"vertices": [start, end], "vectorlabels": ["road"]}
    (drawn,) = read_regions([result_of("vectorlabels", value)], (H, W), "task 1", Findings())
    rows, columns = np.nonzero(from_runs(drawn.runs))
    assert (columns.min(), columns.max()) == (20, 120)
    assert rows.min() == pytest.approx(12.5, abs=1)  # at the middle, 3/4 of the way


def test_masks_of_a_preview_are_those_of_the_image(tmp_path: Path) -> None:
    mask = np.zeros((H // 2, W // 2), dtype=np.bool_)
    mask[5:25, 10:50] = True
    value = {"format": "rle", "rle": brush.encode(to_runs(mask)), "brushlabels": ["road"]}
    small = {"original_width": W // 2, "original_height": H // 2}
    source = export_file(tmp_path, {**result_of("brushlabels", value), **small})
    ((_, found),) = exported(tmp_path / "out", source).masks
    np.testing.assert_array_equal(found, box(10, 20, 50, 100))


def test_keypoints_are_counted(tmp_path: Path) -> None:
    point = result_of("keypointlabels", {"x": 10, "y": 10, "keypointlabels": ["car"]})
    area = result_of("polygon", {"points": SQUARE, "labels": ["roof"]}, id="other")
    found = exported(tmp_path / "out", export_file(tmp_path, point, area))
    statistics = json.loads((tmp_path / "out/statistics.json").read_text())
    assert statistics["skipped"] == {"keypointlabels regions": 1}
    assert [label for label, _ in found.masks] == ["roof"]


def test_blanks_around_a_label_are_none_of_it(tmp_path: Path) -> None:
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="image" value="$image"/><PolygonLabels name="mask" toName="image">'
        '<Label value="building "/></PolygonLabels></View>'
    )
    shape = result_of("polygonlabels", {"points": SQUARE, "polygonlabels": ["building "]})
    found = exported(tmp_path / "out", export_file(tmp_path, shape), "--config", config)
    assert found.status == 0
    assert [label for label, _ in found.masks] == ["building"]


# What Label Studio may make of one region with a label: results, from its geometry.
Scheme = Callable[[str, Json], list[Json]]
SCHEMES: dict[str, Scheme] = {
    "labels of its own": lambda form, value: [
        result_of(f"{form}labels", {**value, f"{form}labels": ["house"]})
    ],
    "labels of a <Labels>, merged": lambda form, value: [
        result_of(f"{form}labels", {**value, "labels": ["house"]})
    ],
    "labels beside it": lambda form, value: [
        result_of(form, value),
        result_of("labels", {**value, "labels": ["house"]}),
    ],
    "labels before it, without its geometry": lambda form, value: [
        result_of("labels", {"labels": ["house"]}),
        result_of(form, value),
    ],
    "labels alone, with its geometry": lambda form, value: [
        result_of("labels", {**value, "labels": ["house"]})
    ],
    "labels under the key of the shape": lambda form, value: [
        result_of(f"{form}labels", value),
        result_of("labels", {**value, f"{form}labels": ["house"]}),
    ],
    "an alias with a blank": lambda form, value: [
        result_of(f"{form}labels", {**value, f"{form}labels": ["hs "]})
    ],
}
PERCENT = st.floats(-30, 130, allow_subnormal=False)
SIDE = st.floats(-90, 90).filter(lambda side: abs(side) > 0.01)


def _pixels(outline: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels whose centres an outline holds, and those on it, where rounding decides."""
    rows, columns = np.mgrid[:H, :W] + 0.5
    parts = shapely.get_parts(shapely.make_valid(outline))
    areas = [part for part in parts if part.geom_type.endswith("Polygon")]  # no line between them
    covered = shapely.contains_xy(shapely.union_all(areas), columns, rows)
    points = shapely.points(columns.ravel(), rows.ravel())
    on_it = shapely.dwithin(outline.exterior, points, 1e-6).reshape(H, W)
    return np.asarray(covered, dtype=np.bool_), np.asarray(on_it, dtype=np.bool_)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[str, Json, NDArray[np.bool_], NDArray[np.bool_]]:
    """Form and value of a shape, the pixels that it covers, and those that may go either way."""
    form = draw(st.sampled_from(["polygon", "rectangle", "ellipse", "brush"]))
    if form == "brush":
        seed, share = draw(st.integers(0, 2**32 - 1)), draw(st.floats(0, 1))
        mask = np.random.default_rng(seed).random((H, W)) < share
        value: Json = {"format": "rle", "rle": brush.encode(to_runs(mask))}
        return form, value, mask, np.zeros((H, W), dtype=np.bool_)
    if form == "polygon":
        # Sides that lie on each other are left to chance: there, Shapely has another rule.
        seed, count = draw(st.integers(0, 2**32 - 1)), draw(st.integers(3, 12))
        points = np.random.default_rng(seed).uniform(-30, 130, (count, 2)).tolist()
        outline = shapely.Polygon(np.array(points) * (W / 100, H / 100))
        value = {"points": points}
    else:
        x, y, turn = draw(PERCENT), draw(PERCENT), draw(st.floats(-400, 400))
        across, down = draw(SIDE), draw(SIDE)
        centre = (x * W / 100, y * H / 100)
        if form == "rectangle":
            value = {"x": x, "y": y, "width": across, "height": down, "rotation": turn}
            corner = across * W / 100, down * H / 100
            upright = shapely.Polygon([(0, 0), (corner[0], 0), corner, (0, corner[1])])
        else:
            value = {"x": x, "y": y, "radiusX": across, "radiusY": down, "rotation": turn}
            # A ring of so many corners that no centre lies between it and the ellipse.
            angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
            radii = (across * W / 100, down * H / 100)
            ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii
            upright = shapely.Polygon(ring)
        angle = np.radians(turn % 360)
        spin = [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle), *centre]
        outline = shapely.affinity.affine_transform(upright, spin)
    return form, value, *_pixels(outline)


@given(drawn(), st.sampled_from(sorted(SCHEMES)))
@settings(max_examples=60, deadline=None)
def test_what_is_marked_is_what_is_read(
    shape: tuple[str, Json, NDArray[np.bool_], NDArray[np.bool_]], scheme: str
) -> None:
    form, value, covered, either = shape
    findings = Findings()
    wanted = Wanted(["house"], names={"hs": "house"})
    result = SCHEMES[scheme](form, value)
    regions = list(read_regions(result, (H, W), "task 1", findings, wanted))
    if not regions:
        assert not (covered & ~either).any()
        assert findings.problems or findings.skipped
        return
    (region,) = regions
    assert (region.label, region.kind) == ("house", form)
    np.testing.assert_array_equal(from_runs(region.runs)[~either], covered[~either])
    written = json.loads(json.dumps(coco.to_annotation(region.runs)["segmentation"]))
    np.testing.assert_array_equal(decode(written), from_runs(region.runs))
