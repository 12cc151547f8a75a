import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed

from dgl_rsis.regions import merging
from tests.dgl_rsis.regions import plain_merging

SIZES = st.integers(1, 24)


def noise(height: int, width: int, seed: int, levels: int) -> np.ndarray:
    """(height, width) float32 of few levels: much lies equally high."""
    numbers = np.random.default_rng(seed).integers(0, levels, (height, width))
    return numbers.astype(np.float32) / levels


@given(SIZES, SIZES, st.integers(0, 99), st.sampled_from([2, 5, 1000]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_water_rises_as_in_the_watershed_of_scikit_image(height, width, seed, levels, partly):
    relief = noise(height, width, seed, levels)
    wanted = noise(height, width, seed + 1, 4) > 0 if partly else np.ones((height, width), bool)
    seeds, _ = ndimage.label((noise(height, width, seed + 2, 9) == 0) & wanted)
    basins = merging.flood(relief, seeds, wanted)
    assert np.array_equal(basins, watershed(relief, seeds, mask=wanted))


@given(SIZES, SIZES, st.integers(0, 99), st.integers(1, 60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_trees_grow_as_in_plain_python(height, width, seed, count, some_apart):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, count, (height, width))
    labels = np.unique(coarse, return_inverse=True)[1].reshape(height, width).astype(np.int32)
    channels = rng.normal(size=(height, width, 4)).astype(np.float32)
    gradient = noise(height, width, seed + 1, 50)
    apart = int(labels[0, 0]) if some_apart else merging.NO_LEAF
    grown = merging.grow(labels, channels, gradient, 4.0, apart)
    plain = plain_merging.leaves_of(labels, channels, gradient)
    if some_apart:
        plain_merging.set_apart(plain, apart)
    touching = plain_merging.touching(plain.borders)
    costs = plain_merging.merge(plain, 4.0)
    assert grown.parent.tolist() == plain.parent
    assert grown.area.tolist() == plain.area
    np.testing.assert_allclose(grown.cost, costs, rtol=1e-12)
    assert np.array_equal(grown.outline, plain_merging.outlines(plain, touching))
    ends = np.sort(grown.first[touching[:, :2].astype(np.int32)], axis=1)
    assert np.array_equal(grown.pairs, ends)


def test_what_is_no_numbering_of_leaves_is_refused():
    channels, gradient = np.zeros((2, 3, 4), np.float32), np.zeros((2, 3), np.float32)
    for labels in ([[0, 1, 3], [0, 1, 3]], [[0, 1, -1], [0, 0, 0]]):
        with pytest.raises(ValueError, match="labels are not 0 to"):
            merging.grow(np.array(labels, np.int32), channels, gradient, 4.0)
    with pytest.raises(ValueError, match="channels has 96 bytes, not 192"):
        merging.grow(np.zeros((3, 4), np.int32), channels, np.zeros((3, 4), np.float32), 4.0)
    with pytest.raises(ValueError, match="an image of 0 x 3 pixels"):
        merging.flood(gradient[:0], np.zeros((0, 3), np.int32), np.zeros((0, 3), bool))


def test_other_threads_go_on_meanwhile():
    """As heartbeats do, while a large image is worked at."""
    side, ticks, done = 1500, 0, threading.Event()
    relief = np.random.default_rng(0).random((side, side), np.float32)
    seeds, _ = ndimage.label(relief < 0.01)

    def work() -> None:
        merging.flood(relief, seeds, np.ones((side, side), bool))
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    while not done.wait(0.01):
        ticks += 1
    worker.join()
    assert ticks > 5
