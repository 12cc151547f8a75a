import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from dgl_rsis.runs import Runs, area, cropped, from_runs, to_runs
from dgl_rsis.types import Mask

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(MASKS)
def test_runs_and_mask_are_inverses(mask: Mask) -> None:
    runs = to_runs(mask)
    assert np.array_equal(from_runs(runs), mask)
    assert area(runs) == mask.sum()
    assert all(count > 0 for count in runs.counts[1:])
    assert (runs.counts[0] == 0) == bool(mask.flat[0])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@given(MASKS)
def test_runs_are_those_of_coco_on_the_transposed_mask(mask):
    # COCO's runs are column-major; its decoder is the oracle.
    rle = {"counts": list(to_runs(mask).counts), "size": [mask.shape[1], mask.shape[0]]}
    decoded = coco.decode(coco.frPyObjects(rle, mask.shape[1], mask.shape[0]))
    assert (decoded.T.astype(bool) == mask).all()


@given(MASKS)
def test_a_crop_holds_all_foreground_and_no_row_too_many(mask: Mask) -> None:
    crop = cropped(to_runs(mask))
    if crop is None:
        assert not mask.any()
        return
    whole = np.zeros_like(mask)
    whole[crop.top : crop.top + len(crop.mask)] = crop.mask
    assert np.array_equal(whole, mask)
    assert crop.mask[0].any()
    assert crop.mask[-1].any()


@given(MASKS, st.integers(0, 3))
def test_empty_runs_inside_are_read_like_none(mask: Mask, zeros: int) -> None:
    runs = to_runs(mask)
    padded = Runs(runs.height, runs.width, (*runs.counts, *(0,) * (2 * zeros)))
    assert np.array_equal(from_runs(padded), mask)
    crop, padded_crop = cropped(runs), cropped(padded)
    assert (crop is None) == (padded_crop is None)
    if crop is not None and padded_crop is not None:
        assert np.array_equal(crop.mask, padded_crop.mask)


@pytest.mark.parametrize("counts", [(), (5,), (3, -1, 4), (3, 4)])
def test_runs_that_do_not_fit_the_size_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"2 × 3 mask must be non-negative and sum to 6"):
        from_runs(Runs(3, 2, counts))


@pytest.mark.parametrize("shape", [(0, 4), (4,), (1, 2, 3)])
def test_a_mask_without_pixels_or_with_other_axes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two axes"):
        to_runs(np.zeros(shape, dtype=np.bool_))
