"""The rasters of a segmented scene: classes and probabilities as cloud-optimised GeoTIFFs. [ours].

Blocks arrive in the order of the windows, and a COG cannot be written so: they go into a tiled
temporary file beside the result, which is copied once it is complete.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from PIL import ImageColor

# What GDAL raises beside the errors of `rasterio.errors`.
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from dgl_rsis.scenes import sidecars
from dgl_rsis.scenes.reading import Grid
from dgl_rsis.types import InputError

TILE = 512  # pixels, of the temporary files and of the COGs
MOST_LABELS = 65_535  # of a uint16 class raster: 0 is none
CACHE = 256 * 2**20  # bytes; holds the tiles that a row of windows leaves unfinished
PROBABILITY_STEP = 1 / 255


@dataclass(frozen=True)
class Legend:
    """What the values of a class raster mean.

    Attributes:
        names: of the labels; value i is the i-th, from 1. 0 is nodata.
        colours: of each of them, "#rrggbb".
    """

    names: Sequence[str]
    colours: Mapping[str, str]

    @property
    def table(self) -> dict[int, tuple[int, int, int, int]]:
        """Value → RGBA; nodata is transparent."""
        rgba = {0: (0, 0, 0, 0)}
        for value, name in enumerate(self.names, start=1):
            red, green, blue = ImageColor.getrgb(self.colours[name])[:3]
            rgba[value] = (red, green, blue, 255)
        return rgba

    @property
    def dtype(self) -> str:
        """Of the raster: uint8 as long as it holds all labels."""
        return "uint8" if len(self.names) < 256 else "uint16"


class SceneRaster:
    """One band that is written block by block into a file that goes with the `with` block.

    Args:
        path: of the result; the temporary file lies beside it.
        grid: of the scene.
        profile: type, nodata and colours, as rasterio takes them.
        resampling: of the overviews, as GDAL's COG driver calls it.
    """

    def __init__(self, path: Path, grid: Grid, profile: Mapping[str, Any], resampling: str) -> None:
        self.path, self._resampling = path, resampling
        self._part, self._crs = path.with_name(f".{path.name}.part"), grid.crs
        placed: dict[str, Any] = {}
        if grid.transform is not None:
            placed["transform"] = grid.transform
        elif grid.gcps:
            placed["gcps"] = list(grid.gcps)
        try:
            self.dataset = self._created(grid, crs=grid.crs, **placed, **profile)
        except (CRSError, CPLE_BaseError):  # that of no GeoTIFF: `publish` writes it beside
            self.dataset = self._created(grid, **placed, **profile)

    def _created(self, grid: Grid, **profile: Any) -> Any:
        with _gdal():
            return rasterio.open(
                self._part, "w+", driver="GTiff", width=grid.width, height=grid.height, count=1,
                tiled=True, blockxsize=TILE, blockysize=TILE, bigtiff="IF_SAFER", sparse_ok=True,
                **profile,
            )  # fmt: skip

    def write(self, row: int, column: int, values: NDArray[Any]) -> None:
        """Write an (h, w) block whose first pixel this is."""
        height, width = values.shape
        window = Window(column, row, width, height)
        with _gdal():
            self.dataset.write(values.astype(self.dataset.dtypes[0]), 1, window=window)

    def read(self, row: int, column: int, height: int, width: int) -> NDArray[Any]:
        """What was written there, 0 elsewhere: (height, width)."""
        with _gdal():
            values: NDArray[Any] = self.dataset.read(1, window=Window(column, row, width, height))
        return values

    def shrunk(self, height: int, width: int) -> NDArray[Any]:
        """The whole of it at a smaller size, by the nearest pixels: (height, width)."""
        with _gdal():
            values: NDArray[Any] = self.dataset.read(1, out_shape=(height, width))
        return values

    def publish(self, categories: Sequence[str] = ()) -> list[Path]:
        """Close it and make the COG; nobody ever sees half of one.

        Args:
            categories: names of the values from 0 on, for the file beside it.

        Returns:
            Files beside it that hold what it cannot hold itself; see `sidecars`.

        Raises:
            InputError: it cannot be written.
        """
        self.dataset.close()
        done = self.path.with_name(f".{self.path.name}.cog")
        try:
            with _gdal():
                rasterio.shutil.copy(
                    self._part, done, driver="COG", compress="DEFLATE", blocksize=TILE,
                    overview_resampling=self._resampling, bigtiff="IF_SAFER", sparse_ok="TRUE",
                )  # fmt: skip
            os.replace(done, self.path)
        except RasterioError as error:
            raise InputError(f"{self.path} cannot be written: {error}") from error
        finally:
            done.unlink(missing_ok=True)
        return sidecars.write(self.path, self._crs, categories)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dataset.close()
        self._part.unlink(missing_ok=True)


def class_raster(path: Path, grid: Grid, legend: Legend, made_by: str = "") -> SceneRaster:
    """Classes: 0 is nodata, i the i-th label; colour table, and the names as tags.

    The band's tags are LABEL_1, LABEL_2, …; LABELS of the file is a JSON list of the names, and
    MODEL_VERSION says who made it.

    Args:
        path: of the result.
        grid: of the scene.
        legend: what the values mean.
        made_by: the model's version.
    """
    writer = SceneRaster(
        path, grid, {"dtype": legend.dtype, "nodata": 0, "photometric": "PALETTE"}, "NEAREST"
    )
    writer.dataset.write_colormap(1, legend.table)
    writer.dataset.colorinterp = [ColorInterp.palette]
    writer.dataset.update_tags(LABELS=json.dumps(list(legend.names), ensure_ascii=False))
    if made_by:
        writer.dataset.update_tags(MODEL_VERSION=made_by)
    named = {f"LABEL_{value}": name for value, name in enumerate(legend.names, start=1)}
    writer.dataset.update_tags(1, **named)
    writer.dataset.set_band_description(1, "class")
    return writer


def probability_raster(path: Path, grid: Grid) -> SceneRaster:
    """Probability of each pixel's best class as uint8: value / 255; 0 is nodata.

    The band's scale is 1/255, so that readers that apply it show probabilities.
    """
    writer = SceneRaster(path, grid, {"dtype": "uint8", "nodata": 0}, "AVERAGE")
    writer.dataset.scales = (PROBABILITY_STEP,)
    writer.dataset.set_band_description(1, "probability")
    return writer


def scaled(probability: NDArray[np.floating[Any]], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Probabilities as `probability_raster` holds them.

    Args:
        probability: (h, w) in [0, 1].
        valid: (h, w); the others become nodata.
    """
    levels = np.clip(np.rint(probability / PROBABILITY_STEP), 1, 255)
    return np.where(valid, levels, 0).astype(np.uint8)


@contextmanager
def _gdal() -> Iterator[None]:
    """GDAL with a bounded cache and no files of its own; a raster without a place is legal."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE, **sidecars.NO_SIDECARS), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
