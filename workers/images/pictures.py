"""Images by reference: fetched and decoded once for the clicks that follow each other."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgl_rsis import rasters, resolution
from dgl_rsis.resolution import SOURCES, Resolution
from dgl_rsis.types import RGB, ImageError, Mask, TooManyPixelsError
from workers.blocking import waiting
from workers.images.cache import Arrays, ImageCache, cache_key
from workers.images.storages import stored

# A click must not download its image again, but an image that was replaced must be noticed. Seconds
# since the download and not since the last use, so that clicking does not keep an old image alive.
FRESH_SECONDS = 60.0
MOST_REFERENCES = 1000
MIB = 2**20
# What an image takes at least while it is decoded and asked about, as docs/LOG.md measured it.
BYTES_A_PIXEL = 200  # of all of its pixels
MASK_BYTES_A_PIXEL = 544  # of those that masks have, of which there are at most MASK_PIXELS
MASK_PIXELS = 1024**2


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8.
        digest: SHA-256 of the file it was decoded from, hexadecimal; "" for an image of which
            nothing is to be remembered.
        resolution: of its pixels, as the most trusted source says; None where none does.
        valid: (H, W) bool, which pixels show something; None where all of them do.
    """

    pixels: RGB
    digest: str = ""
    resolution: Resolution | None = None
    valid: Mask | None = None


@dataclass(frozen=True)
class Prepared:
    """What another process made of an image.

    Attributes:
        digest: as `Picture.digest`.
        kept: what the cache is to keep, by its keys; the pixels are among it where they fitted.
        age: seconds since it was asked for, at least those since it was fetched.
    """

    digest: str
    kept: Mapping[str, Arrays]
    age: float = 0.0


def _unprepared(reference: str) -> None:
    """Nobody else opens images."""


class Pictures:
    """Opens images; those opened within the last minute are not fetched again.

    Args:
        cache: keeps the pixels.
        fetch: image reference → bytes.
        max_pixels: cap of height · width, checked before decoding; of all images of a task, too.
        clock: monotonic, seconds.
        setting: resolution of all images whose task does not say it; None for none.
        room: says how many bytes of memory an image may take; None for no limit.
        prepared: gives what was made of an image elsewhere, and forgets it; by default nothing was.
    """

    def __init__(
        self,
        cache: ImageCache,
        fetch: Callable[[str], bytes],
        max_pixels: int,
        clock: Callable[[], float] = time.monotonic,
        setting: Resolution | None = None,
        room: Callable[[], int] | None = None,
        prepared: Callable[[str], Prepared | None] = _unprepared,
    ) -> None:
        self._cache = cache
        self._fetch = fetch
        self.max_pixels = max_pixels
        self._room = room
        self._prepared = prepared
        self._clock = clock
        self._setting = setting
        self._known: dict[str, tuple[str, float]] = {}  # reference → digest, fetched at

    def open(
        self, reference: str, metres: float | None = None, left: int | None = None
    ) -> tuple[Picture, dict[str, float]]:
        """The image behind a reference, and the wall-clock seconds of fetching and decoding it.

        Args:
            reference: of the image.
            metres: of the ground that a pixel shows, as its task says; None where it does not.
            left: pixels that the task's further images leave to this one; None where it is alone.

        Raises:
            FetchError, ImageError: see `Fetcher.fetch` and `rasters.read_photo`.
            ImageError: it does not fit, beside the others of its task or into the memory.
            InputError: so many metres cannot be.
        """
        started = time.perf_counter()
        known = cache_key(reference)  # a data: URL may be long
        if (made := self._prepared(reference)) is not None:
            self._take(known, made)
        digest, at = self._known.get(known, ("", 0.0))
        data = b""
        if not digest or self._clock() - at > FRESH_SECONDS or not self._kept(digest):
            with waiting():
                data = self._fetch(reference)
            digest = hashlib.sha256(data).hexdigest()
            self._note(known, digest)
        fetched = time.perf_counter()
        kept = self._kept(digest)
        if kept is None:
            kept = self._decoded(data, self.max_pixels if left is None else left)
            self._cache.put(_pixels_key(digest), kept)
        elif left is not None and (size := kept["pixels"].shape[:2]) and size[0] * size[1] > left:
            raise self._too_many(size)
        seconds = {"fetch": fetched - started, "decode": time.perf_counter() - fetched}
        pixels = kept["pixels"]
        best = resolution.preferred(
            resolution.stated(metres, "task"),
            self._setting,
            _said(kept),
            resolution.of_tile(stored(reference), *pixels.shape[:2]),
        )
        return Picture(pixels, digest, best, kept.get("valid")), seconds

    def knows(self, reference: str) -> bool:
        """Whether opening it would neither fetch nor decode."""
        digest, at = self._known.get(cache_key(reference), ("", 0.0))
        return self._clock() - at <= FRESH_SECONDS and self._cache.holds(_pixels_key(digest))

    def cache_uses(self) -> dict[str, int]:
        """See `ImageCache.take_uses`."""
        return self._cache.take_uses()

    def _take(self, known: str, made: Prepared) -> None:
        for key, arrays in made.kept.items():
            self._cache.put(key, arrays)
        self._note(known, made.digest, made.age)

    def _decoded(self, data: bytes, left: int) -> Arrays:
        """The arrays of an image, if it fits.

        Raises:
            ImageError: it does not, or is none.
        """
        room = None if self._room is None else self._room()
        fitting = left if room is None else min(left, _fitting(room))
        try:
            return _decoded(data, fitting)
        except TooManyPixelsError as error:
            height, width = error.size
            if height * width > self.max_pixels:
                return _decoded(data, self.max_pixels)  # which says so
            if height * width > left:
                raise self._too_many(error.size) from None
            assert room is not None
            raise ImageError(
                f"the image has {width} × {height} pixels, which take some "
                f"{_bytes_of(height * width) // MIB:,} MiB of memory, and the worker has "
                f"{room // MIB:,} MiB left: tile it, or give the worker more memory"
            ) from None

    def _too_many(self, size: tuple[int, ...]) -> ImageError:
        return ImageError(
            f"with its {size[1]} × {size[0]} pixels the task's images have more than the allowed "
            f"{self.max_pixels:,} together: import them as several tasks, or raise "
            "MAX_IMAGE_PIXELS"
        )

    def _kept(self, digest: str) -> Arrays | None:
        return self._cache.get(_pixels_key(digest))

    def _note(self, known: str, digest: str, age: float = 0.0) -> None:
        self._known.pop(known, None)
        self._known[known] = digest, self._clock() - age
        if len(self._known) > MOST_REFERENCES:
            del self._known[next(iter(self._known))]


def _bytes_of(pixels: int) -> int:
    """Memory that an image of so many pixels takes at its peak."""
    return pixels * BYTES_A_PIXEL + min(pixels, MASK_PIXELS) * MASK_BYTES_A_PIXEL


def _fitting(room: int) -> int:
    """The most pixels that an image may have to fit into so many bytes."""
    small = room // (BYTES_A_PIXEL + MASK_BYTES_A_PIXEL)
    large = (room - MASK_PIXELS * MASK_BYTES_A_PIXEL) // BYTES_A_PIXEL
    return max(large, min(small, MASK_PIXELS), 0)


def _pixels_key(digest: str) -> str:
    return cache_key(digest, "pixels")


def _decoded(data: bytes, max_pixels: int) -> Arrays:
    """The pixels, which of them are valid, and the resolution that the file says.

    The last two only where there is something to say; resolution under the name of its source.
    """
    photo = rasters.read_photo(data, max_pixels)
    arrays: dict[str, NDArray[Any]] = {"pixels": photo.pixels}
    if photo.valid is not None:
        arrays["valid"] = photo.valid
    if (said := rasters.read_resolution(data)) is not None:
        arrays[said.source] = np.array([said.metres, said.spread])
    return arrays


def _said(kept: Arrays) -> Resolution | None:
    """The resolution among what `_decoded` made."""
    for source in SOURCES:
        if source in kept:
            metres, spread = kept[source].tolist()
            return Resolution(metres, spread, source)
    return None
