"""An export says what it leaves out, and numbers classes as Label Studio does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from backend.studio import export
from dgl_rsis.types import Json
from tests.backend.studio.exports import H, W, annotation, box, brushed, region, task, written
from tests.cases.exporting import exported

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CONFIG = """<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">
<Label value="road"/><Label value="water" category="4"/><Label value="tank" category="1"/>
</BrushLabels></View>"""
BROKEN = region("polygonlabels", ["road"], {"points": [[1, 1], [5, 5]]})


def images(folder: Path, *numbers: int, scale: int = 1) -> Path:
    (folder / "tiles").mkdir(exist_ok=True)
    for number in numbers:
        Image.new("RGB", (W * scale, H * scale)).save(folder / f"tiles/{number:03}.png")
    return folder


def test_an_image_whose_every_mask_is_broken_is_left_out_and_listed(tmp_path: Path) -> None:
    good, unlabelled = brushed(box(1, 1, 9, 9), "road"), brushed(box(1, 1, 9, 9))
    source = written(
        tmp_path / "export.json",
        task(1, annotation(good)),
        task(2, annotation(BROKEN)),
        task(3, annotation(unlabelled)),
        task(4, annotation()),
        task(5, annotation(good, {**BROKEN, "id": "b"})),
    )
    folder = images(tmp_path, 1, 2, 3, 4, 5)
    found = exported(tmp_path / "out", source, images=folder)
    assert (found.status, found.images, len(found.masks)) == (1, 3, 2)
    problems = json.loads((tmp_path / "out/statistics.json").read_text())["problems"]
    assert [each.split(":")[0] for each in problems if "left out" in each] == ["task 2", "task 3"]
    going_on = exported(tmp_path / "on", source, "--keep-going", images=folder)
    assert (going_on.status, going_on.images) == (0, 3)


def test_an_image_with_keypoints_alone_is_no_empty_one(tmp_path: Path) -> None:
    point = region("keypointlabels", ["tank"], {"x": 5, "y": 5})
    good = brushed(box(1, 1, 9, 9), "road")
    tasks = task(1, annotation(point)), task(2, annotation(good, point))
    source = written(tmp_path / "export.json", *tasks)
    found = exported(tmp_path / "out", source, images=images(tmp_path, 1, 2))
    assert (found.status, found.images, len(found.masks)) == (1, 1, 1)


def test_images_of_labels_that_were_not_chosen_are_empty(tmp_path: Path) -> None:
    """They were read: that nothing of what was asked for is on them is true."""
    source = written(
        tmp_path / "export.json",
        task(1, annotation(brushed(box(1, 1, 9, 9), "road"))),
        task(2, annotation(brushed(box(1, 1, 9, 9), "water"))),
    )
    found = exported(tmp_path / "out", source, "--labels", "road", images=images(tmp_path, 1, 2))
    assert (found.status, found.images, len(found.masks)) == (1, 2, 1)


@pytest.mark.parametrize(("name", "words"), [("nowhere", "does not exist"), ("file", "is a file")])
def test_a_folder_of_images_that_is_none_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").touch()
    source = written(tmp_path / "export.json", task(1, annotation(BROKEN)))
    found = exported(tmp_path / "out", source, images=tmp_path / name)
    assert found.status == 2
    assert words in found.output
    assert not (tmp_path / "out").exists()


def test_masks_of_a_smaller_copy_fit_the_image(tmp_path: Path) -> None:
    mask = box(4, 6, 20, 30)
    source = written(tmp_path / "export.json", task(1, annotation(brushed(mask, "road"))))
    found = exported(tmp_path / "out", source, images=images(tmp_path, 1, scale=3))
    ((_, read),) = found.masks
    np.testing.assert_array_equal(read, np.kron(mask, np.ones((3, 3), dtype=np.bool_)))


def test_a_copy_of_a_tile_is_not_the_tile(tmp_path: Path) -> None:
    """Its place would be that of other pixels."""
    place = {"scene": "a.tif", "crs": "EPSG:32616", "transform": [2, 0, 7, 0, -2, 9],
             "window": [0, 0, W, H], "scene_size": [600, 400]}  # fmt: skip
    drawn = annotation(brushed(box(4, 6, 20, 30), "road"))
    source = written(tmp_path / "export.json", task(1, drawn, **place))
    found = exported(tmp_path / "out", source, images=images(tmp_path, 1, scale=2))
    assert found.status == 2
    assert "another image than the one that was marked" in found.output


def numbered(tmp_path: Path, *options: str) -> Path:
    config = tmp_path / "config.xml"
    config.write_text(CONFIG)
    drawn = [brushed(box(n, 1, n + 4, 9), name) for n, name in ((1, "road"), (10, "water"))]
    source = written(tmp_path / "export.json", task(1, annotation(*drawn)))
    found = exported(
        tmp_path / "out", source, "--config", config, *options, images=images(tmp_path, 1)
    )
    assert found.status == 0, found.output
    return tmp_path / "out"


def test_categories_have_the_numbers_of_the_label_config(tmp_path: Path) -> None:
    out = numbered(tmp_path)
    coco = json.loads((out / "coco/annotations/instances_train.json").read_text())
    assert coco["categories"] == [
        {"id": 1, "name": "tank"}, {"id": 2, "name": "road"}, {"id": 4, "name": "water"}
    ]  # fmt: skip
    assert [each["category_id"] for each in coco["annotations"]] == [2, 4]


def test_classes_of_yolo_have_them_too_without_gaps(tmp_path: Path) -> None:
    out = numbered(tmp_path, "--format", "yolo")
    names = yaml.safe_load((out / "yolo/data.yaml").read_text())["names"]
    assert names == {0: "road", 1: "tank", 2: "unused 2", 3: "unused 3", 4: "water"}
    (labels,) = (out / "yolo/labels/train").iterdir()
    assert [line.split()[0] for line in labels.read_text().splitlines()] == ["0", "4"]


def start_known(**more: Any) -> bool:
    drawn = brushed(box(1, 1, 9, 9), "road", **more.pop("of_region", {}))
    one: Json = {**annotation(drawn), **more}
    (item,) = export.read_tasks([task(1, one)])
    return item.annotations[0].start_known


def test_what_an_annotation_began_with_is_not_always_known() -> None:
    assert start_known()
    assert not start_known(parent_prediction=9)  # whose masks are not in the file
    assert not start_known(of_region={"origin": "prediction"})
    drawn = annotation(brushed(box(1, 1, 9, 9), "road"))
    del drawn["prediction"], drawn["parent_prediction"]
    (item,) = export.read_tasks([task(1, drawn)])
    assert not item.annotations[0].start_known
