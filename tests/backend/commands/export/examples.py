"""Examples of a training set, made for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy import ndimage

from backend.commands.export.dataset import Example, Split
from backend.regions.records import Item, Region
from dgl_rsis import runs
from dgl_rsis.types import Mask

# Small ones with everything: holes, islands in holes, parts that touch by corners, thin lines.
MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(
    lambda mask: bool(mask.any())
)


def smooth(seed: int, size: tuple[int, int] = (120, 160)) -> Mask:
    """Blobs with holes."""
    noise = np.random.default_rng(seed).normal(size=size)
    blurred = ndimage.gaussian_filter(noise, 8)
    return np.asarray(blurred > np.quantile(blurred, 0.6))


def region(mask: Mask, label: str = "road", identity: str = "r") -> Region:
    return Region(identity, label, runs.to_runs(mask), "brush")


def example(
    folder: Path,
    name: str,
    regions: Sequence[Region],
    size: tuple[int, int] = (120, 160),
    split: Split = "train",
    scene: str = "",
) -> Example:
    """One with an image file of its own."""
    file = folder / f"{name}.png"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    item = Item(1, f"/data/{file.name}", *size, annotations=(), predictions=())
    return Example(item, tuple(regions), split, scene or name, file.name, file)
