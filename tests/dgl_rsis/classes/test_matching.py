import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dgl_rsis.classes.matching import (
    MapParameters,
    SemanticMap,
    best_phrase,
    class_probabilities,
    match,
    pixel_probabilities,
    semantic_map,
)

PARAMETERS = MapParameters(50.0, rows=13 / 4, columns=11 / 4)


def unit(rows: int, size: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)))


@given(st.integers(0, 100), st.integers(1, 6))
def test_rows_are_probabilities(seed, classes):
    owners = [*range(classes), *np.random.default_rng(seed).integers(0, classes, 4).tolist()]
    probabilities = match(unit(7, 8, seed), unit(len(owners), 8, seed + 1), owners, 50.0)
    assert probabilities.shape == (7, classes)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (probabilities >= 0).all()


def test_one_phrase_a_class_is_a_softmax():
    features, texts = unit(4, 8, 0), unit(3, 8, 1)
    expected = (50 * features @ texts.T).softmax(dim=1).numpy()
    assert match(features, texts, [0, 1, 2], 50.0) == pytest.approx(expected, abs=1e-5)


def test_the_best_synonym_counts_and_a_repeated_one_changes_nothing():
    cosines = np.array([[0.2, 0.25, 0.1]], dtype=np.float32)
    once = best_phrase(cosines, [0, 1, 0], 50.0)
    again = best_phrase(cosines[:, [0, 1, 2, 2]], [0, 1, 0, 0], 50.0)
    assert once == pytest.approx(again, abs=1e-6)
    assert once.argmax() == 1


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    rng = np.random.default_rng(seed)
    masks = rng.random((6, 13, 11)) < 0.3
    cosines = rng.uniform(-0.1, 0.1, (6, 4)).astype(np.float32)
    patches = torch.tensor(rng.uniform(-0.1, 0.1, (4, 3, 4)), dtype=torch.float32)
    return masks, cosines, patches


@given(st.integers(0, 50), st.randoms())
def test_the_map_does_not_depend_on_the_order_of_masks(seed, random):
    masks, cosines, patches = random_case(seed)
    order = random.sample(range(6), 6)
    first = semantic_map(masks, cosines, patches, [0, 1, 2, 0], PARAMETERS)
    second = semantic_map(masks[order], cosines[order], patches, [0, 1, 2, 0], PARAMETERS)
    assert first[1] == pytest.approx(second[1], abs=1e-5)
    assert (first[0] == second[0]).mean() > 0.98  # ties aside


def test_the_map_is_the_mean_of_the_masks_over_each_pixel():
    masks, cosines, patches = random_case(3)
    best, probability = semantic_map(masks, cosines, patches, [0, 1, 2, 3], PARAMETERS)
    assert masks.any(axis=0).any()
    for y, x in np.argwhere(masks.any(axis=0)):
        mean = cosines[masks[:, y, x]].mean(axis=0)
        expected = np.exp(50 * mean) / np.exp(50 * mean).sum()
        assert best[y, x] == expected.argmax()
        assert probability[y, x] == pytest.approx(expected.max(), abs=1e-5)


def test_smaller_masks_weigh_more_as_the_exponent_says():
    masks = np.zeros((2, 12, 12), dtype=bool)
    masks[0], masks[1, :3, :4] = True, True  # areas 144 and 12
    cosines = np.array([[0.10, 0.00], [0.00, 0.06]], dtype=np.float32)
    patches = torch.zeros(2, 2, 2)
    equal, _ = semantic_map(masks, cosines, patches, [0, 1], MapParameters(50.0, 2, 2))
    assert (equal == 0).all()
    for exponent in (0.5, 1.0):
        parameters = MapParameters(50.0, 2, 2, exponent)
        best, probability = semantic_map(masks, cosines, patches, [0, 1], parameters)
        assert (best == masks[1]).all()
        weights = np.array([144.0, 12.0]) ** -exponent
        mean = weights @ cosines / weights.sum()
        expected = np.exp(50 * mean) / np.exp(50 * mean).sum()
        assert probability[0, 0] == pytest.approx(expected[1], abs=1e-5)


def test_an_empty_mask_has_no_vote():
    masks = np.zeros((2, 8, 8), dtype=bool)
    masks[0] = True
    cosines = np.array([[0.1, 0.0], [0.0, 0.9]], dtype=np.float32)
    parameters = MapParameters(50.0, 2, 2, 1.0)
    best, probability = semantic_map(masks, cosines, torch.zeros(2, 2, 2), [0, 1], parameters)
    assert (best == 0).all()
    assert np.isfinite(probability).all()


def test_pixels_under_no_mask_take_their_patch():
    cells = torch.zeros(2, 2, 2)
    cells[0, :, 0], cells[1, :, 1] = 1.0, 1.0
    masks = np.zeros((1, 8, 8), dtype=bool)
    cosines = np.zeros((1, 2), dtype=np.float32)
    best, _ = semantic_map(masks, cosines, cells, [0, 1], MapParameters(50.0, 2, 2))
    assert (best[:4] == 0).all()
    assert (best[4:] == 1).all()


def test_the_map_of_all_classes_agrees_with_that_of_the_best():
    masks, cosines, patches = random_case(5)
    semantic = class_probabilities(masks, cosines, patches, [0, 1, 2, 0], PARAMETERS)
    best, probability = semantic_map(masks, cosines, patches, [0, 1, 2, 0], PARAMETERS)
    everywhere = semantic.classes[semantic.cell]
    assert everywhere.sum(axis=2) == pytest.approx(1, abs=1e-5)
    assert (everywhere.argmax(axis=2) == best).all()
    assert (everywhere.max(axis=2) == probability).all()


def test_the_margin_is_the_mean_lead_of_the_best_class_over_all_pixels():
    masks, cosines, patches = random_case(5)
    semantic = class_probabilities(masks, cosines, patches, [0, 1, 2, 0], PARAMETERS)
    ordered = np.sort(semantic.classes[semantic.cell], axis=2)
    assert semantic.margin == pytest.approx((ordered[..., -1] - ordered[..., -2]).mean(), abs=1e-6)
    alone = class_probabilities(masks, cosines[:, :1], patches[..., :1], [0], PARAMETERS)
    assert alone.margin == 1


def ground(classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One mask of 40 × 40 pixels, which looks like class 0, and pixels that all do."""
    cosines = np.full(classes, 0.1, np.float32)
    cosines[0] = 0.3
    return np.ones((1, 40, 40), bool), cosines[None], np.tile(cosines[:, None, None], (40, 40))


def voted(pixel_area: float, exponent: float = 1.0) -> MapParameters:
    return MapParameters(50.0, 5, 5, area_exponent=exponent, pixel_area=pixel_area)


def test_a_speck_that_no_mask_holds_survives():
    masks, cosines, pixels = ground(2)
    pixels[:, 10:12, 20:22] = np.array([0.1, 0.4])[:, None, None]
    best = pixel_probabilities(
        masks, cosines, torch.from_numpy(pixels).float(), [0, 1], voted(16.0)
    ).best
    expected = np.zeros((40, 40))
    expected[10:12, 20:22] = 1
    assert (best == expected).all()


def test_small_masks_decide_in_their_place():
    masks, cosines, pixels = ground(2)
    small = np.zeros_like(masks)
    small[:, 4:8, 4:8] = True
    masks, cosines = np.concatenate([masks, small]), np.concatenate([cosines, cosines[:, ::-1]])
    best = pixel_probabilities(
        masks, cosines, torch.from_numpy(pixels).float(), [0, 1], voted(400.0)
    ).best
    assert (best == small[0]).all()


@pytest.mark.parametrize("pixel_area", [1.0, 1600.0, 1e6])
def test_what_was_taught_counts_in_full(pixel_area: float):
    masks, cosines, pixels = ground(3)
    masks[:, :, 30:] = False
    taught = np.array([[0.0, 0.05, -0.02]], np.float32)
    before, after = (
        pixel_probabilities(
            masks, cosines, torch.from_numpy(pixels).float(), [0, 1, 2], voted(pixel_area), more
        )
        for more in (None, taught)
    )
    odds = [np.log(x.classes / x.classes[:, :1])[x.cell] for x in (before, after)]
    gained = odds[1] - odds[0]  # (H, W, C)
    assert gained[:, :30] == pytest.approx(np.tile(50 * taught[0], (40, 30, 1)), abs=1e-2)
    assert gained[:, 30:] == pytest.approx(0, abs=1e-3)


@given(st.integers(0, 50), st.floats(0, 2), st.floats(1, 100))
def test_a_pixel_votes_as_a_mask_of_its_area(seed: int, exponent: float, pixel_area: float):
    masks, cosines, _ = random_case(seed)
    owners = [0, 1, 2, 1]
    own = np.random.default_rng(seed).uniform(-0.1, 0.1, (3, 13, 11)).astype(np.float32)
    semantic = pixel_probabilities(
        masks, cosines, torch.from_numpy(own), owners, voted(pixel_area, exponent)
    )
    areas = masks.sum(axis=(1, 2)).astype(float)
    for row, column in ((0, 0), (6, 5), (12, 10)):
        weights = areas**-exponent * masks[:, row, column]
        said = weights @ cosines / max(weights.sum(), 1e-12)  # (P,)
        of_masks = np.array([said[0], max(said[1], said[3]), said[2]])
        mean = (weights.sum() * of_masks + pixel_area**-exponent * own[:, row, column]) / (
            weights.sum() + pixel_area**-exponent
        )
        expected = np.exp(50 * mean) / np.exp(50 * mean).sum()
        assert semantic.classes[semantic.cell[row, column]] == pytest.approx(expected, abs=1e-4)


def test_a_mask_is_expected_to_overlap_the_truth_as_its_pixels_are_likely():
    cell = np.array([[0, 0, 1, 1]])  # two pixels of each
    semantic = SemanticMap(cell, np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0]], dtype=np.float32))
    # |M| = 2; of class 0 1.6 pixels are right and 0.6 were left out, of class 1 1.4 and 0.4.
    assert semantic.expected_ious == pytest.approx([1.6 / 2.6, 1.4 / 2.4, 0.0])
