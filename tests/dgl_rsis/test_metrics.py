import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from dgl_rsis.metrics import IGNORE, Confusion

NAMES = ("a", "b", "c")
LABELS = hnp.arrays(np.uint16, (6, 7), elements={"min_value": 0, "max_value": 2})


@given(LABELS, hnp.arrays(np.uint16, (6, 7), elements={"min_value": 0, "max_value": 3}))
def test_iou_is_intersection_over_union(truth, predicted):
    confusion = Confusion.empty(NAMES)
    confusion.add(truth, predicted)
    for index, iou in enumerate(confusion.iou):
        same, asked = truth == index, predicted == index + 1
        union = (same | asked).sum()
        assert np.isnan(iou) if union == 0 else iou == pytest.approx((same & asked).sum() / union)


@given(LABELS)
def test_the_truth_scores_one(truth):
    confusion = Confusion.empty(NAMES)
    confusion.add(truth, truth + 1)
    assert confusion.miou == 1
    assert confusion.pixel_accuracy == 1


def test_ignored_pixels_do_not_count():
    truth = np.array([[0, IGNORE, IGNORE]], dtype=np.uint16)
    confusion = Confusion.empty(NAMES)
    confusion.add(truth, np.array([[1, 2, 3]], dtype=np.uint16))
    assert confusion.counts.sum() == 1
    assert confusion.miou == 1


def test_unlabelled_pixels_are_misses():
    confusion = Confusion.empty(NAMES)
    confusion.add(np.zeros((1, 4), np.uint16), np.array([[0, 0, 1, 1]], np.uint16))
    assert confusion.iou[0] == 0.5


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        Confusion.empty(NAMES).add(np.zeros((2, 2), np.uint16), np.zeros((2, 3), np.uint16))
