"""What people and tiles say of the ground that a pixel shows."""

import math

import pytest
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.crs import CRS

from dgl_rsis.georeference import resolution_at_centre
from dgl_rsis.resolution import (
    EQUATOR,
    LEAST,
    MEASURED,
    MOST,
    SOURCES,
    UNITS,
    Resolution,
    TileAddress,
    of_tile,
    parse_metres,
    plausible,
    preferred,
    stated,
    tile_address,
)
from dgl_rsis.types import InputError
from tests.paths import SHARED

METRES = st.floats(LEAST, MOST)
ZANZIBAR = "OAM-1254820-542016-21.jpg"


@pytest.mark.parametrize("metres", [0.0099, 100.1, -1, 0, math.nan, math.inf])
def test_what_no_picture_has_is_refused(metres: float) -> None:
    with pytest.raises(InputError, match=r"out of range: give 0\.01 to 100"):
        Resolution(metres, MEASURED, "task")
    with pytest.raises(InputError):
        stated(metres, "setting")
    assert plausible(metres, "transform") is None


def test_nothing_said_is_nothing_known() -> None:
    assert stated(None, "task") is None
    assert preferred() is preferred(None, None) is None


@given(st.permutations(SOURCES), st.integers(1, len(SOURCES)))
def test_the_most_trusted_source_counts_in_any_order(sources: list, count: int) -> None:
    known = [Resolution(1 + i, MEASURED, source) for i, source in enumerate(sources[:count])]
    best = preferred(None, *known)
    assert best in known
    assert best is not None
    assert SOURCES.index(best.source) == min(SOURCES.index(each.source) for each in known)


def test_the_order_of_trust() -> None:
    assert SOURCES == ("task", "setting", "transform", "exif", "tile", "picture")


@given(METRES, st.sampled_from(sorted(UNITS)), st.sampled_from(["", " ", "\t"]), st.booleans())
def test_whatever_the_unit_metres_come_back(
    metres: float, unit: str, space: str, per_pixel: bool
) -> None:
    assume(LEAST * 1.001 < metres < MOST * 0.999)
    text = f" {metres / UNITS[unit]:.9f}{space}{unit.upper()}{'/px' if per_pixel else ''} "
    assert parse_metres(text) == pytest.approx(metres, rel=1e-6)
    assert parse_metres(metres) == metres


@pytest.mark.parametrize(
    ("written", "metres"),
    [("0.3", 0.3), ("30 cm", 0.3), ("0.3 m", 0.3), (".5m", 0.5), (1, 1.0), ("300 mm/pixel", 0.3)],
)
def test_metres_as_people_write_them(written: object, metres: float) -> None:
    assert parse_metres(written) == pytest.approx(metres)


@pytest.mark.parametrize(
    "written",
    ["", "high", "0,3", "30 in", "0.3 m 2", "1e-1", "-0.3", True, None, [0.3], "nan", "٣"],
)
def test_what_cannot_be_understood_is_named(written: object) -> None:
    with pytest.raises(InputError, match=r'are no metres a pixel: write .*"30 cm"'):
        parse_metres(written)


@pytest.mark.parametrize("written", [0, 30_000, "200", "0.1 mm", float("inf")])
def test_metres_beyond_reason_are_refused(written: object) -> None:
    with pytest.raises(InputError, match="out of range"):
        parse_metres(written)


@st.composite
def addresses(draw: st.DrawFn) -> TileAddress:
    """Tiles that somebody may have mapped: at the latitudes of 79 degrees and nearer."""
    zoom = draw(st.integers(12, 23))
    count = 2**zoom
    return TileAddress(
        zoom, draw(st.integers(0, count - 1)), draw(st.integers(count // 8, count * 7 // 8))
    )


@given(addresses(), st.sampled_from([256, 512]))
def test_a_tile_shows_as_much_as_a_raster_in_its_place(address: TileAddress, side: int) -> None:
    tile = EQUATOR / 2**address.zoom
    left, top = address.x * tile - EQUATOR / 2, EQUATOR / 2 - address.y * tile
    place = Affine(tile / side, 0, left, 0, -tile / side, top)
    raster = resolution_at_centre(side, side, CRS.from_epsg(3857), place)
    found = of_tile(f"https://a.org/t/{address.zoom}/{address.x}/{address.y}.png", side, side)
    if found is None:
        assert EQUATOR / 2**address.zoom / side < 0.06  # below a centimetre at the poles
        return
    assert found.source == "tile"
    assert raster is None or found.metres == pytest.approx(raster.metres, rel=0.005)


@given(
    addresses(), st.sampled_from(["", "/tiles/", "https://a.org/v1/", "/data/local-files/?d=a/"])
)
def test_every_form_of_an_address_is_read(address: TileAddress, before: str) -> None:
    zoom, x, y = address
    assert tile_address(f"{before}{zoom}/{x}/{y}.png") == address
    assert tile_address(f"{before}{zoom}/{x}/{y}@2x.JPG") == address
    assert tile_address(f"{before}zanzibar_z{zoom}_{x}_{y}.jpg") == address
    assert tile_address(f"{before}OAM-{x}-{y}-{zoom}.tif") == address
    assert tile_address(f"/data/upload/1/1a2b3c4d-OAM-{x}-{y}-{zoom}.png") == address
    assert tile_address(f"https://a.org/{zoom}/{x}/{y}.webp?token=1/2/3.png") == address
    assert tile_address(f"data:{address.inline};base64,AAAA") == address


@given(addresses())
def test_what_might_be_something_else_is_no_address(address: TileAddress) -> None:
    zoom, x, y = address
    for name in (
        f"{zoom}/{x}/{y}",  # some have y before x
        f"{zoom}-{x}-{y}.png",
        f"{zoom}_{x}_{y}.png",
        f"jazz{zoom}_{x}_{y}.png",
        f"{zoom}/{x + 2**zoom}/{y}.png",
        f"{zoom}/{x}/{y + 2**zoom}.png",
        f"{zoom}/0{x}/{y}.png",
        f"{zoom}/{x}/{y}.png.txt",
        f"{zoom}/{x}/{y}_1.png",
        f"NOAM-{x}-{y}-{zoom}.png",
        f"OAM-{x}-{y}-{zoom}-1.png",
        f"data:image/png;base64,{zoom}/{x}/{y}.png",
        f"http://[{zoom}/{x}/{y}.png",
    ):
        assert tile_address(name) is None


@given(st.dates())
def test_a_date_is_no_tile(day) -> None:
    assert tile_address(f"photos/{day.year}/{day.month}/{day.day}.jpg") is None
    assert tile_address(f"{day.month}/{day.day}/17.jpg") is None


@pytest.mark.parametrize("zoom", [11, 24])
def test_other_zooms_are_no_addresses(zoom: int) -> None:
    assert tile_address(f"a/{zoom}/{2 ** (zoom - 1)}/{2 ** (zoom - 1)}.png") is None


@pytest.mark.parametrize("size", [(256, 255), (300, 300), (1024, 1024)])
def test_only_a_whole_tile_has_the_size_of_one(size: tuple[int, int]) -> None:
    assert of_tile(ZANZIBAR, 256, 256) is not None
    assert of_tile(ZANZIBAR, *size) is None


def test_a_tile_that_is_known() -> None:
    """The published metres of zoom 19 on the equator are 0.2986, at 60 degrees half of that."""
    found = of_tile(f"19/0/{2**18}.png", 256, 256)
    assert found is not None
    assert found.metres == pytest.approx(0.2986, abs=5e-5)
    assert found.to_json() == {"metres_per_pixel": 0.2986, "source": "tile"}


def test_real_tiles_have_the_metres_that_their_authors_say() -> None:
    folder = SHARED / "open" / "oam_buildings" / "images"
    if not folder.is_dir():
        pytest.skip(f"the tiles of {folder} are not there")
    said = {"z19": 0.27, "z20": 0.15, "z21": 0.07}
    for path in folder.iterdir():
        found = of_tile(path.as_posix(), 256, 256)
        assert found is not None
        assert found.metres == pytest.approx(said[path.name.split("_")[1]], abs=0.03)
