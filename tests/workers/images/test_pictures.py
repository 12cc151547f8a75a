import io

import numpy as np
import pytest
from PIL import Image

from dgl_rsis.rasters import ImageError
from workers.images.cache import ImageCache
from workers.images.pictures import FRESH_SECONDS, Pictures


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
