"""Photos that every browser shows are read as it shows them."""

from pathlib import Path

import numpy as np
import pytest

from dgl_rsis.headers import read_header
from dgl_rsis.rasters import read_photo, read_rgb
from dgl_rsis.types import ImageError
from tests.cases.odd_photos import DATA, NO_END, NOT_WHOLE, PICTURE, QUARTER, UPRIGHT

LOSS = 12  # levels that JPEG and AVIF may be off


@pytest.mark.parametrize("name", [*UPRIGHT, *QUARTER])
def test_what_is_broken_beside_the_picture_does_not_matter(name: str, tmp_path: Path) -> None:
    data = (UPRIGHT | QUARTER)[name]
    expected = np.rot90(PICTURE, -1) if name in QUARTER else PICTURE
    pixels = read_rgb(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= LOSS
    (tmp_path / "photo").write_bytes(data)
    header = read_header(tmp_path / "photo")
    assert (header.height, header.width) == expected.shape[:2]


def test_the_first_picture_of_a_camera_with_a_broken_index_is_read() -> None:
    assert read_rgb((DATA / "malformed-mpo.jpg").read_bytes()).shape == (240, 320, 3)


def test_a_photo_without_its_end_mark_is_whole() -> None:
    assert np.abs(read_rgb(NO_END).astype(int) - PICTURE).max() <= LOSS


@pytest.mark.parametrize("form", NOT_WHOLE)
def test_pixels_that_are_not_there_are_never_invented(form: str) -> None:
    with pytest.raises(ImageError, match="damaged"):
        read_photo(NOT_WHOLE[form])
