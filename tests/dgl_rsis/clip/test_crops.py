import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_rsis.clip import crops
from dgl_rsis.clip.crops import CropParameters
from dgl_rsis.types import Proposals

PARAMETERS = CropParameters()


def proposals(*boxes: tuple[int, int, int, int], shape: tuple[int, int]) -> Proposals:
    masks = np.zeros((len(boxes), *shape), dtype=bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    corners = np.array(boxes, dtype=np.int32)
    return Proposals(masks, corners, np.ones(len(boxes), np.float32), *shape)


@st.composite
def anywhere(draw):
    height, width = draw(st.integers(8, 200)), draw(st.integers(8, 200))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
    return proposals((left, top, right, bottom), shape=(height, width))


@settings(deadline=None)
@given(anywhere())
def test_a_box_is_square_and_holds_its_mask(proposed):
    left, top, right, bottom = crops.boxes(proposed, PARAMETERS)[0]
    assert right - left == pytest.approx(bottom - top, abs=1e-2)
    x1, y1, x2, y2 = proposed.boxes[0]
    assert left <= x1 + 1e-3
    assert top <= y1 + 1e-3
    assert right >= x2 - 1e-3
    assert bottom >= y2 - 1e-3


@settings(deadline=None)
@given(anywhere())
def test_a_box_that_fits_lies_inside_the_image(proposed):
    height, width = proposed.masks.shape[1:]
    left, top, right, bottom = crops.boxes(proposed, PARAMETERS)[0]
    if right - left <= width:
        assert left >= -1e-3
        assert right <= width + 1e-2
    if bottom - top <= height:
        assert top >= -1e-3
        assert bottom <= height + 1e-2


def test_small_objects_get_more_context():
    proposed = proposals((100, 100, 110, 110), (50, 50, 150, 150), shape=(400, 400))
    small, large = crops.boxes(proposed, PARAMETERS)
    assert (small[2] - small[0]) / 10 == pytest.approx(3.2, abs=0.01)  # the least side, 32 pixels
    assert (large[2] - large[0]) / 100 == pytest.approx(1.2, abs=0.01)


def test_crops_show_what_is_in_the_box():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[16:32, 16:32] = 255
    cut = crops.crop(image, np.array([[16, 16, 32, 32], [40, 40, 56, 56]], np.float32), 8)
    assert cut.shape == (2, 3, 8, 8)
    assert cut[0].min() > 0.99
    assert cut[1].max() < 0.01


def test_shrinking_averages():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    cut = crops.crop(stripes, np.array([[0, 0, 64, 64]], np.float32), 8)
    assert cut.numpy()[:, :, 1:-1, 1:-1] == pytest.approx(0.5, abs=0.07)


def test_beyond_the_edge_lies_the_mean_colour():
    image = np.full((10, 40, 3), (200, 100, 0), dtype=np.uint8)
    cut = crops.crop(image, np.array([[0, -15, 40, 25]], np.float32), 8)
    assert cut[0, 0].numpy() == pytest.approx(200 / 255, abs=0.01)
    assert cut[0, 2].numpy() == pytest.approx(0, abs=0.01)


@settings(deadline=None)
@given(anywhere(), st.sampled_from([2, 8, 32]))
def test_any_crop_is_an_image(proposed, side):
    shape = proposed.masks.shape[1:]
    image = np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)
    boxes = crops.boxes(proposed, PARAMETERS)
    cut = crops.crop(image, boxes, side)
    assert cut.shape == (1, 3, side, side)
    assert cut.isfinite().all()
    assert 0 <= cut.min() <= cut.max() <= 1
