import logging

import numpy as np
import pytest
from rasterio.enums import ColorInterp

from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import InputError
from tests.small_raster import raster, whole

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(1, 256, (3, 20, 30), dtype=np.uint8)


def test_colours_are_found_in_any_order(tmp_path):
    c = ColorInterp
    path = raster(tmp_path / "a.tif", PICTURE[[2, 1, 0]], [c.blue, c.green, c.red])
    assert (whole(path)[0] == PICTURE.transpose(1, 2, 0)).all()


def test_colours_are_found_by_description(tmp_path):
    values = np.concatenate([PICTURE[:1] // 2, PICTURE])
    names = ("NIR", "Red", "Green", "Blue")
    path = raster(tmp_path / "a.tif", values, descriptions=names, photometric="minisblack")
    assert (whole(path)[0] == PICTURE.transpose(1, 2, 0)).all()


def test_the_first_three_are_taken_and_said_so(tmp_path, caplog):
    values = np.concatenate([PICTURE, PICTURE[:2] // 2])
    with caplog.at_level(logging.INFO):
        rgb, _ = whole(raster(tmp_path / "a.tif", values, photometric="minisblack"))
    assert (rgb == PICTURE.transpose(1, 2, 0)).all()
    assert "which of its 5 bands are red, green and blue: taking 1, 2, 3" in caplog.text


def test_bands_can_be_chosen(tmp_path):
    path = raster(tmp_path / "a.tif", PICTURE)
    assert (whole(path, (3, 3, 1))[0] == PICTURE[[2, 2, 0]].transpose(1, 2, 0)).all()


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ((4, 3, 2), "has no band 4, it has 3"),
        ((0, 1, 2), "has no band 0"),
        ((2,), "bands '2': three are needed.*for grey repeat it, as in 2,2,2"),
        ((1, 2), "bands '1,2': three are needed"),
    ],
)
def test_bands_that_cannot_be_are_refused(tmp_path, bands, message):
    with pytest.raises(InputError, match=message):
        open_scene(raster(tmp_path / "a.tif", PICTURE), bands)


def test_one_band_is_grey(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        rgb, _ = whole(raster(tmp_path / "a.tif", PICTURE[:1]))
    assert (rgb == PICTURE[0][:, :, None]).all()
    assert "showing band 1 as grey" in caplog.text


def test_a_palette_is_looked_up(tmp_path):
    colours = {0: (0, 0, 0, 255), 1: (10, 20, 30, 255), 2: (200, 100, 50, 255)}
    values = RNG.integers(0, 3, (1, 20, 30), dtype=np.uint8)
    rgb, valid = whole(raster(tmp_path / "a.tif", values, colormap=colours, nodata=0))
    assert (valid == (values[0] != 0)).all()
    assert (rgb[values[0] == 1] == (10, 20, 30)).all()
    assert (rgb[values[0] == 2] == (200, 100, 50)).all()


def test_a_scene_of_alpha_alone_is_refused(tmp_path):
    path = raster(tmp_path / "a.tif", PICTURE[:1], [ColorInterp.alpha])
    with pytest.raises(InputError, match="nothing but an alpha mask"):
        open_scene(path)
