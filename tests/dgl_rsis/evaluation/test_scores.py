import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from pycocotools.cocoeval import COCOeval

from dgl_rsis.evaluation import scores
from dgl_rsis.evaluation.scores import IGNORE, RECALL_THRESHOLDS, Confusion, Overlap
from dgl_rsis.types import Proposals

NAMES = ("a", "b", "c")
LABELS = hnp.arrays(np.uint16, (6, 7), elements={"min_value": 0, "max_value": 2})
ANSWERS = hnp.arrays(np.uint16, (6, 7), elements={"min_value": 0, "max_value": 3})
MASK = hnp.arrays(np.bool_, (9, 11))


def confused(truth: np.ndarray, predicted: np.ndarray) -> Confusion:
    confusion = Confusion.empty(NAMES)
    confusion.add(truth, predicted)
    return confusion


# ---- semantic maps -------------------------------------------------------------------------------


@given(LABELS, ANSWERS)
def test_iou_is_intersection_over_union(truth, predicted):
    for index, iou in enumerate(confused(truth, predicted).iou):
        same, asked = truth == index, predicted == index + 1
        union = (same | asked).sum()
        assert np.isnan(iou) if union == 0 else iou == pytest.approx((same & asked).sum() / union)


@given(LABELS, ANSWERS)
def test_accuracies_are_means_over_classes_and_over_pixels(truth, predicted):
    confusion = confused(truth, predicted)
    shares = [(predicted[truth == i] == i + 1).mean() for i in range(3) if (truth == i).any()]
    assert confusion.mean_accuracy == pytest.approx(np.mean(shares))
    assert confusion.pixel_accuracy == pytest.approx((predicted == truth + 1).mean())


@given(LABELS)
def test_the_truth_scores_one(truth):
    confusion = confused(truth, truth + 1)
    assert confusion.miou == confusion.pixel_accuracy == confusion.mean_accuracy == 1


def test_ignored_pixels_do_not_count():
    truth = np.array([[0, IGNORE, IGNORE]], dtype=np.uint16)
    confusion = confused(truth, np.array([[1, 2, 3]], dtype=np.uint16))
    assert confusion.counts.sum() == 1
    assert confusion.miou == 1


def test_without_truth_there_is_no_score():
    nothing = np.full((2, 2), IGNORE, np.uint16)
    confusion = confused(nothing, np.ones((2, 2), np.uint16))
    assert math.isnan(confusion.miou)
    assert math.isnan(confusion.mean_accuracy)
    assert confusion.pixel_accuracy == 0


def test_unlabelled_pixels_are_misses():
    confusion = confused(np.zeros((1, 4), np.uint16), np.array([[0, 0, 1, 1]], np.uint16))
    assert confusion.iou[0] == confusion.recall[0] == 0.5


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        confused(np.zeros((2, 2), np.uint16), np.zeros((2, 3), np.uint16))
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        scores.overlap(np.zeros((2, 3), bool), np.zeros((2, 2), bool))


@given(LABELS, ANSWERS)
def test_the_majority_is_the_best_constant_answer(truth, predicted):
    majority = confused(truth, predicted).majority()
    constants = [confused(truth, np.full_like(truth, i + 1)) for i in range(3)]
    assert any(np.array_equal(majority.counts, c.counts) for c in constants)
    assert majority.pixel_accuracy == max(c.pixel_accuracy for c in constants)


# ---- masks ---------------------------------------------------------------------------------------


@given(MASK, MASK)
def test_overlaps_agree_with_the_coco_api(mask, truth):
    encoded = [coco.encode(np.asfortranarray(m.astype(np.uint8))) for m in (mask, truth)]
    expected = coco.iou(encoded[:1], encoded[1:], [0])[0, 0]
    overlap = scores.overlap(mask, truth)
    assert overlap.iou == pytest.approx(0.0 if not (mask | truth).any() else expected)


def test_two_empty_masks_score_nothing():
    assert Overlap(0, 0).iou == 0


def test_expression_scores_by_hand():
    overlaps = [Overlap(5, 10), Overlap(0, 0), Overlap(90, 100), Overlap(0, 50)]
    assert scores.mean_iou(overlaps) == pytest.approx((0.5 + 0 + 0.9 + 0) / 4)
    assert scores.overall_iou(overlaps) == pytest.approx(95 / 160)
    assert scores.precision(overlaps, 0.5) == 0.5  # reaching it is enough
    assert scores.precision(overlaps, 0.9) == 0.25
    assert scores.precision(overlaps, 0.91) == 0


def test_no_expressions_have_no_score():
    assert math.isnan(scores.mean_iou([]))
    assert math.isnan(scores.overall_iou([]))
    assert math.isnan(scores.precision([], 0.5))
    assert math.isnan(scores.average_recall([]))


# ---- proposals -----------------------------------------------------------------------------------


def boxes_map(rng: np.random.Generator, side: int = 64, count: int = 6) -> np.ndarray:
    """(side, side) int32 of rectangles that do not overlap."""
    numbers = np.zeros((side, side), np.int32)
    for number in range(1, count + 1):
        y, x = rng.integers(0, side - 8, 2)
        h, w = rng.integers(4, 20, 2)
        window = numbers[y : y + h, x : x + w]
        window[window == 0] = number
    return numbers


def around(rng: np.random.Generator, numbers: np.ndarray, count: int) -> Proposals:
    """Proposals that are objects moved and cut, and some that are anything."""
    side = len(numbers)
    masks = np.zeros((count, side, side), bool)
    for mask in masks:
        number = rng.integers(1, numbers.max() + 1)
        moved = np.roll(numbers == number, rng.integers(-3, 4, 2), axis=(0, 1))
        mask[:] = moved & (rng.random((side, side)) < rng.uniform(0.5, 1))
    quality = rng.permutation(count).astype(np.float32) / count
    return Proposals(masks, np.zeros((count, 4), np.int32), quality, side, side)


@pytest.mark.parametrize("seed", range(3))
def test_object_ious_agree_with_the_coco_api(seed: int):
    rng = np.random.default_rng(seed)
    numbers = boxes_map(rng)
    proposals = around(rng, numbers, 30)
    order = np.argsort(-proposals.quality)
    encode = lambda m: coco.encode(np.asfortranarray(m.astype(np.uint8)))  # noqa: E731
    present = [n for n in range(1, numbers.max() + 1) if (numbers == n).sum() >= 20]
    expected = coco.iou(
        [encode(proposals.masks[i]) for i in order],
        [encode(numbers == n) for n in present],
        [0] * len(present),
    )
    assert scores.object_ious(proposals, numbers, 20) == pytest.approx(expected)
    by_object = [
        [o.iou for o in scores.proposal_overlaps(proposals, numbers == n)] for n in present
    ]
    assert np.array(by_object).T[order] == pytest.approx(expected)


def test_smaller_proposals_count_at_the_size_of_the_image():
    rng = np.random.default_rng(0)
    masks = rng.random((5, 7, 5)) < 0.5
    quality = np.linspace(1, 0, 5, dtype=np.float32)
    proposals = Proposals(masks, np.zeros((5, 4), np.int32), quality, 23, 16)
    numbers = boxes_map(rng, 40, 3)[:23, :16]
    numbers[2:9, 3:12] = 1
    full = np.stack([proposals.at_full_size(mask) for mask in masks])
    assert full.shape == (5, 23, 16)
    for y, x in ((0, 0), (22, 15), (11, 7)):
        assert (full[:, y, x] == masks[:, y * 7 // 23, x * 5 // 16]).all()
    expected = [scores.overlap(mask, numbers == 1) for mask in full]
    assert scores.proposal_overlaps(proposals, numbers == 1) == expected
    assert scores.object_ious(proposals, numbers)[:, 0].tolist() == [o.iou for o in expected]


def test_an_empty_truth_overlaps_with_nothing():
    proposals = around(np.random.default_rng(0), boxes_map(np.random.default_rng(0)), 3)
    overlaps = scores.proposal_overlaps(proposals, np.zeros((64, 64), bool))
    assert [o.intersection for o in overlaps] == [0, 0, 0]
    assert [o.union for o in overlaps] == proposals.masks.sum(axis=(1, 2)).tolist()


def test_numbers_that_do_not_occur_and_small_objects_are_left_out():
    numbers = np.zeros((8, 8), np.int32)
    numbers[:4, :4], numbers[6, 6] = 2, 4
    masks = (numbers == 2)[None]
    proposals = Proposals(masks, np.zeros((1, 4), np.int32), np.ones(1, np.float32), 8, 8)
    assert scores.object_ious(proposals, numbers).tolist() == [[1.0, 0.0]]
    assert scores.object_ious(proposals, numbers, 2).tolist() == [[1.0]]
    assert scores.object_ious(proposals, numbers, 17).shape == (1, 0)


def test_the_best_counts_within_a_budget():
    ious = np.array([[0.1, 0.6], [0.8, 0.2], [0.3, 0.9]])
    assert scores.best_ious(ious, 1).tolist() == [0.1, 0.6]
    assert scores.best_ious(ious, 2).tolist() == [0.8, 0.6]
    assert scores.best_ious(ious).tolist() == [0.8, 0.9]
    assert scores.best_ious(ious[:0]).tolist() == [0.0, 0.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_each_threshold_that_an_object_reaches_counts_a_tenth(best):
    expected = np.mean([sum(b >= t for t in RECALL_THRESHOLDS) / 10 for b in best])
    assert scores.average_recall(best) == pytest.approx(expected)


def test_average_recall_agrees_with_the_coco_api(capsys: pytest.CaptureFixture[str]):
    rng = np.random.default_rng(1)
    evaluation = COCOeval(iouType="segm")
    evaluation.params.imgIds, evaluation.params.catIds = [0, 1, 2], [1]
    evaluation.params.useCats = 0
    evaluation.params.maxDets = [5, 20, 40]
    best: dict[int, list[float]] = {5: [], 20: [], 40: []}
    for image in range(3):
        numbers = boxes_map(rng)
        proposals = around(rng, numbers, 40)
        ious = scores.object_ious(proposals, numbers)
        for budget in best:
            best[budget] += scores.best_ious(ious, budget).tolist()
        encode = lambda m: coco.encode(np.asfortranarray(m.astype(np.uint8)))  # noqa: E731
        for number in np.unique(numbers)[1:]:
            mask = numbers == number
            evaluation._gts[image, 1].append(
                {"id": 100 * (image + 1) + int(number), "ignore": 0, "iscrowd": 0,
                 "area": int(mask.sum()), "segmentation": encode(mask)}
            )  # fmt: skip
        for i, mask in enumerate(proposals.masks):
            evaluation._dts[image, 1].append(
                {"id": 1000 * (image + 1) + i, "score": float(proposals.quality[i]),
                 "area": int(mask.sum()), "segmentation": encode(mask)}
            )  # fmt: skip
    evaluation._prepare = lambda: None
    evaluation.evaluate()
    evaluation.accumulate()
    recall = evaluation.eval["recall"][:, 0, 0, :]  # (10 thresholds, 3 budgets)
    assert "DONE" in capsys.readouterr().out
    for i, budget in enumerate((5, 20, 40)):
        assert scores.average_recall(best[budget]) == pytest.approx(recall[:, i].mean())
    assert 0 < recall[:, 0].mean() < recall[:, 2].mean() < 1
