import contextlib
import io

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps
from rasterio.enums import ColorInterp

from dgl_rsis import rasters
from dgl_rsis.bands import Stretch
from dgl_rsis.formats import IMAGE_FORMATS
from dgl_rsis.rasters import read_photo, read_rgb
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import ImageError
from tests.png import png_header
from tests.small_raster import NOWHERE, encoded_raster, raster, whole

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_come_back_as_they_were(form):
    assert (read_rgb(encoded(Image.fromarray(PICTURE), form)) == PICTURE).all()


@pytest.mark.parametrize("form", IMAGE_FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_every_format_and_mode_becomes_rgb(form, mode):
    image = Image.fromarray(PICTURE).convert(mode)
    if (form, mode) in {("JPEG", "RGBA"), ("JPEG", "P"), ("WEBP", "P"), ("AVIF", "P")}:
        image = image.convert("RGB")
    rgb = read_rgb(encoded(image, form))
    assert rgb.shape == (20, 30, 3)
    assert rgb.dtype == np.uint8


def test_alpha_does_not_hide_colours():
    transparent = np.dstack([PICTURE, np.zeros((20, 30), dtype=np.uint8)])
    assert (read_rgb(encoded(Image.fromarray(transparent), "PNG")) == PICTURE).all()


def test_what_is_transparent_shows_nothing():
    alpha = np.full((20, 30), 255, dtype=np.uint8)
    alpha[:, :7] = 0
    photo = read_photo(encoded(Image.fromarray(np.dstack([PICTURE, alpha])), "PNG"))
    assert (photo.valid == (alpha > 0)).all()
    assert read_photo(encoded(Image.fromarray(PICTURE), "PNG")).valid is None


def test_alpha_is_no_claim_in_a_bitmap_that_leaves_it_empty():
    transparent = np.dstack([PICTURE, np.zeros((20, 30), dtype=np.uint8)])
    assert read_photo(encoded(Image.fromarray(transparent), "BMP")).valid is None


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_a_black_border_shows_nothing_and_black_inside_does(form):
    image = np.full((64, 64, 3), 120, dtype=np.uint8)
    image[:, :16] = image[32:48, 32:48] = 0
    photo = read_photo(encoded(Image.fromarray(image), form))
    expected = np.ones((64, 64), dtype=bool)
    expected[:, :16] = False
    assert (photo.valid == expected).all()


def test_a_few_black_pixels_at_the_side_are_no_border():
    image = np.full((64, 64, 3), 120, dtype=np.uint8)
    image[0, :20] = 0
    assert read_photo(encoded(Image.fromarray(image), "PNG")).valid is None


def test_an_all_black_photo_shows_nothing():
    photo = read_photo(encoded(Image.new("RGB", (30, 20)), "JPEG"))
    assert photo.valid is not None
    assert not photo.valid.any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_valid_is_turned_with_the_picture(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    alpha = np.full((20, 30), 255, dtype=np.uint8)
    alpha[:3, :9] = 0
    white = np.where(alpha[..., None] > 0, 255, PICTURE).astype(np.uint8)
    photo = read_photo(encoded(Image.fromarray(np.dstack([white, alpha])), "PNG", exif=exif))
    assert ((photo.pixels == 255).all(axis=2) == photo.valid).all()


def test_palette_colours_are_looked_up():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert (read_rgb(encoded(image, "PNG")) == (10, 20, 30)).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_stretched(form):
    ramp = np.linspace(1000, 3000, 600, dtype=np.uint16).reshape(20, 30)
    rgb = read_rgb(encoded(Image.fromarray(ramp), form))
    assert rgb[0, 0, 0] == 0
    assert rgb[-1, -1, 0] == 255
    assert (np.diff(rgb[:, :, 0].reshape(-1).astype(int)) >= 0).all()


def test_sixteen_bit_rgb_tiff_is_read():
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PICTURE.astype(np.uint16) * 16, photometric="rgb")
    rgb = read_rgb(buffer.getvalue())
    assert rgb.shape == PICTURE.shape
    assert np.corrcoef(rgb.reshape(-1), PICTURE.reshape(-1))[0, 1] > 0.99


def test_a_flat_sixteen_bit_image_is_no_error():
    flat = np.full((4, 4), 700, dtype=np.uint16)
    assert (read_rgb(encoded(Image.fromarray(flat), "PNG")) == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_a_browser_shows(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb = read_rgb(encoded(Image.fromarray(PICTURE), "PNG", exif=exif))
    assert rgb.shape[:2] == ((30, 20) if orientation >= 5 else (20, 30))
    corners = {1: (0, 0), 3: (-1, -1), 6: (0, -1), 8: (-1, 0)}
    if orientation in corners:
        assert (rgb[corners[orientation]] == PICTURE[0, 0]).all()


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


RNG = np.random.default_rng(1)
C = ColorInterp
BANDS = RNG.integers(1, 256, (3, 20, 30), dtype=np.uint8)


def values(dtype: str, count: int, high: float = 4000) -> np.ndarray:
    return (RNG.random((count, 20, 30)) * high).astype(dtype)


def scene_rgb(path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    return whole(path)[0]


FLOATS = values("float32", 3)
FLOATS[0, 3, 4], FLOATS[:, 5, 6] = np.inf, np.nan
PATCH = np.zeros((20, 30), dtype=np.uint16)
PATCH[5:, 7:] = 65535
RASTERS = {
    "grey of 16 bits": {"values": values("uint16", 1)},
    "colours of 16 bits": {"values": values("uint16", 3), "photometric": "RGB"},
    "four bands": {"values": values("uint16", 4)},
    "eight bands": {"values": values("uint16", 8), "photometric": "MINISBLACK"},
    "dark": {"values": values("uint16", 3, 40)},
    **{f"{n} bits": {"values": values("uint16", 3, 2**n), "nbits": n} for n in range(9, 16)},
    "12 bits, grey": {"values": values("uint16", 1, 4096), "nbits": 12},
    **{
        f"{n} bits": {"values": values("uint8", 1, 2**n), "nbits": n} for n in (1, 2, 3, 4, 5, 6, 7)
    },
    "signed": {"values": values("int16", 3) - np.int16(2000)},
    "signed, 8 bits": {"values": values("int8", 1, 100)},
    "32 bits": {"values": values("uint32", 1, 1e9)},
    "half floats": {"values": values("float32", 3), "nbits": 16},
    "floats": {"values": FLOATS},
    "double": {"values": values("float64", 1)},
    "alpha": {
        "values": np.concatenate([values("uint16", 3), PATCH[None]]),
        "kinds": [C.red, C.green, C.blue, C.alpha],
    },
    "alpha of 8 bits": {
        "values": np.concatenate([values("uint8", 3, 256), PATCH[None].astype("uint8")]),
        "kinds": [C.red, C.green, C.blue, C.alpha],
    },
    "alpha beside five bands": {
        "values": np.concatenate([values("uint16", 5), PATCH[None]]),
        "kinds": [C.gray, *[C.undefined] * 4, C.alpha],
    },
    "colours in another order": {
        "values": values("uint16", 4), "kinds": [C.blue, C.green, C.red, C.undefined],
    },
    "nodata": {"values": np.where(PATCH, values("uint16", 3), 9).astype("uint16"), "nodata": 9},
    "mask": {"values": values("uint16", 3), "mask": PATCH > 0},
    "palette": {
        "values": values("uint8", 1, 3),
        "colormap": {0: (9, 8, 7, 255), 1: (10, 20, 30, 255), 2: (200, 100, 50, 255)},
    },
    "white is zero": {"values": values("uint8", 1, 256), "photometric": "MINISWHITE"},
    "ink": {"values": values("uint8", 4, 256), "photometric": "CMYK"},
    "deflated tiles": {
        "values": values("uint16", 3), "compress": "deflate", "tiled": True, "blockxsize": 16,
        "blockysize": 16,
    },
    "planes": {"values": values("uint16", 3), "interleave": "band"},
    "BigTIFF": {"values": values("uint16", 3), "BIGTIFF": "YES"},
    "big-endian": {"values": values("uint16", 3), "ENDIANNESS": "BIG"},
}  # fmt: skip


@pytest.mark.parametrize("name", RASTERS)
def test_a_plain_tiff_looks_as_with_a_place(tmp_path, name):
    plain = encoded_raster(**RASTERS[name], **NOWHERE)
    placed = encoded_raster(**RASTERS[name])
    rgb = read_rgb(plain)
    assert (rgb == scene_rgb(tmp_path / "a.tif", placed)).all()
    assert rgb.max() >= 200  # not black


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_values_look_as_with_a_place(tmp_path, data):
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "int16", "int32", "float32"]))
    shape = data.draw(
        st.tuples(st.sampled_from([1, 3, 4, 5]), st.integers(1, 9), st.integers(1, 9))
    )
    picture = data.draw(arrays.arrays(dtype, shape))
    nodata = data.draw(st.sampled_from([None, 0]))
    plain = encoded_raster(picture, nodata=nodata, **NOWHERE)
    placed = encoded_raster(picture, nodata=nodata)
    assert (read_rgb(plain) == scene_rgb(tmp_path / "a.tif", placed)).all()


@pytest.mark.parametrize("count", [1, 3])
def test_a_png_of_sixteen_bits_looks_as_a_scene(tmp_path, count):
    data = encoded_raster(values("uint16", count), driver="PNG")
    rgb = read_rgb(data)
    assert (rgb == scene_rgb(tmp_path / "a.png", data)).all()
    assert (rgb.min(), rgb.max()) == (0, 255)


def test_nodata_counts_where_all_shown_bands_have_it(tmp_path):
    values = BANDS.copy()
    values[:, :5] = 0
    values[1, 5:10] = 0
    rgb, valid = whole(raster(tmp_path / "a.tif", values, nodata=0))
    assert not valid[:5].any()
    assert valid[5:].all()
    assert (rgb[:5] == 0).all()


@pytest.mark.parametrize("internal", [True, False])
def test_masks_inside_and_beside_the_file_hide_pixels(tmp_path, internal):
    mask = RNG.integers(0, 2, (20, 30)).astype(bool)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        path = raster(tmp_path / "a.tif", BANDS, mask=mask)
    assert (tmp_path / "a.tif.msk").exists() != internal
    rgb, valid = whole(path)
    assert (valid == mask).all()
    assert (rgb[~mask] == 0).all()
    assert (rgb[mask] == BANDS.transpose(1, 2, 0)[mask]).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_alpha_hides_pixels_and_is_no_colour(tmp_path, dtype):
    alpha = RNG.integers(0, 3, (20, 30)) * 100
    values = np.concatenate([BANDS, alpha[None]]).astype(dtype)
    c = ColorInterp
    rgb, valid = whole(raster(tmp_path / "a.tif", values, [c.red, c.green, c.blue, c.alpha]))
    assert (valid == (alpha > 0)).all()
    assert (rgb[~valid] == 0).all()


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64"])
def test_more_than_eight_bits_are_stretched_band_by_band(tmp_path, dtype):
    ramp = np.arange(1000, dtype=np.float64).reshape(20, 50)
    values = np.stack([ramp, ramp * 10 + 100, 2000 - ramp]).astype(dtype)
    rgb, _ = whole(raster(tmp_path / "a.tif", values))
    expected = np.clip((ramp - 19.98) / (979.02 - 19.98), 0, 1) * 255
    assert np.abs(rgb[..., 0] - expected).max() <= 1
    assert np.abs(rgb[..., 1] - expected).max() <= 1
    assert np.abs(255 - rgb[..., 2] - expected).max() <= 1


def test_the_stretch_sees_valid_pixels_only(tmp_path):
    values = np.full((1, 20, 50), 60000, dtype=np.uint16)
    values[:, :10] = np.arange(100, 600).reshape(10, 50)
    rgb, valid = whole(raster(tmp_path / "a.tif", values, nodata=60000), stretch=Stretch(0, 100))
    assert rgb[0, 0].tolist() == [0, 0, 0]
    assert rgb[9, 49].tolist() == [255, 255, 255]
    assert not valid[10:].any()


def test_eight_bits_are_stretched_when_asked(tmp_path):
    values = (BANDS[:1] // 4).astype(np.uint8)
    rgb, _ = whole(raster(tmp_path / "a.tif", values), stretch=Stretch(always=True))
    assert rgb.min() == 0
    assert rgb.max() == 255


def test_nan_and_infinity_are_not_valid(tmp_path):
    values = BANDS.astype(np.float32)
    values[0, 0, 0], values[2, 0, 1], values[:, 1, 1] = np.nan, np.inf, np.nan
    rgb, valid = whole(raster(tmp_path / "a.tif", values))
    assert np.argwhere(~valid).tolist() == [[0, 0], [0, 1], [1, 1]]
    assert (rgb[~valid] == 0).all()


@pytest.mark.parametrize("value", [7, np.nan])
def test_a_scene_of_one_value_or_none_can_be_read(tmp_path, value):
    values = np.full((1, 4, 4), value, dtype=np.float32)
    rgb, valid = whole(raster(tmp_path / "a.tif", values))
    assert (rgb == 0).all()
    assert valid.all() == (value == 7)


def test_large_scenes_are_stretched_by_samples_as_by_all(tmp_path):
    smooth = np.add.outer(np.arange(1500), np.arange(1800)).astype(np.uint16)
    path = raster(tmp_path / "a.tif", smooth[None], tiled=True)
    with open_scene(path) as scene:
        sampled = scene.limits
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    with open_scene(path) as scene:
        shrunk = scene.limits
    exact = np.percentile(smooth, [2, 98])
    assert np.abs(sampled[0] - exact).max() < 0.03 * smooth.max()
    assert np.abs(shrunk[0] - exact).max() < 0.03 * smooth.max()


def test_alpha_counts_beside_any_number_of_bands(tmp_path):
    values = RNG.integers(1, 4000, (6, 20, 30), dtype=np.uint16)
    values[:3, 10:] = 60_000  # transparent: no part in the stretch
    values[5] = 0
    values[5, :10] = 65_535
    kinds = [C.gray, *[C.undefined] * 4, C.alpha]
    rgb, valid = whole(raster(tmp_path / "a.tif", values, kinds))
    assert valid[:10].all()
    assert not valid[10:].any()
    assert rgb[:10].mean() == pytest.approx(127, abs=10)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_fewer_than_eight_bits_use_the_whole_range(tmp_path, bits):
    values = RNG.integers(0, 2**bits, (1, 20, 30), dtype=np.uint8)
    rgb, _ = whole(raster(tmp_path / "a.tif", values, nbits=bits))
    assert (rgb == values[0, :, :, None] * (255 // (2**bits - 1))).all()


def test_eight_bits_of_colour_are_the_values_themselves():
    assert (read_rgb(encoded_raster(PICTURE.transpose(2, 0, 1))) == PICTURE).all()
    levels = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    assert (read_rgb(encoded_raster(levels, nbits=4))[..., 0] == levels[0] * 17).all()


def test_a_tall_photo_is_read_in_strips(monkeypatch):
    picture = values("uint16", 3)
    whole = read_rgb(encoded_raster(picture))
    monkeypatch.setattr(rasters, "STRIP", 100)  # three rows
    assert (read_rgb(encoded_raster(picture)) == whole).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_deep_photos_are_turned_too(form, orientation):
    grey = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = read_rgb(encoded(grey, form, exif=exif))
    stored = Image.fromarray(read_rgb(encoded(grey, form)))
    stored.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(stored)
    assert (turned == np.asarray(upright)).all()


def test_a_tiff_is_held_to_the_budget_before_it_is_decoded():
    data = encoded_raster(np.zeros((1, 2000, 3000), dtype=np.uint16), compress="deflate")
    assert len(data) < 100_000
    with pytest.raises(ImageError, match=r"3000 × 2000 pixels.*5,000,000.*MAX_IMAGE_PIXELS"):
        read_rgb(data, 5_000_000)


def test_a_tiff_of_few_pixels_and_many_bands_is_held_to_it_too():
    many = np.zeros((200, 50, 50), dtype=np.uint16)
    data = encoded_raster(many, compress="deflate", interleave="pixel", blockysize=50)
    with pytest.raises(ImageError, match=r"50 × 50 pixels.* 200 bands take 1,000,000 bytes"):
        read_rgb(data, 50 * 50)
    planes = encoded_raster(many, compress="deflate", interleave="band")
    assert read_rgb(planes, 50 * 50).shape == (50, 50, 3)


def test_what_leads_elsewhere_is_no_image():
    virtual = b'<VRTDataset rasterXSize="9" rasterYSize="9"></VRTDataset>'
    with pytest.raises(ImageError, match="not an image of a known format"):
        read_rgb(virtual)


def test_complex_numbers_have_no_colour():
    with pytest.raises(ImageError, match=r"the image holds complex numbers \(complex64\)"):
        read_rgb(encoded_raster(values("complex64", 1)))


def test_a_truncated_tiff_is_damaged():
    data = encoded_raster(values("uint16", 3))
    with pytest.raises(ImageError, match=r"the image is damaged: .+; copy it again"):
        read_rgb(data[:-600])


@given(st.integers(0, 1500), st.integers(0, 255))
def test_any_damage_of_a_tiff_is_an_image_error_or_an_image(position, value):
    data = bytearray(DEEP)
    data[position % len(data)] = value
    with contextlib.suppress(ImageError):
        assert read_rgb(bytes(data)).ndim == 3


DEEP = encoded_raster(values("uint16", 1), compress="deflate", nbits=12)
