"""Raster files of a few pixels, and what a reader shows of them."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from dgl_rsis.bands import Stretch
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import RGB, Mask

UTM, TRANSFORM = "EPSG:32616", Affine(0.5, 0, 733601, 0, -0.5, 3725139)
NOWHERE: dict[str, Any] = {"crs": None, "transform": None}


def raster(
    path: Path | str,
    values: NDArray[Any],
    kinds: Sequence[ColorInterp] = (),
    mask: Mask | None = None,
    colormap: Mapping[int, tuple[int, int, int, int]] | None = None,
    descriptions: Sequence[str] = (),
    driver: str = "GTiff",
    **profile: Any,
) -> Path:
    """Write (C, H, W) values; they lie somewhere in Georgia unless the profile says otherwise."""
    count, height, width = values.shape
    placed = {"crs": UTM, "transform": TRANSFORM} | profile
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.open(
            path, "w", driver, width, height, count, dtype=values.dtype, **placed
        ) as file,
    ):  # fmt: skip
        if kinds:
            file.colorinterp = kinds  # before the values: alpha is said in the header
        file.write(values)
        if mask is not None:
            file.write_mask(mask)
        if colormap:
            file.write_colormap(1, colormap)
        for index, text in enumerate(descriptions, start=1):
            file.set_band_description(index, text)
    return Path(path)


def encoded_raster(values: NDArray[Any], **options: Any) -> bytes:
    """The same as the bytes of a file; its mask is inside."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        raster(memory.name, values, **options)
        return bytes(memory.read())


def whole(
    path: Path, bands: Sequence[int] | None = None, stretch: Stretch | None = None
) -> tuple[RGB, Mask]:
    """All of a scene: (H, W, 3) uint8 and (H, W) bool, which pixels are valid."""
    with open_scene(path, bands, stretch) as scene:
        return scene.read(0, 0, scene.grid.width, scene.grid.height)
