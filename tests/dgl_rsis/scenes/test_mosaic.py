import json
import tracemalloc
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning

from dgl_rsis.scenes.mosaic import Assembled, assemble, grid_of
from dgl_rsis.scenes.rasters import Legend
from dgl_rsis.scenes.reading import Grid
from dgl_rsis.scenes.tiles import Seams, TileParameters, Window, windows
from dgl_rsis.types import InputError

UTM, TRANSFORM = CRS.from_epsg(32616), Affine(0.5, 0, 733601, 0, -0.5, 3725139)
LEGEND = Legend(("road", "lake & river"), {"road": "#ff0000", "lake & river": "blue"})


def inside(window):
    return (
        slice(window.row, window.row + window.height),
        slice(window.column, window.column + window.width),
    )


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read(1)


def grid(width, height, **more):
    return Grid(width, height, **({"crs": UTM, "transform": TRANSFORM} | more))


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_tiles_that_agree_come_back_exactly(tmp_path, data):
    width, height = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    size = data.draw(st.integers(1 + max(width, height) // 6, 90))
    tiling = TileParameters(size, data.draw(st.integers(0, size // 2)))
    classes = np.random.default_rng(0).integers(0, 3, (height, width), dtype=np.uint16)
    tiles = data.draw(st.permutations(windows(width, height, tiling)))
    assembled = assemble(
        tiles, lambda window: classes[inside(window)], grid(width, height), LEGEND,
        tmp_path / "a.tif",
    )  # fmt: skip
    assert assembled == Assembled(width * height, 0)
    assert (read(tmp_path / "a.tif") == classes).all()


def test_where_tiles_disagree_their_owner_counts_and_the_pixels_are_told(tmp_path):
    tiles = [Window(0, 0, 30, 40), Window(20, 0, 30, 40), Window(0, 20, 50, 20)]
    seen = {tiles[0]: 1, tiles[1]: 2, tiles[2]: 1}
    assembled = assemble(
        tiles, lambda window: np.full((window.height, window.width), seen[window], np.uint16),
        grid(50, 40), LEGEND, tmp_path / "a.tif",
    )  # fmt: skip
    expected = np.zeros((40, 50), dtype=int)
    views = [np.zeros((40, 50), dtype=int) for _ in tiles]
    for index, window in enumerate(tiles):
        views[index][inside(window)] = seen[window]
        mine = Seams(tiles, 50, 40).owned(index)
        expected[inside(window)][mine] = seen[window]
    wrong = np.any([(view > 0) & (view != expected) for view in views], axis=0)
    assert (read(tmp_path / "a.tif") == expected).all()
    assert assembled == Assembled(2000, int(wrong.sum()))
    assert assembled.disagreeing > 0


def test_what_no_tile_covers_is_none(tmp_path):
    tile = Window(3, 4, 5, 6)
    assembled = assemble(
        [tile], lambda window: np.full((6, 5), 2, np.uint16), grid(20, 30), LEGEND,
        tmp_path / "a.tif",
    )  # fmt: skip
    classes = read(tmp_path / "a.tif")
    assert assembled == Assembled(30, 0)
    assert (classes[inside(tile)] == 2).all()
    assert classes.sum() == 60


def blank(window):
    return np.ones((window.height, window.width), dtype=np.uint16)


def test_the_file_says_what_its_numbers_mean(tmp_path):
    out = tmp_path / "new" / "a.tif"
    assemble([Window(0, 0, 600, 600)], blank, grid(600, 600), LEGEND, out)
    with rasterio.open(out) as file:
        assert (file.crs, file.transform, file.nodata) == (UTM, TRANSFORM, 0)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert json.loads(file.tags()["LABELS"]) == ["road", "lake & river"]
        table = file.colormap(1)
        assert file.overviews(1) == [2]
    assert table[1], table[2] == ((255, 0, 0, 255), (0, 0, 255, 255))
    names = ElementTree.parse(f"{out}.aux.xml").iter("Category")
    assert [name.text or "" for name in names] == ["", "road", "lake & river"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["a.tif", "a.tif.aux.xml"]


def test_more_than_255_labels_take_16_bits(tmp_path):
    labels = tuple(f"class {i}" for i in range(300))
    legend = Legend(labels, dict.fromkeys(labels, "#123456"))
    tile = Window(0, 0, 20, 20)
    values = np.arange(400, dtype=np.uint16).reshape(20, 20) % 301
    assemble([tile], lambda window: values, grid(20, 20), legend, tmp_path / "a.tif")
    assert (read(tmp_path / "a.tif") == values).all()


@pytest.mark.parametrize(
    "place",
    [
        {"crs": None, "transform": None},
        {"transform": TRANSFORM @ Affine.rotation(30)},
        {"crs": None, "transform": TRANSFORM @ Affine.rotation(30)},
        {
            "crs": CRS.from_epsg(4326),
            "transform": None,
            "gcps": tuple(
                GroundControlPoint(r, c, 10 + c / 9, 50 - r / 9, 0)
                for r, c in ((0, 0), (0, 9), (9, 0))
            ),
        },
    ],
)
def test_every_kind_of_grid_is_kept(tmp_path, place):
    wanted = grid(9, 9, **place)
    assemble([Window(0, 0, 9, 9)], blank, wanted, LEGEND, tmp_path / "a.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "a.tif") as file:
            gcps, gcp_crs = file.gcps
            assert (file.crs or gcp_crs) == wanted.crs
            assert [(p.row, p.col, p.x, p.y) for p in gcps] == [
                (p.row, p.col, p.x, p.y) for p in wanted.gcps
            ]
            assert file.transform.almost_equals(wanted.transform or Affine.identity())


def test_memory_is_that_of_a_tile(tmp_path):
    tiles = windows(6000, 6000, TileParameters(512, 32))
    tracemalloc.start()
    assemble(tiles, blank, grid(6000, 6000), LEGEND, tmp_path / "a.tif")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 * 512 * 512 + 2_000_000  # the scene has 36 million


def test_a_grid_is_found_again_from_its_tiles():
    turned = TRANSFORM @ Affine.rotation(12.3)
    whole = Grid(5000, 4000, UTM, turned)
    tiles = [
        (window, tuple(whole.transform_at(window.column, window.row))[:6])
        for window in reversed(windows(5000, 4000, TileParameters(300, 10)))
    ]
    assert grid_of(5000, 4000, "EPSG:32616", tiles) == whole
    assert grid_of(5000, 4000, "EPSG:32616", tiles[:3]).transform.almost_equals(turned, 1e-6)


def test_tiles_without_a_transform_have_no_place():
    plain = grid_of(50, 40, "EPSG:32616", [(Window(0, 0, 50, 40), None)])
    assert plain == Grid(50, 40)


def test_tiles_of_other_grids_are_refused():
    tiles = [
        (Window(0, 0, 10, 10), tuple(TRANSFORM)[:6]),
        (Window(10, 0, 10, 10), tuple(TRANSFORM)[:6]),
    ]
    with pytest.raises(InputError, match=r"\(10, 0, 10, 10\) belong to different grids"):
        grid_of(20, 10, "EPSG:32616", tiles)


def test_what_is_no_crs_is_refused():
    with pytest.raises(InputError, match="CRS 'EPSG:nothing' is none"):
        grid_of(9, 9, "EPSG:nothing", [(Window(0, 0, 9, 9), tuple(TRANSFORM)[:6])])


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(OSError, match="directory"):
        assemble([Window(0, 0, 9, 9)], blank, grid(9, 9), LEGEND, tmp_path / "a.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
