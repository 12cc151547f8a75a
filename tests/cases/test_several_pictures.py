"""Tasks with several pictures: of a valueList, or one after another by a <Repeater>."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backend.commands.main import app
from backend.project import label_config
from backend.project.tasks import TaskError
from backend.prompts import answers, context
from backend.prompts.memory import Memory
from backend.regions import writing
from backend.studio.corrections import to_learn
from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.types import Json
from tests.cases.exporting import DATA, exported
from workers.messages import LearnRequest, SegmentReply, SegmentRequest, SegmentResult

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

REPEATER = (DATA / "repeater.xml").read_text()
LIST = (
    '<View><Image name="img" valueList="$images"/><BrushLabels name="m" toName="img">'
    '<Label value="building"/></BrushLabels><KeyPointLabels name="k" toName="img" smart="true">'
    '<Label value="building"/></KeyPointLabels></View>'
)
SIZES = ((30, 40), (20, 50))  # of the two pictures: height, width
TASK: Json = {"id": 7, "data": {"images": ["a.png", "b.png"]}}


def mask(number: int) -> Any:
    drawn = np.zeros(SIZES[number], dtype=np.bool_)
    drawn[5:10, 5 + number : 20] = True
    return drawn


def reply() -> SegmentReply:
    first, second = (
        SegmentReply(*SIZES[number], "v", (SegmentResult("building", 0.5 + number / 4, "class",
                                                         to_runs(mask(number))),))
        for number in range(2)
    )  # fmt: skip
    return SegmentReply(first.height, first.width, "v", first.segments, more=(second,))


def predicted(xml: str) -> list[Json]:
    result: list[Json] = writing.to_prediction(reply(), label_config.parse(xml), "v")["result"]
    return result


@pytest.mark.parametrize("xml", [REPEATER, LIST])
def test_a_request_has_all_pictures_and_crosses_the_queue(xml: str) -> None:
    request = label_config.parse(xml).to_request(TASK, "v")
    assert (request.image, *request.more) == ("a.png", "b.png")
    crossed = SegmentRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert crossed == request
    assert crossed.key == request.key
    answered = reply()
    assert SegmentReply.from_json(json.loads(json.dumps(answered.to_json()))) == answered


def test_the_pictures_of_a_task_are_part_of_the_question() -> None:
    config = label_config.parse(LIST)
    one = config.to_request({"id": 7, "data": {"images": ["a.png"]}}, "v")
    assert one.key != config.to_request(TASK, "v").key
    plain = label_config.parse(LIST.replace("valueList", "value")).to_request(
        {"id": 7, "data": {"images": "a.png"}}, "v"
    )
    assert plain.key == one.key  # one picture is one picture, whatever the config


@pytest.mark.parametrize("images", [None, [], "a.png", [7], ["a.png"] * 101])
def test_what_is_no_list_of_pictures_is_named(images: Any) -> None:
    with pytest.raises(TaskError, match="images"):
        label_config.parse(LIST).to_request({"id": 7, "data": {"images": images}}, "v")


def test_regions_of_a_list_say_which_picture_they_are_on() -> None:
    regions = predicted(LIST)
    assert [each["item_index"] for each in regions] == [0, 1]
    assert [(each["original_height"], each["original_width"]) for each in regions] == [*SIZES]
    assert len({each["id"] for each in regions}) == 2


def test_regions_of_a_repeater_have_the_names_of_their_picture() -> None:
    regions = predicted(REPEATER)
    assert [each["from_name"] for each in regions] == ["m_0", "m_1"]
    assert [each["to_name"] for each in regions] == ["img_0", "img_1"]
    assert not any("item_index" in each for each in regions)


def test_entries_of_a_repeater_may_be_objects() -> None:
    xml = REPEATER.replace("$images[{{idx}}]", "$images[{{idx}}].url")
    task = {"id": 7, "data": {"images": [{"url": "a.png"}, {"url": "b.png"}]}}
    request = label_config.parse(xml).to_request(task, "v")
    assert (request.image, *request.more) == ("a.png", "b.png")


@pytest.mark.parametrize("xml", [REPEATER, LIST])
def test_what_was_marked_on_each_picture_is_exported_with_it(xml: str, tmp_path: Path) -> None:
    for name, (height, width) in zip("ab", SIZES, strict=True):
        Image.new("RGB", (width, height)).save(tmp_path / f"{name}.png")
    (tmp_path / "config.xml").write_text(xml)
    annotation = {"id": 1, "result": predicted(xml), "updated_at": "2026-01-01T00:00:00Z"}
    (tmp_path / "export.json").write_text(json.dumps([{**TASK, "annotations": [annotation]}]))
    found = exported(
        tmp_path / "out", tmp_path / "export.json", "--config", tmp_path / "config.xml",
        images=tmp_path,
    )  # fmt: skip
    assert found.status == 0, found.output
    for (_, written), number in zip(found.masks, range(2), strict=True):
        np.testing.assert_array_equal(written, mask(number))


@pytest.mark.parametrize("xml", [REPEATER, LIST])
def test_what_was_marked_on_each_picture_is_learnt_with_it(xml: str) -> None:
    result = [{**each, "origin": "manual"} for each in predicted(xml)]
    project = {"id": 1, "label_config": xml}
    request = to_learn({"id": 11, "result": result}, TASK, project, None)
    assert LearnRequest.from_json(json.loads(json.dumps(request.to_json()))) == request
    assert [image for image, _ in request.marked] == ["a.png", "b.png"]
    for number, (_, regions) in enumerate(request.marked):
        ((_, runs),) = regions
        np.testing.assert_array_equal(from_runs(runs), mask(number))


def test_a_click_is_answered_on_the_picture_that_it_is_on() -> None:
    config = label_config.parse(LIST)
    height, width = SIZES[1]
    click = {
        "id": "k", "type": "keypointlabels", "from_name": "k", "to_name": "img", "item_index": 1,
        "original_width": width, "original_height": height, "is_positive": True,
        "value": {"x": 20, "y": 35, "keypointlabels": ["building"]},
    }  # fmt: skip
    task = {**TASK, "drafts": [{"result": predicted(LIST)}]}
    prompt = context.read({"result": [click]}, config, task, Memory())
    request = context.to_request(config.to_request(task, "v"), prompt)
    assert (request.image, request.more) == ("b.png", ())
    assert prompt.correction is not None
    np.testing.assert_array_equal(from_runs(prompt.correction.prior), mask(1))
    found = SegmentResult("building", 0.9, "candidate", to_runs(~mask(1)))
    fresh = context.read({"result": [{**click, "value": {**click["value"], "x": 90, "y": 90}}]},
                         config, task, Memory())  # fmt: skip
    answer = answers.suggest(SegmentReply(height, width, "v", (found,)), fresh, config, "seed")
    assert [each["item_index"] for each in answer["result"]] == [1]


def test_a_check_says_that_each_picture_gets_masks(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["config", "--check", str(DATA / "repeater.xml")])
    assert result.exit_code == 0, result.output
    assert "image: task data 'images', each of a list" in result.output


@pytest.mark.parametrize(
    "xml",
    [
        REPEATER.replace('value="$images[{{idx}}]"', 'value="$images"'),
        REPEATER.replace('on="$images"', ""),
        REPEATER.replace("img_{{idx}}", "img"),
    ],
)
def test_a_check_says_what_a_repeater_lacks(xml: str, tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text(xml)
    result = CliRunner().invoke(app, ["config", "--check", str(tmp_path / "config.xml")])
    assert result.exit_code == 1, result.output
    assert "Repeater" in result.output


def test_what_was_marked_on_each_of_two_images_is_exported_with_it(tmp_path: Path) -> None:
    for name, (height, width) in zip("ab", SIZES, strict=True):
        Image.new("RGB", (width, height)).save(tmp_path / f"{name}.png")
    control = '<BrushLabels name="m_{0}" toName="img_{0}"><Label value="building"/></BrushLabels>'
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="img_0" value="$rgb"/><Image name="img_1" value="$infrared"/>'
        f"{control.format(0)}{control.format(1)}</View>"
    )
    annotation = {"id": 1, "result": predicted(REPEATER), "updated_at": "2026-01-01T00:00:00Z"}
    task = {"id": 7, "data": {"rgb": "a.png", "infrared": "b.png"}, "annotations": [annotation]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    source = tmp_path / "export.json"
    found = exported(tmp_path / "out", source, "--config", config, images=tmp_path)
    assert found.status == 0, found.output
    for (_, written), number in zip(found.masks, range(2), strict=True):
        np.testing.assert_array_equal(written, mask(number))
    unknown = exported(tmp_path / "unknown", source, images=tmp_path)
    assert unknown.status == 2
    assert "give it by --config" in unknown.output
