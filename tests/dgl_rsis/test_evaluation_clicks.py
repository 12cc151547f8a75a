import json

import numpy as np
import pytest

from dgl_rsis import evaluation_clicks, evaluation_clicks_text
from dgl_rsis.clicks import ClickRun
from dgl_rsis.dataset_catalogue import ObjectData
from dgl_rsis.datasets import DatasetError, Instances
from dgl_rsis.evaluation_clicks_text import ClickScores
from dgl_rsis.evaluation_runs import Options


def squares() -> Instances:
    """Two bright squares and a speck on a dark ground."""
    rng = np.random.default_rng(0)
    numbers = np.zeros((64, 64), dtype=np.int32)
    numbers[8:28, 8:28], numbers[36:56, 30:50], numbers[60:62, 2:4] = 1, 2, 3
    image = 60 + rng.integers(0, 8, (64, 64, 3)) + 120 * (numbers > 0)[..., None]
    return Instances("squares", image.astype(np.uint8), numbers)


def test_a_plain_object_takes_one_click_and_none_with_a_pre_label():
    told: list[str] = []
    scores = evaluation_clicks.measure([squares()], progress=told.append)
    assert told == ["squares"]
    assert len(scores.from_nothing) == 2  # the speck is too small
    for run in scores.from_nothing:
        assert run.after(1) > 0.9
    assert all(run.ious[0] > 0.9 for run in scores.from_prior)
    assert scores.saved(0.85) == 1


def test_numbers_of_a_report():
    runs = (ClickRun((0.0, 0.5, 0.82)), ClickRun((0.0, 0.9)))
    priors = (ClickRun((0.7, 0.86)), ClickRun((0.9,)))
    scores = ClickScores(runs, priors, 1, 100, 0.5, (0.01, 0.03))
    assert evaluation_clicks_text.mean_iou(runs, 1) == pytest.approx(0.7)
    assert evaluation_clicks_text.mean_iou(runs, 5) == pytest.approx(0.86)
    assert evaluation_clicks_text.clicks_needed(runs, 0.8) == 1.5
    assert evaluation_clicks_text.clicks_needed(runs, 0.85) == (20 + 1) / 2
    assert evaluation_clicks_text.failures(runs, 0.85) == 1
    assert scores.saved(0.8) == pytest.approx(1.5 - 0.5)
    found = evaluation_clicks_text.click_json(scores)
    assert found["starts"]["nothing"]["mean_IoU"]["3"] == pytest.approx(0.86)
    assert found["saved"]["NoC@80"] == pytest.approx(1.0)
    assert found["click_ms_p50"] == pytest.approx(20)
    text = evaluation_clicks_text.click_text(scores)
    assert "2 objects of 100 pixels or more in 1 images" in text
    assert "saves: 1.00 to 80 %" in text


def test_the_report_is_json_and_text():
    data = ObjectData("two squares", [squares(), squares()])
    report = evaluation_clicks.evaluate_clicks(data, Options("fair", limit=1))
    assert report.text.startswith("two squares\n\n2 objects of 100")
    found = json.loads(json.dumps(report.json))
    assert (found["task"], found["images"], found["limit"]) == ("clicks", 1, 1)
    assert len(found["starts"]["pre-label"]["IoU"]) == 2


def test_no_object_is_large_enough():
    with pytest.raises(DatasetError, match="no object of 5000 pixels"):
        evaluation_clicks.measure([squares()], min_area=5000)
