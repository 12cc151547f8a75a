from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_rsis.regions.proposals import RegionParameters, joined, propose
from dgl_rsis.types import Proposals

DEFAULT = RegionParameters()


def two_halves() -> np.ndarray:
    image = np.zeros((64, 96, 3), dtype=np.uint8)
    image[:, :48], image[:, 48:] = (30, 60, 120), (200, 180, 150)
    return image


def test_regions_follow_the_edge_between_two_colours():
    proposed = propose(two_halves(), RegionParameters(levels=(2,), min_regions=2))
    assert len(proposed) == 2
    assert {tuple(box) for box in proposed.boxes.tolist()} == {(0, 0, 48, 64), (48, 0, 96, 64)}


@given(
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    seed=st.integers(0, 5),
    smooth=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_levels_partition_any_image(height, width, seed, smooth):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if smooth:
        image = np.full_like(image, 90)
    proposed = propose(image, RegionParameters(levels=(2000, 500), min_regions=4))
    assert proposed.masks.any(axis=0).all()  # every pixel lies in a mask
    assert proposed.masks.any(axis=(1, 2)).all()  # no mask is empty
    for mask, (left, top, right, bottom) in zip(proposed.masks, proposed.boxes, strict=True):
        assert mask[top:bottom, left:right].sum() == mask.sum()
        assert mask[top].any()
        assert mask[:, right - 1].any()
    assert ((proposed.quality >= 0) & (proposed.quality <= 1)).all()


def test_masks_are_nested_or_disjoint():
    image = np.random.default_rng(1).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    masks = propose(image, DEFAULT).masks
    flat = masks.reshape(len(masks), -1).astype(int)
    common = flat @ flat.T
    areas = flat.sum(axis=1)
    smaller = np.minimum.outer(areas, areas)
    assert ((common == 0) | (common == smaller)).all()


def test_each_region_comes_once():
    image = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    masks = propose(image, DEFAULT).masks
    assert len(np.unique(masks.reshape(len(masks), -1), axis=0)) == len(masks)


@pytest.mark.parametrize("factor", [1, 2])
def test_boxes_are_at_full_size_and_masks_at_the_working_size(factor):
    image = two_halves().repeat(factor, axis=0).repeat(factor, axis=1)
    parameters = RegionParameters(levels=(2,), min_regions=2, max_side=96)
    proposed = propose(image, parameters)
    assert proposed.masks.shape[1:] == (64, 96)
    assert (proposed.height, proposed.width) == image.shape[:2]
    assert proposed.areas / image[..., 0].size == pytest.approx(0.5, abs=0.02)
    assert sorted(proposed.boxes.tolist()) == [
        [0, 0, 48 * factor, 64 * factor],
        [48 * factor, 0, 96 * factor, 64 * factor],
    ]


def test_the_same_image_gives_the_same_regions():
    image = np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    first, second = propose(image, DEFAULT), propose(image, DEFAULT)
    assert (first.masks == second.masks).all()
    assert (first.quality == second.quality).all()


def buildings() -> np.ndarray:
    """Small bright squares on a dark ground of two halves."""
    image = two_halves()
    for top, left in ((8, 10), (30, 22), (44, 70)):
        image[top : top + 8, left : left + 8] = (250, 60, 40)
    return image


def test_the_strongest_nodes_keep_small_things_that_coarse_cuts_swallow():
    coarse = RegionParameters(levels=(1,), min_regions=1)
    square = np.zeros((64, 96), dtype=bool)
    square[30:38, 22:30] = True

    def best(parameters: RegionParameters) -> float:
        masks = propose(buildings(), parameters).masks
        return max((m & square).sum() / (m | square).sum() for m in masks)

    assert best(coarse) < 0.1
    assert best(replace(coarse, objects=20)) > 0.9


def test_further_nodes_are_new_large_enough_and_as_many_as_asked():
    few = propose(buildings(), RegionParameters(min_area=40))
    more = propose(buildings(), RegionParameters(min_area=40, objects=5))
    assert len(few) < len(more) <= len(few) + 5
    assert (more.masks[: len(few)] == few.masks).all()
    added = more.masks[len(few) :]
    assert (added.sum(axis=(1, 2)) >= 40).all()
    assert len(np.unique(more.masks.reshape(len(more), -1), axis=0)) == len(more)


def test_quality_is_the_strength_of_the_outline():
    image = two_halves()
    image[10:20, 10:20] = (250, 60, 40)  # a strong outline
    image[10:20, 60:70] = (200, 180, 165)  # a weak one
    proposed = propose(image, RegionParameters(levels=(2,), min_regions=2, objects=50))

    def quality(rows: slice, columns: slice) -> float:
        wanted = np.zeros((64, 96), dtype=bool)
        wanted[rows, columns] = True
        overlap = [(m & wanted).sum() / (m | wanted).sum() for m in proposed.masks]
        assert max(overlap) > 0.8
        return float(proposed.quality[int(np.argmax(overlap))])

    strong = quality(slice(10, 20), slice(10, 20))
    assert strong > quality(slice(10, 20), slice(60, 70))


def test_further_masks_stand_behind_the_proposals():
    masks = np.zeros((2, 10, 20), dtype=bool)
    masks[0, :5], masks[1, 3:7, 4:9] = True, True
    boxes = np.array([[0, 0, 40, 10], [8, 6, 18, 14]], dtype=np.int32)
    proposed = Proposals(masks, boxes, np.array([0.2, 0.6], dtype=np.float32), 20, 40)
    further = np.zeros((10, 20), dtype=bool)
    further[8, 2], further[9, 5] = True, True
    union = joined(proposed, [further])
    assert (union.masks == np.stack([*masks, further])).all()
    assert union.boxes.tolist() == [*boxes.tolist(), [4, 16, 12, 20]]
    assert union.quality.tolist() == pytest.approx([0.2, 0.6, 0.4])
    assert (union.height, union.width) == (20, 40)
