from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional as F

from dgl_rsis.classes.scales import Phrases, Weighting
from dgl_rsis.clip import pixel_tower
from dgl_rsis.clip.features import DenseFeatures
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.expressions import instances
from dgl_rsis.expressions.instances import InstanceParameters
from tests.dgl_rsis.clip.small_towers import drawn_pixels, untrained_pixels

PLAIN = Weighting(np.ones((1, 2), np.float32), np.zeros(2, np.float32))  # one size, two phrases


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
    pixels = drawn_pixels(coordinates, torch.rand(4, 6))
    directions = F.normalize(torch.rand(2, 3), dim=-1)
    asked = ([pixels], directions, [0, 1], PLAIN, 10.0)
    probability = instances.likely(*asked, (4, 6))
    expected = (10 * coordinates @ directions.T).softmax(dim=-1)[..., 0]
    assert probability == pytest.approx(expected.numpy(), abs=1e-5)
    assert instances.likely(*asked, (8, 12)).shape == (8, 12)
    assert instances.borders(pixels, (4, 6)) == pytest.approx(pixels.outline.numpy())


def test_instances_are_regions_of_the_noun_and_nothing_where_there_is_none(clip: ClipModel):
    tower = pixel_tower.folded(untrained_pixels())
    image = np.full((64, 80, 3), 90, np.uint8)
    image[20:40, 30:60] = (200, 60, 60)
    seen = torch.zeros(32, 40, dtype=torch.bool)
    seen[10:20, 15:30] = True
    outline = torch.zeros(64, 80)
    outline[[20, 39], 30:60], outline[20:40, [30, 59]] = 1.0, 1.0
    phrases = Phrases(tower.basis[:2], [0, 1], [None] * 2, [None] * 2)

    def of_noun(seen: torch.Tensor) -> instances.NounInstances:
        pixels = drawn_pixels(F.one_hot(torch.where(seen, 0, 1), 8).float(), outline)
        dense = DenseFeatures(torch.zeros(8, 10, 64), 64, 80, 8, pixels=pixels)
        asked = (phrases, PLAIN, 50.0, (64, 80), InstanceParameters())
        return instances.of_noun(replace(clip, pixels=tower), image, dense, *asked)

    shown = of_noun(seen)
    truth = (image == 200).any(axis=2)
    ious = [(mask & truth).sum() / (mask | truth).sum() for mask in shown.masks]
    assert max(ious) > 0.8
    assert shown.classes.shape == (len(shown.masks), 2)
    assert shown.classes[int(np.argmax(ious)), 0] > 0.9
    nothing = of_noun(torch.zeros_like(seen))
    assert nothing.masks == ()
    assert nothing.classes.shape == (0, 2)
