"""What regions make of a class map."""

import numpy as np
import pytest

from tests.e2e.correcting.canvas import NOTHING, Canvas, Shape, shape_of

WHOLE = np.s_[:, :]


def a_shape(label: int, where: tuple[slice, slice]) -> Shape:
    mask = np.zeros((10, 10), dtype=np.bool_)
    mask[where] = True
    shape = shape_of(label, mask)
    assert shape is not None
    return shape


@pytest.fixture
def canvas() -> Canvas:
    """Left half of class 0, right half of class 1, but for its last column, which is open."""
    truth = np.zeros((10, 10), dtype=np.int16)
    truth[:, 5:] = 1
    truth[:, 9] = NOTHING
    return Canvas(truth)


def test_an_empty_mask_is_no_shape() -> None:
    assert shape_of(0, np.zeros((3, 3), dtype=np.bool_)) is None


def test_a_shape_is_cropped() -> None:
    shape = a_shape(0, np.s_[2:4, 3:9])
    assert (shape.top, shape.left, shape.mask.shape, shape.area) == (2, 3, (2, 6), 12)


def test_nothing_is_right_on_an_empty_canvas(canvas: Canvas) -> None:
    assert canvas.accuracy == 0


def test_what_the_truth_leaves_open_does_not_count(canvas: Canvas) -> None:
    canvas.put([("left", a_shape(0, np.s_[:, :5])), ("right", a_shape(1, np.s_[:, 5:9]))])
    assert canvas.accuracy == 1


def test_the_smaller_region_is_on_top_whichever_came_first(canvas: Canvas) -> None:
    canvas.put([("small", a_shape(1, np.s_[:, 5:9]))])
    canvas.put([("large", a_shape(0, WHOLE))])
    assert canvas.accuracy == 1


@pytest.mark.parametrize("where", [np.s_[:, :3], np.s_[:, 4:9], WHOLE, np.s_[2:9, 1:7]])
@pytest.mark.parametrize("label", [0, 1])
def test_the_gain_is_what_putting_it_down_brings(
    canvas: Canvas, label: int, where: tuple[slice, slice]
) -> None:
    canvas.put([("there", a_shape(1, np.s_[:, 3:8])), ("tiny", a_shape(0, np.s_[3:5, 6:8]))])
    before, shape = canvas.accuracy, a_shape(label, where)
    gain = canvas.gain(shape)
    canvas.put([("new", shape)])
    assert gain == round((canvas.accuracy - before) * canvas.labelled)


def test_renaming_tells_what_it_brings(canvas: Canvas) -> None:
    canvas.put([("left", a_shape(1, np.s_[:, :5])), ("right", a_shape(1, np.s_[:, 5:9]))])
    assert canvas.renamings(2) == [(50, "left", 0)]
    canvas.rename("left", 0)
    assert canvas.accuracy == 1
    assert canvas.renamings(2) == []


def test_a_region_of_the_same_id_is_replaced(canvas: Canvas) -> None:
    canvas.put([("one", a_shape(1, np.s_[:, :5]))])
    canvas.put([("one", a_shape(1, np.s_[:, 5:9]))])
    assert canvas.accuracy == pytest.approx(40 / 90)


def test_a_copy_is_another_canvas(canvas: Canvas) -> None:
    canvas.copy().put([("left", a_shape(0, np.s_[:, :5]))])
    assert canvas.accuracy == 0
