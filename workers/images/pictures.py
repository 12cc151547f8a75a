"""Images by reference: fetched and decoded once for the clicks that follow each other."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from dgl_rsis import rasters
from dgl_rsis.types import RGB
from workers.images.cache import ImageCache, cache_key

# A click must not download its image again, but an image that was replaced must be noticed. Seconds
# since the download and not since the last use, so that clicking does not keep an old image alive.
FRESH_SECONDS = 60.0
MOST_REFERENCES = 1000


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8.
        digest: SHA-256 of the file it was decoded from, hexadecimal; "" for an image of which
            nothing is to be remembered.
    """

    pixels: RGB
    digest: str = ""


class Pictures:
    """Opens images; those opened within the last minute are not fetched again.

    Args:
        cache: keeps the pixels.
        fetch: image reference → bytes.
        max_pixels: cap of height · width, checked before decoding.
        clock: monotonic, seconds.
    """

    def __init__(
        self,
        cache: ImageCache,
        fetch: Callable[[str], bytes],
        max_pixels: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._fetch = fetch
        self._max_pixels = max_pixels
        self._clock = clock
        self._known: dict[str, tuple[str, float]] = {}  # reference → digest, fetched at

    def open(self, reference: str) -> tuple[Picture, dict[str, float]]:
        """The image behind a reference, and the wall-clock seconds of fetching and decoding it.

        Raises:
            FetchError, ImageError: see `Fetcher.fetch` and `rasters.read_rgb`.
        """
        started = time.perf_counter()
        known = cache_key(reference)  # a data: URL may be long
        digest, at = self._known.get(known, ("", 0.0))
        data = b""
        if not digest or self._clock() - at > FRESH_SECONDS or self._pixels(digest) is None:
            data = self._fetch(reference)
            digest = hashlib.sha256(data).hexdigest()
            self._note(known, digest)
        fetched = time.perf_counter()
        pixels = self._pixels(digest)
        if pixels is None:
            pixels = rasters.read_rgb(data, self._max_pixels)
            self._cache.put(_pixels_key(digest), {"pixels": pixels})
        seconds = {"fetch": fetched - started, "decode": time.perf_counter() - fetched}
        return Picture(pixels, digest), seconds

    def _pixels(self, digest: str) -> RGB | None:
        kept = self._cache.get(_pixels_key(digest))
        return kept["pixels"] if kept is not None else None

    def _note(self, known: str, digest: str) -> None:
        self._known.pop(known, None)
        self._known[known] = digest, self._clock()
        if len(self._known) > MOST_REFERENCES:
            del self._known[next(iter(self._known))]


def _pixels_key(digest: str) -> str:
    return cache_key(digest, "pixels")
