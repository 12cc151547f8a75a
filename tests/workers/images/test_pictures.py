import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from dgl_rsis.resolution import Resolution
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import ImageError, InputError
from tests.small_raster import encoded_raster
from tests.small_scene import PLACE
from workers.images.cache import ImageCache
from workers.images.pictures import FRESH_SECONDS, Pictures
from workers.images.storages import link


class Shelf:
    """Files that can be replaced, and a clock that stands still."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.files = {"a": _png(10), "b": _png(20)}
        self.now = 1000.0

    def fetch(self, reference: str) -> bytes:
        self.fetched.append(reference)
        return self.files[reference]


def _png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _open(pictures: Pictures, reference: str) -> tuple[int, str]:
    picture, seconds = pictures.open(reference)
    assert list(seconds) == ["fetch", "decode"]
    return int(picture.pixels[0, 0, 0]), picture.digest


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_an_image_is_fetched_once_a_minute(shelf: Shelf) -> None:
    pictures = Pictures(ImageCache(1000), shelf.fetch, 100, lambda: shelf.now)
    first = _open(pictures, "a")
    assert _open(pictures, "b") != first
    for _ in range(3):  # using it does not keep it fresh
        shelf.now += FRESH_SECONDS / 3
        assert _open(pictures, "a") == first
    assert shelf.fetched == ["a", "b"]
    shelf.now += 1
    shelf.files["a"] = _png(30)
    assert _open(pictures, "a")[0] == 30
    assert shelf.fetched == ["a", "b", "a"]


def test_the_same_file_under_two_names_has_one_digest(shelf: Shelf) -> None:
    shelf.files["b"] = shelf.files["a"]
    pictures = Pictures(ImageCache(1000), shelf.fetch, 100, lambda: shelf.now)
    assert _open(pictures, "a") == _open(pictures, "b")


def test_without_memory_every_opening_fetches(shelf: Shelf) -> None:
    pictures = Pictures(ImageCache(0), shelf.fetch, 100, lambda: shelf.now)
    assert _open(pictures, "a") == _open(pictures, "a")
    assert shelf.fetched == ["a", "a"]


def test_what_is_no_image_is_not_remembered(shelf: Shelf) -> None:
    shelf.files["a"] = b"no image"
    pictures = Pictures(ImageCache(1000), shelf.fetch, 100, lambda: shelf.now)
    with pytest.raises(ImageError):
        _open(pictures, "a")
    shelf.files["a"] = _png(10)
    assert _open(pictures, "a")[0] == 10


def test_a_tiff_of_twelve_bits_is_the_picture_that_a_scene_shows(
    shelf: Shelf, tmp_path: Path
) -> None:
    picture = np.random.default_rng(0).integers(0, 4096, (3, 20, 30), dtype=np.uint16)
    shape = {"width": 30, "height": 20, "count": 3, "dtype": "uint16", "nbits": 12}
    place = {"crs": "EPSG:32640", "transform": PLACE}
    plain, placed = tmp_path / "plain.tif", tmp_path / "placed.tif"
    with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
        for path, where in ((plain, {}), (placed, place)):
            with rasterio.open(path, "w", driver="GTiff", **shape, **where) as file:
                file.write(picture)
    shelf.files["a"] = plain.read_bytes()
    opened, _ = Pictures(ImageCache(10_000), shelf.fetch, 600).open("a")
    with open_scene(placed) as scene:
        assert (opened.pixels == scene.read(0, 0, 30, 20)[0]).all()


def _placed(metres: float, side: int = 256) -> bytes:
    """A raster at the equator."""
    values, place = np.zeros((1, side, side), np.uint8), Affine(metres, 0, 5e5, 0, -metres, 0)
    return encoded_raster(values, crs="EPSG:32633", transform=place)


def test_the_most_trusted_says_how_large_pixels_are(shelf: Shelf) -> None:
    tile = "https://a.org/19/0/262144.png"  # 0.2986 m at the equator
    shelf.files |= {tile: _placed(0.5), "a/" + tile: _png(1), "tile": _placed(0.5, 64)}
    image = io.BytesIO()
    Image.new("RGB", (256, 256)).save(image, "PNG")
    in_a_cloud = link("s3://bucket/19/0/262144.png", 5)
    shelf.files |= {"b/19/0/262144.png": image.getvalue(), in_a_cloud: image.getvalue()}
    plain = Pictures(ImageCache(10**6), shelf.fetch, 10**5)
    setting = Resolution(2.0, 0.05, "setting")
    told = Pictures(ImageCache(10**6), shelf.fetch, 10**5, setting=setting)

    def known(pictures: Pictures, reference: str, metres: float | None = None) -> tuple | None:
        found = pictures.open(reference, metres)[0].resolution
        return found and (found.source, round(found.metres, 2))

    for _ in range(2):  # the second time the pixels come from memory
        assert known(told, tile, 3.0) == ("task", 3.0)
        assert known(told, tile) == ("setting", 2.0)
        assert known(plain, tile, 3.0) == ("task", 3.0)
        assert known(plain, tile) == ("transform", 0.5)
        assert known(plain, "tile") == ("transform", 0.5)
        assert known(plain, "b/19/0/262144.png") == ("tile", 0.3)
        assert known(plain, "a/" + tile) is None  # of 4 × 6 pixels
        assert known(plain, in_a_cloud) == ("tile", 0.3)
    with pytest.raises(InputError, match="200 metres a pixel are out of range"):
        plain.open(tile, 200.0)


def test_what_is_transparent_is_known_again(shelf: Shelf) -> None:
    buffer, alpha = io.BytesIO(), np.full((4, 6), 255, np.uint8)
    alpha[:2] = 0
    Image.fromarray(np.dstack([np.full((4, 6, 3), 9, np.uint8), alpha])).save(buffer, "PNG")
    shelf.files["a"] = buffer.getvalue()
    pictures = Pictures(ImageCache(1000), shelf.fetch, 100, lambda: shelf.now)
    for _ in range(2):  # decoded, and kept
        valid = pictures.open("a")[0].valid
        assert valid is not None
        assert (valid == (alpha > 0)).all()
    assert pictures.open("b")[0].valid is None
