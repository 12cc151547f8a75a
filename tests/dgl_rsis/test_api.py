"""The Python interface: the same answers as the pipelines, and errors that say what to give."""

import doctest
from pathlib import Path

import numpy as np
import pytest

from dgl_rsis import api
from dgl_rsis.classes import pipeline as classes
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.expressions import pipeline as expressions
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.types import InputError, Label
from dgl_rsis.weights.checkpoints import ModelError
from tests.dgl_rsis.sam.small_sam import small_sam

IMAGE = np.full((64, 96, 3), (60, 110, 50), dtype=np.uint8)
IMAGE[16:40, 24:72] = 200, 60, 50
LABELS = ("building", "water")


def test_the_example_is_true(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    results = doctest.testmod(api)
    assert results.attempted > 5
    assert results.failed == 0


def test_the_same_model_is_loaded_once(model_folder: Path):
    assert api.load(str(model_folder)) is api.load(str(model_folder))
    with pytest.raises(ModelError, match="no model 'nothing'"):
        api.load("nothing")


def test_classes_are_those_of_the_pipeline(clip: ClipModel):
    answer = api.segment(IMAGE, LABELS, clip)
    expected = classes.segment_classes(IMAGE, [Label(name) for name in LABELS], clip)
    assert answer.class_map.shape == answer.probability.shape == (64, 96)
    assert answer.class_map.dtype == np.uint16
    assert answer.probability.dtype == np.float32
    assert (answer.class_map == expected.class_map).all()
    assert {segment.label for segment in answer.classes} <= set(LABELS)


def test_labels_may_have_synonyms_and_thresholds(clip: ClipModel):
    never = Label("water", ("sea",), threshold=1.0)
    assert 2 not in api.segment(IMAGE, ["building", never], clip).class_map


def test_the_starter_is_the_default(monkeypatch: pytest.MonkeyPatch, clip: ClipModel):
    monkeypatch.setattr(api, "load", lambda: clip)
    by_default = api.segment(IMAGE, LABELS)
    assert (by_default.class_map == api.segment(IMAGE, LABELS, clip).class_map).all()
    assert api.refer(IMAGE, "the red building").decoupled.noun == "building"


def test_expressions_get_ranked_masks(clip: ClipModel):
    answer = api.refer(IMAGE, "the red building", clip, ResParameters(top_k=2))
    expected = expressions.segment_expression(
        IMAGE, "the red building", clip, ResParameters(top_k=2)
    )
    assert len(answer.candidates) == len(expected.candidates) <= 2
    for ours, theirs in zip(answer.candidates, expected.candidates, strict=True):
        assert ours.mask.shape == (64, 96)
        assert (ours.mask == theirs.mask).all()
        assert ours.score == theirs.score


def test_points_and_a_box_find_the_same_object():
    pointed = api.refine(IMAGE, points=[(48, 28)])
    boxed = api.refine(IMAGE, box=(24, 16, 72, 40))
    assert pointed.mask[16:40, 24:72].all()
    assert pointed.mask.sum() == 24 * 48
    assert (boxed.mask == pointed.mask).all()
    assert 0 <= pointed.score <= 1


def test_a_point_outside_corrects_a_mask():
    whole = np.ones((64, 96), dtype=bool)
    corrected = api.refine(IMAGE, outside=[(5, 5)], mask=whole)
    assert not corrected.mask[5, 5]
    assert corrected.mask[28, 48]


def test_segment_anything_answers_where_it_is_given():
    answer = api.refine(IMAGE, points=np.array([[48, 28]]), sam=small_sam())
    assert answer.mask.shape == (64, 96)
    assert answer.mask.dtype == bool


def test_an_image_may_be_a_view(clip: ClipModel):
    view = np.repeat(IMAGE, 2, axis=1)[:, ::2]
    assert (api.refine(view, [(48, 28)]).mask == api.refine(IMAGE, [(48, 28)]).mask).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (IMAGE.astype(np.float32) / 255, r"is float32 of shape \(64, 96, 3\): give uint8"),
        (IMAGE[..., 0], r"is uint8 of shape \(64, 96\)"),
        (np.zeros((64, 96, 4), dtype=np.uint8), r"shape \(64, 96, 4\)"),
        (IMAGE[:4], "at least 8 × 8"),
    ],
    ids=["float", "grey", "alpha", "small"],
)
def test_what_is_no_image(clip: ClipModel, image: np.ndarray, words: str):
    for ask in (
        lambda: api.segment(image, LABELS, clip),
        lambda: api.refer(image, "the roof", clip),
        lambda: api.refine(image, [(2, 2)]),
    ):
        with pytest.raises(InputError, match=words):
            ask()


def test_what_is_no_question(clip: ClipModel):
    with pytest.raises(InputError, match="one string, 'building': give a list"):
        api.segment(IMAGE, "building", clip)
    with pytest.raises(InputError, match="at least one"):
        api.segment(IMAGE, [], clip)
    with pytest.raises(InputError, match="expression is empty"):
        api.refer(IMAGE, " ", clip)
    with pytest.raises(InputError, match=r"points has the shape \(2,\): give \(n, 2\)"):
        api.refine(IMAGE, points=(48, 28))
    with pytest.raises(InputError, match="says nothing"):
        api.refine(IMAGE)


def test_metres_reach_the_pipelines(monkeypatch: pytest.MonkeyPatch, clip: ClipModel):
    known: list[Resolution | None] = []
    encode = classes.encode_image

    def noted(*args, **options):
        encoded = encode(*args, **options)
        known.append(encoded.resolution)
        return encoded

    monkeypatch.setattr(classes, "encode_image", noted)
    for metres in (0.3, None):
        api.segment(IMAGE, LABELS, clip, metres_per_pixel=metres)
        api.refer(IMAGE, "the red building", clip, metres_per_pixel=metres)
    stated = Resolution(0.3, 0.05, "task")
    assert known == [stated, stated, None, None]
    with pytest.raises(InputError, match="300 metres a pixel are out of range"):
        api.segment(IMAGE, LABELS, clip, metres_per_pixel=300)
