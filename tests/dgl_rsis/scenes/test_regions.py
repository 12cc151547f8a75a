import numpy as np
import pytest

from dgl_rsis.regions import proposals
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.scenes import regions
from dgl_rsis.scenes.regions import Kept
from tests.small_scene import picture

PARAMETERS = RegionParameters()


def test_each_cut_of_a_single_sample_leaves_as_many_regions_as_in_an_image():
    image = picture(500, 500)
    for level in (384, 128, 64):
        one_cut = RegionParameters(levels=(level,))
        costs = regions.limits([image], one_cut)
        proposed = regions.propose(
            image, one_cut, costs, Kept(0, 500, 0, 500), Kept(0, 500, 0, 500)
        )
        expected = proposals.propose(image, one_cut)
        assert (proposed.masks[:] == expected.masks).all()


def test_a_calm_window_has_fewer_regions_than_a_busy_one():
    busy, calm = picture(300, 300), picture(300, 300) // 8 + 100
    costs = regions.limits([busy, calm], PARAMETERS)
    whole = Kept(0, 300, 0, 300)
    counts = [len(regions.propose(x, PARAMETERS, costs, whole, whole)) for x in (busy, calm)]
    assert counts[0] > 2 * counts[1]
    assert counts[1] >= 1


def test_every_pixel_of_the_kept_part_is_covered_and_nothing_far_away():
    image = picture(300, 400)
    costs = regions.limits([image], PARAMETERS)
    everywhere, kept = Kept(0, 300, 0, 400), Kept(20, 60, 100, 200)
    proposed = regions.propose(image, PARAMETERS, costs, everywhere, kept)
    whole = regions.propose(image, PARAMETERS, costs, everywhere, everywhere)
    assert proposed.masks[(slice(None), *kept.slices)].any(axis=0).all()
    assert len(proposed) < len(whole)
    left, top, right, bottom = proposed.boxes.T
    assert (bottom > kept.top).all()
    assert (top < kept.bottom).all()
    assert (right > kept.left).all()
    assert (left < kept.right).all()


def test_without_samples_there_are_no_limits():
    assert regions.limits([], PARAMETERS) == ()


@pytest.mark.parametrize("colour", [0, 130])
def test_a_plain_window_is_one_region(colour):
    costs = regions.limits([picture(200, 200)], PARAMETERS)
    plain = np.full((100, 100, 3), colour, dtype=np.uint8)
    whole = Kept(0, 100, 0, 100)
    proposed = regions.propose(plain, PARAMETERS, costs, whole, whole)
    assert proposed.masks[:].any(axis=0).all()


def test_a_window_shows_the_regions_of_all_that_surrounds_it():
    image = picture(300, 400)
    costs = regions.limits([image], PARAMETERS)
    everywhere, window = Kept(0, 300, 0, 400), Kept(50, 250, 60, 300)
    whole = regions.propose(image, PARAMETERS, costs, everywhere, everywhere)
    proposed = regions.propose(image, PARAMETERS, costs, window, window)
    expected = whole.masks[(slice(None), *window.slices)]
    assert (proposed.masks[:] == expected[expected.any(axis=(1, 2))]).all()
    assert (proposed.height, proposed.width) == (200, 240)
    for mask, (left, top, right, bottom) in zip(proposed.masks, proposed.boxes, strict=True):
        assert 0 <= left < right <= 240
        assert 0 <= top < bottom <= 200
        assert mask[top:bottom, left:right].sum() == mask.sum()


def test_a_busy_window_is_bounded():
    image = picture(512, 512)
    whole = Kept(0, 512, 0, 512)
    proposed = regions.propose(image, PARAMETERS, (0.0, 0.0, 0.0), whole, whole)
    assert len(proposed) <= regions.MOST * sum(PARAMETERS.levels) / 4
