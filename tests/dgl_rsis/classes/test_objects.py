"""Objects of a class, and things that touch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import color

from dgl_rsis import masks
from dgl_rsis.classes import objects
from dgl_rsis.classes.sizes import Limits

CAR = Limits(narrowest=6, longest=30)  # pixels, at about 0.2 m


def parked(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cars of 10 by 24 pixels side by side, and the borders between them."""
    mask = np.zeros((40, 20 + 10 * count), dtype=bool)
    mask[8:32, 10 : 10 + 10 * count] = True
    border = np.zeros(mask.shape, np.float32)
    for car in range(1, count):
        border[8:32, 9 + 10 * car : 11 + 10 * car] = 1
    return mask, border


@pytest.mark.parametrize("count", [4, 7, 12])
def test_cars_that_touch_are_told_one_by_one(count: int):
    mask, border = parked(count)
    found = list(objects.of_class(mask, border, CAR, 32))
    middles = sorted(ndimage.center_of_mass(each)[1] for each in found)
    assert middles == pytest.approx([14.5 + 10 * car for car in range(count)], abs=1.5)
    assert all(each.sum() > 150 for each in found)


def test_without_borders_what_is_deep_tells_them_apart():
    rows, columns = np.mgrid[:40, :100]
    discs = [(rows - 20) ** 2 + (columns - x) ** 2 <= 81 for x in (15, 31, 47, 63, 79)]
    found = list(objects.of_class(np.any(discs, axis=0), None, CAR, 32))
    assert len(found) == 5
    for each in found:
        assert max((each & disc).sum() / (each | disc).sum() for disc in discs) > 0.85


def test_a_ship_may_be_as_long_as_a_row_of_cars():
    mask, border = parked(12)
    ship = Limits(narrowest=1, longest=420)
    (found,) = objects.of_class(mask, border, ship, 32)
    assert (found == mask).all()


def test_land_has_connected_parts_whatever_runs_through_it():
    mask, border = parked(12)
    mask[2:4, 2:4] = True
    (found,) = objects.of_class(mask, border, Limits(narrowest=20), 32)
    assert found.sum() == mask.sum() - 4


def test_the_smallest_thing_is_as_wide_as_things_are_and_no_speck():
    mask = np.zeros((20, 20), dtype=bool)
    mask[4:11, 4:10] = True  # 42 pixels
    assert len(list(objects.of_class(mask, None, Limits(narrowest=0.3, longest=42), 32))) == 1
    assert not list(objects.of_class(mask, None, Limits(narrowest=0.3, longest=42), 50))
    assert not list(objects.of_class(mask, None, CAR, 32))


def test_what_is_longer_than_a_thing_and_cannot_be_parted_is_none():
    mask = np.zeros((60, 60), dtype=bool)
    mask[20:29, 4:49] = True  # 9 by 45
    assert not list(objects.of_class(mask, None, Limits(narrowest=20, longest=29), 8))
    assert len(list(objects.of_class(mask, None, Limits(narrowest=5, longest=46), 8))) == 1


def on_asphalt(colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A car of 10 by 24 pixels on grey, and where it is."""
    image = np.full((40, 60, 3), 110, np.uint8)
    mask = np.zeros((40, 60), dtype=bool)
    mask[15:25, 20:44] = True
    image[mask] = colour
    return image, mask


@pytest.mark.parametrize(
    ("colour", "stands_out"),
    [
        ((110, 110, 110), False),
        ((115, 114, 112), False),
        ((60, 60, 60), True),
        ((150, 60, 60), True),
    ],
)
def test_a_thing_stands_out_from_what_is_around_it(colour: tuple[int, int, int], stands_out: bool):
    image, mask = on_asphalt(colour)
    assert len(list(objects.of_class(mask, None, CAR, 32, image))) == stands_out
    # Land is told by texture, too, and nobody asks whether it stands out.
    assert len(list(objects.of_class(mask, None, Limits(), 32, image))) == 1


def test_contrast_is_that_of_two_colours_whatever_else_the_image_shows():
    image, mask = on_asphalt((60, 60, 60))
    lab = color.rgb2lab(np.array([[[60] * 3, [110] * 3]], np.uint8))[0]
    assert objects.contrast(image, mask) == pytest.approx(np.linalg.norm(lab[0] - lab[1]), rel=0.01)
    image[:5], image[-5:] = (0, 200, 0), (250, 250, 250)
    assert objects.contrast(image, mask) == pytest.approx(np.linalg.norm(lab[0] - lab[1]), rel=0.01)
    image[:] = 255
    assert objects.contrast(image, mask) == 0
    assert objects.contrast(image, np.ones_like(mask)) == np.inf  # nothing is around it


def test_things_at_the_edge_stand_out_as_others_do():
    image, mask = np.full((40, 60, 3), 110, np.uint8), np.zeros((40, 60), dtype=bool)
    mask[30:, :12] = True
    assert objects.contrast(image, mask) == 0
    image[mask] = 200
    assert objects.contrast(image, mask) > 20


@given(
    hnp.arrays(np.bool_, (24, 30)),
    hnp.arrays(np.float32, (24, 30), elements=st.floats(0, 1, width=32)),
    st.floats(1, 8),
    st.floats(4, 60),
)
def test_objects_are_parts_of_the_mask_and_do_not_overlap(
    mask: np.ndarray, border: np.ndarray, narrowest: float, longest: float
):
    bound = Limits(narrowest=narrowest, longest=longest)
    found = list(objects.of_class(mask, border, bound, 8))
    assert (np.sum(found, axis=0) <= mask).all() if found else True
    numbers = objects.numbered(mask, border, bound)
    assert not numbers[~mask].any()
    for whole in masks.components(mask, 1):
        left, top, right, bottom = masks.box(whole)
        if max(right - left, bottom - top) <= longest:
            assert len(np.unique(numbers[whole])) == 1  # what one thing may be is left whole
            assert numbers[whole].min() > 0
