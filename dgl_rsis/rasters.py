"""One reader for all rasters: how the values of a file become what a person sees.

A photo is a raster without a place: `read_rgb` takes the bytes that a stranger sent, and holds it
whole. A scene (`scenes.reading`) is a `Raster` with a place, read window by window. Bands, stretch,
palette, nodata and alpha are decided here for both.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import Interleaving, MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from dgl_rsis.bands import Stretch, alpha_band, checked_bands, default_bands, palette, spectrum
from dgl_rsis.essentials import JPEG_START, PNG_START, essentials
from dgl_rsis.exif import flight_resolution
from dgl_rsis.formats import IMAGE_FORMATS, PIXEL_BUDGET
from dgl_rsis.georeference import resolution_at_centre
from dgl_rsis.headers import (
    DAMAGES,
    TIFF_STARTS,
    as_image_error,
    opened,
    orientation_of,
    tiff_tags,
)
from dgl_rsis.resolution import Resolution
from dgl_rsis.types import RGB, Floats, ImageError, InputError, Mask, TooManyPixelsError

PNG_DEPTH = 24  # place of the byte with the bits of a sample: the header comes first

GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 256 * 2**20,  # bytes of decoded blocks, of all rasters together
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,  # else a truncated JPEG is grey where it ends
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",  # nothing beside a raster leads to the network
    "GDAL_VRT_ENABLE_PYTHON": False,
}
SAMPLE_SIDE = 1024  # pixels of the sample that the stretch is computed on
PIECES = 16  # without overviews the sample is cut from so many places along each side
# A block is decoded whole, with all of its bands: 8 bytes a pixel of the budget are four bands of
# 16 bits, for a photo that is a single block.
BLOCK_BYTES_A_PIXEL = 8
# Pixels that a byte of a file may stand for, and how many any file may have: of photos it is some
# tens, of masks in few colours some hundreds, of WebP and sparse TIFFs without content millions.
PIXELS_A_BYTE, FREE_PIXELS = 1000, 2**20
MOST_SCANS = 100  # of a progressive JPEG, as for GDAL: each is gone over with all of its pixels
MOST_PIXELS = 178_000_000  # Pillow's own limit, for those who set none
JPEG_SCAN = b"\xff\xda"
JPEG_END, LONGEST_TAIL = b"\xff\xd9", 4096  # bytes behind it that cameras and servers may leave
STRIP = 2**22  # pixels of a photo that are decoded at a time
LEAST_BORDER = 0.01  # share of the pixels that a border of one value has, to be taken for one
# Orientations of EXIF: which are mirrored, left for right; then quarter turns against the clock.
MIRRORED = frozenset({2, 4, 5, 7})
QUARTERS = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}

Values = NDArray[Any]  # (C, h, w) of the raster's own type


class Raster:
    """An open dataset, seen as 8-bit RGB.

    Args:
        dataset: of rasterio; whoever opened it closes it.
        source: what messages call it, such as its path.
        bands: three numbers from 1, shown as red, green and blue; None leaves the choice to the
            file, see `bands.default_bands`.
        stretch: of what has more than 8 bits; None for the usual one.
        nir: number of the near infrared band, from 1; None leaves it to the file, see
            `bands.spectrum`.
        swir: the same, of short-wave infrared.
        nodata: a value that says that nothing was measured, beside what the file declares.

    Attributes:
        source: see above.
        bands: numbers, from 1, of those shown as red, green and blue; one for grey or a palette.

    Raises:
        InputError: of complex numbers, or without these bands.
    """

    def __init__(
        self,
        dataset: Any,
        source: str,
        bands: Sequence[int] | None = None,
        stretch: Stretch | None = None,
        nir: int | None = None,
        swir: int | None = None,
        nodata: float | None = None,
    ) -> None:
        chosen = default_bands(dataset) if bands is None else checked_bands(bands, dataset)
        kind = dataset.dtypes[chosen[0] - 1]
        if kind.startswith("complex"):
            raise InputError(
                f"{source} holds complex numbers ({kind}), which have no colour: export their "
                "magnitude as a GeoTIFF first"
            )
        self._dataset = dataset
        self._stretch = stretch or Stretch()
        self._palette = palette(dataset, chosen)  # (values, 4) uint8 or None
        self.source = source
        self.bands = chosen
        self._nodata, self._alpha = nodata, alpha_band(dataset)
        self._spectrum = spectrum(dataset, chosen, nir, swir)

    @cached_property
    def limits(self) -> NDArray[np.float64] | None:
        """(bands, 2) float64, values that become 0 and 255; None where values are colours already.

        The whole range of fewer than 8 bits; of more than 8, percentiles of each band over the
        valid pixels of a sample of the whole raster, computed when they are first needed.

        Raises:
            InputError: the file is damaged.
        """
        first = self.bands[0]
        if self._palette is not None:
            return None
        if self._dataset.dtypes[first - 1] == "uint8" and not self._stretch.always:
            bits = int(self._dataset.tags(first, ns="IMAGE_STRUCTURE").get("NBITS", 8))
            return None if bits == 8 else np.tile((0.0, 2.0**bits - 1), (len(self.bands), 1))
        values, valid = self._sample
        known = values[:, valid]  # (C, n)
        if known.shape[1] == 0:
            return np.tile((0.0, 1.0), (len(self.bands), 1))
        ends = [self._stretch.low, self._stretch.high]
        limits = np.percentile(known.astype(np.float64), ends, axis=1).T  # (C, 2)
        low, high = limits.T
        above = np.maximum(low + 1, np.nextafter(low, np.inf))  # the second of large values
        limits[:, 1] = np.where(high > low, high, above)
        return np.asarray(limits, dtype=np.float64)

    def read(self, column: int, row: int, width: int, height: int) -> tuple[RGB, Mask]:
        """A window as a person sees it.

        Returns:
            (height, width, 3) uint8, black where nothing is valid; and (height, width) bool, which
            pixels are valid: neither nodata (in all of the bands shown), nor outside a mask, nor
            transparent, nor NaN or infinite in any of the bands shown.

        Raises:
            InputError: the window leaves the raster, or the file is damaged there.
        """
        across, down = self._dataset.width, self._dataset.height
        inside = min(column, row) >= 0 and column + width <= across and row + height <= down
        if not inside or min(width, height) < 1:
            raise InputError(
                f"the window {width} × {height} at column {column}, row {row} is not inside "
                f"{Path(self.source).name} of {across} × {down} pixels: choose a smaller one"
            )
        with self._reading():
            values, valid = self._values(Window(column, row, width, height))
        image = self._shown(values)
        if self._palette is not None:
            valid &= image[..., 3] > 0
        rgb: RGB = np.where(valid[..., None], image[..., :3], np.uint8(0))
        return rgb, valid

    def spectrum(self, column: int, row: int, width: int, height: int) -> dict[str, Floats]:
        """What spectral indices compare, in a window inside the raster.

        Values are those of the file, with its scale and offset: reflectances, where it holds such.

        Returns:
            (height, width) float32 of each of "red", "green", "nir" and "swir" that is known, NaN
            where a pixel is not valid, as in `read`; nothing without near infrared.

        Raises:
            InputError: the file is damaged there.
        """
        known = {name: band for name, band in asdict(self._spectrum).items() if band is not None}
        if not known:
            return {}
        window = Window(column, row, width, height)
        with self._reading():
            _, shown = self._values(window)
            values, valid = self._values(window, bands=list(known.values()))
        valid &= shown
        planes = {}
        for (name, band), plane in zip(known.items(), values, strict=True):
            scale, offset = (x[band - 1] for x in (self._dataset.scales, self._dataset.offsets))
            scaled = (plane * scale + offset).astype(np.float32)
            # 0 may be nodata and yet what infrared is over dark water.
            for empty in filter(None, (self._dataset.nodatavals[band - 1], self._nodata)):
                scaled[_equal(plane, empty)] = np.nan
            planes[name] = np.where(valid, scaled, np.float32(np.nan))
        return planes

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Read under our GDAL options; a damaged file is the user's business."""
        try:
            with (
                warnings.catch_warnings(
                    action="ignore", category=NodataShadowWarning
                ),  # both count
                rasterio.Env(**GDAL_OPTIONS),
            ):
                yield
        except RasterioError as error:
            raise InputError(
                f"{self.source} is damaged: {cause(error)}; copy it again, or make it anew from "
                "its source"
            ) from error

    def _values(
        self,
        window: Window | None = None,
        shape: tuple[int, int] | None = None,
        bands: Sequence[int] | None = None,
    ) -> tuple[Values, Mask]:
        """(C, h, w) values of bands, by default those shown, and (h, w) bool, which are valid.

        Shrunk to `shape`.
        """
        bands = list(bands or self.bands)
        shrunk = (len(bands), *shape) if shape else None
        values: Values = self._dataset.read(bands, window=window, out_shape=shrunk)
        flags = self._dataset.mask_flag_enums[bands[0] - 1]
        if MaskFlags.all_valid in flags or MaskFlags.alpha in flags:
            valid = np.ones(values.shape[1:], dtype=np.bool_)
        else:
            masked = bands[:1] if MaskFlags.per_dataset in flags else bands  # else all are alike
            out = (len(masked), *shape) if shape else None
            planes = self._dataset.read_masks(masked, window=window, out_shape=out)
            valid = planes.any(axis=0)
        if self._alpha is not None:  # GDAL sees it beside 1 or 3 bands only
            valid &= self._dataset.read(self._alpha, window=window, out_shape=shape) > 0
        if self._nodata is not None:
            valid &= ~_equal(values, self._nodata).all(axis=0)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=0)
        return values, valid

    @cached_property
    def _sample(self) -> tuple[Values, Mask]:
        """(C, h, w) and (h, w): the whole raster shrunk, or pieces where that would read it all."""
        width, height = self._dataset.width, self._dataset.height
        step = max(1.0, max(width, height) / SAMPLE_SIDE)
        if step == 1 or self._dataset.overviews(self.bands[0]):
            shape = max(1, round(height / step)), max(1, round(width / step))
            with self._reading():
                return self._values(shape=shape)
        side = SAMPLE_SIDE // PIECES
        rows = []
        for row in _starts(height, side):
            pieces = []
            for column in _starts(width, side):
                window = Window(column, row, min(side, width), min(side, height))
                with self._reading():
                    pieces.append(self._values(window))
            rows.append([np.concatenate(each, axis=-1) for each in zip(*pieces, strict=True)])
        values, valid = (np.concatenate(each, axis=-2) for each in zip(*rows, strict=True))
        return values, valid

    @cached_property
    def border(self) -> tuple[float, float] | None:
        """A value that no one declared as nodata and that a border looks like, and its share.

        In all bands shown, from a corner on, in a connected part of at least 1 % of the pixels of
        a sample; None where there is no such border.

        Raises:
            InputError: the file is damaged.
        """
        values, valid = self._sample
        best = None
        for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            value = values[(0, *corner)]
            same = valid & (values == value).all(axis=0)
            if not same[corner]:
                continue
            _, parts = cv2.connectedComponents(same.astype(np.uint8), connectivity=4)
            share = float((parts == parts[corner]).mean())
            if share >= LEAST_BORDER and (best is None or share > best[1]):
                best = float(value), share
        return best

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


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: (H, W, 3) uint8, as a browser shows them; what is transparent keeps its own colours.
        valid: (H, W) bool, which pixels show something; None where all of them do.
    """

    pixels: RGB
    valid: Mask | None = None


def read_rgb(data: bytes, max_pixels: int = PIXEL_BUDGET) -> RGB:
    """The pixels of `read_photo`: (H, W, 3) uint8."""
    return read_photo(data, max_pixels).pixels


def read_photo(data: bytes, max_pixels: int = PIXEL_BUDGET) -> Photo:
    """Decode a photo: the first frame, turned as browsers turn it (`dgl_rsis.essentials`).

    Files of 8 bits that a browser shows come as it shows them, but that alpha is dropped over its
    own colours. TIFFs, and PNGs of 16 bits, which a browser does not show or darkens, come as a
    `Raster` of the same values. Nothing is shown where a photo is transparent, where a raster is
    not valid, and in a border of pure black.

    Args:
        data: a PNG, JPEG, WebP, BMP, GIF, AVIF or TIFF file.
        max_pixels: budget, checked on the header before anything is decoded.

    Raises:
        ImageError: empty, truncated, of another format, or larger than the budget.
    """
    if not data:
        raise ImageError("the image is empty (0 bytes): check that the file was uploaded whole")
    with as_image_error(data[:8], len(data)):
        pixels, valid = _decoded(data, max_pixels)
    valid = valid & ~_black_border(pixels)
    return Photo(pixels, None if valid.all() else valid)


def _decoded(data: bytes, max_pixels: int) -> tuple[RGB, Mask]:
    """The upright pixels, and which of them the file says to show something."""
    if data.startswith(TIFF_STARTS):
        turn = orientation_of(tiff_tags(io.BytesIO(data)))
        return _turned(*_read_whole(data, "GTiff", max_pixels), turn)
    if data.startswith(PNG_START) and data[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10":
        essential = essentials(data)
        return _turned(*_read_whole(essential.data, "PNG", max_pixels), essential.orientation)
    if data.startswith(JPEG_START):
        _check_jpeg(data, max_pixels)
        if _lacks_its_end_alone(data):
            data += JPEG_END
    return _decode(data, max_pixels)


def _check_jpeg(data: bytes, max_pixels: int) -> None:
    """See that a JPEG is worth its decoding, before anybody looks for its end.

    Raises:
        ImageError: it has too many pixels, or too many scans.
    """
    with opened(data) as (image, _):
        _check_size(*image.size, max_pixels, len(data))
    # In what is not left out this pair of bytes is a marker.
    if (scans := essentials(data).data.count(JPEG_SCAN)) > MOST_SCANS:
        raise ImageError(
            f"the image is a JPEG of {scans:,} scans, more than {MOST_SCANS}: save it again"
        )


def _lacks_its_end_alone(data: bytes) -> bool:
    """Whether a JPEG is cut off behind its last pixel: browsers do not care, Pillow does.

    GDAL is asked, which fails where libjpeg has to invent pixels.
    """
    if JPEG_END in data[-LONGEST_TAIL:]:
        return False
    try:
        with _opened(data + JPEG_END, "JPEG") as dataset:
            _check_blocks(dataset, MOST_PIXELS)
            dataset.checksum(1)
    except (RasterioError, ImageError):
        return False
    return True


def read_resolution(data: bytes) -> Resolution | None:
    """What a photo says of its ground: a TIFF by its place, any other by the flight of a drone.

    Args:
        data: of a file that `read_rgb` reads; its pixels are not decoded.

    Returns:
        None where it says nothing, or its metadata are damaged: the picture is none the worse.
    """
    with warnings.catch_warnings(action="ignore"), suppress(RasterioError, *DAMAGES):
        if data.startswith(TIFF_STARTS):
            with _opened(data, "GTiff") as dataset:
                return resolution_at_centre(dataset.width, dataset.height, *placement(dataset))
        with Image.open(io.BytesIO(data), formats=tuple(IMAGE_FORMATS)) as image:
            return flight_resolution(image)
    return None


def placement(dataset: Any) -> tuple[CRS | None, Affine | None, tuple[GroundControlPoint, ...]]:
    """CRS, transform and ground control points; GDAL says "no transform" by the identity."""
    gcps, gcp_crs = dataset.gcps
    transform = None if dataset.transform == Affine.identity() else dataset.transform
    return dataset.crs or gcp_crs, transform, tuple(gcps)


def cause(error: BaseException) -> str:
    """What GDAL said first; rasterio's own message only points there."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).rstrip(".")


def _decode(data: bytes, max_pixels: int) -> tuple[RGB, Mask]:
    """A photo of 8 bits: (H, W, 3) uint8, and (H, W) bool, where it is not transparent."""
    with opened(data) as (image, orientation):
        _check_size(*image.size, max_pixels, len(data))
        image.seek(0)
        if image.has_transparency_data:
            rgba = np.asarray(image.convert("RGBA"))
            pixels, valid = np.ascontiguousarray(rgba[..., :3]), rgba[..., 3] > 0
            if image.format == "BMP" and not valid.any():  # most of its writers leave alpha at 0
                valid = np.ones_like(valid)
        else:
            pixels = np.asarray(image.convert("RGB"))
            valid = np.ones(pixels.shape[:2], dtype=np.bool_)
    return _turned(pixels, valid, orientation)


def _black_border(pixels: RGB) -> Mask:
    """(H, W) bool, pure black that touches a side of the photo; nowhere if that is little.

    Pictures that were turned or cut from a mosaic lie on black; a shadow is darker than nothing.
    """
    black: Mask = np.asarray(~pixels.any(axis=2))
    sides = np.zeros_like(black)
    sides[[0, -1]], sides[:, [0, -1]] = True, True
    if not (black & sides).any() or black.mean() < LEAST_BORDER:
        return np.zeros_like(black)
    _, parts = cv2.connectedComponents(black.astype(np.uint8), connectivity=4)
    border: Mask = black & np.isin(parts, np.unique(parts[black & sides]))
    return border if border.mean() >= LEAST_BORDER else np.zeros_like(black)


@contextmanager
def _opened(data: bytes, driver: str) -> Iterator[Any]:
    """A file in memory as a dataset."""
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.Env(**GDAL_OPTIONS),
        MemoryFile(data, filename="image") as file,
        file.open(driver=driver) as dataset,
    ):
        yield dataset


def _read_whole(data: bytes, driver: str, max_pixels: int) -> tuple[RGB, Mask]:
    """A photo as a raster, by one driver of GDAL and from memory alone; see `Raster.read`."""
    with _opened(data, driver) as dataset:
        width, height = dataset.width, dataset.height
        _check_size(width, height, max_pixels, len(data))
        _check_blocks(dataset, max_pixels)
        raster = Raster(dataset, "the image")
        rgb: RGB = np.empty((height, width, 3), dtype=np.uint8)
        valid: Mask = np.empty((height, width), dtype=np.bool_)
        rows = max(1, STRIP // width)
        for row in range(0, height, rows):
            part = slice(row, min(row + rows, height))
            rgb[part], valid[part] = raster.read(0, row, width, part.stop - row)
        return rgb, valid


def _check_size(width: int, height: int, max_pixels: int, size: int) -> None:
    """See that an image of a file of so many bytes is worth its decoding.

    Raises:
        TooManyPixelsError: it has more pixels than allowed.
        ImageError: it has more than any file of its bytes that shows something.
    """
    pixels = width * height
    if pixels > max_pixels:
        raise TooManyPixelsError(
            f"the image has {width} × {height} pixels, more than the allowed {max_pixels:,}: "
            "tile it, or raise MAX_IMAGE_PIXELS",
            (height, width),
        )
    if pixels > max(FREE_PIXELS, size * PIXELS_A_BYTE):
        raise ImageError(
            f"the image has {width} × {height} pixels in {size:,} bytes, more than "
            f"{PIXELS_A_BYTE:,} for each: it shows hardly anything and would cost as much as any "
            f"other of its size; cut it into tiles of at most {FREE_PIXELS:,} pixels"
        )


def _check_blocks(dataset: Any, max_pixels: int) -> None:
    """Refuse a small file that unpacks into a large block: bands count, too."""
    height, width = dataset.block_shapes[0]
    bands = dataset.count if dataset.interleaving == Interleaving.pixel else 1
    size = width * height * bands * np.dtype(dataset.dtypes[0]).itemsize
    if size > max_pixels * BLOCK_BYTES_A_PIXEL:
        raise ImageError(
            f"the image has blocks of {width} × {height} pixels, which with its {dataset.count} "
            f"bands take {size:,} bytes of memory, more than the allowed "
            f"{max_pixels * BLOCK_BYTES_A_PIXEL:,}: save it with smaller tiles or fewer bands"
        )


def _turned(image: RGB, valid: Mask, orientation: int) -> tuple[RGB, Mask]:
    """(H, W, 3) uint8 and (H, W) bool as stored → upright."""
    if orientation in MIRRORED:
        image, valid = image[:, ::-1], valid[:, ::-1]
    quarters = QUARTERS[orientation]
    upright = np.rot90(image, quarters), np.rot90(valid, quarters)
    return np.ascontiguousarray(upright[0]), np.ascontiguousarray(upright[1])


def _starts(length: int, side: int) -> list[int]:
    """Where the pieces of the sample begin along one side: spread evenly, both ends included."""
    last = max(0, length - side)
    return sorted({round(i * last / (PIECES - 1)) for i in range(PIECES)})


def _equal(values: Values, number: float) -> NDArray[np.bool_]:
    """Where values are a number, as exactly as their type holds it; of what it does not: nowhere.

    Text has more digits than 32 bits: -3.4028235e+38 is the least value of them all the same.
    """
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(values == values.dtype.type(number))
    return np.asarray(values == number)


def _stretched(values: Values, limits: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(C, h, w) of any real type → (C, h, w) uint8; what is not finite becomes 0."""
    kind = np.result_type(values.dtype, np.float32)
    low, high = (limits[:, i, None, None] for i in (0, 1))  # (C, 1, 1)
    with np.errstate(over="ignore", invalid="ignore"):  # the ends of what floats hold
        levels = (values.astype(kind) - low.astype(kind)) * (255 / (high - low)).astype(kind)
    levels = np.nan_to_num(levels, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    shown: NDArray[np.uint8] = (np.clip(levels, 0, 255) + 0.5).astype(np.uint8)
    return shown
