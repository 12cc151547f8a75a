"""Photos with the metadata that drones write, and with those that say nothing."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from dgl_rsis.rasters import read_resolution

SIZE = (120, 80)  # width and height of a sensor's 3:2
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {} '
    'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"/></x:xmpmeta>'
)


def photo(
    height: str | None = "+60.00",
    pitch: str | None = "-90.00",
    focal: object = 24,
    size: tuple[int, int] = SIZE,
    taken: tuple[int, int] | None = SIZE,
    form: str = "JPEG",
    orientation: int = 1,
) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.XResolution] = 72.0
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAltitude] = 500.0
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    if focal is not None:
        camera[ExifTags.Base.FocalLengthIn35mmFilm] = focal
    if taken is not None:
        camera[ExifTags.Base.ExifImageWidth], camera[ExifTags.Base.ExifImageHeight] = taken
    notes = {"AbsoluteAltitude": "+500.0", "RelativeAltitude": height, "GimbalPitchDegree": pitch}
    said = " ".join(f'drone-dji:{name}="{value}"' for name, value in notes.items() if value)
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, form, exif=exif, xmp=XMP.format(said).encode())
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photo_straight_down(form: str, orientation: int) -> None:
    found = read_resolution(photo(form=form, orientation=orientation))
    assert found is not None
    assert found.metres == pytest.approx(60 * 36 / 24 / 120)  # 0.75 m
    assert found.source == "exif"
    assert found.spread > 0.05  # the ground is not as flat as the take-off


@given(st.floats(12, 500), st.integers(20, 200), st.integers(40, 200))
def test_the_ground_is_to_the_height_as_the_film_to_the_lens(
    height: float, focal: int, width: int
) -> None:
    found = read_resolution(photo(f"{height:+.2f}", focal=focal, size=(width, 30), taken=None))
    assert found is not None
    assert width * found.metres / height == pytest.approx(36 / focal, rel=0.002)


def test_a_photo_that_was_shrunk_has_larger_pixels() -> None:
    whole, shrunk = read_resolution(photo()), read_resolution(photo(size=(60, 40)))
    assert whole is not None
    assert shrunk is not None
    assert shrunk.metres == pytest.approx(2 * whole.metres)


def test_notes_may_be_elements() -> None:
    notes = "<drone-dji:RelativeAltitude>+60</drone-dji:RelativeAltitude>"
    notes += "<drone-dji:GimbalPitchDegree>-85.5</drone-dji:GimbalPitchDegree>"
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 24
    buffer = io.BytesIO()
    Image.new("RGB", SIZE).save(buffer, "JPEG", exif=exif, xmp=notes.encode())
    found = read_resolution(buffer.getvalue())
    assert found is not None
    assert found.metres == pytest.approx(0.75)


@pytest.mark.parametrize("pitch", ["-70", "-110", "-90.0"])
def test_nearly_straight_down_is_near_enough(pitch: str) -> None:
    assert read_resolution(photo(pitch=pitch)) is not None


@pytest.mark.parametrize(
    "given",
    [
        {"height": None},  # GPSAltitude and AbsoluteAltitude are there, and count from the sea
        {"height": "-3.0"},
        {"height": "0"},
        {"height": "high"},
        {"height": "+90000"},
        {"pitch": None},
        {"pitch": "-69"},
        {"pitch": "0"},
        {"focal": None},
        {"focal": 0},
        {"size": (80, 80)},  # cut out of the photo
    ],
    ids=str,
)
def test_a_photo_that_says_nothing(given: dict) -> None:
    assert read_resolution(photo(**given)) is None


@given(st.integers(2, 200), st.binary(max_size=40))
def test_damaged_metadata_say_nothing_and_raise_nothing(start: int, noise: bytes) -> None:
    data = photo()
    found = read_resolution(data[:start] + noise + data[start + len(noise) :])
    assert found is None or found.source == "exif"
