"""A full disk under the images' cache costs nothing but the cache; see also test_queue_server."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from workers.images.cache import ImageCache


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond some bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_the_cache_of_images_keeps_nothing_more_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = {"a": np.arange(1000)}
    cache = ImageCache(10, tmp_path)  # nothing in memory
    with full_disk():
        for number in range(3):
            assert cache.remember(f"{number:064x}", lambda: arrays) is arrays
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    assert "nothing more is kept on disk" in caplog.text
    assert list(tmp_path.glob("*.npz")) == []
    assert list(tmp_path.glob("*.part")) == []
    cache.remember(f"{9:064x}", lambda: arrays)
    kept = cache.get(f"{9:064x}")
    assert kept is not None
    assert (kept["a"] == arrays["a"]).all()
