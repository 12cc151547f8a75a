import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dgl_rsis.classes import knowledge, scales
from dgl_rsis.classes.scales import Phrases, Weighting
from dgl_rsis.resolution import Resolution
from tests.dgl_rsis.clip.small_towers import drawn_pixels

FACTORS = (1.0, 0.5, 0.25)
EXTENTS = st.one_of(
    st.none(),
    st.tuples(st.floats(0.5, 500), st.floats(1, 20)).map(lambda x: (x[0], x[0] * x[1])),
)


def of_cars(metres: float, spread: float = 0.1) -> np.ndarray:
    """(K,) weights of the sizes for cars."""
    told = Resolution(metres, spread, "task")
    return scales.shares([knowledge.extent("car")], told, FACTORS)[:, 0]


@given(
    st.lists(EXTENTS, min_size=1, max_size=5), st.floats(0.01, 100), st.floats(0.01, 2),
    st.integers(1, 3),
)  # fmt: skip
def test_shares_sum_to_one(extents, metres: float, spread: float, count: int):
    shares = scales.shares(extents, Resolution(metres, spread, "picture"), FACTORS[:count])
    assert shares.shape == (count, len(extents))
    assert shares.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert (shares >= 0).all()
    for share, extent in zip(shares.T, extents, strict=True):
        assert extent is not None or share[0] == 1


def test_cars_of_a_low_flight_are_judged_where_they_are_small():
    assert of_cars(0.3).argmax() == 0  # 6 to 18 pixels wide
    assert of_cars(0.07)[1:].sum() > 0.5  # 24 to 79
    assert of_cars(0.02).argmax() == 2  # 85 to 275


@given(st.floats(0.06, 0.2), st.floats(1.1, 4))
def test_the_finer_the_pixels_the_smaller_the_image(metres: float, finer: float):
    coarse, fine = of_cars(metres), of_cars(metres / finer)
    sizes = np.array(FACTORS)
    assert fine @ sizes <= coarse @ sizes + 1e-6


def test_who_does_not_know_how_large_it_is_looks_at_the_image_as_it_is():
    car = knowledge.extent("car")
    assert scales.shares([car, None], None, FACTORS).tolist() == [[1, 1], [0, 0], [0, 0]]
    told = Resolution(0.02, 0.1, "task")
    assert scales.shares([car], told, (1.0,)).tolist() == [[1]]


def test_doubt_about_the_pixel_evens_the_shares_out():
    sure, doubtful = of_cars(0.02, 0.01), of_cars(0.02, 1.5)
    assert sure.max() > doubtful.max()


@given(st.integers(0, 100))
def test_cosines_are_weighted_over_the_sizes(seed: int):
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    by_mask = F.normalize(torch.randn(3, 5, 8, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(4, 8, generator=generator), dim=-1)
    shares = rng.dirichlet(np.ones(3), 4).T.astype(np.float32)
    priors = rng.normal(size=4).astype(np.float32)
    cosines = scales.cosines(by_mask, texts, Weighting(shares, priors))
    expected = np.einsum("knd,pd,kp->np", by_mask.numpy(), texts.numpy(), shares) + priors
    assert cosines == pytest.approx(expected, abs=1e-5)


def test_pixels_have_the_best_phrase_of_each_class_over_the_sizes():
    rng = np.random.default_rng(0)
    fine = F.normalize(torch.rand(6, 8, 3), dim=-1)
    coarse = F.normalize(torch.rand(1, 1, 3), dim=-1).expand(3, 4, 3)  # interpolated to itself
    levels = [drawn_pixels(x, torch.zeros(1, 1)) for x in (fine, coarse)]
    directions = F.normalize(torch.randn(3, 3), dim=-1)
    shares = rng.dirichlet(np.ones(2), 3).T.astype(np.float32)
    priors = np.array([0.1, 0.0, -0.2], np.float32)
    planes = scales.pixel_cosines(levels, directions, [0, 1, 0], Weighting(shares, priors))
    own, half = fine.numpy() @ directions.numpy().T, coarse[0, 0].numpy() @ directions.numpy().T
    each = own * shares[0] + half * shares[1] + priors  # (6, 8, P)
    assert planes.shape == (2, 6, 8)
    assert planes[0].numpy() == pytest.approx(each[..., [0, 2]].max(axis=-1), abs=1e-5)
    assert planes[1].numpy() == pytest.approx(each[..., 1], abs=1e-5)


def test_joined_phrases_stay_in_order():
    first = Phrases(torch.zeros(1, 3), [0], [(1.0, 2.0)], [None])
    second = Phrases(torch.ones(2, 3), [1, 1], [None, (3.0, 4.0)], [5.0, None])
    union = scales.joined(first, second)
    assert union.texts.tolist() == [[0] * 3, [1] * 3, [1] * 3]
    assert union.owners == [0, 1, 1]
    assert union.extents == [(1.0, 2.0), None, (3.0, 4.0)]
    assert union.largest == [None, 5.0, None]
