"""What is like a thing that somebody shows, in images of rectangles with features drawn by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import EncodedImage
from dgl_rsis.clip import features, pixel_features, pixel_tower
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.pixel_tower import PixelTower
from dgl_rsis.expressions import exemplars
from dgl_rsis.expressions.exemplars import Alike, ExemplarParameters, Look
from dgl_rsis.regions import proposals
from dgl_rsis.types import InputError, Mask

H, W = 96, 128
PARAMETERS = ExemplarParameters()
NOTHING = np.zeros((H, W), dtype=np.bool_)
GREY, RED, BLUE = (90, 90, 90), (200, 60, 60), (60, 60, 200)


def rectangle(top: int, left: int, height: int = 16, width: int = 16) -> Mask:
    mask = NOTHING.copy()
    mask[top : top + height, left : left + width] = True
    return mask


def circle(row: int, column: int, radius: float = 9.0) -> Mask:
    rows, columns = np.ogrid[:H, :W]
    disc: Mask = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    return disc


SQUARES = rectangle(8, 8), rectangle(8, 40), rectangle(40, 8)
ROUND = circle(48, 48)
BAR = rectangle(72, 8, 4, 64)
LARGE = rectangle(8, 72, 48, 48)


@pytest.fixture(scope="module")
def seeing(clip: ClipModel) -> ClipModel:
    """The small model with an untrained pixel tower."""
    torch.manual_seed(0)
    tower = PixelTower(32, rank=8)
    return replace(clip, pixels=pixel_tower.folded(tower.eval().requires_grad_(False)))


def painted(*things: tuple[Mask, tuple[int, int, int]]) -> NDArray[np.uint8]:
    image = np.full((H, W, 3), GREY, np.uint8)
    for mask, colour in things:
        image[mask] = colour
    return image


def encoded(clip: ClipModel, image: NDArray[np.uint8], looks: Sequence[Mask]) -> EncodedImage:
    """An image whose pixels look alike where the same of some masks has them, or none has."""
    parameters = PARAMETERS.encoding
    blank = pixel_features.PixelFeatures(
        F.one_hot(_look(looks), 8).float(),
        torch.zeros(H, W),
        torch.zeros(8, H // 32, W // 32),
        torch.zeros(2),
    )
    plain = features.dense_features(replace(clip, pixels=None), image, 8, factors=())
    dense = replace(plain, pixels=blank)
    found = proposals.propose(image, parameters.regions)
    return EncodedImage(
        image, found, dense, pipeline.encode_masks(image, found, dense, clip, parameters), {}
    )


def _look(looks: Sequence[Mask]) -> torch.Tensor:
    numbers = np.zeros((H, W), dtype=np.int64)
    for number, mask in enumerate(looks, 1):
        numbers[mask] = number
    return torch.from_numpy(numbers[::2, ::2].copy())


def scene(clip: ClipModel) -> EncodedImage:
    """Three red squares, a blue disc; a red bar and a large red square look like the squares."""
    red = [*SQUARES, BAR, LARGE]
    image = painted(*((mask, RED) for mask in red), (ROUND, BLUE))
    return encoded(clip, image, [np.logical_or.reduce(red), ROUND])


def like(
    clip: ClipModel,
    image: EncodedImage,
    exemplar: Mask,
    marked: Mask = NOTHING,
    parameters: ExemplarParameters = PARAMETERS,
) -> Alike:
    return exemplars.like(image, clip, exemplar, marked, parameters)


def masks_of(found: Alike) -> list[Mask]:
    return [segment.mask for segment in found.segments("thing")]


def iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def assert_are(found: Alike, *wanted: Mask) -> None:
    """See that the masks found are those wanted, in any order."""
    masks = masks_of(found)
    assert len(masks) == len(wanted)
    for mask in wanted:
        assert max(iou(mask, each) for each in masks) > 0.8


def test_the_other_squares_are_like_a_square(seeing: ClipModel) -> None:
    found = like(seeing, scene(seeing), SQUARES[0])
    assert_are(found, *SQUARES[1:])
    assert (found.scores > 0.8).all()
    assert {segment.label for segment in found.segments("tank")} == {"tank"}


def test_a_thing_alone_in_its_kind_has_no_like(seeing: ClipModel) -> None:
    for alone in (ROUND, BAR, LARGE):
        assert not len(like(seeing, scene(seeing), alone))


def test_several_parts_are_examples_each(seeing: ClipModel) -> None:
    others = circle(72, 100)
    image = painted(*((mask, RED) for mask in SQUARES), (ROUND, BLUE), (others, BLUE))
    shown = encoded(seeing, image, [np.logical_or.reduce(SQUARES), ROUND | others])
    assert_are(like(seeing, shown, SQUARES[0] | ROUND), *SQUARES[1:], others)
    crumb = ROUND & rectangle(48, 48, 4, 4)  # too small beside the square to be an example
    assert_are(like(seeing, shown, SQUARES[0] | crumb), *SQUARES[1:])


def test_what_is_marked_already_is_left_out(seeing: ClipModel) -> None:
    image = scene(seeing)
    assert_are(like(seeing, image, SQUARES[0], SQUARES[0] | SQUARES[1]), SQUARES[2])
    nearly = SQUARES[1].copy()
    nearly[8:12] = False
    assert_are(like(seeing, image, SQUARES[0], nearly), SQUARES[2])
    touched = rectangle(8, 40, 2, 16)  # an eighth of the square is of its neighbour
    assert_are(like(seeing, image, SQUARES[0], touched), *SQUARES[1:])


def test_a_ring_finds_rings(seeing: ClipModel) -> None:
    """Holes stay holes: what lies in them is no part of what is compared."""
    corners = (8, 8), (8, 40), (40, 8)
    rings = [rectangle(top, left, 24, 24) & ~rectangle(top + 6, left + 6, 12, 12)
             for top, left in corners]  # fmt: skip
    image = painted(*((ring, RED) for ring in rings))
    shown = encoded(seeing, image, [np.logical_or.reduce(rings)])
    found = like(seeing, shown, rings[0])
    assert_are(found, *rings[1:])
    assert not any(mask[20, 52] or mask[52, 20] for mask in masks_of(found))


def test_the_same_look_in_another_colour_or_size_is_less_alike(seeing: ClipModel) -> None:
    other = rectangle(40, 40), rectangle(72, 8, 20, 20)
    image = painted(*((mask, RED) for mask in SQUARES), (other[0], BLUE), (other[1], RED))
    shown = encoded(seeing, image, [np.logical_or.reduce([*SQUARES, *other])])
    all_of_them = replace(PARAMETERS, least=0.0)
    found = like(seeing, shown, SQUARES[0], parameters=all_of_them)
    score = {
        name: max(
            score
            for score, mask in zip(found.scores.tolist(), masks_of(found), strict=True)
            if iou(mask, wanted) > 0.8
        )
        for name, wanted in (("same", SQUARES[1]), ("blue", other[0]), ("larger", other[1]))
    }
    assert score["same"] > score["larger"] > score["blue"]


def test_at_most_so_many_come_back_best_first(seeing: ClipModel) -> None:
    found = like(seeing, scene(seeing), SQUARES[0], parameters=replace(PARAMETERS, most=1))
    assert len(found) == 1
    every = like(seeing, scene(seeing), SQUARES[0], parameters=replace(PARAMETERS, least=0.0))
    assert (np.diff(every.scores) <= 0).all()


def test_without_a_pixel_tower_proposals_are_compared(clip: ClipModel) -> None:
    image = painted(*((mask, RED) for mask in SQUARES), (ROUND, BLUE))
    shown = pipeline.encode_image(image, clip, PARAMETERS.encoding)
    found = like(clip, shown, SQUARES[0], parameters=replace(PARAMETERS, least=0.1))
    assert len(found)
    for mask in masks_of(found):
        assert max(iou(mask, each) for each in SQUARES[1:]) > 0.8


@settings(max_examples=8)
@given(st.data())
def test_nothing_lies_on_anything(seeing: ClipModel, data: st.DataObject) -> None:
    sides = st.integers(4, 14)
    things = [
        rectangle(top, left, data.draw(sides), data.draw(sides))
        for top in range(8, 80, 24)
        for left in range(8, 104, 24)
    ]
    image = painted(*((mask, RED) for mask in things))
    shown = encoded(seeing, image, [np.logical_or.reduce(things)])
    marked = np.logical_or.reduce(
        data.draw(st.lists(st.sampled_from(things), max_size=4)) or [NOTHING]
    )
    found = masks_of(like(seeing, shown, things[0], marked, replace(PARAMETERS, least=0.05)))
    for number, mask in enumerate(found):
        assert (mask & marked).sum() <= PARAMETERS.overlap * mask.sum()
        for other in [things[0], *found[:number]]:
            assert (mask & other).sum() <= PARAMETERS.overlap * min(mask.sum(), other.sum())


def look_of(clip: ClipModel, image: EncodedImage, exemplar: Mask) -> Look:
    return exemplars.look_of(image, clip, exemplar, PARAMETERS)


def moved(clip: ClipModel, *squares: Mask) -> EncodedImage:
    """Another image with red squares, and a blue disc that looks like the one of the first."""
    pixels = painted(*((mask, RED) for mask in squares), (ROUND, BLUE))
    return encoded(clip, pixels, [np.logical_or.reduce([*squares, NOTHING]), ROUND])


def test_what_is_like_it_is_found_in_another_image(seeing: ClipModel) -> None:
    image, squares = scene(seeing), (rectangle(8, 8), rectangle(12, 100), rectangle(72, 30))
    other = moved(seeing, *squares)
    square, disc = (look_of(seeing, image, mask) for mask in (SQUARES[0], ROUND))
    found = exemplars.elsewhere(other, seeing, square, PARAMETERS)
    assert_are(found, *squares)  # also where the exemplar is in its own
    assert (found.scores >= PARAMETERS.least_elsewhere).all()
    assert_are(exemplars.elsewhere(other, seeing, disc, PARAMETERS), ROUND)
    assert not len(exemplars.elsewhere(moved(seeing), seeing, square, PARAMETERS))


def test_the_own_image_is_an_image_like_any_other(seeing: ClipModel) -> None:
    """But for what is known there, and the threshold."""
    image, same = scene(seeing), replace(PARAMETERS, least_elsewhere=PARAMETERS.least)
    here = like(seeing, image, SQUARES[0])
    there = exemplars.elsewhere(image, seeing, look_of(seeing, image, SQUARES[0]), same)
    assert len(there) == len(here) + 1
    assert_are(there, *SQUARES)
    own = max(range(3), key=lambda number: iou(masks_of(there)[number], SQUARES[0]))
    others = np.delete(there.scores, own)
    np.testing.assert_allclose(others, here.scores, atol=1e-5)


def test_in_another_image_more_is_asked_for(seeing: ClipModel) -> None:
    image, larger = scene(seeing), rectangle(72, 30, 21, 21)
    other = moved(seeing, rectangle(8, 8), larger)
    look = look_of(seeing, image, SQUARES[0])
    strict, lax = (replace(PARAMETERS, least_elsewhere=least) for least in (0.9, 0.4))
    assert_are(exemplars.elsewhere(other, seeing, look, strict), rectangle(8, 8))
    assert_are(exemplars.elsewhere(other, seeing, look, lax), rectangle(8, 8), larger)


def test_a_look_takes_the_largest_examples_along(seeing: ClipModel) -> None:
    corners = [(top, left) for top in (8, 40) for left in (8, 40, 72)]
    squares = [rectangle(*at, 10 + n, 10 + n) for n, at in enumerate(corners)]
    every = np.logical_or.reduce(squares)
    shown = encoded(seeing, painted((every, RED)), [every])
    look = look_of(seeing, shown, every)
    assert len(look) == PARAMETERS.carried
    assert look.areas.tolist() == [225, 196, 169, 144]


METRES = st.floats(0.05, 10)


@given(st.lists(st.floats(1, 1e5), min_size=1, max_size=4), METRES, METRES)
def test_areas_are_kept_on_the_ground(areas: list[float], one: float, other: float) -> None:
    count = len(areas)
    numbers = np.array(areas, dtype=np.float32)
    look = Look(torch.eye(count), numbers, numbers, np.zeros((count, 3), np.float32), one)
    there = look.at(other)
    np.testing.assert_allclose(there.areas * other**2, numbers * one**2, rtol=1e-4)
    np.testing.assert_allclose(there.at(one).areas, numbers, rtol=1e-4)
    assert (there.elongations == numbers).all(), "the form is the same at any size"
    assert look.at(None) is look
    assert (replace(look, metres=None).at(other).areas == numbers).all()


def test_masks_have_the_size_of_the_image(seeing: ClipModel) -> None:
    """An image that is segmented at a smaller size gets masks of its own."""
    small = replace(PARAMETERS.encoding, regions=replace(PARAMETERS.encoding.regions, max_side=64))
    image = scene(seeing)
    found = proposals.propose(image.image, small.regions)
    by_mask = pipeline.encode_masks(image.image, found, image.dense, seeing, small)
    halved = replace(image, proposed=found, by_mask=by_mask)
    assert found.masks.shape[1:] == (H // 2, W // 2)
    assert_are(like(seeing, halved, SQUARES[0]), *SQUARES[1:])


def test_what_is_no_mask_of_the_image_is_refused(seeing: ClipModel) -> None:
    image = scene(seeing)
    with pytest.raises(InputError, match="the exemplar is empty"):
        like(seeing, image, NOTHING)
    with pytest.raises(
        InputError, match=r"the exemplar has \(4, 4\) pixels, the image \(96, 128\)"
    ):
        like(seeing, image, np.ones((4, 4), dtype=np.bool_))
    with pytest.raises(InputError, match=r"the mask of what is known has \(4, 4\) pixels"):
        like(seeing, image, SQUARES[0], np.ones((4, 4), dtype=np.bool_))
