import cv2
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


def test_the_default_keeps_the_background():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    boxes = np.array([[8, 8, 40, 40]], np.float32)
    masks = np.zeros((1, 64, 64), dtype=bool)
    assert CropParameters().background == "keep"
    assert (crops.crop(image, boxes, 16) == crops.crop(image, boxes, 16, masks=masks)).all()


def two_halves() -> tuple[np.ndarray, np.ndarray]:
    """Red on the left, blue on the right; masks of the left and of the upper half."""
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[:, :32, 0], image[:, 32:, 2] = 255, 255
    masks = np.zeros((2, 64, 64), dtype=bool)
    masks[0, :, :32], masks[1, :32] = True, True
    return image, masks


@pytest.mark.parametrize("background", ["mean", "blur"])
def test_inside_the_mask_nothing_changes(background: crops.Background):
    image, masks = two_halves()
    boxes = np.array([[16, 16, 48, 48], [16, 16, 48, 48]], np.float32)
    kept = crops.crop(image, boxes, 16)
    cut = crops.crop(image, boxes, 16, background=background, masks=masks)
    assert (cut[0, :, :, :8] == kept[0, :, :, :8]).all()
    assert (cut[1, :, :8] == kept[1, :, :8]).all()
    assert (cut[0, :, :, 8:] != kept[0, :, :, 8:]).any()


def test_the_mean_lies_outside_the_mask():
    image, masks = two_halves()
    boxes = np.array([[0, 0, 64, 64]] * 2, np.float32)
    cut = crops.crop(image, boxes, 16, background="mean", masks=masks).numpy()
    mean = np.array([0.5, 0, 0.5])[:, None, None]
    assert cut[0, :, :, 8:] == pytest.approx(np.broadcast_to(mean, (3, 16, 8)), abs=1e-3)
    assert cut[1, :, 8:] == pytest.approx(np.broadcast_to(mean, (3, 8, 16)), abs=1e-3)


def test_a_blur_outside_the_mask_is_opencvs():
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    boxes = np.array([[0, 0, 64, 64]], np.float32)
    masks = np.zeros((1, 64, 64), dtype=bool)
    masks[0, :, :20] = True
    cut = crops.crop(image, boxes, 32, background="blur", masks=masks)[0].permute(1, 2, 0).numpy()
    sharp = crops.crop(image, boxes, 32)[0].permute(1, 2, 0).numpy()
    smooth = cv2.GaussianBlur(sharp, (17, 17), 0.08 * 32, borderType=cv2.BORDER_REFLECT_101)
    assert cut[:, 11:] == pytest.approx(smooth[:, 11:], abs=1e-3)


@pytest.mark.parametrize("background", ["mean", "blur"])
def test_a_mask_at_half_size_hides_the_same(background: crops.Background):
    image = np.random.default_rng(2).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    small = np.zeros((1, 32, 48), dtype=bool)
    small[0, 4:20, 10:33] = True
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    boxes = np.array([[10, 0, 80, 70]], np.float32)
    cuts = [crops.crop(image, boxes, 8, background=background, masks=m) for m in (small, large)]
    assert cuts[0].numpy() == pytest.approx(cuts[1].numpy(), abs=0.02)


def test_many_masks_are_the_same_in_small_portions(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    masks = rng.random((9, 40, 40)) < 0.5
    corners = rng.uniform(0, 20, (9, 2))
    boxes = np.concatenate([corners, corners + 20], axis=1).astype(np.float32)
    whole = crops.crop(image, boxes, 16, background="blur", masks=masks)
    monkeypatch.setattr(crops, "MOST_PIXELS", 2 * 40 * 40 + 1)
    assert (crops.crop(image, boxes, 16, background="blur", masks=masks) == whole).all()
    none = crops.crop(image, boxes[:0], 16, background="blur", masks=masks[:0])
    assert none.shape == (0, 3, 16, 16)


@settings(deadline=None)
@given(anywhere(), st.sampled_from(["keep", "mean", "blur"]), st.sampled_from([2, 8, 32]))
def test_any_crop_is_an_image(proposed, background, side):
    shape = proposed.masks.shape[1:]
    image = np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)
    boxes = crops.boxes(proposed, PARAMETERS)
    cut = crops.crop(image, boxes, side, background=background, masks=proposed.masks)
    assert cut.shape == (1, 3, side, side)
    assert cut.isfinite().all()
    assert 0 <= cut.min() <= cut.max() <= 1


@pytest.mark.parametrize("masks", [None, np.zeros((2, 8, 8), dtype=bool)])
def test_a_background_needs_a_mask_for_each_box(masks: np.ndarray | None):
    image, boxes = np.zeros((8, 8, 3), dtype=np.uint8), np.array([[0, 0, 8, 8]], np.float32)
    with pytest.raises(ValueError, match=r"'mean' needs a mask for each of the 1 boxes"):
        crops.crop(image, boxes, 8, background="mean", masks=masks)
