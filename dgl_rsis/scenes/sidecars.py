"""What a GeoTIFF cannot hold, in GDAL's file beside it (PAM, `<name>.aux.xml`). [ours].

GDAL and QGIS read it as a part of the raster. It is written on purpose, once the raster is whole;
GDAL itself, which would write one beside each temporary file, is kept from it.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError, NotGeoreferencedWarning

SUFFIX = ".aux.xml"
NO_SIDECARS = {"GDAL_PAM_ENABLED": False}


def write(raster: Path, crs: CRS | None = None, categories: Sequence[str] = ()) -> list[Path]:
    """Put beside a raster what it does not say itself; one of an earlier raster goes.

    Args:
        raster: a complete GeoTIFF.
        crs: that it should have; None for none.
        categories: names of the values from 0 on; none leave them unnamed.

    Returns:
        The file that was written; nothing where none is needed.

    Raises:
        OSError: it cannot be written.
    """
    path = raster.with_name(raster.name + SUFFIX)
    parts = []
    if crs is not None and not _holds(raster, crs):
        parts.append(_srs(crs))
    if categories:
        names = "".join(f"<Category>{escape(name)}</Category>" for name in categories)
        parts.append(
            f'<PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand>'
        )
    if not parts:
        path.unlink(missing_ok=True)
        return []
    path.write_text(f"<PAMDataset>{''.join(parts)}</PAMDataset>\n", "utf-8")
    return [path]


def _holds(raster: Path, crs: CRS) -> bool:
    """Whether the raster's own keys say this CRS."""
    with rasterio.Env(**NO_SIDECARS), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(raster) as dataset:
            return bool(dataset.crs == crs)


def _srs(crs: CRS) -> str:
    """As x east, y north: the order that the transform has."""
    try:
        text = crs.to_wkt(version="WKT2_2019")
    except CRSError:  # of what WKT 2 has no words for
        text = crs.to_wkt()
    axes = "2,1" if crs.is_geographic else "1,2"
    return f'<SRS dataAxisToSRSAxisMapping="{axes}">{escape(text)}</SRS>'
