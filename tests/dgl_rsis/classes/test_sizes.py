"""What sizes classes can have."""

import numpy as np
import pytest
import torch

from dgl_rsis.classes import knowledge, sizes
from dgl_rsis.classes.matching import SemanticMap
from dgl_rsis.classes.scales import Phrases
from dgl_rsis.classes.sizes import Limits
from dgl_rsis.resolution import Resolution

CAR = Limits(least=20, widest=14, narrowest=4, longest=14)


def map_of(mask: np.ndarray) -> SemanticMap:
    """A class where the mask is, and another, less likely one everywhere."""
    classes = np.array([[0.3, 0.7], [0.6, 0.4]], np.float32)
    return SemanticMap(mask.astype(np.int64), classes)


def kept(mask: np.ndarray) -> np.ndarray:
    return sizes.possible(map_of(mask), [CAR]).best == 0


def field() -> np.ndarray:
    return np.zeros((160, 200), dtype=bool)


def test_a_row_of_cars_is_as_wide_as_a_car():
    row = field()
    row[20:30, 10:110] = True
    assert (kept(row) == row).all()


def test_a_place_as_wide_as_several_is_no_car():
    place = field()
    place[20:60, 20:60] = True
    place[100:110, 20:30] = True
    left = kept(place)
    assert not left[20:60, 20:60].any()
    assert left[100:110, 20:30].all()


def test_a_street_is_no_row_of_cars():
    street = field()
    street[50:58] = True
    assert not kept(street).any()


def test_crumbs_are_nothing():
    crumb = field()
    crumb[5:9, 5:9] = True
    semantic = sizes.possible(map_of(crumb), [CAR])
    assert not (semantic.best == 0).any()
    assert semantic.probability[6, 6] == pytest.approx(1.0)  # of the other class


def test_limits_are_in_pixels():
    texts = torch.zeros(2, 4)
    phrases = Phrases(
        texts,
        [0, 1],
        [knowledge.extent("car"), knowledge.extent("water")],
        [knowledge.largest("car"), knowledge.largest("water")],
    )
    car, water = sizes.limits(phrases, Resolution(0.5, 0.1, "picture"), 0.5)
    assert car.narrowest == pytest.approx(1.7)  # a pixel of the map is a metre
    assert car.longest == pytest.approx(7)
    assert car.widest == pytest.approx(7 * np.exp(0.2))
    assert car.least == pytest.approx(0.5 * (1.7 / np.exp(0.2)) ** 2)
    assert np.isinf(water.longest)
    assert sizes.limits(phrases, None, 1.0) == [Limits(), Limits()]
