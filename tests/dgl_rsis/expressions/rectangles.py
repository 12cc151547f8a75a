"""Scenes of rectangles, for the tests of geometry."""

import numpy as np
from hypothesis import strategies as st

from dgl_rsis.expressions.shapes import Shapes, measure


def rectangles(rows: int, columns: int, corners) -> np.ndarray:
    """(N, rows, columns) bool from XYXY boxes."""
    masks = np.zeros((len(corners), rows, columns), dtype=bool)
    for mask, (left, top, right, bottom) in zip(masks, corners, strict=True):
        mask[top:bottom, left:right] = True
    return masks


def measured(corners, rows: int = 60, columns: int = 60) -> Shapes:
    return measure(rectangles(rows, columns, corners), rows, columns)


@st.composite
def masks_of(draw, count, rows: int, columns: int) -> np.ndarray:
    """Rectangles, some with a corner cut off."""
    corners, cuts = [], []
    for _ in range(draw(count)):
        width, height = draw(st.integers(4, 16)), draw(st.integers(4, 16))
        left, top = draw(st.integers(0, columns - width)), draw(st.integers(0, rows - height))
        corners.append((left, top, left + width, top + height))
        cuts.append((left, top, left + draw(st.integers(0, 3)), top + draw(st.integers(0, 3))))
    return rectangles(rows, columns, corners) & ~rectangles(rows, columns, cuts)
