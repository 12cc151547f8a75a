"""A small georeferenced scene, drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

PLACE = Affine(0.5, 0, 326_000, 0, -0.5, 2_788_000)


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth patches of colour, and noise: (height, width, 3)."""
    rng = np.random.default_rng(seed)
    patches = ndimage.gaussian_filter(rng.random((height, width, 3)), (9, 9, 0))
    patches = (patches - patches.min()) / np.ptp(patches)
    noisy = patches * 255 + rng.normal(0, 4, patches.shape)
    pixels: NDArray[np.uint8] = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels


def write_scene(
    path: Path, image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None, **profile: Any
) -> Path:
    """An RGB GeoTIFF in EPSG:32640, pixels of half a metre; its mask where one is given."""
    placed = {"crs": "EPSG:32640", "transform": PLACE} | profile
    height, width = image.shape[:2]
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8",
        photometric="RGB", **placed,
    ) as dataset:  # fmt: skip
        dataset.write(image.transpose(2, 0, 1))
        if valid is not None:
            dataset.write_mask(valid)
    return path
