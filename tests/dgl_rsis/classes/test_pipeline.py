from dataclasses import replace

import numpy as np
import pytest
import torch

from dgl_rsis.classes import indices, pipeline, vocabulary
from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.types import InputError, Label

IMAGE = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
BARE = OvssParameters(knowledge=False)  # no implicit background: every pixel has a label
LABELS = [Label("building"), Label("land"), Label("road"), Label("vegetation"), Label("water")]


def test_every_pixel_gets_a_class_of_a_covering_vocabulary(clip: ClipModel):
    segmentation = pipeline.segment_classes(IMAGE, LABELS, clip, BARE)
    assert segmentation.class_map.shape == (70, 90)
    assert (segmentation.class_map > 0).all()
    assert sum(s.mask.sum() for s in segmentation.classes) == IMAGE[..., 0].size
    for segment in segmentation.classes:
        number = 1 + [x.name for x in LABELS].index(segment.label)
        assert ((segmentation.class_map == number) == segment.mask).all()
        assert 0 <= segment.score <= 1
    assert list(segmentation.seconds) == ["text", "proposals", "dense", "crops", "map", "masks"]


def test_the_margin_says_how_sure_the_classes_are(clip: ClipModel):
    warm, hot = (
        pipeline.segment_classes(IMAGE, LABELS, clip, OvssParameters(temperature=t))
        for t in (10.0, 1000.0)
    )
    assert 0 <= warm.margin < hot.margin <= 1


def test_objects_are_the_parts_of_the_classes(clip: ClipModel):
    segmentation = pipeline.segment_classes(IMAGE, LABELS, clip, OvssParameters(min_object=1))
    union = np.zeros((70, 90), dtype=int)
    for part in segmentation.objects:
        union += part.mask
    assert (union == (segmentation.class_map > 0)).all()


def test_one_label_has_a_background(clip: ClipModel):
    segmentation = pipeline.segment_classes(IMAGE, [Label("building")], clip)
    assert set(np.unique(segmentation.class_map)) <= {0, 1}


def test_a_background_label_is_never_painted(clip: ClipModel):
    labels = [*LABELS, Label("other", background=True)]
    segmentation = pipeline.segment_classes(IMAGE, labels, clip)
    assert "other" not in {s.label for s in segmentation.classes}
    assert segmentation.class_map.max() <= 5


def test_a_threshold_leaves_doubtful_pixels_out(clip: ClipModel):
    free = pipeline.segment_classes(IMAGE, LABELS, clip)
    strict = pipeline.segment_classes(IMAGE, [replace(x, threshold=0.9) for x in LABELS], clip)
    assert (strict.class_map > 0).sum() <= (free.class_map > 0).sum()
    painted = strict.class_map > 0
    assert (strict.probability[painted] >= 0.9).all()


def test_a_label_of_its_own_threshold_leaves_others_alone(clip: ClipModel):
    free = pipeline.segment_classes(IMAGE, LABELS, clip)
    first = free.classes[0].label
    labels = [replace(x, threshold=1.0) if x.name == first else x for x in LABELS]
    segmentation = pipeline.segment_classes(IMAGE, labels, clip)
    number = 1 + [x.name for x in LABELS].index(first)
    others = free.class_map != number
    assert (segmentation.class_map[others] == free.class_map[others]).all()
    assert not ((segmentation.class_map == number) & (segmentation.probability < 1)).any()


def test_the_batch_does_not_change_the_answer(clip: ClipModel):
    few = pipeline.segment_classes(IMAGE, LABELS, clip, OvssParameters(batch=3))
    many = pipeline.segment_classes(IMAGE, LABELS, clip, OvssParameters(batch=500))
    assert (few.class_map == many.class_map).mean() > 0.999


def test_a_large_image_is_answered_at_its_own_size(clip: ClipModel):
    regions = RegionParameters(max_side=64)
    segmentation = pipeline.segment_classes(IMAGE, LABELS, clip, replace(BARE, regions=regions))
    assert segmentation.class_map.shape == segmentation.probability.shape == (70, 90)
    assert (segmentation.class_map > 0).all()


@pytest.mark.parametrize("shape", [(8, 8), (9, 120), (200, 8)])
def test_images_of_odd_sizes(clip: ClipModel, shape: tuple[int, int]):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert pipeline.segment_classes(image, LABELS, clip).class_map.shape == shape


def test_three_hundred_labels(clip: ClipModel):
    labels = [Label(f"thing {i}") for i in range(300)]
    segmentation = pipeline.segment_classes(IMAGE[:16, :16], labels, clip)
    assert segmentation.class_map.max() <= 300


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (IMAGE, [], "no labels"),
        (IMAGE, [Label("a"), Label("a")], "twice: a"),
        (IMAGE[:4], [Label("a")], "90 × 4 pixels"),
    ],
)
def test_what_cannot_be_segmented_is_said(clip: ClipModel, image, labels, message):
    with pytest.raises(InputError, match=message):
        pipeline.segment_classes(image, labels, clip)


def test_the_version_follows_weights_and_parameters(clip: ClipModel):
    default = OvssParameters()
    version = pipeline.model_version(clip, default)
    assert version == pipeline.model_version(clip, replace(default, batch=7))
    assert version != pipeline.model_version(clip, replace(default, mask_share=0.1))
    assert version != pipeline.model_version(replace(clip, fingerprint="0"), default)


@pytest.mark.parametrize("kind", ["class-tokens", "late-masking"])
def test_other_mask_features_give_other_vectors_of_the_same_form(clip: ClipModel, kind: str):
    default = OvssParameters()
    pooled = pipeline.encode_image(IMAGE, clip, default)
    other = pipeline.encode_image(IMAGE, clip, replace(default, mask_feature=kind))
    assert other.by_mask.shape == pooled.by_mask.shape
    assert other.by_mask.norm(dim=-1).numpy() == pytest.approx(1, abs=1e-5)
    assert (other.by_mask - pooled.by_mask).abs().max() > 1e-3


def test_crops_are_made_for_doubtful_masks_only(clip: ClipModel):
    words = vocabulary.prepare(LABELS, clip)
    encoded = pipeline.encode_image(IMAGE, clip, OvssParameters())
    weighting = pipeline.weigh(encoded, clip, words.phrases, OvssParameters())

    def fused(margin: float) -> torch.Tensor:
        parameters = OvssParameters(margin=margin)
        return pipeline.fuse(encoded, clip, words.phrases, weighting, parameters)

    every, none = fused(1.0), fused(0.0)
    assert (none == encoded.by_mask).all()
    classes = np.sort(
        pipeline.matching.match(encoded.by_mask[0], words.texts, words.owners, clip.temperature),
        axis=1,
    )
    margins = classes[:, -1] - classes[:, -2]
    limit = float(np.median(margins))
    some = fused(limit)
    doubtful = margins < limit
    assert 0 < doubtful.sum() < len(doubtful)
    assert some[:, doubtful].numpy() == pytest.approx(every[:, doubtful].numpy(), abs=1e-5)
    assert (some[:, ~doubtful] == encoded.by_mask[:, ~doubtful]).all()


def with_ndvi(clip: ClipModel, value: float, parameters: OvssParameters) -> np.ndarray:
    """(H, W, C) probabilities where NDVI is the same everywhere."""
    encoded = pipeline.encode_image(IMAGE, clip, parameters)
    if not np.isnan(value):
        encoded = replace(encoded, indices={"ndvi": np.full((70, 90), value, np.float32)})
    words = vocabulary.prepare(LABELS, clip)
    semantic = pipeline.pixel_classes(encoded, words, clip, parameters, {})
    return semantic.classes[semantic.cell]


def test_an_index_moves_the_classes_that_are_tied_to_it(clip: ClipModel):
    none, green, bare = (with_ndvi(clip, x, OvssParameters()) for x in (np.nan, 0.9, -0.9))
    names = [label.name for label in LABELS]
    vegetation, road, water = (names.index(x) for x in ("vegetation", "road", "water"))
    assert (green[..., vegetation] > none[..., vegetation]).all()
    assert (bare[..., vegetation] < none[..., vegetation]).all()
    # Water has no say about NDVI: to it the road loses what the logits of the road lose.
    lost = np.log(green[..., road] / green[..., water]) - np.log(none[..., road] / none[..., water])
    most = np.log((1 - indices.DOUBT) / indices.DOUBT)
    assert lost == pytest.approx(np.full_like(lost, -most), abs=0.1)


def test_indices_of_no_weight_change_nothing(clip: ClipModel):
    none = with_ndvi(clip, np.nan, OvssParameters())
    assert (with_ndvi(clip, 0.9, OvssParameters(index_weight=0.0)) == none).all()


def test_the_weight_of_indices_is_part_of_the_version(clip: ClipModel):
    versions = {pipeline.model_version(clip, OvssParameters(index_weight=w)) for w in (0.0, 1.0)}
    assert len(versions) == 2
