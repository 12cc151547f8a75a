import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from starter.training import sampling
from starter.training.concepts import NUMBERS, Judgements
from starter.training.photographs import Photograph
from starter.training.sampling import Source

KNOWN = Judgements()
CAR, SHIP = KNOWN.number("car"), KNOWN.number("ship")


def patchwork(side: int = 160, block: int = 40) -> Photograph:
    """An image that is what its truth says: bright where there are ships, dark where cars."""
    cells = np.random.default_rng(0).random((side // block, side // block)) < 0.5
    truth = np.where(np.kron(cells, np.ones((block, block))), SHIP, CAR).astype(np.uint8)
    image = np.repeat(np.where(truth == SHIP, 200, 50).astype(np.uint8)[..., None], 3, axis=2)
    return Photograph("", "", image, truth, 0.5, frozenset({"ship"}))


PATCHWORK = patchwork()


@given(st.integers(0, 10_000), st.floats(0.5, 4), st.sampled_from([0.0, 1.0]))
def test_truth_and_image_are_turned_and_scaled_alike(seed: int, scale: float, straight: float):
    source = Source([PATCHWORK], KNOWN, (scale, scale), straight=straight)
    window = source.window(np.random.default_rng(seed), 48, 0.5)
    assert window.image.shape == (48, 48, 3)
    assert window.metres == pytest.approx(0.5 * (1 if straight else scale))
    shown = np.where(window.image[..., 0] > 125, SHIP, CAR)
    if straight:
        assert (shown == window.truth).all()
        return
    # Off the edges of blocks, where pixels are mixed, by a pixel and a half on either side.
    same = np.stack([np.roll(window.truth, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    sure = (same == window.truth).all(axis=0)
    sure[[0, -1]] = sure[:, [0, -1]] = False
    assert (shown == window.truth)[sure].all()


@given(st.integers(0, 10_000))
def test_edges_of_halved_images_are_not_moved(seed: int):
    source = Source([PATCHWORK], KNOWN, (3.9, 3.9))
    window = source.window(np.random.default_rng(seed), 40, 0.0)
    # Half of each mixed pixel is one class; a shift would favour one side of every block.
    share = (window.image[..., 0].astype(float) - 50) / 150
    assert share.mean() == pytest.approx((window.truth == SHIP).mean(), abs=0.04)


def test_roofs_are_painted_in_what_is_shown_and_not_in_what_a_teacher_sees():
    truth = np.where(PATCHWORK.truth == SHIP, KNOWN.number("building"), CAR).astype(np.uint8)
    image = PATCHWORK.image.copy()
    town = Photograph("", "", image, truth, 0.5)
    source, rng = Source([town], KNOWN, (1, 1), painted=1.0), np.random.default_rng(0)
    for window in (source.window(rng, 96, 0.0) for _ in range(10)):
        changed = (window.image != window.clean).any(axis=-1)
        far = cv2.erode((window.truth == CAR).astype(np.uint8), np.ones((9, 9))) > 0
        assert not changed[far].any()
        if changed.any():
            break
    else:
        pytest.fail("no roof was painted in ten windows")
    plain = Source([town], KNOWN, (1, 1)).window(rng, 96, 0.0)
    assert (plain.image == plain.clean).all()


def test_borders_come_with_straight_windows_alone():
    borders = [PATCHWORK.truth == SHIP]
    rng = np.random.default_rng(0)
    straight = Source([PATCHWORK], KNOWN, (1, 2), borders, straight=1.0).window(rng, 48, 0.0)
    assert straight.borders is not None
    assert (straight.borders == (straight.truth == SHIP)).all()
    assert Source([PATCHWORK], KNOWN, (1, 2), borders).window(rng, 48, 0.0).borders is None


def test_rare_judgements_are_looked_at_as_often_as_common_ones():
    truth = np.full((200, 200), CAR, np.uint8)
    truth[100, 100] = SHIP
    image = np.zeros((200, 200, 3), np.uint8)
    source = Source([Photograph("", "", image, truth, None)], KNOWN, (1, 1))
    rng = np.random.default_rng(0)
    windows = [source.window(rng, 32, balanced) for balanced in [1.0] * 60 + [0.0] * 60]
    seen = [(window.truth == SHIP).any() for window in windows]
    assert sum(seen[:60]) > 20 > sum(seen[60:])
    assert windows[0].metres is None


def test_only_a_window_of_nearly_all_shows_what_the_image_shows():
    rng = np.random.default_rng(0)
    for scale, shows in ((1.0, frozenset()), (4.0, frozenset({"ship"}))):
        source = Source([PATCHWORK], KNOWN, (scale, scale))
        assert source.window(rng, 40, 0.0).shows == shows


def test_a_batch_has_windows_of_each_source_as_often_as_it_should():
    dark, light = (
        Photograph("", "", np.full((64, 64, 3), v, np.uint8), np.full((64, 64), n, np.uint8), m)
        for v, n, m in ((0, CAR, None), (255, SHIP, 2.0))
    )
    torch.manual_seed(0)
    sources = {
        "dark": (Source([dark], KNOWN, (1, 1)), 3.0),
        "light": (Source([light], KNOWN, (1, 1)), 1.0),
    }
    batch = sampling.draw(sources, 8, 32, 0.5, np.random.default_rng(0))
    assert batch.images.shape == (8, 3, 32, 32)
    of_light = batch.truth[:, 0, 0] == SHIP
    assert int(of_light.sum()) == 2
    assert batch.metres[of_light].tolist() == [2.0, 2.0]
    assert batch.metres[~of_light].isnan().all()
    assert batch.borders.isnan().all()
    assert batch.shows.shape == (8, len(NUMBERS))
    assert not batch.shows.any()


def test_weather_changes_pictures_and_keeps_their_range():
    torch.manual_seed(0)
    images = torch.rand(16, 3, 24, 24)
    weathered = sampling.weathered(images)
    assert weathered.shape == images.shape
    assert weathered.min() >= 0
    assert weathered.max() <= 1
    changes = (weathered - images).abs().mean(dim=(1, 2, 3))
    assert changes.max() > 5 * changes.min()
    assert not math.isclose(float(changes.min()), 0)
