"""Scenes: rasters with a place and of any size, read window by window as 8-bit RGB. [ours].

Nothing here ever holds a whole scene: windows are read as asked for, and the stretch is computed on
the overviews, or on samples from all over the scene where it has none. What its values look like is
decided in `dgl_rsis.rasters`, as for a photo.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader

from dgl_rsis.bands import Stretch
from dgl_rsis.georeference import resolution_at_centre
from dgl_rsis.rasters import GDAL_OPTIONS, Raster, cause, placement
from dgl_rsis.resolution import Resolution
from dgl_rsis.scenes.sources import check_virtual, is_virtual
from dgl_rsis.types import InputError

LOG = logging.getLogger(__name__)

# GDAL reads many more; each is code that a damaged or hostile file reaches, and some fetch what
# their files name (WMS). Cloud-optimised GeoTIFFs are read by GTiff. Only people who give paths get
# this far: what tasks lead to is read by `dgl_rsis.rasters`, by two of these drivers.
DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG", "WEBP", "BMP", "GIF", "netCDF", "HDF5")
# Of these, the ones whose names may say that a photo is meant: an unplaced one is no scene.
PICTURES = frozenset({"GTiff", "PNG", "JPEG", "WEBP", "BMP", "GIF"})
READ = "GeoTIFF, COG, JPEG 2000, PNG, JPEG, WebP, BMP, GIF, netCDF, HDF5 or VRT"
SHOWN = 5  # names in a message


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
    def placed(self) -> bool:
        """Whether anything says where the pixels lie."""
        return self.crs is not None or self.transform is not None or bool(self.gcps)

    @property
    def crs_text(self) -> str:
        """As "EPSG:32616", as WKT where no code says exactly the same, empty for none."""
        if self.crs is None:
            return ""
        code = self.crs.to_epsg()
        if code is not None and CRS.from_epsg(code) == self.crs:
            return f"EPSG:{code}"
        return str(self.crs.to_wkt())

    @property
    def resolution(self) -> Resolution | None:
        """Ground sample distance in its middle; None where its place does not say it."""
        return resolution_at_centre(self.width, self.height, self.crs, self.transform, self.gcps)

    def transform_at(self, column: int, row: int) -> Affine | None:
        """The transform of a window whose first pixel is this one."""
        if self.transform is None:
            return None
        return self.transform @ Affine.translation(column, row)


class Scene(Raster):
    """A raster with a place, open for reading; made by `open_scene`, closed by its `with` block.

    Its pixels are never turned, whatever EXIF says: its place is that of the pixels as stored.

    Attributes:
        path: of the file.
        grid: where its pixels lie.
    """

    def __init__(self, dataset: Any, path: Path, **options: Any) -> None:
        super().__init__(dataset, str(path), **options)
        self.path = path
        self.grid = _grid(dataset)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def is_blank(self, column: int, row: int, width: int, height: int) -> bool:
        """Whether a file with holes stores nothing of a window, so that no pixel of it is valid.

        Costs hardly any time. False where that is not known without reading: only GeoTIFFs leave
        blocks out, and what they leave out is valid unless nodata or an alpha band says otherwise.

        Args:
            column: of its first pixel.
            row: of its first pixel.
            width: pixels.
            height: pixels.
        """
        dataset = self._dataset
        if dataset.driver != "GTiff":
            return False
        telling = self.bands
        if self._alpha is not None and dataset.nodatavals[self._alpha - 1] in (None, 0):
            telling = (self._alpha,)
        elif self._nodata != 0 and any(  # holes have the declared nodata, or else 0
            dataset.mask_flag_enums[band - 1] != [MaskFlags.nodata] for band in telling
        ):
            return False
        return not any(
            dataset.get_tag_item(f"BLOCK_OFFSET_{across}_{down}", "TIFF", bidx=band)
            for band in set(telling)
            for down, across in _blocks(dataset.block_shapes[band - 1], column, row, width, height)
        )

    @property
    def files(self) -> list[Path]:
        """What it is read from, absolute, in order: the file, its sources, what counts beside."""
        return sorted(
            {self.path.absolute(), *(Path(file).absolute() for file in self._dataset.files)}
        )

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _blocks(
    shape: tuple[int, int], column: int, row: int, width: int, height: int
) -> Iterator[tuple[int, int]]:
    """Rows and columns, counted in blocks of a shape, of those that a window touches."""
    tall, wide = shape
    for down in range(row // tall, (row + height - 1) // tall + 1):
        for across in range(column // wide, (column + width - 1) // wide + 1):
            yield down, across


def open_scene(
    path: Path | str,
    bands: Sequence[int] | None = None,
    stretch: Stretch | None = None,
    nir: int | None = None,
    swir: int | None = None,
    nodata: float | None = None,
) -> Scene:
    """Open a raster file.

    What lies beside it counts: world files, `.aux.xml`, `.prj`, `.ovr`, `.msk`.

    Args:
        path: on this machine, of one of `DRIVERS`, or a virtual raster (VRT) of files below its
            own folder.
        bands: three numbers from 1, shown as red, green and blue; None leaves the choice to the
            file: see `bands.default_bands`.
        stretch: of what has more than 8 bits; None for the usual one.
        nir: number of the near infrared band, from 1; None leaves it to the file, see
            `bands.spectrum`.
        swir: the same, of short-wave infrared.
        nodata: a value that says that nothing was measured, beside what the file declares.

    Raises:
        InputError: no such file, another format, several rasters in one file, damaged, of complex
            numbers, or without these bands.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(not_a_file(str(path)))
    try:
        dataset = _open(path.absolute())
    except RasterioIOError as error:
        raise InputError(
            f"{path} is no raster that can be read ({cause(error)}): give a {READ}, and if it is "
            "one, copy it again"
        ) from error
    try:
        _check_single(dataset, path)
        options = {"bands": bands, "stretch": stretch, "nir": nir, "swir": swir, "nodata": nodata}
        scene = Scene(dataset, path, **options)
    except BaseException:
        dataset.close()
        raise
    if dataset.rpcs is not None and not scene.grid.placed:
        LOG.warning(
            "%s is placed by rational polynomials (RPC), which are ignored: results lie on its "
            "pixels; orthorectify it first (gdalwarp -rpc)", path.name,
        )  # fmt: skip
    elif scene.grid.crs is None:
        LOG.info("%s has no CRS: results lie on its pixels, and areas are not known", path.name)
    return scene


def tell_border(scene: Scene) -> None:
    """Point out a border of one value that the file does not declare as nodata.

    Raises:
        InputError: the file is damaged.
    """
    if scene.border is not None:
        value, share = scene.border
        LOG.warning(
            "%s: %.0f %% of it, from its edge on, has the value %.9g in all bands that are shown. "
            "If nothing was measured there, say so by --nodata %.9g: now it is labelled, too",
            scene.name, 100 * share, value, value,
        )  # fmt: skip


def is_placed(path: Path, side: int) -> bool:
    """Whether a file is to be read as a scene even if nobody asks for that.

    Args:
        path: of any file.
        side: pixels; a longer TIFF is no photo.

    Returns:
        True where something says where its pixels lie, of a long TIFF, and of what is no picture;
        False for what is no raster at all.
    """
    try:
        with _open(path.absolute()) as dataset:
            long = dataset.driver == "GTiff" and max(dataset.width, dataset.height) > side
            return long or dataset.driver not in PICTURES or _grid(dataset).placed
    except InputError:  # of a virtual raster, which nothing else could be
        return True
    except (RasterioError, OSError):
        return False


def not_a_file(path: str) -> str:
    """What is wrong with a path that leads to no file, and the way out."""
    if path.startswith("/vsi") or ":/" in path:  # Path() has made "https://" into "https:/"
        return f"{path} is not a file on this machine: download the scene and give its path"
    if Path(path).is_dir():
        return f"{path} is a folder: give the raster files in it"
    return f"there is no file {path}: check the path"


def _open(path: Path) -> Any:
    """The dataset; the path is absolute, so that nothing in it reads as a scheme.

    Raises:
        RasterioError: no raster of these drivers.
        InputError: a virtual raster that leads out of its folder.
    """
    drivers = list(DRIVERS)
    if is_virtual(path):
        check_virtual(path)
        drivers = ["VRT"]
    with rasterio.Env(**GDAL_OPTIONS), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # legal, and logged
        return DatasetReader(str(path), driver=drivers)  # `rasterio.open` takes one only


def _check_single(dataset: Any, path: Path) -> None:
    """See that a file of measurements holds one raster, and not several that nobody chose from."""
    if dataset.count:
        return
    names = [name.rsplit(":", 1)[-1].lstrip("/") for name in dataset.subdatasets]
    if not names:
        raise InputError(f"{path} holds no raster: give a file with one")
    listed = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    raise InputError(
        f"{path} holds {len(names)} rasters ({listed}): make a GeoTIFF of one of them, as in "
        f"gdal_translate '{dataset.subdatasets[0]}' {path.stem}.tif"
    )


def _grid(dataset: Any) -> Grid:
    """The grid of an open dataset, with the CRS that lies beside a world file as `.prj`."""
    crs, transform, gcps = placement(dataset)
    if crs is None and transform is not None:
        crs = _crs_beside(Path(dataset.name))
    return Grid(dataset.width, dataset.height, crs, transform, gcps)


def _crs_beside(path: Path) -> CRS | None:
    """The CRS in `<stem>.prj`, as GIS write it; None where there is none."""
    file = path.with_suffix(".prj")
    if not file.is_file():
        return None
    try:
        return CRS.from_wkt(file.read_text("utf-8"))
    except (CRSError, OSError, ValueError):
        LOG.warning("%s is no CRS that can be read: it is ignored", file)
        return None
