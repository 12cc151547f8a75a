import numpy as np

from dgl_rsis import overlays
from dgl_rsis.types import Segment

IMAGE = np.full((60, 80, 3), 100, dtype=np.uint8)


def test_masks_are_tinted_and_the_rest_is_left_alone():
    mask = np.zeros((60, 80), dtype=bool)
    mask[10:30, 10:40] = True
    painted = overlays.overlay(IMAGE, [Segment("water", 0.8, mask)], {"water": "#0000FF"})
    assert painted.shape[0] >= 60
    assert painted.shape[1] > 80
    assert (painted[50, 60] == 100).all()
    assert painted[20, 20, 2] > painted[20, 20, 0]
    assert painted[10, 10].tolist() == [0, 0, 255]  # the outline


def test_an_empty_answer_is_a_picture_too():
    assert overlays.overlay(IMAGE, [], {}).shape[0] >= 60


def test_colours_come_in_turn():
    names = [f"{rank}. ship" for rank in range(len(overlays.PALETTE) + 1)]
    by_name = overlays.in_turn(names)
    assert tuple(by_name.values()) == (*overlays.PALETTE, overlays.PALETTE[0])


def test_heat_is_brighter_where_the_activation_is_and_outlines_the_mask():
    image = np.full((20, 30, 3), 100, dtype=np.uint8)
    activation = np.zeros((20, 30), dtype=np.float32)
    activation[:, 15:] = 1
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:15, 2:10] = True
    picture = overlays.heat(image, activation, mask)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    assert picture[10, 20].sum() > picture[10, 12].sum()
    assert picture[5, 5].tolist() == [255, 255, 255]
    assert picture[10, 5].tolist() == picture[2, 5].tolist()  # only the outline is white
