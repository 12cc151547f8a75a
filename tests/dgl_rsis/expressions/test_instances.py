import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional as F

from dgl_rsis.clip.features import PixelFeatures
from dgl_rsis.expressions import instances
from dgl_rsis.expressions.instances import InstanceParameters


def every(probability: np.ndarray, border: np.ndarray) -> list[np.ndarray]:
    parameters = InstanceParameters()
    numbered = instances.numbered(probability, border, parameters)
    return [labels == n for labels in numbered for n in instances.largest(labels, parameters)]


def test_touching_instances_are_parted_at_their_border():
    probability, border = np.zeros((40, 60), np.float32), np.zeros((40, 60), np.float32)
    probability[10:20, 10:21], probability[10:20, 21:32], probability[30:38, 40:50] = 0.9, 0.8, 0.7
    border[10:20, 20:22] = 0.9
    masks = every(probability, border)
    areas = sorted(int(mask.sum()) for mask in masks)
    assert areas == [80, 80, 110, 110, 220]  # both ways of seeing them
    assert all((probability[mask] > 0).all() for mask in masks)


def test_specks_and_doubtful_pixels_are_no_instances():
    probability = np.zeros((40, 40), np.float32)
    probability[5:8, 5:8], probability[20:30, 20:30] = 0.9, 0.2
    assert every(probability, np.zeros_like(probability)) == []


@given(hnp.arrays(np.bool_, (14, 17)), hnp.arrays(np.bool_, (14, 17)), st.floats(0, 4, width=32))
def test_parts_lie_in_their_mask_and_hold_its_inner_pixels(
    seen: np.ndarray, inner: np.ndarray, reach: float
):
    labels = instances.parted(seen, inner, reach)
    assert not labels[~seen].any()
    assert labels[seen & inner].all()


def test_a_pixel_is_as_likely_as_its_cosines_say():
    coordinates = F.normalize(torch.rand(4, 6, 3), dim=-1)
    pixels = PixelFeatures(coordinates, torch.rand(4, 6))
    directions = F.normalize(torch.rand(2, 3), dim=-1)
    probability = instances.likely(pixels, directions, [0, 1], 10.0, (4, 6))
    expected = (10 * coordinates @ directions.T).softmax(dim=-1)[..., 0]
    assert probability == pytest.approx(expected.numpy(), abs=1e-5)
    assert instances.likely(pixels, directions, [0, 1], 10.0, (8, 12)).shape == (8, 12)
    assert instances.borders(pixels, (4, 6)) == pytest.approx(pixels.outline.numpy())
