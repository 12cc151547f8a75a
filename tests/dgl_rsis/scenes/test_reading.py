import logging
import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning

from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import InputError
from tests.paths import SHARED
from tests.small_raster import TRANSFORM, UTM, raster, whole

RASTERS = SHARED / "rasters"
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(1, 256, (3, 20, 30), dtype=np.uint8)


def real(name):
    if not RASTERS.is_dir():
        pytest.skip(f"the rasters of {RASTERS} are not there")
    return RASTERS / name


def test_eight_bits_are_shown_as_they_are(tmp_path):
    rgb, valid = whole(raster(tmp_path / "a.tif", PICTURE))
    assert (rgb == PICTURE.transpose(1, 2, 0)).all()
    assert valid.all()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_window_is_the_part_of_the_whole(tmp_path, data):
    path = tmp_path / "a.tif"
    if not path.exists():
        raster(path, PICTURE)
    column, row = data.draw(st.integers(0, 29)), data.draw(st.integers(0, 19))
    width, height = data.draw(st.integers(1, 30 - column)), data.draw(st.integers(1, 20 - row))
    with open_scene(path) as scene:
        rgb, _ = scene.read(column, row, width, height)
    assert (rgb == PICTURE.transpose(1, 2, 0)[row : row + height, column : column + width]).all()


@pytest.mark.parametrize("window", [(-1, 0, 2, 2), (0, -1, 2, 2), (29, 0, 2, 2), (0, 19, 2, 2)])
def test_a_window_that_leaves_the_scene_is_refused(tmp_path, window):
    with (
        open_scene(raster(tmp_path / "a.tif", PICTURE)) as scene,
        pytest.raises(InputError, match=r"not inside a\.tif of 30 × 20 pixels"),
    ):
        scene.read(*window)


def test_the_grid_says_where_pixels_lie(tmp_path):
    with open_scene(raster(tmp_path / "a.tif", PICTURE)) as scene:
        grid = scene.grid
    assert (grid.width, grid.height, grid.crs_text) == (30, 20, UTM)
    assert grid.transform == TRANSFORM
    assert grid.transform_at(4, 6) @ (0, 0) == TRANSFORM @ (4, 6)


def test_a_scene_without_crs_is_legal_and_said_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        path = raster(tmp_path / "a.tif", PICTURE, crs=None, transform=None)
        with open_scene(path) as scene:
            grid = scene.grid
    assert (grid.crs, grid.transform, grid.crs_text) == (None, None, "")
    assert grid.transform_at(1, 1) is None
    assert "has no CRS" in caplog.text


def test_a_rotated_scene_keeps_its_transform(tmp_path):
    turned = Affine.rotation(30) @ Affine.scale(2)
    with open_scene(raster(tmp_path / "a.tif", PICTURE, transform=turned)) as scene:
        assert scene.grid.transform.almost_equals(turned)


def test_ground_control_points_are_kept(tmp_path):
    points = [GroundControlPoint(r, c, 10 + c, 50 - r, 0) for r, c in ((0, 0), (0, 30), (20, 0))]
    path = raster(tmp_path / "a.tif", PICTURE, crs="EPSG:4326", transform=None, gcps=points)
    with open_scene(path) as scene:
        grid = scene.grid
    assert [(p.row, p.col, p.x, p.y) for p in grid.gcps] == [
        (p.row, p.col, p.x, p.y) for p in points
    ]
    assert (grid.crs_text, grid.transform) == ("EPSG:4326", None)


def test_a_crs_without_a_code_is_told_as_wkt(tmp_path):
    own = "+proj=laea +lat_0=12.5 +lon_0=7.25 +datum=WGS84"
    with open_scene(raster(tmp_path / "a.tif", PICTURE, crs=own)) as scene:
        text = scene.grid.crs_text
        assert rasterio.CRS.from_wkt(text) == scene.grid.crs


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_are_scenes_too(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.full((20, 30, 3), (200, 100, 50), dtype=np.uint8)).save(path)
    rgb, _ = whole(path)
    assert np.abs(rgb.astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://example.org/a.tif", "not a file on this machine: download"),
        ("/vsicurl/https://example.org/a.tif", "not a file on this machine: download"),
        ("nothing.tif", "there is no file nothing.tif"),
        (".", "is a folder"),
    ],
)
def test_what_is_no_file_is_refused(path, message):
    with pytest.raises(InputError, match=message):
        open_scene(path)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"hello", b"<VRTDataset/>"])
def test_what_is_no_raster_is_refused(tmp_path, content):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tif is no raster that can be read"):
        open_scene(path)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_truncated_file_is_refused_when_it_is_noticed(tmp_path, dtype):
    values = np.repeat(np.repeat(PICTURE, 10, axis=1), 10, axis=2).astype(dtype)
    path = raster(tmp_path / "a.tif", values)
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(InputError, match=r"a\.tif is damaged: .+; copy it again"):
        whole(path)


def test_a_truncated_jpeg_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(RNG.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match="damaged"):
        whole(path)


def test_complex_numbers_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"complex numbers \(complex64\)"):
        open_scene(raster(tmp_path / "a.tif", PICTURE[:1].astype(np.complex64)))


@pytest.mark.parametrize(
    ("name", "bands", "stretched", "valid"),
    [
        ("RGB.byte.tif", (1, 2, 3), False, 0.6741),
        ("RGB2.byte.tif", (1, 2, 3), False, 0.6731),
        ("RGBA.uint16.tif", (3, 2, 1), True, 0.4886),
        ("alpha.tif", (1, 2, 3), False, None),
        ("cog.tif", (1,), True, 1.0),
        ("cog_gcps.tif", (1,), True, 1.0),
        ("cog_nodata.tif", (1,), True, None),
        ("cog_rgba.tif", (1, 2, 3), False, None),
        ("naip_2009.tif", (1, 2, 3), False, 1.0),
        ("rgb1.tif", (1, 2, 3), False, None),
        ("rotated.tif", (1,), False, 1.0),
        ("spacenet_atlanta_pan.tif", (1,), True, None),
    ],
)
def test_real_scenes_agree_with_the_dataset_mask(name, bands, stretched, valid):
    path = real(name)
    rgb, mask = whole(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            assert (mask == (file.dataset_mask() > 0)).all()
            values = file.read(list(bands))
    with open_scene(path) as scene:
        assert scene.bands == bands
        assert (scene.limits is not None) == stretched
    if not stretched:
        assert (rgb == np.where(mask, values, 0).transpose(1, 2, 0)).all()
    if valid is not None:
        assert mask.mean() == pytest.approx(valid, abs=0.01)


def test_a_real_palette_agrees_with_its_table():
    path = real("cog_cmap.tif")
    with open_scene(path) as scene:
        rgb, valid = scene.read(3000, 4000, 500, 400)
    with rasterio.open(path) as file:
        values = file.read(1, window=((4000, 4400), (3000, 3500)))
        table = file.colormap(1)
    assert valid.any()
    assert (valid == (values != 0)).all()
    for value in np.unique(values[valid]):
        assert (rgb[values == value] == table[value][:3]).all()
