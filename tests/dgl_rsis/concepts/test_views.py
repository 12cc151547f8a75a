"""Windows cover the image at each size, overlap, and end with one that holds all of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dgl_rsis.concepts.views import OVERLAP, STRETCH, View, starts, views


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(20, 400))
def test_each_level_covers_the_image(height: int, width: int, side: int) -> None:
    seen = views(height, width, side)
    for level, windows in enumerate(seen.levels):
        covered = np.zeros((height, width), dtype=bool)
        for view in windows:
            left, top, right, bottom = view.box
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert view.level == level
            assert max(right - left, bottom - top) <= (side << level) * STRETCH
            covered[top:bottom, left:right] = True
        assert covered.all()
    assert len(seen.levels[-1]) == 1
    assert len(seen.factors) == len(seen.levels)


@given(st.integers(1, 5000), st.integers(1, 700))
def test_neighbours_overlap(length: int, reach: int) -> None:
    firsts = starts(length, reach)
    assert firsts[0] == 0
    assert firsts[-1] == max(0, length - reach)
    gaps = np.diff(firsts)
    assert (gaps <= np.ceil(reach * (1 - OVERLAP))).all()
    assert (gaps >= 0).all()


def test_a_window_is_seen_at_its_size() -> None:
    image = np.zeros((100, 200, 3), dtype=np.uint8)
    image[:, 100:] = 200
    half = View(1, (50, 0, 150, 100)).cut(image)
    assert half.shape == (50, 50, 3)
    assert (half[:, :24] == 0).all()
    assert (half[:, 26:] == 200).all()
    assert (View(0, (90, 10, 110, 20)).cut(image) == image[10:20, 90:110]).all()
