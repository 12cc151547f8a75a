"""Which bands of a raster a person would look at, and how their values are spread. [ours]."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from dgl_rsis.types import InputError

LOG = logging.getLogger(__name__)

COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
INFRARED = {"nir": "near infrared", "swir": "short-wave infrared"}
WORDS = {
    "red": "red",
    "green": "green",
    "blue": "blue",
    "nir": "nir",
    "nir08": "nir",
    "near infrared": "nir",
    "near infra red": "nir",
    "swir": "swir",
    "swir1": "swir",
    "swir 1": "swir",
    "swir16": "swir",
    "short wave infrared": "swir",
    "shortwave infrared": "swir",
    "short wave infrared 1": "swir",
    "shortwave infrared 1": "swir",
}
# The satellites' own names; which of them a raster is of, `_satellite` finds out.
SENTINEL_2 = {"b2": "blue", "b3": "green", "b4": "red", "b8": "nir", "b8a": "nir", "b11": "swir"}
LANDSAT_8 = {"b2": "blue", "b3": "green", "b4": "red", "b5": "nir", "b6": "swir"}  # and 9
LANDSAT_4 = {"b1": "blue", "b2": "green", "b3": "red", "b4": "nir", "b5": "swir"}  # to 7
# Words that make another colour of one: PlanetScope's "coastal blue" and "green i", "red edge".
OTHERWISE = frozenset({"edge", "coastal", "i", "infra", "infrared", "near", "far", "deep"})
TRANSPARENCY = frozenset({"alpha", "datamask", "data mask"})  # the last two are Sentinel Hub's
KINDS = {
    ColorInterp.red: "red",
    ColorInterp.green: "green",
    ColorInterp.blue: "blue",
    ColorInterp.nir: "nir",
    ColorInterp.swir: "swir",
}


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


@dataclass(frozen=True)
class Spectrum:
    """Where a raster has what spectral indices compare.

    Attributes:
        red, green: numbers of bands from 1; None where nobody says.
        nir, swir: the same, of near and short-wave infrared (about 0.8 and 1.6 µm).
    """

    red: int | None = None
    green: int | None = None
    nir: int | None = None
    swir: int | None = None


def spectrum(
    dataset: Any, shown: Sequence[int], nir: int | None = None, swir: int | None = None
) -> Spectrum:
    """The infrared bands of a raster, and the colours that they are compared with.

    Infrared is what somebody says, else what the file says by description or by colour
    interpretation; never a guess, for a fourth band may be anything. Red and green are what the
    file says, else what is shown as such; where near infrared is shown as red, red and green are
    shown as green and blue, as is usual.

    Args:
        dataset: an open rasterio dataset.
        shown: numbers of the bands shown, from 1: red, green and blue, or one.
        nir: number of near infrared, if somebody gave it.
        swir: the same, of short-wave infrared.

    Returns:
        All None where there is no near infrared, without which there is no index.

    Raises:
        InputError: a number that cannot be.
    """
    given = {name: band for name, band in (("nir", nir), ("swir", swir)) if band is not None}
    for name, band in given.items():
        _check_infrared(name, band, dataset)
    by_kind, named = _by_kind(dataset), _named(dataset)
    infrared = {name: by_kind.pop(name) for name in INFRARED if name in by_kind}
    named = infrared | named | given
    near = named.get("nir")
    if near is None:
        if swir is not None:
            raise InputError(
                f"--swir {swir}: it is compared with near infrared, and no band of "
                f"{Path(dataset.name).name} is named so: say by --nir which one it is"
            )
        return Spectrum()
    if near in by_kind.values():  # any three bands are stored as "red, green, blue"
        by_kind = {}
    named = _as_shown(shown, near) | by_kind | named
    _check_distinct(named, given, Path(dataset.name).name)
    return Spectrum(named.get("red"), named.get("green"), near, named.get("swir"))


def _as_shown(shown: Sequence[int], near: int) -> dict[str, int]:
    """Red and green of a picture in true colours or in colour infrared; nothing of another."""
    if len(shown) != len(COLOURS) or near in shown[1:]:
        return {}
    red, green = shown[1:] if near == shown[0] else shown[:2]
    return {"red": red, "green": green}


def _by_kind(dataset: Any) -> dict[str, int]:
    """Name → number of the first band of each kind that the file gives."""
    pairs = list(zip(dataset.indexes, dataset.colorinterp, strict=True))
    return {KINDS[kind]: index for index, kind in reversed(pairs) if kind in KINDS}


def _named(dataset: Any) -> dict[str, int]:
    """Name → number of the first band that its description calls so.

    A whole part of a description goes before a word in it.
    """
    texts = {i: _parts(dataset.descriptions[i - 1] or "") for i in dataset.indexes}
    words = WORDS | _satellite({part for parts in texts.values() for part in parts})
    named: dict[str, int] = {}
    for index, parts in texts.items():
        for word in filter(words.__contains__, parts):
            named.setdefault(words[word], index)
    for index, parts in texts.items():
        tokens = {token for part in parts for token in part.split()}
        for colour in COLOURS:
            if colour.name in tokens and not tokens & OTHERWISE and index not in named.values():
                named.setdefault(colour.name, index)
    return named


def _satellite(names: set[str]) -> dict[str, str]:
    """What the bands of the satellite mean whose names these are; nothing where that is open.

    B8A and B12 are Sentinel-2's alone, SR_B1 and so on Landsat's. Of bare numbers, Landsat 8 has
    B10 without B12; it and Sentinel-2 agree on B2, B3 and B4, Landsat 4 to 7 have B1 to B5 and B7.
    """
    of_landsat = {name.removeprefix("sr ") for name in names if name.startswith("sr b")}
    if of_landsat:
        meant = LANDSAT_8 if "b6" in of_landsat else LANDSAT_4
        return {f"sr {name}": colour for name, colour in meant.items()}
    if names & {"b8a", "b12"}:
        return SENTINEL_2
    if "b10" in names or ({"b1", "b5", "b6", "b7"} <= names and "b8" not in names):
        return LANDSAT_8
    if {"b1", "b2", "b3", "b4", "b5", "b7"} <= names and "b6" not in names:
        return LANDSAT_4
    return SENTINEL_2 if names & {"b8", "b4"} else {}


def _parts(description: str) -> list[str]:
    """What a description says in turn: B08 - NIR (835 nm) is "b8", "nir" and "835 nm".

    The names of files that stacks are made of count, too: T32TQM_B04_10m.jp2 has "b4".
    """
    parts = re.split(r"[,:;()]|\s[-–]\s", description.lower())
    spaced = (" ".join(re.split(r"[\s_-]+", part.strip())) for part in parts)
    told = [re.sub(r"^(?:b|band )0*(?=\d)", "b", part) for part in spaced if part]
    inside = re.search(r"(?:^|[\s_.-])((?:sr_)?b)0?(\d{1,2}a?)(?=$|[\s_.-])", description.lower())
    if inside is not None:
        told.append(f"{inside[1].replace('_', ' ')}{inside[2]}")
    return told


def alpha_band(dataset: Any) -> int | None:
    """Number, from 1, of the band that says what is transparent, wherever it stands; None for none.

    By colour interpretation or description. Of four bands of 8 bits GDAL takes the last one for
    alpha, whatever it is: a description that names something else goes before that.
    """
    named = {index: name for name, index in _named(dataset).items()}
    kinds = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    texts = {i: (dataset.descriptions[i - 1] or "").strip().lower() for i in dataset.indexes}
    told = [index for index, text in texts.items() if text in TRANSPARENCY]
    marked = [i for i, kind in kinds.items() if kind == ColorInterp.alpha and i not in named]
    return next(iter(told + marked), None)


def _check_infrared(name: str, band: int, dataset: Any) -> None:
    """See that a band that somebody gave is there, and no mask."""
    file, what = Path(dataset.name).name, INFRARED[name]
    if band not in dataset.indexes:
        raise InputError(
            f"--{name} {band}: {file} has no band {band}, it has {dataset.count} (from 1): give "
            f"the number of its {what}, or leave the option out"
        )
    if band == alpha_band(dataset):
        raise InputError(
            f"--{name} {band}: band {band} of {file} is its alpha mask, not {what}: give another "
            "number, or leave the option out"
        )


def _check_distinct(named: Mapping[str, int], given: Mapping[str, int], file: str) -> None:
    """See that no band that somebody gave stands for two things, and has what it is compared with.

    Raises:
        InputError: otherwise.
    """
    for name, band in given.items():
        same = [
            key for key in ("red", "green", *INFRARED) if key != name and named.get(key) == band
        ]
        if same:
            raise InputError(
                f"--{name} {band}: band {band} of {file} is {INFRARED.get(same[0], same[0])}: give "
                "another number, or say by --bands which are red, green and blue"
            )
    if "nir" in given and not {"red", "green"} & set(named):
        raise InputError(
            f"--nir {given['nir']}: which bands of {file} are red and green is not known: give "
            "--bands of red, green and blue, or of near infrared, red and green"
        )


def default_bands(dataset: Any) -> tuple[int, ...]:
    """The bands that a person would look at.

    Red, green and blue wherever the file says that they are, by description or by colour
    interpretation, which writers often leave to chance; a palette; the first three of several; a
    single one as grey. A band that is an alpha mask is none of these.

    Args:
        dataset: an open rasterio dataset.

    Returns:
        Three numbers from 1, or one for grey or a palette.

    Raises:
        InputError: all are alpha masks.
    """
    name = Path(dataset.name).name
    kinds = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    names = _named(dataset)
    by_kind = {kind: index for index, kind in reversed(kinds.items())}
    if all(colour.name in names for colour in COLOURS):
        return tuple(names[colour.name] for colour in COLOURS)
    if all(colour in by_kind for colour in COLOURS):
        return tuple(by_kind[colour] for colour in COLOURS)
    alpha = alpha_band(dataset)
    seen = [index for index in kinds if index != alpha]
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
