"""IoU over what is judged."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dgl_rsis.evaluation import concepts
from dgl_rsis.evaluation.datasets.judged import NO, UNKNOWN, YES, Judged, concept
from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.evaluation.harness import Predicted
from dgl_rsis.types import RGB

VEGETATION, TREE, POOL = concept("vegetation"), concept("tree"), concept("swimming pool")
LABELS = ("grass", "tree", "road", "pool")


def judged(name: str, **judgements: list[int]) -> Judged:
    """An image of one row; its grey level is its number."""
    planes = {key.replace("_", " "): np.array([x], np.int8) for key, x in judgements.items()}
    width = len(next(iter(judgements.values())))
    return Judged(name, np.zeros((1, width, 3), np.uint8), planes)


def always(*numbers: int, sure: float = 0.9) -> concepts.Segmenter:
    def segment(image: RGB) -> Predicted:
        return Predicted(
            np.array([numbers], np.uint16), np.full((1, len(numbers)), sure, np.float32)
        )

    return segment


IMAGE = judged(
    "a",
    vegetation=[YES, YES, YES, NO, UNKNOWN],
    tree=[UNKNOWN, YES, UNKNOWN, NO, UNKNOWN],
    swimming_pool=[NO, NO, NO, YES, UNKNOWN],
)


def test_labels_are_joined_and_what_is_unknown_does_not_count():
    told: list[str] = []
    scores = concepts.evaluate_concepts(
        [IMAGE, IMAGE],
        (VEGETATION, TREE, POOL),
        LABELS,
        {"nothing": always(3, 3, 3, 3, 3), "whole": always(1, 2, 3, 2, 2)},
        progress=told.append,
    )
    assert told == ["a", "a"]
    vegetation, tree, pool = (scores.tallies[c.name] for c in (VEGETATION, TREE, POOL))
    assert (vegetation.hits, vegetation.claimed, vegetation.real) == (4, 6, 6)
    assert vegetation.iou == pytest.approx(2 / 4)
    assert (tree.iou, tree.precision, tree.recall) == (0.5, 0.5, 1.0)
    assert (pool.iou, math.isnan(pool.precision), pool.recall) == (0, True, 0)
    assert scores.known == {"vegetation": 8, "tree": 4, "swimming pool": 8}
    assert scores.miou == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert scores.images == 2
    assert [each.iou for each in scores.ladder["nothing"].values()] == [0, 0, 0]
    assert scores.ladder["whole"] == scores.tallies
    assert list(scores.seconds) == ["nothing", "whole"]


def test_the_sums_over_images_are_divided_not_the_ratios():
    small, large = judged("s", tree=[YES, NO]), judged("l", tree=[YES] * 8)
    segments = iter([always(3, 3), always(*[2] * 8)])
    scores = concepts.evaluate_concepts(
        [small, large], (TREE,), LABELS, {"whole": lambda image: next(segments)(image)}
    )
    assert scores.tallies["tree"].iou == pytest.approx(8 / 9)
    assert [(case.name, case.score) for case in scores.worst] == [("s", 0.0), ("l", 1.0)]


def test_a_pixel_is_right_as_far_as_its_label_is_judged():
    numbers = np.array([[2, 2, 1, 1, 2]], np.uint16)
    verdicts = concepts.verdicts(IMAGE, numbers, LABELS, (VEGETATION, TREE, POOL))
    assert verdicts.tolist() == [[YES, YES, YES, NO, UNKNOWN]]
    road = np.full((1, 5), 3, np.uint16)
    assert (concepts.verdicts(IMAGE, road, LABELS, (VEGETATION, TREE, POOL)) == UNKNOWN).all()


def test_calibration_is_of_the_pixels_that_are_judged():
    scores = concepts.evaluate_concepts(
        [IMAGE], (VEGETATION, TREE, POOL), LABELS, {"whole": always(1, 2, 3, 2, 2)}
    )
    ((_, count, sure, right),) = scores.pixels.rows
    assert (count, sure, right) == (3, pytest.approx(0.9), pytest.approx(2 / 3))
    assert scores.masks.counts.sum() == 2  # of vegetation and of trees


def test_concepts_that_no_label_counts_as_are_not_measured():
    assert concepts.asked((VEGETATION, TREE, POOL), ("grass", "road")) == (VEGETATION,)
    with pytest.raises(DatasetError, match=r"none of the labels road counts .* add one of tree"):
        concepts.asked((TREE,), ("road",))
    with pytest.raises(DatasetError, match="no images"):
        concepts.evaluate_concepts([], (TREE,), LABELS, {"whole": always(1)})


@given(
    hnp.arrays(np.bool_, (4, 5)),
    hnp.arrays(np.int8, (4, 5), elements=st.sampled_from([YES, NO, UNKNOWN])),
    hnp.arrays(np.bool_, (4, 5)),
)
def test_unknown_pixels_change_nothing(found: np.ndarray, judgement: np.ndarray, other: np.ndarray):
    known = judgement != UNKNOWN
    tally = concepts.tally(found, judgement)
    assert tally == concepts.tally(np.where(known, found, other), judgement)
    union = ((found | (judgement == YES)) & known).sum()
    expected = (found & (judgement == YES)).sum() / union if union else math.nan
    assert tally.iou == pytest.approx(expected, nan_ok=True)
