import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dgl_rsis.rasters import FORMATS, ImageError, read_rgb
from tests.png import png_header

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_come_back_as_they_were(form):
    assert (read_rgb(encoded(Image.fromarray(PICTURE), form)) == PICTURE).all()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_every_format_and_mode_becomes_rgb(form, mode):
    image = Image.fromarray(PICTURE).convert(mode)
    if (form, mode) in {("JPEG", "RGBA"), ("JPEG", "P"), ("WEBP", "P")}:
        image = image.convert("RGB")
    found = read_rgb(encoded(image, form))
    assert found.shape == (20, 30, 3)
    assert found.dtype == np.uint8


def test_alpha_does_not_hide_colours():
    transparent = np.dstack([PICTURE, np.zeros((20, 30), dtype=np.uint8)])
    assert (read_rgb(encoded(Image.fromarray(transparent), "PNG")) == PICTURE).all()


def test_palette_colours_are_looked_up():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert (read_rgb(encoded(image, "PNG")) == (10, 20, 30)).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_stretched(form):
    ramp = np.linspace(1000, 3000, 600, dtype=np.uint16).reshape(20, 30)
    found = read_rgb(encoded(Image.fromarray(ramp), form))
    assert found[0, 0, 0] == 0
    assert found[-1, -1, 0] == 255
    assert (np.diff(found[:, :, 0].reshape(-1).astype(int)) >= 0).all()


def test_sixteen_bit_rgb_tiff_is_read():
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PICTURE.astype(np.uint16) * 16, photometric="rgb")
    found = read_rgb(buffer.getvalue())
    assert found.shape == PICTURE.shape
    assert np.corrcoef(found.reshape(-1), PICTURE.reshape(-1))[0, 1] > 0.99


def test_a_flat_sixteen_bit_image_is_no_error():
    flat = np.full((4, 4), 700, dtype=np.uint16)
    assert (read_rgb(encoded(Image.fromarray(flat), "PNG")) == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_a_browser_shows(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_rgb(encoded(Image.fromarray(PICTURE), "PNG", exif=exif))
    assert found.shape[:2] == ((30, 20) if orientation >= 5 else (20, 30))
    corners = {1: (0, 0), 3: (-1, -1), 6: (0, -1), 8: (-1, 0)}
    if orientation in corners:
        assert (found[corners[orientation]] == PICTURE[0, 0]).all()


def test_the_first_frame_of_a_gif_counts():
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (read_rgb(data) == (255, 0, 0)).all()


def test_a_decompression_bomb_is_refused_by_its_header():
    with pytest.raises(ImageError, match=r"pixels.*tile it"):
        read_rgb(png_header(30_000, 30_000))
    with pytest.raises(ImageError, match=r"11000 × 10000 pixels.*100,000,000.*MAX_IMAGE_PIXELS"):
        read_rgb(png_header(11_000, 10_000))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "not an image of a known format.*<html>"),
        (b"\x89PNG\r\n\x1a\n", "known format|damaged"),
        (encoded(Image.fromarray(PICTURE), "PNG")[:400], "damaged"),
        (encoded(Image.fromarray(PICTURE), "JPEG")[:300], "damaged"),
        (encoded(Image.fromarray(PICTURE), "TIFF")[:300], "damaged|known format"),
    ],
)
def test_what_is_no_image_gets_a_sentence(data, message):
    with pytest.raises(ImageError, match=message):
        read_rgb(data)


@given(st.integers(0, 1500), st.integers(0, 255))
def test_any_damage_is_an_image_error_or_an_image(position, value):
    data = bytearray(encoded(Image.fromarray(PICTURE), "PNG"))
    data[position % len(data)] = value
    with contextlib.suppress(ImageError):
        assert read_rgb(bytes(data)).ndim == 3
