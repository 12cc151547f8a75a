import cv2
import numpy as np
import pytest
from hypothesis import given, settings

from backend.regions import outlines
from dgl_rsis import runs
from dgl_rsis.types import Mask
from tests.backend.commands.export.examples import MASKS, region, smooth


def filled(mask: Mask) -> Mask:
    drawn = np.zeros(mask.shape, dtype=np.uint8)
    for ring in outlines.through_centres(mask):
        cv2.fillPoly(drawn, [ring.astype(np.int32)], 1)
    return drawn.astype(np.bool_)


def covered(mask: Mask) -> Mask:
    """By the even-odd rule at the pixels' centres, written down plainly."""
    union = np.zeros(mask.shape, dtype=np.bool_)
    for ring in outlines.along_edges(mask):
        inside = np.zeros(mask.shape, dtype=np.bool_)
        for (x, top), (other, bottom) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if x == other:  # edges are upright or level
                inside[min(top, bottom) : max(top, bottom), x:] ^= True
        assert not (union & inside).any()
        union |= inside
    return union


@given(MASKS)
@settings(deadline=None)
def test_centres_give_the_mask_back(mask: Mask) -> None:
    assert (filled(mask) == mask).all()


@given(MASKS)
@settings(deadline=None)
def test_edges_give_the_mask_back(mask: Mask) -> None:
    assert (covered(mask) == mask).all()


@pytest.mark.parametrize("seed", range(4))
def test_smooth_masks_come_back(seed: int) -> None:
    mask = smooth(seed)
    assert (filled(mask) == mask).all()
    assert (covered(mask) == mask).all()


def test_an_outline_has_its_corners_only() -> None:
    mask = np.zeros((20, 20), dtype=np.bool_)
    mask[3:9, 5:15] = True
    (ring,) = outlines.through_centres(mask)
    assert sorted(map(tuple, ring.tolist())) == [(5, 3), (5, 8), (14, 3), (14, 8)]


@given(MASKS)
@settings(deadline=None)
def test_parts_are_the_whole(mask: Mask) -> None:
    parts = [runs.from_runs(part.runs) for part in outlines.parts(region(mask))]
    assert (np.sum(parts, axis=0) == mask).all()
    assert all(cv2.connectedComponents(part.view(np.uint8))[0] == 2 for part in parts)
