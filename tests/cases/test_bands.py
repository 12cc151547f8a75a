"""Stacks of bands show their red, green and blue, and their alpha wherever it stands."""

import numpy as np
import pytest
from rasterio.enums import ColorInterp

from dgl_rsis.bands import alpha_band, default_bands
from dgl_rsis.scenes.reading import open_scene
from tests.small_raster import raster, whole

RNG = np.random.default_rng(0)
SENTINEL_2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("told", ["kind", "description"])
def test_what_is_transparent_has_no_label_and_no_part_in_the_stretch(tmp_path, dtype, place, told):
    names = ["Blue", "Green", "Red", "Rededge", "NIR"]
    kinds = [ColorInterp.undefined] * 5
    values = RNG.integers(10, 200, (5, 20, 30)).astype(dtype)
    alpha = np.full((20, 30), 255, dtype=dtype)
    alpha[:8, :9] = 0
    values[:, :8, :9] = 255
    names.insert(place, "alpha" if told == "description" else "")
    kinds.insert(place, ColorInterp.alpha if told == "kind" else ColorInterp.undefined)
    path = raster(
        tmp_path / "a.tif", np.insert(values, place, alpha, axis=0), kinds,
        descriptions=names, photometric="minisblack",
    )  # fmt: skip
    rgb, valid = whole(path)
    assert (valid == (alpha > 0)).all()
    assert not rgb[~valid].any()
    with open_scene(path) as scene:
        assert [names[band - 1] for band in scene.bands] == ["Red", "Green", "Blue"]
        assert scene.limits is None or scene.limits.max() < 200


def test_a_fourth_band_that_is_described_is_no_alpha(tmp_path):
    values = RNG.integers(1, 200, (4, 20, 30)).astype(np.uint8)
    values[3] = 0  # no infrared over water
    path = raster(tmp_path / "a.tif", values, descriptions=("Blue", "Green", "Red", "NIR"))
    rgb, valid = whole(path)
    assert valid.all()
    assert (rgb == values[[2, 1, 0]].transpose(1, 2, 0)).all()


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (SENTINEL_2, (4, 3, 2)),
        (("B02_10m", "B03_10m", "B04_10m", "B08_10m"), (3, 2, 1)),
        (tuple(f"T32TQM_20230701_{b}_10m.jp2" for b in ("B08", "B04", "B03", "B02")), (2, 3, 4)),
        (tuple(f"SR_B{n}" for n in range(1, 8)), (4, 3, 2)),  # Landsat 8 and 9
        (tuple(f"SR_B{n}" for n in (1, 2, 3, 4, 5, 7)), (3, 2, 1)),  # Landsat 4 to 7
        (tuple(f"LC08_L2SP_193026_SR_B{n}.TIF" for n in range(1, 8)), (4, 3, 2)),
        (tuple(f"Band {n}" for n in range(1, 12)), (4, 3, 2)),  # Landsat 8 with its thermal bands
        (
            ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"),
            (6, 4, 2),
        ),
        (("Red edge 1", "Blue band", "Green band", "Red band"), (4, 3, 2)),
        (("Blue (0.48)", "Green (0.56)", "Red (0.66)", "NIR (0.86)"), (3, 2, 1)),
    ],
)
def test_a_stack_shows_red_green_and_blue_as_such(tmp_path, names, shown):
    values = RNG.integers(1, 200, (len(names), 4, 4)).astype(np.uint16)
    path = raster(tmp_path / "a.tif", values, descriptions=names)
    with open_scene(path) as scene:
        assert scene.bands == shown
        assert default_bands(scene._dataset) == shown
        assert alpha_band(scene._dataset) is None
