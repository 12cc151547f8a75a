from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from skimage.color import rgb2lab

from dgl_rsis.classes import prototypes
from dgl_rsis.classes.prototypes import (
    FILL_UNIT,
    KEY_LENGTH,
    LOG_UNIT,
    MEAN_UNITS,
    Evidence,
    PrototypeParameters,
    Prototypes,
)
from dgl_rsis.types import RGB, Floats, InputError, Mask, Proposals

LABELS = ("roof", "grass", "sea")


def proposals_of(masks: Mask, height: int = 0, width: int = 0) -> Proposals:
    count, h, w = masks.shape
    boxes, quality = np.zeros((count, 4), np.int32), np.ones(count, np.float32)
    return Proposals(masks, boxes, quality, height or h, width or w)


def noise(height: int, width: int, seed: int = 0) -> RGB:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cells(height: int, width: int, side: int) -> Mask:
    """A mask for each square of a grid."""
    masks = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            mask = np.zeros((height, width), dtype=bool)
            mask[top : top + side, left : left + side] = True
            masks.append(mask)
    return np.stack(masks)


def clouds(centres: Floats, each: int = 30, seed: int = 0) -> Prototypes:
    """Examples around a centre for each class."""
    random = np.random.default_rng(seed)
    keys = [centre + random.normal(0, 1, (each, KEY_LENGTH)) for centre in centres]
    owners = np.repeat(np.arange(len(centres)), each)
    sources = np.tile(np.arange(each) % 5, len(centres))
    return Prototypes(LABELS[: len(centres)], np.concatenate(keys).astype("f4"), owners, sources)


def three_centres() -> Floats:
    centres = np.zeros((3, KEY_LENGTH), dtype=np.float32)
    centres[0, 0], centres[1, 1], centres[2, 2] = 5, 5, 5
    return centres


def test_a_key_is_colour_spread_texture_and_form() -> None:
    image = noise(12, 20)
    mask = np.zeros((1, 12, 20), dtype=bool)
    mask[0, 2:10, 5:9] = True
    mask[0, 2, 5] = False
    (key,) = prototypes.describe(image, proposals_of(mask))
    lab = rgb2lab(image)[mask[0]]
    assert key[:3] * MEAN_UNITS == pytest.approx(lab.mean(axis=0), abs=0.1)
    assert np.expm1(key[3:6] * LOG_UNIT) == pytest.approx(lab.std(axis=0), rel=0.01)
    assert (key[6:9] > 0).all()
    assert key[9] * FILL_UNIT == pytest.approx(31 / 32)
    assert key[10] == pytest.approx(np.log(2))


def test_a_plain_region_has_neither_spread_nor_texture() -> None:
    image = np.full((16, 16, 3), (90, 120, 60), dtype=np.uint8)
    keys = prototypes.describe(image, proposals_of(np.ones((1, 16, 16), dtype=bool)))
    assert keys[0, 3:9] == pytest.approx(np.zeros(6), abs=1e-3)


def test_an_empty_mask_has_a_key_of_zeros() -> None:
    keys = prototypes.describe(noise(8, 8), proposals_of(np.zeros((1, 8, 8), dtype=bool)))
    assert not keys.any()


def test_masks_may_be_smaller_than_the_image() -> None:
    image = cv2.resize(noise(4, 4), (64, 64), interpolation=cv2.INTER_NEAREST)
    masks = cells(32, 32, 8)
    small = prototypes.describe(image, proposals_of(masks, 64, 64))
    large = prototypes.describe(image, proposals_of(cells(64, 64, 16)))
    assert small[:, :3] == pytest.approx(large[:, :3], abs=0.02)


def test_regions_of_one_class_become_its_examples() -> None:
    masks = cells(32, 32, 8)
    marked = np.full((32, 32), -1, dtype=np.int32)
    marked[:, :16], marked[:8, 16:] = 0, 2
    marked[0, 0] = 2  # 1 of 64: still nearly all roof
    marked[8:16, 0:3] = 2  # 24 of 64: no example of anything
    learnt = prototypes.from_masks(noise(32, 32), proposals_of(masks), marked, LABELS)
    assert learnt.owners.tolist() == [0] * 7 + [2] * 2
    assert learnt.keys.shape == (9, KEY_LENGTH)
    assert learnt.labels == LABELS


def test_of_many_regions_some_of_each_size_are_taken() -> None:
    sizes = np.repeat([1, 2, 4, 8], 16)
    masks = np.zeros((64, 8, 8), dtype=bool)
    for mask, size in zip(masks, sizes, strict=True):
        mask[:size, :size] = True
    marked = np.zeros((8, 8), dtype=np.int32)
    parameters = PrototypeParameters(most_examples=8)
    learnt = prototypes.from_masks(noise(8, 8), proposals_of(masks), marked, LABELS, parameters)
    assert len(learnt) == 8
    same = prototypes.from_masks(noise(8, 8), proposals_of(masks), marked, LABELS, parameters)
    assert np.array_equal(learnt.keys, same.keys)
    assert len(np.unique(learnt.keys.round(3), axis=0)) == 4


def test_masks_of_another_image_are_refused() -> None:
    with pytest.raises(InputError, match="9 × 8 pixels, but it has 8 × 8"):
        prototypes.from_masks(
            noise(8, 8), proposals_of(cells(8, 8, 4)), np.zeros((8, 9), dtype=np.int32), LABELS
        )


def test_nothing_marked_is_no_example() -> None:
    marked = np.full((8, 8), -2, dtype=np.int32)
    learnt = prototypes.from_masks(noise(8, 8), proposals_of(cells(8, 8, 4)), marked, LABELS)
    assert (len(learnt), learnt.keys.shape) == (0, (0, KEY_LENGTH))


def test_the_log_likelihoods_are_those_of_a_linear_discriminant() -> None:
    learnt = clouds(three_centres())
    keys = np.random.default_rng(5).normal(1, 3, (40, KEY_LENGTH)).astype(np.float32)
    parameters = PrototypeParameters(shrinkage=0.0, weight=2.0, half_weight=5.0)
    logits = prototypes.judge(keys, learnt, LABELS, parameters).logits
    classes = [learnt.keys[learnt.owners == owner].astype(np.float64) for owner in range(3)]
    within = np.mean([np.cov(each.T, bias=True) for each in classes], axis=0)
    expected = np.stack(
        [multivariate_normal(each.mean(axis=0), within).logpdf(keys) for each in classes], axis=1
    )
    expected -= expected.mean(axis=1, keepdims=True)
    # 5 annotations and a half weight of 5: α = 1.
    assert logits == pytest.approx(expected, abs=2e-2)


@given(st.integers(0, 2**32 - 1), st.permutations(range(3)))
@settings(max_examples=25)
def test_the_order_of_labels_and_examples_does_not_matter(seed: int, order: list[int]) -> None:
    random = np.random.default_rng(seed)
    learnt = clouds(three_centres(), seed=seed)
    keys = random.normal(0, 3, (7, KEY_LENGTH)).astype(np.float32)
    shuffle = random.permutation(len(learnt))
    shuffled = Prototypes(
        LABELS, learnt.keys[shuffle], learnt.owners[shuffle], learnt.sources[shuffle]
    )
    before = prototypes.judge(keys, learnt, LABELS)
    after = prototypes.judge(keys, shuffled, [LABELS[i] for i in order])
    assert after.logits == pytest.approx(before.logits[:, order], abs=1e-3)
    assert before.logits.sum(axis=1) == pytest.approx(np.zeros(7), abs=1e-2)


def test_more_annotations_have_more_to_say() -> None:
    keys = three_centres()
    weak, strong = clouds(three_centres()), clouds(three_centres())
    weak = replace(weak, sources=np.zeros_like(weak.sources))
    few, many = (prototypes.judge(keys, each, LABELS).logits for each in (weak, strong))
    assert (np.diag(many) > np.diag(few)).all()
    assert (few.argmax(axis=1) == np.arange(3)).all()


def test_a_class_with_few_examples_counts_as_not_corrected() -> None:
    learnt = clouds(three_centres(), each=3)
    evidence = prototypes.judge(three_centres(), learnt, LABELS)
    assert not evidence.corrected.any()
    assert not evidence.logits.any()


def test_classes_that_are_not_asked_for_are_left_out() -> None:
    learnt = clouds(three_centres())
    evidence = prototypes.judge(three_centres(), learnt, ["sand", "sea", "roof"])
    assert evidence.corrected.tolist() == [False, True, True]
    assert not evidence.logits[:, 0].any()


texts = st.integers(0, 2**32 - 1)


@given(texts, st.integers(1, 3))
def test_a_class_without_corrections_keeps_exactly_its_regions(seed: int, implicit: int) -> None:
    """Of any texts and any evidence: the heart of the matter."""
    random = np.random.default_rng(seed)
    count = 5
    owners = [*range(count), *random.integers(0, count, 4), *range(count, count + implicit)]
    cosines = random.normal(0, 0.1, (30, len(owners))).astype(np.float32)
    corrected = random.random(count) < 0.6
    logits = np.where(corrected, random.normal(0, 9, (30, count)), 0).astype(np.float32)
    changed = prototypes.apply(cosines, owners, 20.0, Evidence(logits, corrected))

    def best(given: Floats) -> list[int]:
        return [owners[phrase] for phrase in given.argmax(axis=1)]

    free = set(np.flatnonzero(~corrected))
    for before, after in zip(best(cosines), best(changed), strict=True):
        assert (before in free) == (after in free)
        if before in free:
            assert before == after


@given(texts)
def test_without_two_corrected_classes_nothing_changes(seed: int) -> None:
    random = np.random.default_rng(seed)
    cosines = random.normal(0, 0.1, (5, 4)).astype(np.float32)
    evidence = Evidence(np.zeros((5, 3), np.float32), np.array([True, False, False]))
    assert prototypes.apply(cosines, [0, 1, 2, 3], 20.0, evidence) is cosines


def test_strong_evidence_decides_among_corrected_classes() -> None:
    cosines = np.array([[0.3, 0.2, 0.1]], dtype=np.float32)
    evidence = Evidence(np.array([[-9, 9, 0]], np.float32), np.array([True, True, False]))
    changed = prototypes.apply(cosines, [0, 1, 2], 10.0, evidence)
    assert changed.argmax() == 1
    assert changed[0, 1] == pytest.approx(0.3)
    assert changed[0, 2] == cosines[0, 2]


def test_joined_parts_keep_their_labels_and_know_their_source() -> None:
    first = Prototypes(
        ("a", "b"), np.ones((2, KEY_LENGTH), "f4"), np.array([0, 1]), np.zeros(2, int)
    )
    second = Prototypes(("b", "c"), np.ones((1, KEY_LENGTH), "f4"), np.array([0]), np.zeros(1, int))
    union = prototypes.joined([first, second])
    assert union.labels == ("a", "b", "c")
    assert union.owners.tolist() == [0, 1, 1]
    assert union.sources.tolist() == [0, 0, 1]
    assert len(prototypes.joined([])) == 0


def test_collections_keep_their_annotations_apart():
    many = clouds(three_centres())  # of five annotations
    one = replace(many, sources=np.zeros_like(many.sources))
    union = prototypes.joined([many, one, many])
    assert len(union) == 3 * len(many)
    assert len(np.unique(union.sources)) == 5 + 1 + 5


def test_with_many_annotations_less_is_shrunk():
    learnt = clouds(three_centres())
    keys = learnt.keys[:5]
    once = replace(learnt, sources=np.zeros_like(learnt.sources))
    often = replace(learnt, sources=np.arange(len(learnt)))
    fixed = PrototypeParameters(few=1e9)
    few, many = (prototypes.judge(keys, each, LABELS).logits for each in (once, often))
    same = prototypes.judge(keys, once, LABELS, fixed).logits
    np.testing.assert_array_equal(few, same)
    assert not np.allclose(many, prototypes.judge(keys, often, LABELS, fixed).logits)
