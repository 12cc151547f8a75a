import logging

import numpy as np
import pytest
import rasterio
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


FOUR = np.concatenate([PICTURE, PICTURE[:1] // 2])
PLAIN = {"photometric": "minisblack"}


def known(path, **options) -> dict[str, np.ndarray]:
    with open_scene(path, **options) as scene:
        return scene.spectrum(0, 0, scene.grid.width, scene.grid.height)


@pytest.mark.parametrize(
    ("descriptions", "numbers"),
    [
        (("Red", "Green", "Blue", "NIR"), {"red": 1, "green": 2, "nir": 4}),
        (("B02", "B03", "B04", "B08"), {"red": 3, "green": 2, "nir": 4}),
        (("B8, central wavelength 842 nm", "B4", "B3", "B2"), {"red": 2, "green": 3, "nir": 1}),
        (("near-infrared", "red", "green", "swir16"), {"red": 2, "green": 3, "nir": 1, "swir": 4}),
        (("B11 - SWIR", "B08 - NIR", "Green", "Red"), {"red": 4, "green": 3, "nir": 2, "swir": 1}),
        (("Red", "Green", "Red edge", "NIR (835 nm)"), {"red": 1, "green": 2, "nir": 4}),
        (("B4", "B8", "B10", "B11"), {}),  # Landsat 8: panchromatic and thermal
        (("", "", "", ""), {}),
    ],
)
def test_infrared_is_found_by_description(tmp_path, descriptions, numbers):
    spectrum = known(raster(tmp_path / "a.tif", FOUR, descriptions=descriptions, **PLAIN))
    assert set(spectrum) == set(numbers)
    for name, number in numbers.items():
        assert (spectrum[name] == FOUR[number - 1]).all()


def test_infrared_is_found_by_colour_interpretation(tmp_path):
    c = ColorInterp
    spectrum = known(raster(tmp_path / "a.tif", FOUR, [c.red, c.green, c.blue, c.nir], **PLAIN))
    assert (spectrum["nir"] == FOUR[3]).all()
    assert (spectrum["red"] == FOUR[0]).all()


@pytest.mark.parametrize("kind", [ColorInterp.alpha, ColorInterp.undefined])
def test_a_fourth_band_alone_is_no_infrared(tmp_path, kind):
    c = ColorInterp
    assert known(raster(tmp_path / "a.tif", FOUR, [c.red, c.green, c.blue, kind])) == {}


def test_infrared_can_be_given(tmp_path):
    path = raster(tmp_path / "a.tif", FOUR, **PLAIN)
    assert (known(path, nir=4)["nir"] == FOUR[3]).all()
    shown_as_red = known(path, bands=(4, 1, 2), nir=4)
    assert (shown_as_red["red"] == FOUR[0]).all()
    assert (shown_as_red["green"] == FOUR[1]).all()


def test_colour_infrared_that_is_stored_as_colours(tmp_path):
    path = raster(
        tmp_path / "a.tif", PICTURE, [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    )
    spectrum = known(path, nir=1)
    assert (spectrum["red"] == PICTURE[1]).all()
    assert (spectrum["green"] == PICTURE[2]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nir": 5}, "--nir 5: a.tif has no band 5, it has 4 .*: give the number of its near infr"),
        ({"nir": 0}, "--nir 0: a.tif has no band 0"),
        ({"swir": 4}, "--swir 4: it is compared with near infrared.*say by --nir"),
        ({"nir": 4, "swir": 4}, "--nir 4: band 4 of a.tif is short-wave infrared: give another"),
        ({"nir": 4, "swir": 1}, "--swir 1: band 1 of a.tif is red: give another"),
        ({"nir": 2}, "--nir 2: which bands of a.tif are red and green is not known: give --bands"),
    ],
)
def test_infrared_that_cannot_be_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        open_scene(raster(tmp_path / "a.tif", FOUR, **PLAIN), **options)


def test_alpha_is_refused_as_infrared(tmp_path):
    c = ColorInterp
    path = raster(tmp_path / "a.tif", FOUR, [c.red, c.green, c.blue, c.alpha])
    with pytest.raises(InputError, match=r"--nir 4: band 4 of a.tif is its alpha mask"):
        open_scene(path, nir=4)


def test_what_is_no_value_is_not_compared(tmp_path):
    values = np.full((4, 1, 4), 7, dtype=np.int16)
    values[:, 0, 0] = -9999  # nothing at all
    values[3, 0, 1] = -9999  # nothing of infrared
    values[3, 0, 2] = 0  # dark water
    infrared = known(raster(tmp_path / "a.tif", values, nodata=-9999, **PLAIN), nir=4)["nir"]
    assert np.isnan(infrared[0, :2]).all()
    assert infrared[0, 2:].tolist() == [0, 7]


def test_zero_is_a_value_where_other_bands_have_one(tmp_path):
    values = np.full((4, 1, 2), 7, dtype=np.uint8)
    values[3, 0, 0] = values[:, 0, 1] = 0
    infrared = known(raster(tmp_path / "a.tif", values, nodata=0, **PLAIN), nir=4)["nir"]
    assert infrared[0, 0] == 0
    assert np.isnan(infrared[0, 1])


def test_scale_and_offset_make_reflectances(tmp_path):
    path = raster(tmp_path / "a.tif", FOUR.astype(np.uint16) * 10, **PLAIN)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [1e-4] * 4, [-0.1] * 4
    infrared = known(path, nir=4)["nir"]
    assert infrared == pytest.approx(FOUR[3] * 1e-3 - 0.1, abs=1e-6)
