"""Labels under another name than their own: aliases, and what was renamed since."""

import json
from pathlib import Path

import numpy as np
import pytest

from backend.project import label_config
from backend.prompts import answers, context
from backend.prompts.memory import Memory
from backend.regions import brush, writing
from backend.studio.corrections import to_learn
from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.types import Json
from tests.cases.exporting import DATA, exported
from workers.messages import SegmentReply, SegmentResult

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

XML = (DATA / "alias.xml").read_text()
CLICKS = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
    '<Label value="Building footprint" alias="bld"/></BrushLabels>'
    '<KeyPointLabels name="click" toName="image" smart="true"><Label value="Building footprint"/>'
    "</KeyPointLabels></View>"
)
H, W = 40, 60
MASK = np.zeros((H, W), dtype=np.bool_)
MASK[10:20, 10:40] = True
ON_IMAGE = {"to_name": "image", "original_width": W, "original_height": H}
TASK = {"id": 1, "data": {"image": "a.png"}}


def brushed(**more: object) -> Json:
    value = {"format": "rle", "rle": brush.encode(to_runs(MASK)), "brushlabels": ["bld"]}
    kind = {"id": "b", "type": "brushlabels", "from_name": "mask"}
    return {**kind, **ON_IMAGE, "value": value, **more}


def clicked(x: float, y: float) -> Json:
    value = {"x": x, "y": y, "keypointlabels": ["Building footprint"]}
    kind = {"id": "k", "type": "keypointlabels", "from_name": "click"}
    return {**kind, **ON_IMAGE, "is_positive": True, "value": value}


def test_what_is_stored_under_an_alias_is_exported(tmp_path: Path) -> None:
    found = exported(
        tmp_path, DATA / "label-alias.json", "--config", DATA / "alias.xml", "--format", "coco"
    )
    assert found.status == 0, found.output
    ((label, mask),) = found.masks
    assert label == "bld"
    assert mask.sum() == 40 * 80


def test_what_was_marked_before_a_label_had_an_alias_is_exported_with_the_rest(
    tmp_path: Path,
) -> None:
    tasks = json.loads((DATA / "label-alias.json").read_text())
    tasks[0]["annotations"][0]["result"][0]["value"]["polygonlabels"] = ["Building footprint"]
    source = tmp_path / "export.json"
    source.write_text(json.dumps(tasks))
    found = exported(tmp_path / "out", source, "--config", DATA / "alias.xml")
    assert [label for label, _ in found.masks] == ["bld"]


def test_the_words_are_asked_for_and_the_alias_is_sent() -> None:
    config = label_config.parse(XML)
    assert [label.name for label in config.labels] == ["Building footprint", "Road"]
    segment = SegmentResult("Building footprint", 0.9, "object", to_runs(MASK))
    prediction = writing.to_prediction(SegmentReply(H, W, "v", (segment,)), config, "v")
    assert prediction["result"][0]["value"]["polygonlabels"] == ["bld"]


def test_a_click_corrects_a_mask_that_is_stored_under_an_alias() -> None:
    config = label_config.parse(CLICKS)
    task = {**TASK, "drafts": [{"result": [brushed()]}]}
    asked = context.read({"result": [clicked(30, 30)]}, config, task, Memory())
    assert asked.label == "Building footprint"
    assert asked.correction is not None
    found = SegmentResult("Building footprint", 0.9, "candidate", to_runs(~MASK))
    answer = answers.suggest(SegmentReply(H, W, "v", (found,)), asked, config, "seed")
    (region,) = answer["result"]
    assert (region["id"], region["value"]["brushlabels"]) == ("b", ["bld"])


def test_a_click_beside_it_makes_a_mask_with_the_alias() -> None:
    config = label_config.parse(CLICKS)
    asked = context.read({"result": [clicked(90, 90)]}, config, TASK, Memory())
    found = SegmentResult(asked.label, 0.9, "candidate", to_runs(MASK))
    answer = answers.suggest(SegmentReply(H, W, "v", (found,)), asked, config, "seed")
    assert [each["value"]["brushlabels"] for each in answer["result"]] == [["bld"]]


def test_what_is_learnt_is_learnt_under_the_label() -> None:
    annotation = {"id": 11, "result": [brushed(origin="manual")]}
    request = to_learn(annotation, TASK, {"id": 1, "label_config": CLICKS}, None)
    ((label, mask),) = request.regions
    assert label == "Building footprint"
    np.testing.assert_array_equal(from_runs(mask), MASK)


def test_an_image_whose_every_label_was_renamed_is_not_exported_as_empty(tmp_path: Path) -> None:
    config = tmp_path / "renamed.xml"
    config.write_text(XML.replace("bld", "house"))
    first, other = (json.loads((DATA / "label-alias.json").read_text())[0] for _ in range(2))
    shape = other["annotations"][0]["result"][0]
    shape["value"]["polygonlabels"] = ["rd"]
    source = tmp_path / "export.json"
    source.write_text(json.dumps([first, {**other, "id": 2}]))
    found = exported(tmp_path / "out", source, "--config", config)
    assert found.status == 1
    assert [label for label, _ in found.masks] == ["rd"]
    assert found.images == 1
    problems = json.loads((tmp_path / "out/statistics.json").read_text())["problems"]
    assert any("task 1" in each and "left out" in each for each in problems)
    assert exported(tmp_path / "kept", source, "--config", config, "--keep-going").status == 0


def test_an_image_that_somebody_left_empty_is_kept(tmp_path: Path) -> None:
    (task,) = json.loads((DATA / "label-alias.json").read_text())
    empty = {**task, "id": 2, "annotations": [{**task["annotations"][0], "result": []}]}
    source = tmp_path / "export.json"
    source.write_text(json.dumps([task, empty]))
    found = exported(tmp_path / "out", source)
    assert (found.status, found.images, len(found.masks)) == (0, 2, 1)
