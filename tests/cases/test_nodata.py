"""A border that no file declares is pointed out, and is none once somebody says its value."""

import logging

import numpy as np
import pytest

from dgl_rsis.scenes.reading import open_scene, tell_border
from tests.small_raster import raster

RNG = np.random.default_rng(0)


def bordered(value: float, dtype: str, side: int = 64, bands: int = 3) -> np.ndarray:
    """(C, side, side), a quarter of it the border."""
    values = RNG.integers(20, 200, (bands, side, side)).astype(dtype)
    values[:, :, : side // 4] = value
    return values


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(-9999, "float32"), (-9999, "int16"), (0, "uint8"), (0, "uint16"), (255, "uint8"),
     (65535, "uint16"), (-3.4028234663852886e38, "float32"), (1e20, "float64")],
)  # fmt: skip
def test_a_constant_border_is_pointed_out_with_its_value(tmp_path, caplog, value, dtype):
    with open_scene(raster(tmp_path / "a.tif", bordered(value, dtype))) as scene:
        tell_border(scene)
    assert "a.tif: 25 % of it, from its edge on" in caplog.text
    told = float(caplog.text.split("--nodata ")[1].split(":")[0])
    with open_scene(tmp_path / "a.tif", nodata=told) as scene:
        _, valid = scene.read(0, 0, 64, 64)
        assert not valid[:, :16].any()
        assert valid[:, 16:].all()
        assert scene.border is None
        assert scene.limits is None or np.abs(scene.limits).max() <= 200


def test_a_border_of_a_large_raster_is_found_in_pieces(tmp_path):
    with open_scene(raster(tmp_path / "a.tif", bordered(0, "uint8", 1600, 1))) as scene:
        assert scene.border is not None
        assert scene.border[1] == pytest.approx(0.25, abs=0.05)


def test_what_is_declared_or_small_or_no_border_is_not_pointed_out(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        spotted = bordered(0, "uint8")
        spotted[:, :, :16] = 90
        spotted[:, 20:60, 20:60] = 0
        spotted[:, 0, :16] = 91  # corners of one value in one pixel
        spotted[:, -1, :16] = 92
        for name, values, options in (
            ("declared", bordered(0, "uint8"), {"nodata": 0}),
            ("inside", spotted[:, :, 8:], {}),
        ):
            with open_scene(raster(tmp_path / f"{name}.tif", values, **options)) as scene:
                tell_border(scene)
    assert caplog.text == ""


def test_a_value_counts_where_all_bands_have_it(tmp_path):
    values = np.full((3, 8, 8), 7, dtype=np.uint16)
    values[0, 0], values[:, 1] = 0, 0
    with open_scene(raster(tmp_path / "a.tif", values), nodata=0) as scene:
        _, valid = scene.read(0, 0, 8, 8)
    assert valid[0].all()
    assert not valid[1].any()
