"""Segment Anything as a provider, with a small untrained one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("segment_anything")

from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.sam import model, proposals
from dgl_rsis.sam.proposals import SamParameters
from dgl_rsis.types import Label, Prompt
from dgl_rsis.weights.checkpoints import ModelError
from tests.dgl_rsis.sam.small_sam import small_sam
from workers.engine.loading import load_segmenter
from workers.engine.providers import Provider, Remembered
from workers.engine.sam import SamProvider
from workers.engine.segmenter import Segmenter
from workers.images.cache import ImageCache
from workers.images.pictures import Picture
from workers.settings import WorkerSettings

FEW = SamParameters(points_per_side=3, pred_iou=-1e9, stability=0.0, crop_layers=0)


@pytest.fixture(scope="module")
def picture() -> Picture:
    pixels = np.random.default_rng(1).integers(0, 60, (48, 64, 3), dtype=np.uint8)
    pixels[8:24, 8:24] += np.uint8(150)
    return Picture(pixels, "digest")


def _provider(cache: ImageCache) -> SamProvider:
    return SamProvider(Remembered(cache), "sam-small", small_sam(), FEW)


def test_what_is_remembered_is_what_was_computed(picture: Picture, tmp_path: Path) -> None:
    fresh = proposals.propose(picture.pixels, small_sam(), FEW)
    assert len(fresh) > 1
    for _ in range(2):  # the second one reads what the first one left
        remembered = _provider(ImageCache(0, tmp_path)).propose(picture, RegionParameters())
        assert (remembered.masks == fresh.masks).all()
        assert (remembered.boxes == fresh.boxes).all()
        assert (remembered.quality == fresh.quality).all()
        assert (remembered.height, remembered.width) == (fresh.height, fresh.width)


def test_a_click_after_the_proposals_encodes_nothing(
    picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = _provider(ImageCache(2**24))
    prompt = Prompt(positive=np.array([[16, 16]], dtype=np.float32))
    small = small_sam()
    expected = model.refine(small, model.encode(small, picture.pixels), prompt)
    provider.propose(picture, RegionParameters())

    def encode(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(model, "encode", encode)
    refined = provider.refine(picture, prompt)
    assert (refined.mask == expected.mask).all()
    assert refined.score == expected.score


def test_the_version_names_the_weights(model_folder: Path) -> None:
    from dgl_rsis.clip.model import load_clip

    clip, remembered = load_clip(str(model_folder)), Remembered(ImageCache(0))
    small = replace(small_sam(), fingerprint="abcdef0123456789")
    one, other = (
        Segmenter(clip, SamProvider(remembered, "sam-small", each, FEW), remembered)
        for each in (small, replace(small, fingerprint="9" * 16))
    )
    assert one.model_version.endswith("-sam-small-abcdef01")
    assert one.model_version != other.model_version
    batched = SamProvider(remembered, "sam-small", small, replace(FEW, batch=7))
    assert batched.identity == (Provider("sam-small", small.fingerprint), FEW)


def test_classes_come_from_its_masks(model_folder: Path, picture: Picture) -> None:
    from dgl_rsis.clip.model import load_clip

    cache = ImageCache(2**24)
    segmenter = Segmenter(load_clip(str(model_folder)), _provider(cache), Remembered(cache))
    segmentation = segmenter.segment(picture, [Label("building"), Label("water")], 8)
    assert segmentation.class_map.shape == (48, 64)
    assert segmenter.propose is not None  # for scenes
    proposed = segmenter.propose(picture.pixels)
    assert (proposed.masks == _provider(cache).propose(picture, RegionParameters()).masks).all()


def test_a_file_that_is_not_there_is_an_error_for_users(model_folder: Path) -> None:
    for name in ("no such model", "vit_b:/no/such/file.pth", "vit_x:/no/such/file.pth"):
        with pytest.raises(ModelError):
            load_segmenter(WorkerSettings(model=str(model_folder), proposals=name))


def test_an_image_without_any_mask_is_answered(picture: Picture) -> None:
    none = replace(FEW, pred_iou=1e9)
    remembered = Remembered(ImageCache(0))
    provider = SamProvider(remembered, "sam-small", small_sam(), none)
    assert len(provider.propose(picture, RegionParameters())) == 0
    loaded = load_segmenter(WorkerSettings())
    segmenter = Segmenter(loaded.clip, provider, remembered)
    labels = (Label("building"), Label("water"))
    assert segmenter.segment(picture, labels, 8).class_map.shape == picture.pixels.shape[:2]
    found, _ = segmenter.refer(picture, "the building left of the road", labels, 8)
    assert found.candidates or found.reason
    exemplar = np.zeros(picture.pixels.shape[:2], dtype=bool)
    exemplar[8:24, 8:24] = True
    assert len(segmenter.alike(picture, exemplar, exemplar, 8)) == 0
    assert len(segmenter.look(picture, exemplar, 8)) == 1
