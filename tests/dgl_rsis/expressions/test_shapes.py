import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from skimage.measure import regionprops

from dgl_rsis.expressions.shapes import measure
from tests.dgl_rsis.expressions.rectangles import masks_of, measured, rectangles


@given(masks_of(st.integers(1, 4), 40, 30), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_shapes_are_those_of_scikit_image(masks, scale):
    shapes = measure(masks, 40 * scale, 30 * scale)
    for i, mask in enumerate(masks):
        (oracle,) = regionprops(mask.astype(np.uint8))
        assert shapes.areas[i] == pytest.approx(oracle.area * scale**2)
        centre = (np.array(oracle.centroid)[::-1] + 0.5) * scale
        assert shapes.centroids[i] == pytest.approx(centre, abs=1e-3)
        top, left, bottom, right = oracle.bbox
        assert shapes.boxes[i].tolist() == [c * scale for c in (left, top, right, bottom)]
        axes = np.array([oracle.axis_major_length, oracle.axis_minor_length]) * np.sqrt(12) / 4
        # It takes pixels for points; their own extent adds one to the square.
        assert shapes.sides[i] == pytest.approx(np.sqrt(axes**2 + 1) * scale, rel=1e-3)


def test_the_sides_of_a_rectangle_are_its_sides():
    assert measured([(3, 5, 43, 15)]).sides[0] == pytest.approx([40, 10], rel=1e-3)


@given(masks_of(st.integers(1, 4), 40, 30), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_known_boxes_change_nothing(masks, margin):
    free = measure(masks, 80, 60)
    grown = free.boxes + np.array([-margin, -margin, margin, margin])
    held = measure(masks, 80, 60, np.clip(grown, 0, (60, 80, 60, 80)).astype(np.int32))
    for name in ("centroids", "boxes", "areas", "sides", "origins"):
        assert np.array_equal(getattr(free, name), getattr(held, name))
    assert all(np.array_equal(a, b) for a, b in zip(free.crops, held.crops, strict=True))


@given(masks_of(st.just(3), 40, 30))
@settings(max_examples=40, deadline=None)
def test_distances_and_intersections_are_those_of_all_pairs_of_pixels(masks):
    shapes = measure(masks, 40, 30)
    distances = shapes.distances(shapes.take([2]))
    common = shapes.intersections(shapes.crops[2], shapes.origins[2])
    for i, mask in enumerate(masks):
        pairs = cdist(np.argwhere(mask), np.argwhere(masks[2])).min(axis=1)
        expected = (max(pairs.min() - 1, 0) + pairs.mean()) / 2
        assert distances[i] == pytest.approx(expected, abs=1e-3)
        assert common[i] == (mask & masks[2]).sum()


def test_distances_in_large_masks_are_right_to_a_cell():
    corners = [(100, 100, 140, 150), (401, 233, 477, 300), (700, 1000, 990, 1020)]
    coarse = measured(corners, 1024, 1000).distances(measured([(500, 500, 603, 557)], 1024, 1000))
    for corner, distance in zip(corners, coarse, strict=True):
        pixels = np.argwhere(rectangles(1024, 1000, [corner])[0]) + 0.5
        nearest = np.clip(pixels, (500, 500), (557, 603))
        pairs = np.linalg.norm(pixels - nearest, axis=1)
        assert distance == pytest.approx((pairs.min() + pairs.mean()) / 2, abs=4)
