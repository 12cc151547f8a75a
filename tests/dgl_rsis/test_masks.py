import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dgl_rsis import masks

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24))


@given(MASKS.filter(lambda m: m.any()))
def test_box_is_the_smallest(mask):
    left, top, right, bottom = masks.box(mask)
    assert mask[top:bottom, left:right].sum() == mask.sum()
    for edge in (mask[top], mask[bottom - 1], mask[:, left], mask[:, right - 1]):
        assert edge.any()


def test_an_empty_mask_has_no_box():
    with pytest.raises(ValueError, match="empty"):
        masks.box(np.zeros((3, 3), dtype=bool))


@given(MASKS, st.integers(1, 8))
def test_components_are_disjoint_large_enough_and_in_order(mask, min_area):
    parts = list(masks.components(mask, min_area))
    areas = [int(part.sum()) for part in parts]
    assert areas == sorted(areas, reverse=True)
    assert all(area >= min_area for area in areas)
    assert sum(areas) == (np.any(parts, axis=0).sum() if parts else 0)
    assert all((part <= mask).all() for part in parts)
    if min_area == 1:
        assert sum(areas) == mask.sum()


def test_corners_connect():
    mask = np.eye(4, dtype=bool)
    assert len(list(masks.components(mask, 1))) == 1


@given(MASKS)
def test_the_depth_is_the_distance_to_the_outside(mask):
    inside = np.pad(mask, 1)
    outside = np.argwhere(~inside)
    for row, column in np.argwhere(inside):
        nearest = np.hypot(*(outside - (row, column)).T).min()
        assert masks.depth(mask)[row - 1, column - 1] == pytest.approx(nearest, abs=1e-4)
    assert (masks.depth(mask)[~mask] == 0).all()


@given(MASKS)
def test_the_largest_share_is_that_of_the_first_component(mask):
    first = next(masks.components(mask, 1), None)
    expected = 0.0 if first is None else first.sum() / mask.sum()
    assert masks.largest_share(mask) == pytest.approx(expected)


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))))
def test_pixels_of_a_cell_lie_under_the_same_masks(stack: np.ndarray):
    boxes = [masks.box(mask) if mask.any() else (0, 0, 0, 0) for mask in stack]
    cover = masks.cover(stack)
    for found, again in zip(cover, masks.cover(stack, np.array(boxes)), strict=True):
        assert np.array_equal(found, again)
    columns = stack.reshape(len(stack), -1)
    assert cover.members.shape[1] == len(np.unique(columns, axis=1).T)
    assert (cover.members[:, cover.cell.reshape(-1)] == columns).all()


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))))
def test_drawn_masks_are_read_as_the_masks_that_they_are_drawn_from(stack: np.ndarray):
    cover = masks.cover(stack)
    drawn = masks.DrawnMasks(cover)
    assert drawn.shape == stack.shape
    assert len(drawn) == len(stack)
    assert masks.cover(drawn) is cover
    window = slice(1, 4), slice(0, 3)
    order = np.arange(len(stack))[::-1]
    for index in (0, slice(None), order, (0, *window), (order, *window), (slice(1), window[0])):
        assert np.array_equal(drawn[index], stack[index])
    for own, mask in zip(drawn, stack, strict=True):
        assert np.array_equal(own, mask)


def test_planes_take_memory_where_something_is_drawn_only():
    before = psutil.Process().memory_info().rss
    planes = masks.planes(400, 1024, 1024)
    planes[:, 100:110, 100:110] = True
    assert not planes[:, 500].any()
    assert planes.sum() == 400 * 100
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    assert masks.planes(0, 8, 8).shape == (0, 8, 8)


def test_planes_beyond_all_memory_are_refused_as_any_array_is():
    with pytest.raises(MemoryError, match="1048576 masks of 1048576"):
        masks.planes(2**20, 2**20, 2**20)
