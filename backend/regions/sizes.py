"""Masks of another size than their image: scaled where both have one shape, as of a preview."""

import numpy as np

from backend.regions.shapes import Size
from dgl_rsis.runs import Runs, from_runs, to_runs

ROUNDING = 0.5  # pixels by which a scaled side may miss, since pixels are whole


def is_scaled(size: Size, other: Size) -> bool:
    """Whether one of two sizes is the other made larger or smaller, sides in proportion."""
    (height, width), (tall, wide) = sorted((size, other))
    return abs(tall * width / wide - height) <= ROUNDING or (
        abs(wide * height / tall - width) <= ROUNDING
    )


def scaled(runs: Runs, size: Size) -> Runs:
    """A mask at another size: each pixel is what lies under its centre."""
    height, width = size
    rows = ((np.arange(height) + 0.5) * runs.height / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * runs.width / width).astype(np.int64)
    return to_runs(np.ascontiguousarray(from_runs(runs)[rows][:, columns]))
