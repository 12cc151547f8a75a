"""What files say of themselves, against what the reader of their pixels returns."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dgl_rsis.formats import IMAGE_FORMATS
from dgl_rsis.headers import Header, read_header
from dgl_rsis.rasters import read_rgb
from dgl_rsis.types import ImageError
from tests.png import png_header
from tests.small_raster import NOWHERE, encoded_raster

HEIGHT, WIDTH = 20, 30


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def encoded(form: str, mode: str = "RGB", orientation: int = 1) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new(mode, (WIDTH, HEIGHT)).save(buffer, form, **({"exif": exif} if orientation else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("form", IMAGE_FORMATS)
def test_every_format_has_its_name_and_size(form: str, tmp_path: Path) -> None:
    path = written(tmp_path / "photo", encoded(form, orientation=0))
    assert read_header(path) == Header(form, HEIGHT, WIDTH, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("form", "mode"), [("JPEG", "RGB"), ("PNG", "I;16"), ("TIFF", "I;16"), ("WEBP", "RGB")]
)  # browsers turn no WebP
def test_the_size_is_that_of_the_pixels_that_are_read(
    form: str, mode: str, orientation: int, tmp_path: Path
) -> None:
    path = written(tmp_path / "photo", encoded(form, mode, orientation))
    header = read_header(path)
    assert (header.format, header.orientation) == (form, 1 if form == "WEBP" else orientation)
    assert (header.height, header.width) == read_rgb(path.read_bytes()).shape[:2]


@pytest.mark.parametrize("bands", [1, 4, 13])
@pytest.mark.parametrize("options", [{}, {"nbits": 12}, {"bigtiff": "YES"}, {"endianness": "BIG"}])
def test_tiffs_of_any_depth_and_bands(bands: int, options: dict, tmp_path: Path) -> None:
    values = np.zeros((bands, HEIGHT, WIDTH), dtype=np.uint16)
    path = written(tmp_path / "deep.tif", encoded_raster(values, **NOWHERE, **options))
    assert read_header(path) == Header("TIFF", HEIGHT, WIDTH, 1)


def test_a_jpeg_of_several_pictures_is_a_jpeg(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (WIDTH, HEIGHT)), Image.new("RGB", (4, 4))
    first.save(tmp_path / "drone.jpg", "MPO", save_all=True, append_images=[second])
    assert read_header(tmp_path / "drone.jpg") == Header("JPEG", HEIGHT, WIDTH, 1)


@pytest.mark.parametrize("value", [0, 9, 99])
def test_a_turn_that_exif_does_not_know_is_none(value: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = value
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)
    assert read_header(path) == Header("JPEG", HEIGHT, WIDTH, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image of a known format"),
        (b"<html>not found</html>", "not an image of a known format .22 bytes starting b'<html>no"),
        (png_header(30_000, 30_000), "pixels that are ever read whole: tile it"),
        (b"II*\0", "damaged"),
        (encoded("TIFF")[:8], "damaged"),
        (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "damaged"),  # no tags
    ],
)
def test_what_is_no_image_gets_a_sentence(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        read_header(written(tmp_path / "photo", data))


DEEP = encoded_raster(np.zeros((3, HEIGHT, WIDTH), dtype=np.uint16), compress="deflate")


@given(st.sampled_from([DEEP, encoded("JPEG"), encoded("PNG")]), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_an_image_error_or_a_header(
    tmp_path: Path, whole: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(whole)))
    path = written(tmp_path / "photo", bytes(damaged[:length]))
    with contextlib.suppress(ImageError):
        assert read_header(path).format in IMAGE_FORMATS
