"""Nodes of a tree as candidates: against the slow way of doing the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_rsis import features, instances, region_tree
from dgl_rsis.instances import NodeParameters
from dgl_rsis.models import ClipModel
from dgl_rsis.region_tree import TreeParameters

ANY = NodeParameters(count=1000, anchors=5, min_area=1, max_share=1.0, overlap=1.0)


def scene() -> np.ndarray:
    """Four squares of different colours on a dark, noisy ground."""
    image = np.random.default_rng(0).integers(40, 60, (64, 96, 3), dtype=np.uint8)
    for left, colour in ((8, (225, 225, 220)), (36, (200, 40, 30)), (68, (30, 60, 190))):
        image[24:40, left : left + 16] = colour
    return image


IMAGE = scene()
TREE = region_tree.build(IMAGE, TreeParameters())


def classes(seed: int) -> np.ndarray:
    """(N, 2) random probabilities."""
    return np.random.default_rng(seed).random((len(TREE), 2)).astype(np.float32)


def test_features_of_nodes_are_those_of_their_masks(clip: ClipModel):
    dense = features.dense_features(clip, IMAGE, 64)
    found = instances.node_features(clip, dense, TREE)
    some = np.linspace(0, len(TREE) - 1, 25).astype(int)
    wanted = features.mask_features(clip, dense, np.stack([TREE.mask(node) for node in some]))
    assert found[some].numpy() == pytest.approx(wanted.numpy(), abs=1e-4)


def test_squares_stand_out_from_the_noise():
    strength = region_tree.outlines(TREE)
    assert strength.min() >= 0
    assert strength.max() == pytest.approx(1.0)
    square = np.zeros(IMAGE.shape[:2], dtype=bool)
    square[24:40, 36:52] = True
    masks = np.stack([TREE.mask(node) for node in range(len(TREE))])
    ious = (masks & square).sum(axis=(1, 2)) / (masks | square).sum(axis=(1, 2))
    assert ious.max() > 0.8
    assert strength[ious.argmax()] > np.quantile(strength, 0.9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 0.95))
def test_no_candidate_nearly_repeats_a_better_one(seed: int, overlap: float):
    likely = classes(seed)[:, :1]
    found = instances.candidates(TREE, likely, replace(ANY, count=40, overlap=overlap))
    assert 1 <= len(found) <= 40
    scores = (likely[:, 0] * np.sqrt(region_tree.outlines(TREE)))[found]
    assert (np.diff(scores) <= 0).all()
    masks = np.stack([TREE.mask(node) for node in found.tolist()]).reshape(len(found), -1)
    common = masks.astype(int) @ masks.T.astype(int)
    areas = masks.sum(axis=1)
    ious = common / (areas[:, None] + areas - common)
    assert (ious - np.eye(len(found))).max() <= overlap + 1e-9


def test_sizes_and_numbers_are_kept():
    strict = replace(ANY, min_area=100, max_share=0.1)
    found = instances.candidates(TREE, classes(0), strict)
    assert len(found)
    assert TREE.area[found].min() >= 100
    assert TREE.area[found].max() <= 0.1 * IMAGE.shape[0] * IMAGE.shape[1]
    few = instances.candidates(TREE, classes(0), replace(ANY, count=7, anchors=3))
    assert 7 <= len(few) <= 10
    assert len(set(few.tolist())) == len(few)
    alone = instances.candidates(TREE, classes(0)[:, :1], replace(ANY, count=7))
    assert few[:7].tolist() == alone.tolist()


def test_nodes_become_proposals():
    nodes = np.array([0, len(TREE) - 1, len(TREE) // 2])
    found = region_tree.as_proposals(TREE, nodes)
    for mask, box, node in zip(found.masks, found.boxes.tolist(), nodes.tolist(), strict=True):
        assert (mask == TREE.mask(node)).all()
        assert box == TREE.box[node].tolist()
    assert found.quality == pytest.approx(region_tree.outlines(TREE)[nodes])
    assert len(region_tree.as_proposals(TREE, nodes[:0])) == 0
