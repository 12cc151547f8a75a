"""Scenes: rasters of any size, read window by window as 8-bit RGB. [ours].

Nothing here ever holds a whole scene: windows are read as asked for, and the stretch is computed on
the overviews, or on samples from all over the scene where it has none.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from dgl_rsis.scenes.bands import checked_bands, default_bands, palette
from dgl_rsis.types import RGB, InputError, Mask

LOG = logging.getLogger(__name__)

# GDAL reads many more; each is code that a damaged or hostile file reaches, and some fetch what
# their files name (VRT, WMS). Cloud-optimised GeoTIFFs are read by GTiff.
DRIVERS = ("GTiff", "PNG", "JPEG")
GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 256 * 2**20,  # bytes of decoded blocks, of all scenes together
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,  # else a truncated JPEG is grey where it ends
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",  # nothing beside a scene leads to the network
}
SAMPLE_SIDE = 1024  # pixels of the sample that the stretch is computed on
PIECES = 16  # without overviews the sample is cut from so many places along each side

Values = NDArray[Any]  # (C, h, w) of the scene's own type


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie.

    Attributes:
        width, height: pixels.
        crs: of the transform or the ground control points; None when the raster has none.
        transform: from pixels (column, row; 0 is the outer edge of the first) to the CRS; may be
            rotated; None when the raster has none.
        gcps: ground control points, for a raster that is placed by these alone.
    """

    width: int
    height: int
    crs: CRS | None = None
    transform: Affine | None = None
    gcps: tuple[GroundControlPoint, ...] = ()

    @property
    def crs_text(self) -> str:
        """As "EPSG:32616", as WKT where no code says exactly the same, empty for none."""
        if self.crs is None:
            return ""
        code = self.crs.to_epsg()
        if code is not None and CRS.from_epsg(code) == self.crs:
            return f"EPSG:{code}"
        return str(self.crs.to_wkt())

    def transform_at(self, column: int, row: int) -> Affine | None:
        """The transform of a window whose first pixel is this one."""
        if self.transform is None:
            return None
        return self.transform @ Affine.translation(column, row)


@dataclass(frozen=True)
class Stretch:
    """How values of more than 8 bits become 0-255, each band on its own.

    Attributes:
        low, high: percentiles of the valid pixels that become 0 and 255; the remote-sensing
            viewers' usual 2 and 98.
        always: stretch 8-bit scenes, too; else they are shown as they are.
    """

    low: float = 2.0
    high: float = 98.0
    always: bool = False


class Scene:
    """A raster that is open for reading; made by `open_scene`, closed by its `with` block.

    Attributes:
        path: of the file.
        grid: where its pixels lie.
        bands: numbers, from 1, of those shown as red, green and blue; one for grey or a palette.
    """

    def __init__(self, dataset: Any, path: Path, bands: Sequence[int], stretch: Stretch) -> None:
        self._dataset = dataset
        self._palette = palette(dataset, bands)  # (values, 4) uint8 or None
        self.path = path
        self.grid = _grid(dataset)
        self.bands = tuple(bands)
        self._stretch = stretch

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @cached_property
    def limits(self) -> NDArray[np.float64] | None:
        """(bands, 2) float64, values that become 0 and 255; None where nothing is stretched.

        Percentiles of each band over the valid pixels of a sample of the whole scene, computed
        when they are first needed.

        Raises:
            InputError: the file is damaged.
        """
        eight_bits = self._dataset.dtypes[self.bands[0] - 1] == "uint8"
        if self._palette is not None or (eight_bits and not self._stretch.always):
            return None
        sample = [values[:, valid] for values, valid in self._samples()]
        known = np.concatenate(sample, axis=1)  # (C, n)
        if known.shape[1] == 0:
            return np.tile((0.0, 1.0), (len(self.bands), 1))
        ends = [self._stretch.low, self._stretch.high]
        limits = np.percentile(known.astype(np.float64), ends, axis=1).T  # (C, 2)
        limits[:, 1] = np.where(limits[:, 1] > limits[:, 0], limits[:, 1], limits[:, 0] + 1)
        return np.asarray(limits, dtype=np.float64)

    def read(self, column: int, row: int, width: int, height: int) -> tuple[RGB, Mask]:
        """A window of the scene as a person sees it.

        Returns:
            (height, width, 3) uint8, black where nothing is valid; and (height, width) bool, which
            pixels are valid: neither nodata (in all of the bands shown), nor outside a mask, nor
            transparent, nor NaN or infinite in any of the bands shown.

        Raises:
            InputError: the window leaves the scene, or the file is damaged there.
        """
        grid = self.grid
        inside = min(column, row) >= 0 and column + width <= grid.width
        if not inside or row + height > grid.height or min(width, height) < 1:
            raise InputError(
                f"the window {width} × {height} at column {column}, row {row} is not inside "
                f"{self.name} of {grid.width} × {grid.height} pixels: choose a smaller one"
            )
        with self._reading():
            values, valid = self._values(Window(column, row, width, height))
        image = self._shown(values)
        if self._palette is not None:
            valid &= image[..., 3] > 0
        rgb: RGB = np.where(valid[..., None], image[..., :3], np.uint8(0))
        return rgb, valid

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Read under our GDAL options; a damaged file is the user's business."""
        try:
            with rasterio.Env(**GDAL_OPTIONS):
                yield
        except RasterioError as error:
            raise _damaged(self.path, error) from error

    def _values(
        self, window: Window | None = None, shape: tuple[int, int] | None = None
    ) -> tuple[Values, Mask]:
        """(C, h, w) values of the bands and (h, w) bool, which are valid; shrunk to `shape`."""
        bands = list(self.bands)
        shrunk = (len(bands), *shape) if shape else None
        values: Values = self._dataset.read(bands, window=window, out_shape=shrunk)
        flags = self._dataset.mask_flag_enums[bands[0] - 1]
        if MaskFlags.all_valid in flags:
            valid = np.ones(values.shape[1:], dtype=np.bool_)
        else:
            masked = bands[:1] if MaskFlags.per_dataset in flags else bands  # else all are alike
            out = (len(masked), *shape) if shape else None
            planes = self._dataset.read_masks(masked, window=window, out_shape=out)
            valid = planes.any(axis=0)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=0)
        return values, valid

    def _samples(self) -> Iterator[tuple[Values, Mask]]:
        """The whole scene shrunk, or pieces of it where shrinking would read every pixel."""
        width, height = self.grid.width, self.grid.height
        step = max(1.0, max(width, height) / SAMPLE_SIDE)
        if step == 1 or self._dataset.overviews(self.bands[0]):
            shape = max(1, round(height / step)), max(1, round(width / step))
            with self._reading():
                yield self._values(shape=shape)
            return
        side = SAMPLE_SIDE // PIECES
        for row in _starts(height, side):
            for column in _starts(width, side):
                window = Window(column, row, min(side, width), min(side, height))
                with self._reading():
                    yield self._values(window)

    def _shown(self, values: Values) -> NDArray[np.uint8]:
        """(C, h, w) → (h, w, 3) uint8, or (h, w, 4) through a palette."""
        if self._palette is not None:
            coloured: NDArray[np.uint8] = self._palette[values[0]]
            return coloured
        if self.limits is not None:
            values = _stretched(values, self.limits)
        if len(values) == 1:
            values = np.repeat(values, 3, axis=0)
        return np.ascontiguousarray(values.transpose(1, 2, 0))


def open_scene(
    path: Path | str, bands: Sequence[int] | None = None, stretch: Stretch | None = None
) -> Scene:
    """Open a raster file.

    Args:
        path: a GeoTIFF (also cloud-optimised), PNG or JPEG on this machine.
        bands: three numbers from 1, shown as red, green and blue; None leaves the choice to the
            file: see `scene_bands.default_bands`.
        stretch: of what has more than 8 bits; None for the usual one.

    Raises:
        InputError: no such file, another format, damaged, of complex numbers, or without these
            bands.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(_not_a_file(str(path)))
    dataset = _open(path.absolute())
    try:
        chosen = default_bands(dataset) if bands is None else checked_bands(bands, dataset)
        kind = dataset.dtypes[chosen[0] - 1]
        if kind.startswith("complex"):
            raise InputError(
                f"{path} holds complex numbers ({kind}), which have no colour: export their "
                "magnitude as a GeoTIFF first"
            )
        scene = Scene(dataset, path, chosen, stretch or Stretch())
    except BaseException:
        dataset.close()
        raise
    if scene.grid.crs is None:
        LOG.info("%s has no CRS: results lie on its pixels, and areas are not known", path.name)
    return scene


def _not_a_file(path: str) -> str:
    if path.startswith("/vsi") or ":/" in path:  # Path() has made "https://" into "https:/"
        return f"{path} is not a file on this machine: download the scene and give its path"
    if Path(path).is_dir():
        return f"{path} is a folder: give the raster files in it"
    return f"there is no file {path}: check the path"


def _open(path: Path) -> Any:
    """The dataset; the path is absolute, so that nothing in it reads as a scheme."""
    try:
        with rasterio.Env(**GDAL_OPTIONS), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # legal, and logged
            return DatasetReader(str(path), driver=list(DRIVERS))  # `rasterio.open` takes one only
    except RasterioIOError as error:
        raise InputError(
            f"{path} is no raster that can be read ({_cause(error)}): give a GeoTIFF, COG, PNG or "
            "JPEG, and if it is one, copy it again"
        ) from error


def _grid(dataset: Any) -> Grid:
    """The grid of an open dataset; GDAL says "no transform" by the identity."""
    gcps, gcp_crs = dataset.gcps
    transform = None if dataset.transform == Affine.identity() else dataset.transform
    return Grid(dataset.width, dataset.height, dataset.crs or gcp_crs, transform, tuple(gcps))


def _starts(length: int, side: int) -> list[int]:
    """Where the pieces of the sample begin along one side: spread evenly, both ends included."""
    last = max(0, length - side)
    return sorted({round(i * last / (PIECES - 1)) for i in range(PIECES)})


def _stretched(values: Values, limits: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(C, h, w) of any real type → (C, h, w) uint8; what is not finite becomes 0."""
    kind = np.result_type(values.dtype, np.float32)
    low, high = (limits[:, i, None, None] for i in (0, 1))  # (C, 1, 1)
    levels = (values.astype(kind) - low.astype(kind)) * (255 / (high - low)).astype(kind)
    levels = np.nan_to_num(levels, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    shown: NDArray[np.uint8] = (np.clip(levels, 0, 255) + 0.5).astype(np.uint8)
    return shown


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is damaged: {_cause(error)}; copy it again, or make it anew from its source"
    )


def _cause(error: BaseException) -> str:
    """What GDAL said first; rasterio's own message only points there."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).rstrip(".")
