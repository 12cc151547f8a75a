from itertools import pairwise

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.scenes.tiles import Seams, TileParameters, Window, cut, windows
from dgl_rsis.types import InputError


@st.composite
def tilings(draw):
    size = draw(st.integers(1, 40))
    return TileParameters(size, draw(st.integers(0, size - 1)))


def inside(window):
    return (
        slice(window.row, window.row + window.height),
        slice(window.column, window.column + window.width),
    )


@given(st.integers(1, 120), st.integers(1, 120), tilings())
def test_tiles_of_one_size_cover_the_scene_and_do_not_leave_it(width, height, tiling):
    tiles = windows(width, height, tiling)
    seen = np.zeros((height, width), dtype=int)
    for window in tiles:
        assert (window.width, window.height) == (min(tiling.size, width), min(tiling.size, height))
        assert min(window.column, window.row) >= 0
        assert window.column + window.width <= width
        assert window.row + window.height <= height
        seen[inside(window)] += 1
    assert (seen >= 1).all()
    assert len(set(tiles)) == len(tiles)


@given(st.integers(1, 120), tilings())
def test_neighbours_overlap_as_asked_and_only_the_last_by_more(length, tiling):
    starts = [window.column for window in windows(length, 1, tiling)]
    shared = [a + tiling.size - b for a, b in pairwise(starts)]
    assert all(one == tiling.overlap for one in shared[:-1])
    assert all(one >= tiling.overlap for one in shared[-1:])


def test_a_small_scene_is_one_tile():
    assert windows(700, 20, TileParameters(1024, 64)) == [Window(0, 0, 700, 20)]


@pytest.mark.parametrize(("size", "overlap"), [(64, 64), (64, 65), (64, -1), (0, 0)])
def test_an_overlap_that_does_not_fit_is_refused(size, overlap):
    with pytest.raises(InputError, match=f"tiles of {size} pixels cannot overlap by {overlap}"):
        TileParameters(size, overlap)


def depth_of(window, column, row, width, height):
    """By the words of the definition, for one pixel."""
    sides = [
        (column - window.column, window.column > 0),
        (window.column + window.width - 1 - column, window.column + window.width < width),
        (row - window.row, window.row > 0),
        (window.row + window.height - 1 - row, window.row + window.height < height),
    ]
    return min((distance for distance, counts in sides if counts), default=np.inf)


@st.composite
def scattered(draw):
    """A scene and any windows of it, no two alike."""
    width, height = draw(st.integers(1, 12)), draw(st.integers(1, 12))

    def window(_):
        column, row = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        across = draw(st.integers(1, width - column))
        return Window(column, row, across, draw(st.integers(1, height - row)))

    return width, height, list(dict.fromkeys(map(window, range(draw(st.integers(1, 5))))))


@given(scattered())
def test_each_pixel_is_owned_by_the_tile_that_it_is_deepest_in(drawn):
    width, height, tiles = drawn
    owner = np.full((height, width), -1)
    for index, window in enumerate(tiles):
        part = owner[inside(window)]
        mine = Seams(tiles, width, height).owned(index)
        assert (part[mine] == -1).all()
        part[mine] = index
    for row in range(height):
        for column in range(width):
            depths = {
                index: depth_of(window, column, row, width, height)
                for index, window in enumerate(tiles)
                if window.column <= column < window.column + window.width
                and window.row <= row < window.row + window.height
            }
            wanted = max(depths, key=lambda index: depths[index]) if depths else -1
            assert owner[row, column] == wanted


def test_tiles_show_the_scene_and_empty_ones_nothing(tmp_path):
    values = np.random.default_rng(0).integers(1, 256, (3, 50, 70), dtype=np.uint8)
    values[:, :20, :20] = 0
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", "GTiff", 70, 50, 3, dtype="uint8", nodata=0, crs="EPSG:32616",
        transform=rasterio.Affine(1, 0, 5, 0, -1, 9),
    ) as file:  # fmt: skip
        file.write(values)
    with open_scene(path) as scene:
        tiles = list(cut(scene, TileParameters(20, 4)))
    assert [tile.window for tile in tiles] == windows(70, 50, TileParameters(20, 4))
    assert tiles[0].image is None
    for tile in tiles[1:]:
        assert (tile.image == values.transpose(1, 2, 0)[inside(tile.window)]).all()
