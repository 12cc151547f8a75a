import json
from pathlib import Path

import numpy as np
import pytest

from dgl_rsis.evaluation import click_ladder, tables
from dgl_rsis.evaluation.datasets.catalogue import ObjectData
from dgl_rsis.evaluation.datasets.samples import DatasetError, Instances
from dgl_rsis.evaluation.ladders import Options


def squares() -> Instances:
    """Two bright squares and a speck on a dark ground."""
    rng = np.random.default_rng(0)
    numbers = np.zeros((64, 64), dtype=np.int32)
    numbers[8:28, 8:28], numbers[36:56, 30:50], numbers[60:62, 2:4] = 1, 2, 3
    image = 60 + rng.integers(0, 8, (64, 64, 3)) + 120 * (numbers > 0)[..., None]
    return Instances("squares", image.astype(np.uint8), numbers)


def test_a_plain_object_takes_one_click_and_none_with_a_pre_label():
    told: list[str] = []
    scores = click_ladder.measure([squares()], progress=told.append)
    assert told == ["squares"]
    assert len(scores.from_nothing) == 2  # the speck is too small
    for run in scores.from_nothing:
        assert run.after(1) > 0.9
    assert all(run.ious[0] > 0.9 for run in scores.from_prior)
    assert scores.saved(0.85) == 1


def test_the_report_is_json_and_text():
    data = ObjectData("two squares", [squares(), squares()])
    report = click_ladder.evaluate_clicks(data, Options("fair", limit=1))
    assert report.text.startswith("two squares\n\n2 objects of 100")
    numbers = json.loads(json.dumps(report.json))
    assert (numbers["task"], numbers["images"], numbers["limit"]) == ("clicks", 1, 1)
    assert len(numbers["starts"]["pre-label"]["IoU"]) == 2


def test_no_object_is_large_enough():
    with pytest.raises(DatasetError, match="no object of 5000 pixels"):
        click_ladder.measure([squares()], min_area=5000)


def test_a_segmentation_is_corrected_where_it_is_worth_it():
    entry = squares()
    first, second = entry.numbers == 1, entry.numbers == 2
    sliver = second & (np.arange(64) < 33)
    assert click_ladder.best_part([sliver, first], second) is None
    assert click_ladder.best_part([], second) is None
    assert click_ladder.best_part([sliver, first], first) is first
    scores = click_ladder.measure([entry], segment=lambda image: [sliver, first])
    assert scores.corrected == 1
    perfect, other = scores.from_segmentation
    assert perfect.ious[0] == 1
    assert other == scores.from_nothing[1]
    assert scores.saved(0.85, "segmentation") == pytest.approx(0.5)
    text = tables.click_text(scores)
    assert "the segmentation saves: 0.50 to 80 %, 0.50 to 85 %, which 1 objects have" in text
    numbers = tables.click_json(scores)
    assert numbers["saved_by_segmentation"]["NoC@85"] == pytest.approx(0.5)
    assert set(numbers["starts"]) == {"nothing", "pre-label", "segmentation"}


def test_the_pictures_are_the_curves_and_the_worst(tmp_path: Path):
    data = ObjectData("two squares", [squares()])
    report = click_ladder.evaluate_clicks(data, Options("fair", worst=1))
    curves, worst = report.plot(tmp_path / "new")
    assert curves.name == "clicks.png"
    assert worst.name.startswith("worst-1-squares_object_")
    for path in (curves, worst):
        assert path.stat().st_size > 1000


def test_objects_of_one_class_are_also_clicked_from_what_the_model_segments(
    monkeypatch: pytest.MonkeyPatch,
):
    asked: list[str] = []

    def segmenting(label: str, options: Options) -> click_ladder.FindParts:
        asked.append(label)
        return lambda image: [image[..., 0] > 120]

    monkeypatch.setattr(click_ladder, "segmenting", segmenting)
    data = ObjectData("squares", [squares()], "building")
    report = click_ladder.evaluate_clicks(data, Options("fair"))
    assert asked == ["building"]
    assert "segmentation" in report.json["starts"]
