import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from dgl_rsis.expressions import colours
from dgl_rsis.expressions.colours import SHADES, SPECIAL, SYNONYMS, TERMS, colour, knows, mean_lab
from dgl_rsis.types import Proposals
from tests.dgl_rsis.expressions.rectangles import masks_of, rectangles

# Paints as they come out of an aerial camera: not those of the prototypes.
PATCHES = {
    "white": (238, 240, 236),
    "light grey": (190, 190, 188),
    "grey": (128, 130, 132),
    "dark grey": (84, 86, 88),
    "black": (28, 26, 30),
    "red": (176, 62, 52),
    "orange": (214, 130, 62),
    "yellow": (232, 206, 84),
    "green": (66, 120, 60),
    "dark green": (28, 60, 30),
    "blue": (58, 92, 166),
    "light blue": (142, 176, 222),
    "cyan": (66, 180, 190),
    "purple": (120, 70, 150),
    "pink": (232, 160, 178),
    "brown": (112, 80, 56),
    "beige": (214, 196, 164),
}
ALONE = ("dark", "light", "bright", "colourful")
HUES = ("red", "orange", "yellow", "green", "blue", "cyan", "purple", "pink", "brown", "beige")
RIVALS = {  # the terms that a patch must not be mistaken for
    word: [other for other in TERMS if other not in (word, word.split(" ")[-1])] for word in PATCHES
}


def painted(*colours: tuple[int, int, int]) -> tuple[np.ndarray, Proposals]:
    """Patches of 10 × 10 side by side, and their masks."""
    image = np.repeat(np.array([colours], dtype=np.uint8), 10, axis=1).repeat(10, axis=0)
    corners = [(10 * i, 0, 10 * i + 10, 10) for i in range(len(colours))]
    masks = rectangles(10, 10 * len(colours), corners)
    quality = np.ones(len(colours), dtype=np.float32)
    return image, Proposals(masks, np.array(corners, np.int32), quality, *image.shape[:2])


def measured(*colours: tuple[int, int, int]) -> np.ndarray:
    return mean_lab(*painted(*colours))


@pytest.mark.parametrize("word", PATCHES)
def test_a_painted_patch_has_its_name_and_no_other(word):
    patch = measured(PATCHES[word])
    fit = float(colour(patch, word)[0])
    assert fit > 0.8
    for rival in RIVALS[word]:
        assert colour(patch, rival)[0] < 0.75 * fit, rival


@pytest.mark.parametrize("word", PATCHES)
def test_among_all_patches_the_named_one_fits_as_well_as_any(word):
    scores = colour(measured(*PATCHES.values()), word)
    best = [list(PATCHES)[i] for i in np.flatnonzero(scores > scores.max() - 0.05)]
    assert word in best
    assert all(set(word.split()) & set(other.split()) for other in best), best


@pytest.mark.parametrize("word", HUES)
@pytest.mark.parametrize("light", [0.8, 1.12])
def test_another_light_keeps_the_name(word, light):
    rgb = np.clip(np.array(PATCHES[word]) * light, 0, 255).astype(int)
    patch = measured(tuple(rgb.tolist()))
    assert colour(patch, word)[0] > 0.6


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=6))
@settings(deadline=None)
def test_every_colour_has_a_name_and_every_fit_is_in_the_unit_interval(colours):
    patches = measured(*colours)
    fits = np.stack([colour(patches, word) for word in TERMS])
    assert fits.max(axis=0) == pytest.approx(1)
    for word in (
        *SPECIAL,
        *SYNONYMS,
        "dark",
        "bright",
        "colourful",
        "pale yellow",
        "reddish brown",
    ):
        scores = colour(patches, word)
        assert scores.dtype == np.float32
        assert ((scores >= 0) & (scores <= 1)).all()


@given(st.integers(0, 254))
def test_shades_order_the_greys(level):
    darker, lighter = measured((level,) * 3, (level + 1,) * 3)[:, None]
    assert colour(darker, "dark")[0] >= colour(lighter, "dark")[0]
    assert colour(darker, "light")[0] <= colour(lighter, "light")[0]


def test_mixtures_lie_between():
    patches = measured((120, 72, 56), (176, 62, 52), (104, 84, 60))
    assert colour(patches, "reddish brown").argmax() == 0
    assert colour(measured((60, 70, 140), (200, 30, 40)), "colourful")[1] > 0.9


def test_american_spelling_and_synonyms_mean_the_same():
    patches = measured(*PATCHES.values())
    assert colour(patches, "dark gray") == pytest.approx(colour(patches, "dark grey"))
    assert colour(patches, "navy blue") == pytest.approx(colour(patches, "dark blue"))


@pytest.mark.parametrize("word", ["oval", "", "green wooden", "shiny", "dark oval"])
def test_unknown_words_leave_the_filter_out(word):
    assert not knows(word)
    assert colour(measured(*PATCHES.values()), word).tolist() == [1] * len(PATCHES)


def test_every_listed_word_is_known():
    words = (*TERMS, *SPECIAL, *SYNONYMS, *(f"{shade} blue" for shade in SHADES))
    assert all(knows(word) for word in (*words, *ALONE))


def test_nothing_to_judge():
    assert colour(np.zeros((0, 3), np.float32), "red").shape == (0,)


@given(masks_of(st.integers(1, 4), 30, 40), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_means_are_those_of_scikit_image(masks, seed):
    image = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    masks = np.concatenate([masks, np.zeros((1, 30, 40), bool)])
    boxes = np.tile(np.array([[0, 0, 40, 30]], np.int32), (len(masks), 1))
    proposals = Proposals(masks, boxes, np.ones(len(masks), np.float32), 30, 40)
    means = mean_lab(image, proposals)
    lab = rgb2lab(image)
    for mask, mean in zip(masks[:-1], means, strict=False):
        assert mean == pytest.approx(lab[mask].mean(axis=0), abs=0.2)
    assert means[-1].tolist() == [0, 0, 0]


def test_masks_smaller_than_the_image_are_measured_at_their_size():
    image, proposals = painted(PATCHES["red"], PATCHES["blue"])
    large = cv2.resize(image, (80, 40), interpolation=cv2.INTER_NEAREST)
    enlarged = Proposals(proposals.masks, proposals.boxes * 4, proposals.quality, 40, 80)
    assert mean_lab(large, enlarged) == pytest.approx(mean_lab(image, proposals), abs=1e-3)


def test_the_bluish_one_among_grey_roofs_is_the_blue_one():
    fits = np.array([0.16, 0.01, 0.0, 0.9], np.float32)
    weights = np.array([0.8, 0.9, 0.5, 0.3], np.float32)  # the last is hardly a roof
    shares = colours.relative(fits, weights)
    np.testing.assert_allclose(shares, [1, 0.25, 0, 1], atol=1e-6)
    red = colours.relative(np.array([0.01, 0.0], np.float32), np.ones(2, np.float32))
    assert red[0] == pytest.approx(0.2**0.5)  # the best of what does not fit is no match


def test_half_of_a_common_cast_is_taken_out():
    rng = np.random.default_rng(0)
    roofs = np.concatenate([rng.uniform(30, 80, (9, 1)), rng.normal(0, 0.1, (9, 2))], axis=1)
    seen = (roofs + np.array([0, -4, 8])).astype(np.float32)
    balanced = colours.balanced(seen, np.ones(9, np.float32))
    np.testing.assert_allclose(balanced, roofs + np.array([0, -2, 4]), atol=0.2)
    np.testing.assert_array_equal(colours.balanced(seen[:7], np.ones(7, np.float32)), seen[:7])
    few = np.array([1.0] * 7 + [0.4] * 2, np.float32)  # the last two are of another kind
    np.testing.assert_array_equal(colours.balanced(seen, few), seen)
