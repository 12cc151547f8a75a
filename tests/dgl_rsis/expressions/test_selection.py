import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from dgl_rsis.expressions.selection import (
    Ranking,
    SelectionParameters,
    combined,
    contrast,
    members,
    rank,
)

PLAIN = SelectionParameters(weights={"class": 1.0, "geometry": 1.0})
UNIT = st.floats(0, 1, width=32)


def columns(*spans: tuple[int, int]) -> np.ndarray:
    """One mask for each span of columns of a 4 × 20 image."""
    masks = np.zeros((len(spans), 4, 20), dtype=bool)
    for mask, (start, end) in zip(masks, spans, strict=True):
        mask[:, start:end] = True
    return masks


def part(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_best_candidates_come_first_and_do_not_overlap():
    masks = columns((0, 4), (0, 5), (8, 12), (14, 18))
    ranking = rank(masks, {"class": part(0.8, 0.9, 0.3, 0.5)}, 3, PLAIN)
    assert ranking.order.tolist() == [1, 3, 2]  # the first overlaps the second by 16 / 20
    assert ranking.scores.tolist() == pytest.approx([0.9, 0.5, 0.3])


def test_overlap_is_the_iou_of_pycocotools():
    masks = columns((0, 6), (3, 9), (2, 8))
    encoded = [coco.encode(np.asfortranarray(m.astype(np.uint8))) for m in masks]
    ious = coco.iou(encoded, encoded, [0] * 3)
    parts = {"class": part(0.9, 0.8, 0.7)}
    for limit in (ious[0, 1] - 1e-6, ious[0, 1] + 1e-6):
        kept = rank(masks, parts, 3, SelectionParameters(weights={"class": 1}, overlap=limit))
        assert (1 in kept.order) == (limit > ious[0, 1])


@given(arrays(np.float32, 6, elements=UNIT), arrays(np.float32, 6, elements=UNIT))
def test_scores_are_weighted_geometric_means(first: np.ndarray, second: np.ndarray):
    scores = combined({"class": first, "geometry": second}, PLAIN)
    floored = np.maximum(first, 1e-4) * np.maximum(second, 1e-4)
    assert scores == pytest.approx(np.sqrt(floored), rel=1e-4)
    assert ((scores >= 0) & (scores <= 1)).all()
    alone = combined({"class": first, "unnamed": second}, PLAIN)
    assert alone == pytest.approx(np.maximum(first, 1e-4), rel=1e-4)


def test_a_part_of_zero_sinks_a_candidate():
    parts = {"class": part(1.0, 0.4), "geometry": part(0.0, 0.5)}
    assert rank(columns((0, 4), (8, 12)), parts, 2, PLAIN).order.tolist() == [1, 0]


def test_parts_without_any_weight_are_a_mistake():
    with pytest.raises(ValueError, match=r"no part of \['cam'\] has a weight"):
        combined({"cam": part(1.0)}, PLAIN)


def test_plurals_take_what_is_nearly_as_good_and_numbers_what_they_say():
    ranking = Ranking(np.arange(4), part(0.9, 0.8, 0.5, 0.1))
    assert members(ranking, None, PLAIN) == 2  # 0.8 ≥ 0.8 · 0.9
    assert members(ranking, 3, PLAIN) == 3
    assert members(ranking, 9, PLAIN) == 4
    assert members(Ranking(np.arange(0), part()), 2, PLAIN) == 0


def test_contrast_is_inside_against_outside():
    activation = np.zeros((4, 20), dtype=np.float32)
    activation[:, :5] = 1
    spans = ((0, 5), (5, 20), (0, 20), (0, 10))
    boxes = np.array([(start, 0, end, 4) for start, end in spans])
    contrasts = contrast(columns(*spans), boxes, activation)
    assert contrasts == pytest.approx([1.0, 0.0, (1 + 0.25) / 2, (1 + 0.5) / 2])
