import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dgl_rsis.expressions import shapes
from dgl_rsis.expressions.distinct import DistinctParameters, distinct
from tests.dgl_rsis.expressions.rectangles import masks_of, measured

NESTED = [(0, 0, 20, 20), (0, 0, 20, 18), (0, 0, 8, 8), (30, 30, 50, 50), (30, 31, 50, 50)]


def test_near_duplicates_are_one_instance():
    kept = distinct(
        measured(NESTED), np.array([0.7, 0.9, 0.8, 0.6, 0.1], np.float32), DistinctParameters()
    )
    assert kept.members.tolist() == [1, 2, 3]
    assert kept.owners.tolist() == [1, 1, 2, 3, 4]
    kept = distinct(measured(NESTED), np.ones(5, np.float32), DistinctParameters(overlap=1))
    assert kept.members.tolist() == [0, 1, 2, 3, 4]


@given(masks_of(st.integers(1, 8), 24, 24), st.data())
@settings(max_examples=60, deadline=None)
def test_instances_overlap_little_and_each_owner_is_one(masks, data):
    weights = np.array(
        data.draw(st.lists(st.floats(0, 1, width=16), min_size=len(masks), max_size=len(masks))),
        np.float32,
    )
    kept = distinct(shapes.measure(masks, 24, 24), weights, DistinctParameters())
    assume(len(kept.members))

    def iou(i, j):
        return (masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()

    members = kept.members.tolist()
    assert all(iou(i, j) <= 0.5 for i in members for j in members if i != j)
    assert weights[members].min() >= 0.5 * weights.max()
    for i, owner in enumerate(kept.owners.tolist()):
        assert owner == i or (owner in members and iou(i, owner) > 0.5)
