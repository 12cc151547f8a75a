"""Referring expressions with the small untrained model: what does not depend on quality."""

from dataclasses import replace

import numpy as np
import pytest

from dgl_rsis.classes import pipeline, vocabulary
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.expressions import pipeline as referring
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.expressions.selection import SelectionParameters
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.types import InputError, Label

SMALL = pipeline.OvssParameters(
    regions=RegionParameters(levels=(384,), min_regions=6, objects=20), margin=0.0
)
ANYTHING = SelectionParameters(least=0.0)
PARAMETERS = ResParameters(encoding=SMALL, selection=ANYTHING)


def scene() -> np.ndarray:
    """Four squares on a dark ground, one in each quarter; the one at the top left is red."""
    image = np.random.default_rng(0).integers(40, 60, (96, 96, 3), dtype=np.uint8)
    for top, left in ((12, 12), (12, 68), (68, 12), (68, 68)):
        image[top : top + 16, left : left + 16] = (225, 225, 220)
    image[12:28, 12:28] = (200, 40, 30)
    return image


IMAGE = scene()


@pytest.mark.parametrize("mode", referring.MODES)
def test_every_mode_ranks_candidates_of_the_images_size(clip: ClipModel, mode: referring.Mode):
    answer = referring.segment_expression(
        IMAGE, "the ship on the left", clip, replace(PARAMETERS, mode=mode)
    )
    assert 1 <= len(answer.candidates) <= 3
    assert answer.decoupled.noun == "ship"
    for candidate in answer.candidates:
        assert candidate.mask.shape == (96, 96)
        assert candidate.mask.any()
        assert 0 <= candidate.score <= 1
        assert set(candidate.parts) == set(referring.MODES[mode]) - {"whole"}  # of a pixel tower
    scores = [candidate.score for candidate in answer.candidates]
    assert scores == sorted(scores, reverse=True)
    assert (answer.cam is None) == (mode in ("clip", "global-local"))


@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [
        ("top left", slice(12, 28), slice(12, 28)),
        ("top right", slice(12, 28), slice(68, 84)),
        ("lower left", slice(68, 84), slice(12, 28)),
        ("bottom right", slice(68, 84), slice(68, 84)),
    ],
)
def test_geometry_decides_among_equal_instances(
    clip: ClipModel, place: str, rows: slice, columns: slice
):
    # Class and activation of an untrained model are noise: only place and outline may speak.
    answer = _by_place(clip, f"the tank at the {place}")
    wanted = np.zeros((96, 96), dtype=bool)
    wanted[rows, columns] = True
    best = answer.candidates[0].mask
    assert (best & wanted).sum() / (best | wanted).sum() > 0.8


def test_colours_are_measured(clip: ClipModel):
    answer = _by_place(clip, "the red tank")
    assert answer.candidates[0].mask[12:28, 12:28].mean() > 0.9
    assert answer.candidates[0].mask.sum() < 400


def test_a_denied_colour_is_measured(clip: ClipModel):
    answer = _by_place(clip, "the tank on the left that is not white")
    assert answer.candidates[0].mask[12:28, 12:28].mean() > 0.9
    assert answer.candidates[0].mask.sum() < 400


@pytest.mark.parametrize("text", ["the non-military tank", "tanks except ships", "not the tank"])
def test_what_cannot_be_denied_is_refused_with_the_reason(clip: ClipModel, text: str):
    answer = _by_place(clip, text)
    assert answer.candidates == ()
    assert "say what it is, not what it is not" in answer.reason


def test_a_plural_is_first_all_of_them_together(clip: ClipModel):
    one = _by_place(clip, "the white tank")
    two = _by_place(clip, "two white tanks")
    assert two.candidates[0].mask.sum() > 1.5 * one.candidates[0].mask.sum()
    union = two.candidates[1].mask | two.candidates[2].mask
    assert (two.candidates[0].mask == union).all()


def test_what_is_not_there_is_said_and_not_guessed(clip: ClipModel):
    strict = replace(PARAMETERS, selection=SelectionParameters(least=1.0))
    answer = referring.segment_expression(IMAGE, "the ship", clip, strict)
    assert answer.candidates == ()
    assert "nothing here looks like 'ship'" in answer.reason


def test_an_empty_expression_is_refused(clip: ClipModel):
    with pytest.raises(InputError, match="the expression is empty"):
        referring.segment_expression(IMAGE, "  ", clip)


def test_an_encoded_image_answers_any_number_of_expressions(clip: ClipModel):
    encoded = pipeline.encode_image(IMAGE, clip, SMALL)
    for text in ("the ship", "the tank left of the ship"):
        again = referring.refer(encoded, text, clip, PARAMETERS)
        alone = referring.segment_expression(IMAGE, text, clip, PARAMETERS)
        assert [c.score for c in again.candidates] == [c.score for c in alone.candidates]
        assert (again.candidates[0].mask == alone.candidates[0].mask).all()


def test_crops_made_in_advance_change_nothing(clip: ClipModel):
    encoded = pipeline.encode_image(IMAGE, clip, SMALL)
    ahead = pipeline.with_crops(encoded, clip, SMALL)
    for mode in ("clip", "global-local"):
        wanted = replace(PARAMETERS, mode=mode)
        first, second = (referring.refer(e, "the ship", clip, wanted) for e in (encoded, ahead))
        assert [c.score for c in first.candidates] == [c.score for c in second.candidates]


def test_a_noun_gets_the_label_that_names_it_or_the_most_similar(clip: ClipModel):
    labels = [Label("house"), Label("tanks"), Label("other", background=True)]
    assert vocabulary.label_for("building", labels, clip) == "house"
    assert vocabulary.label_for("tank", labels, clip) == "tanks"
    assert vocabulary.label_for("zebra", labels, clip) in ("house", "tanks")
    with pytest.raises(InputError, match="no label"):
        vocabulary.label_for("tank", [Label("other", background=True)], clip)


def _by_place(clip: ClipModel, text: str) -> referring.ExpressionSegmentation:
    """Without the class and the activation, which an untrained model only makes up."""
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        weights = {**referring.MODES, "geometry": {"geometry": 1.0, "quality": 0.2}}
        patched.setattr(referring, "MODES", weights)
        return referring.segment_expression(IMAGE, text, clip, PARAMETERS)
