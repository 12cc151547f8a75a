"""What `dgl-rsis evaluate` runs on partial truth, with a small untrained model."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgl_rsis.evaluation import measure_tables, measures
from dgl_rsis.evaluation.datasets.catalogue import (
    BoxData,
    JudgedData,
    LargeData,
    PresenceData,
    QuestionData,
)
from dgl_rsis.evaluation.datasets.judged import Judged, concept
from dgl_rsis.evaluation.datasets.lists import Overview, Question
from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.evaluation.datasets.things import Boxed, Tagged
from dgl_rsis.evaluation.detection import Answer, Claims, Detections, Found
from dgl_rsis.evaluation.ladders import Options
from dgl_rsis.evaluation.scores import Tally

# Everything that one sees from above, so that no pixel is left to the background.
LABELS = ("building", "road", "water", "tree", "grass", "bare land", "farmland", "car")
EVERY = BUILDING, *_ = tuple(concept(name) for name in LABELS)


def fields() -> np.ndarray:
    """Two fields of noise, dark and bright: (48, 64, 3) uint8."""
    noise = np.random.default_rng(0).integers(0, 20, (48, 64, 3), dtype=np.uint8)
    noise[:, 32:] += 180
    return noise


@pytest.fixture
def options(model_folder: Path) -> Options:
    return Options("oam-buildings", str(model_folder), limit=2)


def plain(report_json: dict) -> dict:
    """The same, once it has been written and read: no NaN, nothing of NumPy."""
    return json.loads(json.dumps(report_json, allow_nan=False))


def test_judged_images(options: Options, tmp_path: Path):
    # All is building: what is called so is right, and what is called something else is not.
    planes = {x: np.full((48, 64), x == "building", np.int8) for x in LABELS}
    images = (Judged(name, fields(), planes) for name in "abc")
    told: list[str] = []
    data = JudgedData("two fields", EVERY, LABELS, images)
    report = measures.evaluate_judged(data, options, told.append)
    numbers = plain(report.json)
    assert told == ["a", "b"]
    assert report.text.startswith("two fields: 2 images, dgl-rsis-")
    assert (numbers["task"], numbers["labels"]) == ("ovss", list(LABELS))
    building, *others = numbers["concepts"].values()
    assert building["judged"] == building["real"] == 2 * 48 * 64
    assert building["IoU"] == building["recall"]
    assert [each["hits"] for each in others] == [0] * 7
    assert sum(b["count"] for b in numbers["calibration"]["pixels"]["bins"]) == 2 * 48 * 64
    names = [path.name for path in report.plot(tmp_path)]
    assert names == ["reliability.png", "worst-1-a.png", "worst-2-b.png"]
    with Image.open(tmp_path / "reliability.png") as picture:
        assert min(picture.size) > 300


def test_labels_that_count_as_nothing_are_refused(options: Options):
    data = JudgedData("fields", (BUILDING,), LABELS, [])
    other = Options("oam-buildings", options.model, labels=("water", "road"))
    with pytest.raises(DatasetError, match="none of the labels water, road counts"):
        measures.evaluate_judged(data, other)


def test_boxes(options: Options):
    image = Boxed("a", fields(), {"building": np.array([[0, 0, 64, 48]], np.float32)})
    report = measures.evaluate_objects(BoxData("boxes", (BUILDING,), LABELS, [image]), options)
    assert plain(report.json)["micro"]["real"] == 1
    assert "boxes at IoU 0.3" in report.text


def test_presence(options: Options):
    image = Tagged("a", fields(), dict.fromkeys(LABELS, True))
    data = PresenceData("tags", EVERY, LABELS, [image])
    numbers = plain(measures.evaluate_presence(data, options).json)
    assert sum(each["hits"] for each in numbers["classes"].values()) >= 1
    assert numbers["false_per_image"] == 0


def test_absent_things(options: Options):
    image = fields()
    questions = [Question("a", image, "the ship"), Question("a", image, "the white dam"),
                 Question("b", image, "not asked")]  # fmt: skip
    report = measures.evaluate_absent(QuestionData("absent", questions), options)
    numbers = plain(report.json)
    assert [each["sentence"] for each in numbers["answers"]] == ["the ship", "the white dam"]
    for each in numbers["answers"]:
        assert (each["score"] is None) == bool(each["reason"])
    given = sum(each["score"] is not None for each in numbers["answers"])
    assert numbers["answered"] == given / 2


def test_claims(options: Options, tmp_path: Path):
    image = Overview("some/a.jpg", fields(), {"building": 1})
    report = measures.evaluate_claims(LargeData("large", (BUILDING,), LABELS, [image]), options)
    (claims,) = plain(report.json)["images"]
    assert (claims["name"], claims["there_are_about"]) == ("some/a.jpg", {"building": 1})
    (path,) = report.plot(tmp_path)
    with Image.open(path) as picture:
        assert (path.name, picture.size) == ("some_a_jpg.png", (64, 48))


def test_presence_is_told_by_class_and_in_the_mean():
    right, missed, false = Tally(4, 4, 4), Tally(0, 0, 4), Tally(0, 6, 0)
    names = ("airplane", "car", "ship", "tank", "court", "building", "tree", "water", "road")
    each = (right, missed, false, Tally(), right, right, missed, Tally(), false)
    scores = Detections(dict(zip(names, each, strict=True)), 4)
    numbers = plain(measure_tables.presence_json(scores))
    # Of the first five the F1 are 1, 0, 0, none and 1; then 1, 0 and none.
    assert numbers["mean_F1_of_5"] == pytest.approx(2 / 4)
    assert numbers["mean_F1_of_8"] == pytest.approx(3 / 6)
    assert numbers["false_per_image"] == 6 / 4
    text = measure_tables.presence_text(scores)
    assert "mean F1 of these and building, tree, water: 0.500" in text
    assert "false ones of the first 5, an image: 1.500" in text


def test_lists_are_told_with_what_was_made_up():
    answers = [Answer("a", "the ship", 0.75, ""), Answer("b", "the dam", None, "nothing fits")]
    text = measure_tables.absent_text(answers)
    assert text.splitlines() == ["answered with a mask: 1 of 2, 0.500", "  0.75  the ship  (a)"]
    found = {"car": [Found("car", 0.5, (0, 0, 2, 2))], "ship": []}
    claims = [Claims(n, fields(), found, {"car": 3, "ship": 1}) for n in "ab"]
    lines = measure_tables.claim_text(claims).splitlines()
    assert lines[1].split() == ["a", "1", "of", "3", "0", "of", "1"]
    assert lines[3].split() == ["all", "2", "of", "6", "0", "of", "2"]
