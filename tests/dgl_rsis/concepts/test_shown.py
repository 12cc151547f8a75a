"""What windows say, put together: presence, evidence, and each thing once."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from dgl_rsis.concepts.model import Answer
from dgl_rsis.concepts.shown import Concept, ConceptParameters, map_shape, shown
from dgl_rsis.concepts.views import View, Views, views

CELLS = 32  # of the model's maps
SURE = 12.0  # logit


def answer(presence: float, *things: tuple[float, np.ndarray], semantic: float = -SURE) -> Answer:
    """Masks are of 8 × 8 cells."""
    scores = torch.tensor([score for score, _ in things])
    planes = [
        np.kron(mask, np.ones((CELLS // len(mask), CELLS // len(mask[0])))) for _, mask in things
    ]
    masks = torch.from_numpy(np.stack(planes or [np.zeros((CELLS, CELLS))]))
    if not things:
        scores = torch.zeros(1)
    return Answer(
        presence,
        scores.float(),
        ((masks * 2 - 1) * SURE).float(),
        torch.full((CELLS, CELLS), semantic),
    )


def block(rows: slice, columns: slice, side: int = 8) -> np.ndarray:
    plane = np.zeros((side, side))
    plane[rows, columns] = 1
    return plane


def of(seen: Views, answers: dict[View, Answer], **changes: float) -> Concept:
    def ask(view: View, _numbers: Sequence[int]) -> list[Answer]:
        return [answers.get(view, answer(0.0))]

    return shown(seen, ask, [[True]] * len(seen.levels), ConceptParameters(**changes))[0]


ONE = views(64, 64, 64)
WHOLE = ONE.levels[0][0]


def test_what_is_absent_shows_nothing() -> None:
    thing = (0.9, block(slice(2, 4), slice(2, 4)))
    absent = of(ONE, {WHOLE: answer(0.4, thing, semantic=SURE)})
    assert absent.presence == pytest.approx(0.4)
    assert not absent.evidence.any()
    assert absent.instances == ()
    there = of(ONE, {WHOLE: answer(0.6, thing)})
    assert len(there.instances) == 1


def test_evidence_is_the_greater_of_both_heads() -> None:
    thing = (0.9, block(slice(2, 4), slice(2, 4)))
    concept = of(ONE, {WHOLE: answer(0.8, thing, semantic=0.0)})
    assert concept.evidence[20, 20] == pytest.approx(0.9, abs=1e-3)
    assert concept.evidence[50, 50] == pytest.approx(0.8 * 0.5)
    (instance,) = concept.instances
    assert instance.box == (16, 16, 32, 32)
    assert instance.area == 256


def test_the_same_thing_twice_in_a_window_is_one() -> None:
    twice = [(0.9, block(slice(2, 6), slice(2, 6))), (0.8, block(slice(2, 6), slice(2, 6)))]
    apart = (0.7, block(slice(6, 8), slice(6, 8)))
    concept = of(ONE, {WHOLE: answer(1.0, *twice, apart)})
    assert [round(each.score, 3) for each in concept.instances] == [0.9, 0.7]


def test_a_thing_that_a_border_cuts_is_joined() -> None:
    seen = views(64, 112, 64)  # two windows, and the whole at half size
    left, right = seen.levels[0]
    assert (left.box, right.box) == ((0, 0, 64, 64), (48, 0, 112, 64))
    # From 32 to 64 in the left one, from 48 to 80 in the right one.
    answers = {
        left: answer(1.0, (0.8, block(slice(2, 4), slice(4, 8)))),
        right: answer(1.0, (0.9, block(slice(2, 4), slice(0, 4)))),
    }
    (thing,) = of(seen, answers).instances
    assert thing.box == (32, 16, 80, 32)
    assert thing.score == pytest.approx(0.9)


def test_a_piece_that_joins_two_makes_one() -> None:
    seen = views(64, 160, 64)
    windows = seen.levels[0]
    assert [view.box[0] for view in windows] == [0, 48, 96]
    row = slice(2, 4)
    answers = {
        windows[0]: answer(1.0, (0.9, block(row, slice(5, 8)))),  # 40 to 64
        windows[1]: answer(1.0, (0.6, block(row, slice(0, 8)))),  # 48 to 112
        windows[2]: answer(1.0, (0.8, block(row, slice(0, 3)))),  # 96 to 120
    }
    (thing,) = of(seen, answers).instances
    assert thing.box == (40, 16, 120, 32)
    assert thing.score == pytest.approx(0.9)


def test_of_two_sizes_the_surer_is_taken() -> None:
    seen = views(64, 112, 64)
    (whole,) = seen.levels[1]
    small = (0.9, block(slice(2, 4), slice(2, 4)))  # 16 to 32 of the left window
    blob = block(slice(0, 8), slice(0, 4))  # the left half of the image
    answers = {seen.levels[0][0]: answer(1.0, small), whole: answer(1.0, (0.7, blob))}
    (thing,) = of(seen, answers).instances
    assert thing.area == 256
    answers[whole] = answer(1.0, (0.95, blob))
    (thing,) = of(seen, answers).instances
    assert thing.area == 64 * 56


def test_a_level_that_is_not_heard_is_not_asked() -> None:
    seen = views(64, 112, 64)
    asked: list[View] = []

    def ask(view: View, numbers: Sequence[int]) -> list[Answer]:
        asked.append(view)
        assert list(numbers) == [1]
        return [answer(1.0)]

    concepts = shown(seen, ask, [[False, True], [False, False]], ConceptParameters())
    assert set(asked) == set(seen.levels[0])
    assert [each.presence for each in concepts] == [0.0, 1.0]


def test_maps_of_large_images_are_small() -> None:
    assert map_shape(500, 700) == (500, 700)
    assert map_shape(4000, 2000) == (1024, 512)
    assert map_shape(100_000, 3) == (1024, 1)
