from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_rsis.regions import refinement
from dgl_rsis.regions.refinement import RefinementParameters
from dgl_rsis.regions.tree import RegionTree, TreeParameters, build_tree
from dgl_rsis.types import InputError, Prompt

DEFAULT = RefinementParameters()
SIDE = 96


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


ROOF, WING, OTHER = (
    rectangle(20, 20, 44, 40),
    rectangle(44, 20, 60, 40),
    rectangle(60, 60, 80, 84),
)


def scene() -> np.ndarray:
    """A house of two roofs that touch, and one more house, on rough ground."""
    image = np.full((SIDE, SIDE, 3), (70, 90, 60), dtype=np.int64)
    for mask, colour in ((ROOF, (190, 80, 60)), (WING, (150, 150, 160)), (OTHER, (200, 190, 90))):
        image[mask] = colour
    image += np.random.default_rng(0).integers(-6, 7, image.shape)
    return image.astype(np.uint8)


IMAGE = scene()
TREE = build_tree(IMAGE, TreeParameters())


def points(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, dtype=np.float32).reshape(-1, 2)


def refined(prompt: Prompt, parameters: RefinementParameters = DEFAULT) -> np.ndarray:
    answer = refinement.refine(IMAGE, TREE, prompt, parameters)
    assert 0 <= answer.score <= 1
    assert answer.mask.shape == (SIDE, SIDE)
    assert answer.mask.dtype == np.bool_
    return answer.mask


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def test_a_click_takes_the_roof_around_it():
    assert iou(refined(Prompt(positive=points((32, 30)))), ROOF) > 0.9
    assert iou(refined(Prompt(positive=points((70, 72)))), OTHER) > 0.9


def test_a_second_click_adds_the_wing():
    assert iou(refined(Prompt(positive=points((32, 30), (52, 30)))), ROOF | WING) > 0.9


def test_a_negative_click_takes_it_away_again():
    both = ROOF | WING
    once = refined(Prompt(negative=points((52, 30)), prior=both))
    assert iou(once, ROOF) > iou(both, ROOF) + 0.1
    mask = refined(Prompt(positive=points((52, 30)), prior=ROOF))
    assert iou(mask, both) > iou(ROOF, both) + 0.1


def test_a_prior_that_agrees_is_kept():
    mask = refined(Prompt(positive=points((32, 30)), prior=ROOF), replace(DEFAULT, snap=0))
    assert (mask == ROOF).all()


def test_the_other_parts_of_a_prior_stay_as_they_are():
    both = ROOF | OTHER
    mask = refined(Prompt(negative=points((32, 30)), prior=both), replace(DEFAULT, snap=0))
    assert not mask[30, 32]
    assert (mask & OTHER == OTHER).all()


def test_lines_drawn_by_hand_stay_where_no_click_says_otherwise():
    drawn = ROOF | WING
    drawn[22:26, 20:24] = False  # less than half of any leaf
    plain = replace(DEFAULT, snap=0)
    mask = refined(Prompt(negative=points((52, 30)), prior=drawn), plain)
    assert not mask[30, 52]
    assert iou(mask & ROOF, drawn & ROOF) > 0.95
    assert not mask[22:26, 20:24].any()


def test_clicks_get_the_better_of_a_prior_that_they_contradict():
    shifted = np.roll(ROOF, 12, axis=0)
    start = iou(shifted, ROOF)
    clicked = Prompt(positive=points((32, 22)), negative=points((32, 48)), prior=shifted)
    assert iou(refined(clicked), ROOF) > max(0.85, start + 0.2)
    stubborn = replace(DEFAULT, prior_trust=1000.0)
    assert iou(refined(clicked, stubborn), ROOF) < iou(refined(clicked), ROOF)


def test_one_click_does_not_undo_a_large_mask_that_is_no_single_thing():
    """All that is no roof, as a class mask: what is not part of it goes, and nothing else."""
    ground = ~ROOF
    clicked = Prompt(negative=points((70, 72)), prior=ground)
    careful = replace(DEFAULT, anew_pixels=1000)
    assert iou(refined(clicked, careful), ground & ~OTHER) > 0.95
    careless = replace(careful, anew=1.0)
    assert iou(refined(clicked, careless), ground & ~OTHER) < 0.5, "else this shows nothing"


def test_a_box_takes_what_fits_it():
    assert iou(refined(Prompt(box=(18, 18, 46, 42))), ROOF) > 0.85
    assert iou(refined(Prompt(box=(62, 42, 18, 18))), ROOF | WING) > 0.85  # drawn backwards


def test_a_stroke_and_a_rough_outline():
    assert iou(refined(Prompt(stroke=rectangle(24, 29, 40, 32))), ROOF) > 0.85
    assert iou(refined(Prompt(outline=rectangle(17, 23, 46, 42))), ROOF) > 0.85


def test_a_click_corrects_a_box():
    mask = refined(Prompt(box=(18, 18, 62, 42), negative=points((52, 30))))
    assert iou(mask, ROOF) > 0.85


places = st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))


@st.composite
def prompts(draw) -> Prompt:
    spots = draw(st.lists(places, min_size=2, max_size=24, unique=True))
    split = draw(st.integers(1, len(spots)))
    corner = draw(places)
    shape = rectangle(corner[0] // 2, corner[1] // 2, corner[0] // 2 + 20, corner[1] // 2 + 9)
    return Prompt(
        positive=points(*spots[:split]) + draw(st.sampled_from([0.0, 0.5])),
        negative=points(*spots[split:]),
        box=draw(st.sampled_from([None, (10.0, 10.0, 50.5, 44.0)])),
        stroke=draw(st.sampled_from([None, shape])),
        outline=draw(st.sampled_from([None, shape])),
        prior=draw(st.sampled_from([None, shape, ROOF])),
    )


@given(prompt=prompts(), snap=st.sampled_from([0, 4]))
@settings(max_examples=60, deadline=None)
def test_every_mask_holds_the_positive_points_and_none_of_the_negative(prompt, snap):
    mask = refined(prompt, replace(DEFAULT, snap=snap))
    for spots, held in ((prompt.positive, True), (prompt.negative, False)):
        columns, rows = np.minimum(spots.astype(int), SIDE - 1).T
        assert (mask[rows, columns] == held).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_image_gives_the_turned_mask(turns, mirrored):
    """But for the watershed, which decides ties by the order of pixels."""

    def moved(plane: np.ndarray) -> np.ndarray:
        turned = np.rot90(plane, turns)
        return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)

    image = moved(IMAGE)
    tree = build_tree(image, TreeParameters())
    for truth, spot in ((ROOF, (32, 30)), (OTHER, (70, 72))):
        marked = np.zeros((SIDE, SIDE), dtype=bool)
        marked[spot[1], spot[0]] = True
        row, column = np.argwhere(moved(marked))[0]
        prompt = Prompt(positive=points((column, row)))
        mask = refinement.refine(image, tree, prompt, DEFAULT).mask
        assert iou(mask, moved(truth)) > 0.9


def test_points_of_both_kinds_on_one_leaf_share_it():
    flat = np.full((20, 20, 3), 90, dtype=np.uint8)
    tree = build_tree(flat, TreeParameters())
    assert len(tree) == 1
    prompt = Prompt(positive=points((2.5, 10)), negative=points((17.5, 10)))
    mask = refinement.refine(flat, tree, prompt, replace(DEFAULT, snap=0)).mask
    assert mask[:, :9].all()
    assert not mask[:, 12:].any()


def test_the_mask_has_the_size_of_a_large_image():
    image = IMAGE.repeat(3, axis=0).repeat(3, axis=1)
    tree = build_tree(image, TreeParameters(max_side=SIDE))
    prompt = Prompt(positive=points((98, 91)), negative=points((150, 90)))
    mask = refinement.refine(image, tree, prompt, DEFAULT).mask
    assert mask[91, 98]
    assert iou(mask, ROOF.repeat(3, axis=0).repeat(3, axis=1)) > 0.9


def test_the_same_prompt_gives_the_same_mask():
    prompt = Prompt(positive=points((32, 30)), negative=points((5, 5)))
    assert (refined(prompt) == refined(prompt)).all()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (Prompt(), "says nothing"),
        (Prompt(negative=points((3, 3))), "add a positive point"),
        (Prompt(negative=points((3, 3)), prior=np.zeros((SIDE, SIDE), bool)), "says nothing"),
        (
            Prompt(positive=points((96.5, 3))),
            "the point at x 96.5, y 3 lies outside the image of 96",
        ),
        (Prompt(positive=points((-1, 3))), "x -1, y 3"),
        (Prompt(positive=points((float("nan"), 3))), "x nan, y 3"),
        (Prompt(positive=points((3, 4)), negative=points((3.5, 4))), "x 3, y 4 is marked as"),
        (Prompt(box=(5, 5, 5, 30)), "less than a pixel"),
        (Prompt(box=(200, 200, 300, 300)), "less than a pixel of the image of 96"),
        (Prompt(box=(5, float("nan"), 9, 30)), "no number"),
        (Prompt(stroke=np.zeros((SIDE, SIDE), bool)), "the stroke is empty"),
        (Prompt(outline=np.ones((5, 6), bool)), r"the outline has \(5, 6\) pixels"),
    ],
)
def test_what_cannot_be_answered_is_said(prompt, words):
    with pytest.raises(InputError, match=words):
        refined(prompt)


def test_the_edges_of_the_image_belong_to_it():
    mask = refined(Prompt(positive=points((0, 0), (SIDE, SIDE))))
    assert mask[0, 0]
    assert mask[-1, -1]


def test_ten_thousand_points_are_answered():
    rng = np.random.default_rng(0)
    spots = rng.permutation(SIDE * SIDE)[:8000]
    places = np.stack([spots % SIDE, spots // SIDE], axis=1).astype(np.float32)
    inside = ROOF[spots // SIDE, spots % SIDE]
    mask = refined(Prompt(positive=places[inside].repeat(6, axis=0), negative=places[~inside]))
    assert iou(mask, ROOF) > 0.95


def flat_tree() -> RegionTree:
    return build_tree(np.full((9, 9, 3), 5, dtype=np.uint8), TreeParameters())


def test_an_image_without_any_edge_has_one_region():
    flat = np.full((9, 9, 3), 5, dtype=np.uint8)
    answer = refinement.refine(flat, flat_tree(), Prompt(positive=points((4, 4))), DEFAULT)
    assert answer.mask.all()
    assert answer.score == 0.5
