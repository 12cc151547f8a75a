"""Ground sample distance: how many metres of the ground a pixel shows, and who says so. [ours].

The noun that all stages share, and what can be read without a library: a number that somebody
wrote, and the address of a map tile. `dgl_rsis.georeference` reads it from where a raster lies,
`dgl_rsis.exif` from what a drone notes in its photos.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from dgl_rsis.types import InputError

# Who says it, the most trusted first: whoever made the task knows its image, whoever set the
# program up knows the images in general; a file may have been resized by who kept its metadata.
Source = Literal["task", "setting", "transform", "exif", "tile", "picture"]
SOURCES: tuple[Source, ...] = get_args(Source)

LEAST, MOST = 0.01, 100.0  # metres a pixel: a hand's photo and a weather satellite are beyond
MEASURED = 0.05  # spread of what is measured or stated

UNITS = {"": 1.0, "m": 1.0, "cm": 0.01, "mm": 0.001}
WRITTEN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(m|cm|mm)?(?:\s*/\s*(?:px|pixel))?", re.ASCII)

# A map tile at zoom 0 is the whole equator of the sphere that web maps use, on 256 pixels.
EQUATOR = 2 * math.pi * 6_378_137.0  # metres
TILE_SIDE = 256
TILE_SIDES = (TILE_SIDE, 2 * TILE_SIDE)
# Beyond nobody maps, and there lie the tiles that a date in a path would be: "12/05/17.png".
FARTHEST = 80.0  # degrees of latitude
ZOOM, NUMBER = r"(?P<zoom>1[2-9]|2[0-3])", r"0|[1-9]\d{0,7}"
SUFFIX = r"\.(?:png|jpe?g|webp|tiff?)"
ADDRESSES = tuple(
    re.compile(pattern, re.ASCII | re.IGNORECASE)
    for pattern in (
        rf"(?:^|/){ZOOM}/(?P<x>{NUMBER})/(?P<y>{NUMBER})(?:@2x)?{SUFFIX}$",
        rf"(?:^|[/_-])z{ZOOM}_(?P<x>{NUMBER})_(?P<y>{NUMBER}){SUFFIX}$",
        rf"(?:^|[/_-])OAM-(?P<x>{NUMBER})-(?P<y>{NUMBER})-{ZOOM}{SUFFIX}$",
    )
)
INLINE = re.compile(rf";tile={ZOOM}-(?P<x>{NUMBER})-(?P<y>{NUMBER})(?:;|$)", re.ASCII)


@dataclass(frozen=True)
class Resolution:
    """The ground sample distance of an image, in the pixels that the model sees.

    Attributes:
        metres: a pixel, 0.01 to 100; where pixels are not square the root of their area.
        spread: standard deviation of ln(metres), above 0: how far it may be wrong.
        source: "task" or "setting": somebody said so; "transform": from the place of a raster;
            "exif": from the flight of a drone; "tile": from the address of a map tile; "picture":
            estimated from the picture itself.

    Raises:
        InputError: metres out of range.
    """

    metres: float
    spread: float
    source: Source

    def __post_init__(self) -> None:
        if not LEAST <= self.metres <= MOST:
            raise InputError(
                f"{self.metres:g} metres a pixel are out of range: give {LEAST:g} to {MOST:g}, "
                'or the unit, as in "30 cm"'
            )

    def __str__(self) -> str:
        return f"{self.metres:.3g} m/px by {self.source}"

    def to_json(self) -> dict[str, Any]:
        """Metres a pixel and source, for people and programs."""
        return {"metres_per_pixel": float(f"{self.metres:.4g}"), "source": self.source}


def stated(metres: float | None, source: Source) -> Resolution | None:
    """What somebody said; None for nothing.

    Raises:
        InputError: metres out of range.
    """
    return None if metres is None else Resolution(metres, MEASURED, source)


def plausible(metres: float, source: Source, spread: float = MEASURED) -> Resolution | None:
    """What a file says; None where it says what cannot be: nobody stands for it."""
    return Resolution(metres, spread, source) if LEAST <= metres <= MOST else None


def preferred(*known: Resolution | None) -> Resolution | None:
    """The one of the most trusted source; None where nothing is known."""
    return min(
        (each for each in known if each is not None),
        key=lambda each: SOURCES.index(each.source),
        default=None,
    )


MOST_NUMBER = 1e9  # more than any resolution, and less than where floats end


def parse_metres(value: object) -> float:
    """Metres a pixel as somebody wrote them.

    Args:
        value: a number of metres, or text such as "0.3", "0.3 m", "30 cm" or "30 cm/px".

    Raises:
        InputError: anything else, or out of range.
    """
    metres = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        # An int may be larger than any float.
        metres = math.inf if abs(value) > MOST_NUMBER else float(value)
    elif isinstance(value, str) and (match := WRITTEN.fullmatch(value.strip().lower())):
        metres = float(match[1]) * UNITS[match[2] or ""]
    if math.isnan(metres):
        raise InputError(
            f"{str(value)[:40]!r} are no metres a pixel: write a number of metres, such as 0.3, "
            'or with its unit, "30 cm"'
        )
    return Resolution(metres, MEASURED, "task").metres


class TileAddress(NamedTuple):
    """A tile of a web map: XYZ, or TMS, which counts y from the south.

    Attributes:
        zoom: 12 to 23.
        x, y: column and row, from 0 to 2 ** zoom, excluded.
    """

    zoom: int
    x: int
    y: int

    @property
    def latitude(self) -> float:
        """Of its middle row, degrees; of a TMS address the same in the other hemisphere."""
        return math.degrees(math.atan(math.sinh(math.pi * (1 - (2 * self.y + 1) / 2**self.zoom))))

    @property
    def inline(self) -> str:
        """As a parameter of a data: URL, which has no name that could say it."""
        return f";tile={self.zoom}-{self.x}-{self.y}"


def tile_address(reference: str) -> TileAddress | None:
    """The map tile that a path or an address names without doubt; None for any other.

    Args:
        reference: ends in `zoom/x/y.png`, `z<zoom>_x_y.png` or `OAM-x-y-zoom.png` (or another
            suffix of images), perhaps as the `d` of a local file of Label Studio; or a data: URL
            with `TileAddress.inline`. Without a suffix y may come before x: that says nothing.
    """
    if reference[:5].lower() == "data:":
        matches = [INLINE.search(reference[5:].partition(",")[0])]
    else:
        matches = [form.search(name) for name in _names(reference) for form in ADDRESSES]
    for match in matches:
        if match is not None:
            address = TileAddress(*(int(match[part]) for part in ("zoom", "x", "y")))
            inside = max(address.x, address.y) < 2**address.zoom
            if inside and abs(address.latitude) <= FARTHEST:
                return address
    return None


def of_tile(reference: str, height: int, width: int) -> Resolution | None:
    """The resolution of a map tile, by its address.

    Args:
        reference: see `tile_address`.
        height: of the image, pixels.
        width: likewise; tiles are squares of 256 or 512 pixels.
    """
    if height != width or width not in TILE_SIDES:
        return None
    address = tile_address(reference)
    if address is None:
        return None
    on_equator = EQUATOR / 2**address.zoom / width
    return plausible(on_equator * math.cos(math.radians(address.latitude)), "tile")


def _names(reference: str) -> list[str]:
    """The path of a reference, and what its query names of a folder of local files."""
    try:
        parts = urlsplit(reference.strip())
    except ValueError:  # a bracket in the host
        return []
    return [unquote(parts.path), *parse_qs(parts.query).get("d", [])]
