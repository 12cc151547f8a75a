import numpy as np
import pytest
import shapely
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape

from dgl_rsis.scenes import polygons
from dgl_rsis.scenes.polygons import Component


def blobs(seed: int, height: int, width: int, smooth: float = 4.0) -> np.ndarray:
    planes = np.random.default_rng(seed).random((3, height, width))
    highest: np.ndarray = ndimage.gaussian_filter(planes, (0, smooth, smooth)).argmax(axis=0)
    return highest.astype(np.uint8)


def components(classes: np.ndarray, block: int, **options) -> list[Component]:
    probability = np.linspace(0, 1, classes.size, dtype=np.float32).reshape(classes.shape)

    def read(row: int, column: int, height: int, width: int):
        area = slice(row, row + height), slice(column, column + width)
        return classes[area], probability[area]

    height, width = classes.shape
    return list(polygons.components(width, height, read, block=block, **options))


def normal(parts: list[Component]) -> list[tuple]:
    return sorted((c.value, c.pixels, round(c.score, 5), c.geometry.normalize().wkt) for c in parts)


@pytest.mark.parametrize("block", [7, 32, 64])
@pytest.mark.parametrize("smooth", [1.0, 4.0])
def test_blocks_change_nothing(block, smooth):
    classes = blobs(0, 110, 143, smooth)
    assert normal(components(classes, block)) == normal(components(classes, 1000))


def test_polygons_are_those_of_the_whole_raster():
    classes = blobs(1, 90, 120)
    parts = components(classes, 40)
    expected = [
        (int(value), shape(geometry))
        for geometry, value in shapes(classes, mask=classes > 0, connectivity=4)
    ]
    assert len(parts) == len(expected)
    for value, geometry in expected:
        assert any(c.value == value and c.geometry.equals(geometry) for c in parts)


def test_an_object_on_a_corner_of_four_blocks_is_one():
    classes = np.zeros((40, 40), dtype=np.uint8)
    classes[10:30, 10:30] = 2
    classes[18:22, 18:22] = 0
    (part,) = components(classes, 20)
    assert part.value == 2
    assert part.pixels == part.geometry.area == 400 - 16
    assert len(part.geometry.interiors) == 1
    assert shapely.get_num_coordinates(part.geometry) == 10  # no corners where blocks met


def test_touching_objects_of_two_classes_stay_two():
    classes = np.ones((20, 20), dtype=np.uint8)
    classes[:, 10:] = 2
    assert sorted(c.value for c in components(classes, 10)) == [1, 2]


def test_a_spiral_over_many_blocks_is_one():
    classes = np.zeros((41, 41), dtype=np.uint8)
    for i in range(0, 20, 2):
        classes[i, i : 41 - i] = classes[40 - i, i : 41 - i] = 1
        classes[i : 41 - i, 40 - i] = classes[i + 2 : 41 - i, i] = 1
        classes[i + 2, i : i + 3] = 1
    assert ndimage.label(classes)[1] == 1
    (part,) = components(classes, 8)
    assert part.pixels == classes.sum()
    assert part.geometry.is_valid


def test_rings_that_touch_themselves_are_made_valid():
    classes = np.ones((30, 30), dtype=np.uint8)
    for i in range(5, 25):
        classes[i, i] = 0  # a diagonal of holes that share corners
    parts = components(classes, 13)
    assert all(c.geometry.is_valid for c in parts)
    assert sum(c.geometry.area for c in parts) == classes.sum()


def test_the_score_is_the_mean_inside_and_small_parts_can_be_left_out():
    classes = np.zeros((10, 10), dtype=np.uint8)
    classes[2:4, :] = 1
    classes[7, 7] = 1
    (part,) = components(classes, 5, least=2)
    expected = np.linspace(0, 1, 100).reshape(10, 10)[2:4].mean()
    assert part.score == pytest.approx(expected, abs=1e-6)


def test_an_empty_scene_has_none():
    assert components(np.zeros((20, 20), dtype=np.uint8), 8) == []
