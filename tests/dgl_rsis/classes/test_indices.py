import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dgl_rsis.classes import indices
from dgl_rsis.types import Proposals

FLOATS = st.floats(width=32)  # of any kind
PLANES = arrays(np.float32, (3, 4), elements=FLOATS)
MOST = np.log((1 - indices.DOUBT) / indices.DOUBT)


def plane(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


def proposals(*masks: np.ndarray, height: int, width: int) -> Proposals:
    boxes = np.tile(np.array([0, 0, width, height], np.int32), (len(masks), 1))
    return Proposals(np.stack(masks), boxes, np.ones(len(masks), np.float32), height, width)


@given(PLANES, PLANES)
def test_an_index_is_within_one_or_undefined(first, second):
    index = indices.normalised_difference(first, second)
    swapped = indices.normalised_difference(second, first)
    defined = np.isfinite(first) & np.isfinite(second) & (first >= 0) & (second >= 0)
    defined &= (first > 0) | (second > 0)
    assert (np.isfinite(index) == defined).all()
    assert (np.abs(index[defined]) <= 1).all()
    assert (index[defined] == -swapped[defined]).all()


def test_values_worked_out_by_hand():
    bands = {"red": plane(1, 3), "green": plane(2, 1), "nir": plane(3, 1), "swir": plane(9, 0)}
    found = indices.indices(bands)
    assert found["ndvi"] == pytest.approx(plane(0.5, -0.5))
    assert found["ndwi"] == pytest.approx(plane(-0.2, 0))
    assert found["ndbi"] == pytest.approx(plane(0.5, -1))


def test_only_the_indices_that_the_bands_allow():
    assert set(indices.indices({"red": plane(1), "nir": plane(1)})) == {"ndvi"}
    assert indices.indices({"red": plane(1), "green": plane(1)}) == {}


def test_a_region_has_the_mean_of_what_is_defined_in_it():
    values = np.array([[1, 0.5], [np.nan, -1]], dtype=np.float32)
    masks = [np.array(m, bool) for m in ([[1, 1], [1, 0]], [[0, 0], [0, 1]], [[0, 0], [1, 0]])]
    means = indices.region_means(values, proposals(*masks, height=2, width=2))
    assert means[:2] == pytest.approx([0.75, -1])
    assert np.isnan(means[2])


def test_masks_smaller_than_the_image_see_the_same_place():
    values = np.repeat(np.array([[0.2, -0.4]], np.float32), 2, axis=1).repeat(3, axis=0)  # (3, 4)
    masks = [np.array([[1, 0]], bool), np.array([[0, 1]], bool)]
    means = indices.region_means(values, proposals(*masks, height=3, width=4))
    assert means == pytest.approx([0.2, -0.4])


@given(arrays(np.float32, 9, elements=st.floats(-1, 1, width=32)), st.sampled_from([0.1, -0.1]))
def test_odds_rise_to_the_side_of_the_class_and_are_never_certain(values, softness):
    values = np.sort(values)
    odds = indices.log_odds(values, (0.2, softness))
    assert (np.diff(odds) * np.sign(softness) >= -1e-5).all()
    assert (np.abs(odds) <= MOST + 1e-4).all()
    clear = np.abs(values - 0.2) > 1e-3
    assert (np.sign(odds) == np.sign((values - 0.2) * softness))[clear].all()


def test_nothing_is_said_where_nothing_is_known():
    values = np.full((2, 2), np.nan, dtype=np.float32)
    region = proposals(np.ones((2, 2), bool), height=2, width=2)
    assert (indices.evidence({"ndvi": values}, region, [{"ndvi": (0.2, 0.1)}]) == 0).all()


def test_evidence_is_for_the_phrases_that_are_tied():
    values = {"ndvi": np.full((2, 2), 0.9, np.float32), "ndwi": np.full((2, 2), -0.9, np.float32)}
    region = proposals(np.ones((2, 2), bool), height=2, width=2)
    ties = [
        {"ndvi": (0.2, 0.1)},
        {},
        {"ndvi": (0.2, -0.1), "ndwi": (0.0, -0.1)},
        {"ndwi": (0, 0.1)},
    ]
    vegetation, car, road, water = indices.evidence(values, region, ties)[0]
    assert vegetation == pytest.approx(MOST, abs=0.1)
    assert car == 0
    assert road == pytest.approx(0, abs=0.1)  # neither green nor wet: one against the other
    assert water == pytest.approx(-MOST, abs=0.1)
