import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dgl_rsis.scenes.blending import Axis, Blender, axis, places, widest_overlap
from dgl_rsis.types import InputError

LENGTHS, SIDES, OVERLAPS = st.integers(8, 3000), st.integers(64, 1200), st.integers(0, 256)
TILINGS = st.sampled_from([(1, 1), (64, 48), (128, 96), (224, 160)])


def cut(length: int, side: int, overlap: int, tiling: tuple[int, int]) -> Axis:
    try:
        return axis(length, side, overlap, *tiling)
    except InputError:
        assume(False)
        raise


@given(LENGTHS, SIDES, OVERLAPS, TILINGS)
def test_windows_cover_a_length_on_the_grid_of_the_tiles(length, side, overlap, tiling):
    pieces = cut(length, side, overlap, tiling)
    tile, step = tiling
    assert pieces.starts[0] == 0
    assert pieces.ends[-1] == length
    for i in range(len(pieces)):
        assert 0 < pieces.side(i) <= side
        assert pieces.starts[i] % step == 0
    for i in range(len(pieces) - 1):
        assert pieces.shared(i) >= overlap
        assert (pieces.side(i) - tile) % step == 0
    for first, third in zip(pieces.ends, pieces.starts[2:], strict=False):
        assert first <= third  # never three at one pixel


@given(st.integers(1201, 3000), SIDES, TILINGS)
def test_the_widest_overlap_is_one_and_a_wider_one_is_none(length, side, tiling):
    tile, _ = tiling
    assume(side >= tile)
    widest = widest_overlap(side, *tiling)
    assert axis(length, side, widest, *tiling).shared(0) == widest
    with pytest.raises(InputError, match="take windows of"):
        axis(length, side, widest + 1, *tiling)


@given(LENGTHS, SIDES, OVERLAPS, TILINGS, st.floats(0, 1))
def test_weights_sum_to_one(length, side, overlap, tiling, context):
    pieces = cut(length, side, overlap, tiling).inner(context)
    total = np.zeros(length)
    for i, (start, end) in enumerate(zip(pieces.starts, pieces.ends, strict=True)):
        weights = pieces.weights(i)
        assert (weights >= 0).all()
        total[start:end] += weights
    assert total == pytest.approx(1, abs=1e-6)


def test_the_share_that_is_computed_twice_is_that_of_any_length():
    shares = []
    for length in (2000, 5000, 10_000, 20_000):
        pieces = axis(length, 1024, 224, 128, 96)
        shares.append(sum(pieces.side(i) for i in range(len(pieces))) / length)
    assert max(shares) < 1.06 * min(shares)


@pytest.mark.parametrize("window", [(200, 110), (50, 0), (300, -1)])
def test_windows_too_small_for_their_overlap_are_refused(window):
    with pytest.raises(InputError, match="take windows of"):
        axis(1000, *window, 64, 48)


def blocks(scores: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    blended = np.full(scores.shape, np.nan, dtype=np.float32)
    done = 0
    with Blender(rows, columns, scores.shape[2]) as blender:
        for row, column in places(rows, columns):
            area = (
                slice(rows.starts[row], rows.ends[row]),
                slice(columns.starts[column], columns.ends[column]),
            )
            said = scores[area] if scores[area].any() else None
            block = blender.add(row, column, said)
            height, width = block.scores.shape[:2]
            place = blended[block.row : block.row + height, block.column : block.column + width]
            assert np.isnan(place).all()  # every pixel is given once
            place[:] = block.scores
            assert block.empty <= (not block.scores.any())
            assert block.row >= done
            done = block.row
    return blended


@pytest.mark.parametrize("context", [0.0, 0.4, 1.0])
def test_what_all_windows_say_alike_comes_back(context):
    rows, columns = axis(300, 90, 20), axis(411, 100, 30)
    scores = np.random.default_rng(0).random((300, 411, 3)).astype(np.float32)
    blended = blocks(scores, rows.inner(context), columns.inner(context))
    assert blended == pytest.approx(scores, abs=1e-6)


def test_windows_that_say_nothing_take_no_memory_and_leave_the_others_as_they_are():
    """Only one window of 25 says something; what it shares with its neighbours fades out there."""
    rows, columns = axis(400, 100, 20), axis(400, 100, 20)
    said = np.zeros((400, 400, 2), dtype=np.float32)
    window = slice(rows.starts[2], rows.ends[2]), slice(columns.starts[2], columns.ends[2])
    with Blender(rows, columns, 2) as blender:
        found = {
            place: blender.add(*place, np.ones((100, 100, 2)) if place == (2, 2) else None)
            for place in places(rows, columns)
        }
    assert {place for place, block in found.items() if not block.empty} == {
        (2, 2), (2, 3), (3, 2), (3, 3),
    }  # fmt: skip
    for block in found.values():
        height, width = block.scores.shape[:2]
        said[block.row : block.row + height, block.column : block.column + width] = block.scores
        assert block.empty == (block.scores.strides == (0, 0, 0))
    weights = rows.weights(2)[:, None] * columns.weights(2)
    assert said[window] == pytest.approx(np.dstack([weights] * 2), abs=1e-6)
    assert said.sum() == pytest.approx(2 * weights.sum(), rel=1e-5)


def test_windows_that_differ_are_blended_with_the_weights():
    rows, columns = axis(100, 100, 0), Axis((0, 60), (100, 160))
    blender = Blender(rows, columns, 1)
    first = blender.add(0, 0, np.zeros((100, 100, 1)))
    second = blender.add(0, 1, np.ones((100, 100, 1)))
    assert first.scores.shape == (100, 60, 1)
    assert second.column == 60
    across = second.scores[50, :, 0]
    assert (np.diff(across[:40]) > 0).all()
    assert across[:40].mean() == pytest.approx(0.5, abs=1e-3)
    assert (across[40:] == 1).all()


def test_a_window_that_says_nothing_adds_nothing():
    rows, columns = axis(100, 100, 0), Axis((0, 60), (100, 160))
    blender = Blender(rows, columns, 2)
    assert blender.add(0, 0, None).scores.max() == 0
    scores = blender.add(0, 1, np.ones((100, 100, 2))).scores
    assert scores[:, 0].max() < 0.01
    assert (scores[:, 40:] == 1).all()
