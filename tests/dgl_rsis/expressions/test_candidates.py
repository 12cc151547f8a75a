"""Which masks may be meant, with the small untrained model and maps that are drawn by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import EncodedImage
from dgl_rsis.classes.scales import Phrases
from dgl_rsis.clip import pixel_tower
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.expressions import candidates, instances
from dgl_rsis.expressions import pipeline as referring
from dgl_rsis.expressions.candidates import CandidateParameters, Candidates, Query
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.expressions.selection import SelectionParameters
from dgl_rsis.regions.proposals import RegionParameters
from tests.dgl_rsis.clip.small_towers import drawn_pixels, untrained_pixels

ENCODING = pipeline.OvssParameters(
    regions=RegionParameters(levels=(384,), min_regions=6, objects=20), margin=0.0
)
IMAGE = np.full((64, 80, 3), 90, np.uint8)
IMAGE[20:40, 30:60] = (200, 60, 60)
SHIP = (IMAGE == 200).any(axis=2)


@pytest.fixture
def seeing(clip: ClipModel) -> ClipModel:
    """The small model with an untrained pixel tower."""
    return replace(clip, pixels=pixel_tower.folded(untrained_pixels()))


def asked(texts: torch.Tensor, owners: list[int]) -> Phrases:
    """Phrases of which nothing more is known."""
    unknown = [None] * len(owners)
    return Phrases(texts, owners, unknown, unknown)


def encoded(clip: ClipModel, shown: bool = True) -> EncodedImage:
    """The image, whose map of the first direction shows the red object, or nothing."""
    made = pipeline.encode_image(IMAGE, clip, ENCODING)
    seen = torch.from_numpy(SHIP[::2, ::2]) & shown
    coordinates = F.one_hot(torch.where(seen, 0, 1), 8).float()
    pixels = drawn_pixels(coordinates, torch.zeros(64, 80))
    return replace(made, dense=replace(made.dense, pixels=pixels))


def look(clip: ClipModel, image: EncodedImage, anchors: bool = False) -> Candidates:
    assert clip.pixels is not None
    noun_rest_anchor = asked(clip.pixels.basis[:3], [0, 2, 1])
    query = Query(noun_rest_anchor, anchors)
    warm = replace(ENCODING, temperature=50.0)
    return candidates.find(image, clip, query, warm, CandidateParameters())


def test_instances_of_the_noun_are_the_only_candidates(seeing: ClipModel):
    seen = look(seeing, encoded(seeing))
    ious = [(mask & SHIP).sum() / (mask | SHIP).sum() for mask in seen.masks.masks]
    assert min(ious) > 0.8
    assert seen.classes.shape == (len(seen.masks), 3)
    assert seen.classes[:, 0].min() > 0.9
    assert seen.whole == pytest.approx(ious, abs=0.15)
    assert seen.others is seen.masks
    assert seen.whole is not None
    assert (seen.confidence <= np.minimum(seen.whole, seen.classes[:, 0])).all()
    assert seen.confidence.min() > 0.5


def test_anchors_of_another_noun_are_proposals(seeing: ClipModel):
    image = encoded(seeing)
    seen = look(seeing, image, anchors=True)
    assert seen.others is image.proposed
    assert seen.of_others.shape == (len(image.proposed), 3)
    assert len(seen.masks) == len(look(seeing, image).masks)


def test_where_the_map_shows_nothing_the_proposals_are_left(seeing: ClipModel):
    image = encoded(seeing, shown=False)
    seen = look(seeing, image)
    assert seen.masks is image.proposed
    assert seen.whole is None
    assert (seen.confidence == seen.classes[:, 0]).all()


def test_without_a_map_of_pixels_parts_join_the_proposals(clip: ClipModel):
    image = pipeline.encode_image(IMAGE, clip, ENCODING)
    texts = F.normalize(torch.randn(2, 32), dim=-1)
    seen = candidates.find(
        image, clip, Query(asked(texts, [0, 1]), False), ENCODING, CandidateParameters()
    )
    assert len(seen.masks) >= len(image.proposed)
    assert (seen.masks.masks[: len(image.proposed)] == image.proposed.masks).all()
    assert len(seen.classes) == len(seen.masks)
    assert seen.whole is None


def test_two_things_are_not_made_of_one(seeing: ClipModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(instances, "likely", lambda *_: SHIP.astype(np.float32))
    anything = ResParameters(encoding=ENCODING, selection=SelectionParameters(least=0.0))
    answer = referring.refer(encoded(seeing), "two ships", seeing, anything)
    assert answer.candidates
    for candidate in answer.candidates:
        assert (candidate.mask & SHIP).sum() / (candidate.mask | SHIP).sum() > 0.8
