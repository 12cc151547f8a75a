"""What is remembered of a picture, with a small untrained model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.clip import features
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.resolution import Resolution, stated
from dgl_rsis.types import InputError, Label, Prompt
from dgl_rsis.weights.checkpoints import ModelError
from workers.engine import looks, providers
from workers.engine.loading import load_segmenter
from workers.engine.segmenter import Segmenter
from workers.images.cache import ImageCache
from workers.images.pictures import Picture
from workers.settings import WorkerSettings

LABELS = (Label("building"), Label("water"), Label("ground", background=True))
MIB = 2**20


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is computed, in order."""
    made: list[str] = []
    for module, name in (
        (providers, "build_tree"),
        (features, "dense_features"),
        (features, "mask_features"),
        (features, "crop_features"),
    ):
        real = getattr(module, name)

        def counted(*args: object, _real: object = real, _name: str = name, **kw: object) -> object:
            made.append(_name)
            return _real(*args, **kw)  # type: ignore[operator]

        monkeypatch.setattr(module, name, counted)
    return made


@pytest.fixture(scope="module")
def picture() -> Picture:
    pixels = np.random.default_rng(1).integers(0, 60, (48, 64, 3), dtype=np.uint8)
    pixels[8:24, 8:24] += np.uint8(150)
    pixels[30:44, 30:60, 2] += np.uint8(180)
    return Picture(pixels, "digest")


def _segmenter(model_folder: Path, cache: ImageCache | None = None) -> Segmenter:
    return load_segmenter(WorkerSettings(model=str(model_folder)), cache)


def _at(x: float, y: float) -> Prompt:
    return Prompt(positive=np.array([[x, y]], dtype=np.float32))


def test_with_memory_or_without_the_answers_are_the_pipelines(
    model_folder: Path, picture: Picture
) -> None:
    clip = load_clip(str(model_folder))
    direct = pipeline.segment_classes(picture.pixels, LABELS, clip)
    for cache in (None, ImageCache(MIB)):
        segmenter = _segmenter(model_folder, cache)
        for _ in range(2):
            segmentation = segmenter.segment(picture, LABELS, segmenter.batch)
            assert (segmentation.class_map == direct.class_map).all()
            assert segmentation.probability == pytest.approx(direct.probability, abs=1e-6)
            assert {"proposals", "dense", "text", "crops", "map", "masks"} <= set(
                segmentation.seconds
            )


def test_a_picture_is_encoded_once_whatever_is_asked(
    model_folder: Path, picture: Picture, calls: list[str]
) -> None:
    segmenter = _segmenter(model_folder, ImageCache(MIB))
    segmenter.segment(picture, LABELS, 8)
    assert sorted(calls) == ["build_tree", "crop_features", "dense_features", "mask_features"]
    calls.clear()
    segmenter.segment(picture, LABELS[:2], 4)
    refined = segmenter.point(picture, _at(15, 15))
    assert refined.mask[15, 15]
    assert calls == []
    segmenter.refer(picture, "the building", LABELS, 8)
    assert calls == ["mask_features"]  # of other cuts of the same tree
    segmenter.refer(picture, "the water", LABELS, 8, most=9)
    assert calls == ["mask_features"]


def test_the_labels_of_a_project_are_encoded_once(
    model_folder: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter, encode, asked = _segmenter(model_folder), features.text_features, []

    def text_features(clip: ClipModel, phrases: Sequence[Sequence[str]]) -> Tensor:
        asked.append(len(phrases))
        return encode(clip, phrases)

    monkeypatch.setattr(features, "text_features", text_features)
    first = segmenter.segment(picture, LABELS, 8)
    assert len(asked) == 1
    again = segmenter.segment(picture, LABELS, 8)
    assert len(asked) == 1
    assert (again.class_map == first.class_map).all()
    segmenter.segment(picture, [replace(LABELS[0], threshold=1.0), *LABELS[1:]], 8)
    assert len(asked) == 2


def test_a_click_on_a_cold_picture_needs_no_features(
    model_folder: Path, picture: Picture, calls: list[str]
) -> None:
    segmenter = _segmenter(model_folder, ImageCache(MIB))
    mask = segmenter.point(picture, _at(15, 15)).mask
    assert calls == ["build_tree"]
    assert segmenter.label_of(picture, mask, LABELS, 8) in ("building", "water")
    assert calls == ["build_tree", "dense_features", "mask_features"]
    segmenter.label_of(picture, mask, LABELS, 8)
    assert calls[3:] == ["mask_features"]
    assert segmenter.label_of(picture, mask, LABELS[1:], 8) == "water"  # there is no other


def test_other_workers_find_it_on_disk(
    model_folder: Path, picture: Picture, tmp_path: Path, calls: list[str]
) -> None:
    first = _segmenter(model_folder, ImageCache(MIB, tmp_path))
    expected = first.segment(picture, LABELS, 8)
    calls.clear()
    other = _segmenter(model_folder, ImageCache(MIB, tmp_path))
    segmentation = other.segment(picture, LABELS, 8)
    assert calls == []
    assert (segmentation.class_map == expected.class_map).all()


def test_all_like_one_are_found_in_a_picture_that_is_encoded_once(
    model_folder: Path, calls: list[str]
) -> None:
    pixels = np.full((64, 96, 3), 60, dtype=np.uint8)
    squares = np.zeros((3, 64, 96), dtype=np.bool_)
    for square, left in zip(squares, (8, 40, 72), strict=True):
        square[24:40, left : left + 16] = True
        pixels[square] = (200, 90, 60)
    shown = Picture(pixels, "squares")
    segmenter = _segmenter(model_folder, ImageCache(16 * MIB))
    segmenter.point(shown, _at(15, 30))
    found = segmenter.alike(shown, squares[0], squares[0], 8)
    masks = [segment.mask for segment in found.segments("roof")]
    assert len(masks) == 2
    assert all(max((mask & each).sum() / (mask | each).sum() for each in squares[1:]) > 0.8
               for mask in masks)  # fmt: skip
    assert calls.count("build_tree") == calls.count("dense_features") == 1
    calls.clear()
    (left,) = segmenter.alike(shown, squares[0], squares[0] | squares[2], 8).segments("roof")
    assert (left.mask & squares[1]).any()
    assert set(calls) == {"mask_features"}  # of the exemplar alone


@pytest.mark.parametrize(("factor", "metres"), [(1, (None, None)), (2, (0.4, 0.2))])
def test_all_like_one_are_found_in_another_picture(
    model_folder: Path, factor: int, metres: tuple[float | None, float | None]
) -> None:
    """Also where the same things have twice as many pixels a side, if both say how large one is."""
    squares = np.zeros((3, 64, 96), dtype=np.bool_)
    for square, left in zip(squares, (8, 40, 72), strict=True):
        square[24:40, left : left + 16] = True
    pixels = np.full((64, 96, 3), 60, dtype=np.uint8)
    pixels[squares.any(axis=0)] = (200, 90, 60)
    large = np.kron(pixels[::-1], np.ones((factor, factor, 1), dtype=np.uint8))
    one, other = (stated(each, "task") for each in metres)
    segmenter = _segmenter(model_folder)
    look = looks.from_message(
        looks.to_message(segmenter.look(Picture(pixels, "", one), squares[0], 8))
    )
    found = segmenter.alike_elsewhere(Picture(large, "", other), look, "roof", 8)
    masks = [segment.mask[::-factor, ::factor] for segment in found.segments("roof")]
    assert len(masks) == 3
    for square in squares:
        assert max((mask & square).sum() / (mask | square).sum() for mask in masks) > 0.8
    if factor > 1:
        assert not len(segmenter.alike_elsewhere(Picture(large), look, "roof", 8)), (
            "four times as large"
        )


def test_nothing_is_remembered_of_another_file_or_of_the_self_test(
    model_folder: Path, picture: Picture, calls: list[str]
) -> None:
    segmenter = _segmenter(model_folder, ImageCache(MIB))
    segmenter.point(picture, _at(15, 15))
    segmenter.point(replace(picture, digest="other"), _at(15, 15))
    for _ in range(2):
        segmenter.point(replace(picture, digest=""), _at(15, 15))
    assert calls == ["build_tree"] * 4


def test_features_of_other_parameters_are_others(
    model_folder: Path, picture: Picture, calls: list[str]
) -> None:
    segmenter = _segmenter(model_folder, ImageCache(MIB))
    wide = OvssParameters()
    encoded = segmenter.encode(picture, wide)
    tight = segmenter.encode(picture, replace(wide, crops=replace(wide.crops, max_scale=1.2)))
    assert encoded.by_crop is not None
    assert tight.by_crop is not None
    assert (encoded.by_mask == tight.by_mask).all()
    assert not (encoded.by_crop == tight.by_crop).all()
    few = segmenter.encode(picture, ResParameters().encoding)
    assert few.by_crop is None
    assert few.by_mask.shape[:2] == (1, len(few.proposed))


def test_the_version_tells_the_provider(model_folder: Path) -> None:
    segmenter = _segmenter(model_folder)
    assert segmenter.model_version == _segmenter(model_folder, ImageCache(1)).model_version
    assert "regions" not in segmenter.model_version


def test_a_setting_of_the_resolution_has_a_version_of_its_own(model_folder: Path) -> None:
    versions = {
        load_segmenter(
            WorkerSettings(model=str(model_folder), metres_per_pixel=metres)
        ).model_version
        for metres in (None, 0.3, 0.5)
    }
    assert len(versions) == 3
    assert _segmenter(model_folder).model_version in versions


def test_the_resolution_of_the_picture_reaches_the_encoded_image(
    model_folder: Path, picture: Picture
) -> None:
    known = Resolution(0.3, 0.05, "exif")
    segmenter = _segmenter(model_folder)
    encoded = segmenter.encode(replace(picture, resolution=known), segmenter.parameters)
    assert encoded.resolution == known
    assert segmenter.encode(picture, segmenter.parameters).resolution is None


def test_what_shows_nothing_gets_no_label_and_no_candidate(
    model_folder: Path, picture: Picture
) -> None:
    segmenter, valid = _segmenter(model_folder), np.ones(picture.pixels.shape[:2], dtype=bool)
    valid[:20] = False
    half, nothing = replace(picture, valid=valid), replace(picture, valid=np.zeros_like(valid))
    segmentation = segmenter.segment(half, LABELS, 4)
    whole = segmenter.segment(picture, LABELS, 4)
    assert (segmentation.class_map == np.where(valid, whole.class_map, 0)).all()
    assert not any((each.mask & ~valid).any() for each in segmentation.objects)
    assert segmenter.segment(nothing, LABELS, 4).classes == ()
    found = segmenter.find(half, "the building", ResParameters())
    assert not any((each.mask & ~valid).any() for each in found.candidates)
    assert segmenter.find(nothing, "the building", ResParameters()).candidates == ()


def test_scenes_cut_the_regions_themselves(model_folder: Path) -> None:
    assert _segmenter(model_folder).propose is None


def test_what_cannot_be_answered(model_folder: Path, picture: Picture) -> None:
    segmenter = _segmenter(model_folder)
    tiny = Picture(picture.pixels[:4, :4], "tiny")
    with pytest.raises(InputError, match="at least 8 × 8"):
        segmenter.point(tiny, _at(1, 1))
    with pytest.raises(InputError, match="no label that the mask could get"):
        segmenter.label_of(picture, np.ones((48, 64), bool), LABELS[2:], 8)
    with pytest.raises(ModelError):
        load_segmenter(WorkerSettings(model="no such model"))
    with pytest.raises(ModelError):
        load_segmenter(WorkerSettings(model=str(model_folder), proposals="no such model"))
