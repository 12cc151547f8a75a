"""Rasters as people have them: JPEG 2000, VRT, netCDF, and pictures with files beside them."""

import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC

from backend.commands.segment.scenes import is_scene
from dgl_rsis.rasters import read_rgb
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import ImageError, InputError
from tests.small_raster import NOWHERE, TRANSFORM, UTM, raster, whole

PICTURE = np.random.default_rng(0).integers(1, 256, (3, 40, 50), dtype=np.uint8)
SEEN = PICTURE.transpose(1, 2, 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_jpeg_2000_is_a_scene(tmp_path, dtype):
    options = {"QUALITY": "100", "REVERSIBLE": "YES", "driver": "JP2OpenJPEG"}
    path = raster(tmp_path / "a.jp2", PICTURE.astype(dtype), **options)
    assert is_scene(path)
    with open_scene(path) as scene:
        assert scene.grid.crs_text == UTM
        assert scene.grid.transform == TRANSFORM
        rgb, _ = scene.read(0, 0, 50, 40)
    if dtype == "uint8":
        assert (rgb == SEEN).all()
    with pytest.raises(ImageError, match="use one of"):  # of a task: browsers do not show it
        read_rgb(path.read_bytes())


def mosaic(path: Path, *sources: str, relative: str = "1", inside: str = "") -> Path:
    """A VRT of one band a source."""
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{i}">{inside}<SimpleSource>'
        f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
        f"<SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>"
        for i, source in enumerate(sources, start=1)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="50" rasterYSize="40"><SRS>{UTM}</SRS><GeoTransform>733601, 0.5,'
        f" 0, 3725139, 0, -0.5</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def test_a_virtual_raster_of_its_own_folder_is_a_scene(tmp_path):
    (tmp_path / "tiles").mkdir()
    raster(tmp_path / "tiles" / "a.tif", PICTURE)
    nested = mosaic(tmp_path / "tiles" / "b.vrt", *["a.tif"] * 3)
    path = mosaic(tmp_path / "c.vrt", "tiles/a.tif", "tiles/b.vrt", str(nested))
    assert is_scene(path)
    assert (whole(path)[0] == SEEN).all()
    shutil.copy(path, tmp_path / "d.tif")  # what it is called does not matter
    assert (whole(tmp_path / "d.tif")[0] == SEEN).all()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("../a.tif", "outside of its folder: put"),
        ("/vsicurl/http://127.0.0.1/a.tif", "outside of its folder"),
        ("link.tif", "outside of its folder"),
        ("missing.tif", "missing.tif, which does not exist"),
        ('NETCDF:"a.nc":red', "does not exist"),
    ],
)
def test_a_virtual_raster_leads_nowhere_else(tmp_path, source, message):
    folder = tmp_path / "own"
    folder.mkdir()
    raster(tmp_path / "a.tif", PICTURE)
    (folder / "link.tif").symlink_to(tmp_path / "a.tif")
    path = mosaic(folder / "b.vrt", *[source] * 3)
    assert is_scene(path)  # so that its reader says why
    with pytest.raises(InputError, match=message):
        open_scene(path)


def test_code_in_a_virtual_raster_is_not_run(tmp_path):
    raster(tmp_path / "a.tif", PICTURE)
    code = "<PixelFunctionLanguage>Python</PixelFunctionLanguage>"
    with pytest.raises(InputError, match="holds code"):
        open_scene(mosaic(tmp_path / "b.vrt", "a.tif", inside=code))
    (tmp_path / "c.vrt").write_text("<VRTDataset>")
    with pytest.raises(InputError, match="no virtual raster that can be read"):
        open_scene(tmp_path / "c.vrt")


def test_netcdf_is_a_scene_and_several_rasters_in_one_are_named(tmp_path):
    def netcdf(name: str, values: np.ndarray) -> Path:
        rasterio.shutil.copy(raster(tmp_path / "a.tif", values), tmp_path / name, driver="netCDF")
        return tmp_path / name

    single = netcdf("a.nc", PICTURE[:1])
    assert (whole(single)[0] == PICTURE[0][..., None]).all()
    several = netcdf("b.nc", PICTURE)
    with pytest.raises(InputError, match=r"holds 3 rasters \(Band1, Band2, Band3\): .*gdal_trans"):
        open_scene(several)
    assert is_scene(several)


@pytest.mark.parametrize(
    ("suffix", "world"),
    [(".jpg", ".jgw"), (".png", ".pgw"), (".tif", ".tfw"), (".bmp", ".bpw"), (".gif", ".gfw"),
     (".jpg", ".wld")],
)  # fmt: skip
def test_a_picture_with_a_world_file_is_a_scene(tmp_path, suffix, world):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(SEEN).save(path)
    assert not is_scene(path)
    path.with_suffix(world).write_text("0.5\n0\n0\n-0.5\n733601.25\n3725138.75\n")
    assert is_scene(path)
    with open_scene(path) as scene:
        assert scene.grid.transform.almost_equals(TRANSFORM)
        assert scene.grid.crs is None
    path.with_suffix(".prj").write_text(CRS.from_epsg(32616).to_wkt(version="WKT1_ESRI"))
    with open_scene(path) as scene:
        assert scene.grid.crs_text == UTM or scene.grid.crs == CRS.from_epsg(32616)
    path.with_suffix(".prj").unlink()
    Path(f"{path}.aux.xml").write_text("<PAMDataset><SRS>EPSG:32640</SRS></PAMDataset>")
    with open_scene(path) as scene:
        assert scene.grid.crs_text == "EPSG:32640"


def test_rational_polynomials_are_said_to_be_ignored(tmp_path, caplog):
    line = [1.0, *[0.0] * 19]
    rpc = RPC(0, 100, 25, 0.1, line, line, 20, 20, 55, 0.1, line, line, 25, 25, 0, 0)
    path = raster(tmp_path / "a.tif", PICTURE, **NOWHERE)
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.open(path, "r+") as file,
    ):
        file.rpcs = rpc
    with caplog.at_level(logging.WARNING), open_scene(path):
        pass
    assert "rational polynomials (RPC), which are ignored" in caplog.text


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_a_plain_tiff_of_many_bits_is_read_alike_as_photo_and_scene(tmp_path, bits):
    values = (PICTURE.astype(np.int64) << 4) % (1 << bits)
    options = {"nbits": bits} if bits < 16 else {}
    path = raster(
        tmp_path / "a.tif", values.astype(np.uint16), photometric="RGB", **options, **NOWHERE
    )
    photo = read_rgb(path.read_bytes())
    assert (photo == whole(path)[0]).all()
    assert np.ptp(photo) > 200
