"""What the scripted annotator does, without an editor."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.correcting.annotator import Clicks, annotate, reached
from tests.e2e.correcting.canvas import Canvas, Shape, shape_of
from tests.e2e.correcting.drawing import Drawings
from tests.e2e.correcting.pace import Pace

PACE = Pace()


@pytest.fixture
def truth() -> NDArray[np.int16]:
    """Land with a house and a thin road across."""
    truth = np.ones((200, 300), dtype=np.int16)
    truth[40:90, 50:120] = 0
    truth[140:152, :] = 2
    return truth


class Answering:
    """An editor whose clicks give the object under them."""

    def __init__(self, truth: NDArray[np.int16]) -> None:
        self._truth = truth
        self.kept = 0

    def ask(self, label: int, pixel: tuple[int, int]) -> tuple[list[tuple[str, Shape]], float]:
        shape = shape_of(label, self._truth == label)
        assert shape is not None
        assert self._truth[pixel] == label
        return [(f"answer {label}", shape)], 0.5

    def keep(self) -> float:
        self.kept += 1
        return 0.0

    def drop(self) -> float:
        return 0.0


def test_drawing_makes_the_map_right(truth: NDArray[np.int16]) -> None:
    course = annotate(Canvas(truth), Drawings(truth, PACE), PACE)
    assert course.moments[-1].accuracy > 0.99
    assert course.moments[-1].machine == 0


def test_of_a_map_that_is_right_nothing_is_done_but_a_look(truth: NDArray[np.int16]) -> None:
    canvas = Canvas(truth)
    for label in range(3):
        shape = shape_of(label, truth == label)
        assert shape is not None
        canvas.put([(str(label), shape)])
    course = annotate(canvas, Drawings(truth, PACE), PACE, waited=2.0)
    assert course.actions == {}
    assert course.moments[-1].seconds == pytest.approx(3 * PACE.decision + 2.0)


def test_the_fewer_errors_the_sooner(truth: NDArray[np.int16]) -> None:
    canvas = Canvas(truth)
    land = shape_of(1, np.ones(truth.shape, dtype=np.bool_))
    assert land is not None
    canvas.put([("land", land)])
    drawings = Drawings(truth, PACE)
    corrected, drawn = annotate(canvas, drawings, PACE), annotate(Canvas(truth), drawings, PACE)
    one, other = reached(corrected, 0.99), reached(drawn, 0.99)
    assert one is not None
    assert other is not None
    assert one.seconds < other.seconds


def test_a_class_with_a_wrong_name_is_renamed(truth: NDArray[np.int16]) -> None:
    canvas = Canvas(truth)
    for label, name in ((0, 0), (1, 2), (2, 1)):
        shape = shape_of(name, truth == label)
        assert shape is not None
        canvas.put([(str(label), shape)])
    course = annotate(canvas, Drawings(truth, PACE), PACE)
    assert course.actions == {"renaming": 2}
    assert course.moments[-1].accuracy == 1


def test_whoever_trusts_clicks_uses_them(truth: NDArray[np.int16]) -> None:
    editor = Answering(truth)
    trusting = Clicks(share=5.0, waiting=0.5)
    course = annotate(Canvas(truth), Drawings(truth, PACE), PACE, editor=editor, clicks=trusting)
    assert course.actions["click kept"] == editor.kept > 0
    assert course.moments[-1].machine == pytest.approx(0.5 * editor.kept)


def test_whoever_found_clicks_worthless_draws(truth: NDArray[np.int16]) -> None:
    worthless = Clicks(share=0.0)
    editor = Answering(truth)
    course = annotate(Canvas(truth), Drawings(truth, PACE), PACE, editor=editor, clicks=worthless)
    assert set(course.actions) == {"drawing"}


def test_a_level_that_is_never_reached(truth: NDArray[np.int16]) -> None:
    assert reached(annotate(Canvas(truth), Drawings(truth, PACE), PACE), 1.1) is None
