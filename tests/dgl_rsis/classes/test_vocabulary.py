import numpy as np
import pytest
import torch

from dgl_rsis.classes import knowledge, vocabulary
from dgl_rsis.clip import features
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.types import InputError, Label


def test_every_phrase_belongs_to_its_class(clip: ClipModel):
    labels = [Label("car", ("motor vehicle", "automobile")), Label("water")]
    words = vocabulary.prepare(labels, clip)
    assert words.labels == tuple(labels)
    assert [entry.label for entry in words.asked[:2]] == labels
    assert len(words.owners) == len(words.texts)
    for phrase, owner, text in zip(
        [phrase for entry in words.asked for phrase in entry.phrases],
        words.owners,
        words.texts,
        strict=True,
    ):
        assert phrase in words.asked[owner].phrases
        alone = features.text_features(clip, [knowledge.prompts(phrase)])[0]
        torch.testing.assert_close(text, alone, atol=1e-5, rtol=0)


def test_without_knowledge_the_bare_names_are_asked_for(clip: ClipModel):
    words = vocabulary.prepare([Label("car"), Label("water")], clip, enrich=False)
    bare = features.text_features(clip, [("car",), ("water",)])
    torch.testing.assert_close(words.texts, bare)
    assert words.owners == [0, 1]


def test_doubtful_pixels_and_backgrounds_have_no_label(clip: ClipModel):
    labels = [Label("car", threshold=0.8), Label("ground", background=True), Label("water")]
    words = vocabulary.prepare(labels, clip)
    best = np.array([0, 0, 1, 2, 2], dtype=np.uint16)
    probability = np.array([0.7, 0.8, 1.0, 0.5, 0.3], dtype=np.float32)
    assert words.labelled(best, probability, 0.4).tolist() == [0, 1, 0, 3, 0]


def test_implicit_backgrounds_have_no_label(clip: ClipModel):
    words = vocabulary.prepare([Label("building")], clip)
    extra = len(words.asked) - 1
    assert extra > 0
    best = np.arange(extra + 1, dtype=np.uint16)
    numbers = words.labelled(best, np.ones(extra + 1, dtype=np.float32), 0.0)
    assert numbers.tolist() == [1, *[0] * extra]


@pytest.mark.parametrize(
    ("labels", "message"), [([], "no labels"), ([Label("a"), Label("a")], "twice: a")]
)
def test_labels_that_cannot_be_looked_for_are_said(clip: ClipModel, labels, message):
    with pytest.raises(InputError, match=message):
        vocabulary.prepare(labels, clip)
