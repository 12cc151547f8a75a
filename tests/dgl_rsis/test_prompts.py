from dataclasses import replace

import numpy as np
import pytest

from dgl_rsis.prompts import checked, pixels_at
from dgl_rsis.regions import refinement
from dgl_rsis.regions.refinement import RefinementParameters
from dgl_rsis.regions.tree import TreeParameters, build_tree
from dgl_rsis.sam import model
from dgl_rsis.types import InputError, Mask, Prompt
from tests.dgl_rsis.sam.small_sam import noise, small_sam

HEIGHT, WIDTH = 24, 40
IMAGE = noise(HEIGHT, WIDTH)
EMPTY = np.zeros((HEIGHT, WIDTH), dtype=bool)
SMALL = np.ones((5, 6), dtype=bool)


def points(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, dtype=np.float32).reshape(-1, 2)


def rectangle(left: int, top: int, right: int, bottom: int) -> Mask:
    mask = EMPTY.copy()
    mask[top:bottom, left:right] = True
    return mask


BLOCK = rectangle(8, 6, 20, 16)
CLICK = Prompt(positive=points((12, 9)))
CUT = Prompt(negative=points((12, 9)))
VALID = {
    "click": CLICK,
    "edge": Prompt(positive=points((0, 0), (WIDTH, HEIGHT))),
    "box": Prompt(box=(8, 6, 20, 16)),
    "reversed box": Prompt(box=(20, 16, 8, 6)),
    "box beyond the image": Prompt(box=(-9, -9, 20, 99)),
    "box of one pixel": Prompt(box=(8, 6, 9, 7)),
    "stroke": Prompt(stroke=BLOCK),
    "outline": Prompt(outline=BLOCK),
    "empty stroke beside a click": replace(CLICK, stroke=EMPTY),
    "empty outline beside a box": Prompt(box=(8, 6, 20, 16), outline=EMPTY),
    "empty prior beside a click": replace(CLICK, prior=EMPTY),
    "prior with a click": replace(CLICK, prior=BLOCK),
    "prior that is cut": replace(CUT, prior=BLOCK),
}
REFUSED = {
    "nothing": (Prompt(), "says nothing about what belongs to the object"),
    "negative click alone": (CUT, "says nothing"),
    "prior alone": (Prompt(prior=BLOCK), "says nothing"),
    "empty prior that is cut": (replace(CUT, prior=EMPTY), "says nothing"),
    "empty stroke alone": (Prompt(stroke=EMPTY), "the stroke is empty: draw it again"),
    "empty outline alone": (Prompt(outline=EMPTY), "the outline is empty: draw it again"),
    "stroke of another size": (Prompt(stroke=SMALL), r"the stroke has \(5, 6\) pixels"),
    "prior of another size": (
        replace(CLICK, prior=SMALL),
        r"the mask to correct has \(5, 6\) pixels, the image \(24, 40\)",
    ),
    "box without width": (Prompt(box=(5, 5, 5, 9)), r"box \(5, 5, 5, 9\) covers less than a pixel"),
    "box of half a pixel": (
        Prompt(box=(5, 5, 5.5, 9)),
        "less than a pixel of the image of 40 × 24",
    ),
    "box elsewhere": (Prompt(box=(50, 5, 60, 9)), "less than a pixel"),
    "box without a number": (Prompt(box=(5, np.nan, 9, 9)), "no number"),
    "click elsewhere": (
        Prompt(positive=points((40.5, 3))),
        "x 40.5, y 3 lies outside the image of 40 × 24 pixels",
    ),
    "negative click elsewhere": (replace(CLICK, negative=points((3, -1))), "x 3, y -1 lies outs"),
    "click without a number": (Prompt(positive=points((np.nan, 3))), "x nan, y 3 lies outside"),
    "a pixel marked both ways": (
        replace(CLICK, negative=points((12.5, 9.5))),
        "the pixel at x 12, y 9 is marked as inside and as outside",
    ),
}


@pytest.fixture(scope="module")
def providers():
    sam = small_sam()
    embedding = model.encode(sam, IMAGE)
    tree = build_tree(IMAGE, TreeParameters())
    return (
        lambda prompt: model.refine(sam, embedding, prompt),
        lambda prompt: refinement.refine(IMAGE, tree, prompt, RefinementParameters()),
    )


@pytest.mark.parametrize("prompt", VALID.values(), ids=VALID)
def test_what_one_provider_answers_the_other_answers_too(providers, prompt):
    for refine in providers:
        assert refine(prompt).mask.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(("prompt", "message"), REFUSED.values(), ids=REFUSED)
def test_what_one_provider_refuses_the_other_refuses_in_the_same_words(providers, prompt, message):
    for refine in providers:
        with pytest.raises(InputError, match=message):
            refine(prompt)


def test_a_box_drawn_backwards_is_turned_round_and_cut_to_the_image():
    assert checked(Prompt(box=(99, 16, 8, -3)), HEIGHT, WIDTH).box == (8, 0, WIDTH, 16)


def test_what_is_empty_is_left_out():
    meant = checked(replace(CLICK, stroke=EMPTY, outline=EMPTY, prior=EMPTY), HEIGHT, WIDTH)
    assert (meant.stroke, meant.outline, meant.prior) == (None, None, None)
    assert checked(Prompt(stroke=BLOCK), HEIGHT, WIDTH).stroke is BLOCK


def test_points_lie_on_pixels_and_the_outer_edge_on_the_last():
    places = points((0, 0), (0.99, 1), (WIDTH, HEIGHT))
    assert pixels_at(places, HEIGHT, WIDTH).tolist() == [[0, 0], [1, 0], [HEIGHT - 1, WIDTH - 1]]
    assert pixels_at(points(), HEIGHT, WIDTH).shape == (0, 2)
