import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from backend.regions import sizes
from dgl_rsis.runs import from_runs, to_runs

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(MASKS, st.integers(1, 4))
def test_a_mask_made_larger_and_small_again_is_what_it_was(mask, times):
    height, width = mask.shape
    large = sizes.scaled(to_runs(mask), (height * times, width * times))
    np.testing.assert_array_equal(from_runs(large), np.kron(mask, np.ones((times, times), bool)))
    assert sizes.scaled(large, (height, width)) == to_runs(mask)


@pytest.mark.parametrize(
    ("size", "other", "expected"),
    [
        ((100, 200), (100, 200), True),
        ((100, 200), (50, 100), True),
        ((333, 500), (1000, 1501), True),  # sides are rounded
        ((100, 200), (200, 100), False),
        ((100, 200), (100, 203), False),
        ((9, 9), (40, 60), False),
    ],
)
def test_what_is_scaled_keeps_its_proportions(size, other, expected):
    assert sizes.is_scaled(size, other) is sizes.is_scaled(other, size) is expected
