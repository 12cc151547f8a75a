"""Which bands of a raster a person would look at, and how their values are spread. [ours]."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from dgl_rsis.types import InputError

LOG = logging.getLogger(__name__)

COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class Stretch:
    """How values of more than 8 bits become 0-255, each band on its own.

    Attributes:
        low, high: percentiles of the valid pixels that become 0 and 255; the remote-sensing
            viewers' usual 2 and 98.
        always: stretch 8-bit rasters, too; else they are shown as they are.
    """

    low: float = 2.0
    high: float = 98.0
    always: bool = False


def default_bands(dataset: Any) -> tuple[int, ...]:
    """The bands that a person would look at.

    Red, green and blue wherever the file says that they are, by colour interpretation or by
    description; a palette; the first three of several; a single one as grey. A band that is an
    alpha mask is none of these.

    Args:
        dataset: an open rasterio dataset.

    Returns:
        Three numbers from 1, or one for grey or a palette.

    Raises:
        InputError: all are alpha masks.
    """
    name = Path(dataset.name).name
    kinds = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    names = {(dataset.descriptions[i - 1] or "").lower(): i for i in dataset.indexes}
    by_kind = {kind: index for index, kind in reversed(kinds.items())}
    if all(colour in by_kind for colour in COLOURS):
        return tuple(by_kind[colour] for colour in COLOURS)
    if all(colour.name in names for colour in COLOURS):
        return tuple(names[colour.name] for colour in COLOURS)
    seen = [index for index, kind in kinds.items() if kind != ColorInterp.alpha]
    if not seen:
        raise InputError(f"{name} holds nothing but an alpha mask: there is nothing to look at")
    if len(seen) >= len(COLOURS):
        LOG.info(
            "%s does not say which of its %d bands are red, green and blue: taking %s",
            name, len(kinds), ", ".join(map(str, seen[:3])),
        )  # fmt: skip
        return tuple(seen[:3])
    if kinds[seen[0]] != ColorInterp.palette:
        LOG.info("%s has no three colours: showing band %d as grey", name, seen[0])
    return (seen[0],)


def checked_bands(bands: Sequence[int], dataset: Any) -> tuple[int, ...]:
    """The bands that somebody asked for.

    Raises:
        InputError: not three, or not all of them in the file.
    """
    given = ",".join(map(str, bands))
    if len(bands) != len(COLOURS):
        grey = f"; for grey repeat it, as in {given},{given},{given}" if len(bands) == 1 else ""
        raise InputError(
            f"bands {given!r}: three are needed, for red, green and blue, as in 4,3,2{grey}"
        )
    missing = [band for band in bands if band not in dataset.indexes]
    if missing:
        raise InputError(
            f"bands {given!r}: {Path(dataset.name).name} has no band {missing[0]}, it has "
            f"{dataset.count} (from 1): leave the choice to the file, or choose among these"
        )
    return tuple(bands)


def palette(dataset: Any, bands: Sequence[int]) -> NDArray[np.uint8] | None:
    """(values, 4) uint8, the RGBA colour of each value; None without a palette."""
    kind = dataset.colorinterp[bands[0] - 1]
    if len(bands) != 1 or kind != ColorInterp.palette:
        return None
    table = np.zeros((np.iinfo(dataset.dtypes[bands[0] - 1]).max + 1, 4), dtype=np.uint8)
    for value, colour in dataset.colormap(bands[0]).items():
        table[value] = colour
    return table
