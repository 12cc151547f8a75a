"""Whoever imports tasks sends images: what one costs, its file and its task have to be worth."""

import base64
import io
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rasterio.io import MemoryFile

from dgl_rsis import rasters
from dgl_rsis.rasters import FREE_PIXELS, MOST_SCANS, PIXELS_A_BYTE
from dgl_rsis.types import ImageError
from workers.images.cache import ImageCache
from workers.images.download import Downloader
from workers.images.fetch import Fetcher
from workers.images.pictures import BYTES_A_PIXEL, MASK_BYTES_A_PIXEL, MASK_PIXELS, Pictures

SIDE = 2000  # pixels of a bomb: some of them only
MEASURE = """
import resource, sys
from pathlib import Path
from dgl_rsis.rasters import read_photo
from dgl_rsis.types import ImageError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_photo(path.read_bytes())
        print("read", path.name)
    except ImageError as error:
        print("refused", path.name)
print("bytes", peak() - before)
"""


def encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sparse(side: int, **options: object) -> bytes:
    """A GeoTIFF of which no block is stored."""
    form = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8"}
    with warnings.catch_warnings(action="ignore"), MemoryFile() as file:  # it has no place
        with file.open(**{**form, "tiled": True, "SPARSE_OK": True, **options}):
            pass
        return bytes(file.read())


def plain(mode: str = "RGB", side: int = SIDE) -> Image.Image:
    return Image.new(mode, (side, side))


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times."""
    data = encoded("JPEG", Image.effect_noise((64, 64), 50).convert("RGB"), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def endless() -> bytes:
    """A JPEG of 65500 × 65500 pixels that ends behind its header."""
    data = encoded("JPEG", plain(side=64), progressive=True)
    at = data.index(b"\xff\xc2") + 5
    size = (65500).to_bytes(2, "big")
    return data[:at] + size + size + data[at + 4 : data.index(b"\xff\xda") + 20]


BOMBS: dict[str, Callable[[], bytes]] = {
    "webp": lambda: encoded("WEBP", plain(), lossless=True),
    "animated webp": lambda: encoded(
        "WEBP", plain(), lossless=True, save_all=True, append_images=[plain()]
    ),
    "avif": lambda: encoded("AVIF", plain()),
    "png of one bit": lambda: encoded("PNG", plain("1")),
    "png with a palette": lambda: encoded("PNG", plain("P"), transparency=0, bits=1),
    "sparse tiff": lambda: sparse(5000),
    "sparse tiff of a continent": lambda: sparse(60_000, blockxsize=512, blockysize=512),
    "tiff of many bands": lambda: sparse(
        5000, count=60, dtype="float64", interleave="pixel", blockxsize=4096, blockysize=4096
    ),
    "jpeg of many scans": lambda: scans(MOST_SCANS + 1),
    "jpeg without an end": endless,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_of_many_pixels_is_refused_with_a_way_out(name: str) -> None:
    data = BOMBS[name]()
    assert len(data) < 600_000
    with pytest.raises(ImageError, match=r"tile|save it") as raised:
        rasters.read_photo(data)
    assert "damaged" not in str(raised.value)


def test_nothing_is_decoded_of_what_is_refused(tmp_path: Path) -> None:
    for number, write in enumerate(BOMBS.values()):
        (tmp_path / f"{number}").write_bytes(write())
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    *fates, (_, grown) = (line.split() for line in ran.stdout.splitlines())
    assert [fate for fate, _ in fates] == ["refused"] * len(BOMBS)
    assert int(grown) < 48 * 2**20


def shortest(side: int) -> str:
    """A WebP of one colour: its five codes have one symbol each, so a pixel takes no bit at all."""
    bits = 0x11111 << 3  # no transform, no cache, one group; the codes
    header = (side - 1) | (side - 1) << 14 | bits << 32
    body = b"\x2f" + header.to_bytes(9, "little")
    chunk = b"WEBPVP8L" + len(body).to_bytes(4, "little") + body
    packed = base64.b64encode(b"RIFF" + len(chunk).to_bytes(4, "little") + chunk).decode()
    return f"data:image/webp;base64,{packed}"


def test_the_shortest_inline_image_is_refused_for_what_it_would_cost() -> None:
    fetcher = Fetcher(Downloader(None, None, frozenset(), 10**6, 1.0))
    pictures = Pictures(ImageCache(0), fetcher.fetch, 10**8)
    assert len(shortest(4000)) < 72
    assert pictures.open(shortest(100))[0].pixels.shape == (100, 100, 3)
    with pytest.raises(ImageError, match=f"more than {PIXELS_A_BYTE:,} for each"):
        pictures.open(shortest(4000))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "TIFF"])
def test_empty_tiles_are_read_in_every_format(kind: str) -> None:
    side = int(FREE_PIXELS**0.5)
    image = plain("P" if kind == "GIF" else "RGB", side)
    assert rasters.read_photo(encoded(kind, image)).pixels.shape == (side, side, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_large_photos_that_show_something_are_read(kind: str) -> None:
    image = plain(side=3000)
    image.paste(Image.effect_noise((200, 200), 60).convert("RGB"), (50, 50))
    assert rasters.read_photo(encoded(kind, image)).pixels.shape == (3000, 3000, 3)


def test_only_the_first_frame_costs_anything() -> None:
    frames = [Image.effect_noise((64, 64), level).convert("P") for level in range(1, 200)]
    data = encoded("GIF", frames[0], save_all=True, append_images=frames[1:])
    assert rasters.read_photo(data, 64 * 64).pixels.shape == (64, 64, 3)


def noise(side: int) -> str:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    packed = base64.b64encode(encoded("PNG", Image.fromarray(pixels))).decode()
    return f"data:image/png;base64,{packed}"


def test_memory_that_ends_while_decoding_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", full)
    with pytest.raises(ImageError, match=r"does not fit into the memory .* tile it"):
        rasters.read_photo(encoded("PNG", plain("P", 8)))


def test_the_images_of_a_task_have_one_budget() -> None:
    fetcher = Fetcher(Downloader(None, None, frozenset(), 10**6, 1.0))
    for memory in (0, 10**6):  # kept or not, it counts
        pictures = Pictures(ImageCache(memory), fetcher.fetch, 100 * 100)
        assert pictures.open(noise(80))[0].pixels.shape == (80, 80, 3)
        with pytest.raises(ImageError, match=r"together: .* several tasks") as raised:
            pictures.open(noise(80), left=79 * 80)
        assert "80 × 80" in str(raised.value)
        with pytest.raises(ImageError, match="more than the allowed 10,000: tile"):
            pictures.open(noise(101), left=5)


@pytest.mark.parametrize("pixels", [100, 90 * 90, MASK_PIXELS, 4 * MASK_PIXELS])
def test_what_the_memory_cannot_hold_is_refused_before_it_is_taken(pixels: int) -> None:
    fetcher = Fetcher(Downloader(None, None, frozenset(), 10**6, 1.0))
    room = pixels * BYTES_A_PIXEL + min(pixels, MASK_PIXELS) * MASK_BYTES_A_PIXEL
    tight = Pictures(ImageCache(0), fetcher.fetch, 10**8, room=lambda: room)
    side = int(pixels**0.5)
    if side < 100:
        assert tight.open(noise(side))[0].pixels.shape == (side, side, 3)
    too_large = f"data:image/png;base64,{base64.b64encode(png_header(side + 1)).decode()}"
    with pytest.raises(ImageError, match=r"MiB of memory, and the worker has .* MiB left: tile it"):
        tight.open(too_large)


def png_header(side: int) -> bytes:
    """A PNG that ends where its pixels would begin, as long as it has to be."""
    data = encoded("PNG", plain("1", 8))
    size = side.to_bytes(4, "big")
    head = data[12:16] + size + size + data[24:29]
    checked = head + zlib.crc32(head).to_bytes(4, "big")
    return data[:12] + checked + data[33:] + bytes(side * side // PIXELS_A_BYTE + 1)
