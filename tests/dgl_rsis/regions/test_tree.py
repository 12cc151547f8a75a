import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_rsis.regions import proposals
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.regions.tree import RegionTree, TreeParameters, best_match, build_tree
from dgl_rsis.types import InputError


def noise(height: int = 40, width: int = 50, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tree_of(image: np.ndarray) -> RegionTree:
    return build_tree(image, TreeParameters())


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_nodes_are_what_their_children_are_together(height, width, seed):
    tree = tree_of(noise(height, width, seed))
    assert np.array_equal(np.unique(tree.leaves), np.arange(tree.leaf_count))
    for node in range(len(tree)):
        mask = tree.mask(node)
        rows, columns = np.nonzero(mask)
        assert mask.sum() == tree.area[node] > 0
        assert tree.box[node].tolist() == [
            columns.min(), rows.min(), columns.max() + 1, rows.max() + 1,
        ]  # fmt: skip
        children = np.flatnonzero(tree.parent == node)
        assert len(children) == (0 if node < tree.leaf_count else 2)
        if len(children):
            assert (tree.mask(children[0]) ^ tree.mask(children[1]) == mask).all()
            assert (children < node).all()
            assert (tree.cost[children] <= tree.cost[node]).all()


def test_outlines_and_pairs_by_counting_pixels():
    """A pair of touching pixels on either side of a border is one pixel of its length."""
    tree = tree_of(noise(20, 24))
    for node in range(0, len(tree), 7):
        mask = tree.mask(node)
        length = (mask[:, 1:] != mask[:, :-1]).sum() + (mask[1:] != mask[:-1]).sum()
        assert tree.outline[node, 0] == length
    touching = {
        tuple(sorted(pair))
        for first, second in (
            (tree.leaves[:, 1:], tree.leaves[:, :-1]),
            (tree.leaves[1:], tree.leaves[:-1]),
        )
        for pair in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
        if pair[0] != pair[1]
    }
    assert set(map(tuple, tree.pairs.tolist())) == touching


def test_the_outline_of_a_bright_square_is_stronger_than_any_on_the_ground_around_it():
    image = np.full((40, 40, 3), 60, dtype=np.uint8) + noise(40, 40) // 32
    image[10:30, 10:30] += 120
    tree = tree_of(image)
    square, near = np.zeros((2, 40, 40), dtype=bool)
    square[10:30, 10:30] = near[7:33, 7:33] = True
    masks = [tree.mask(node) for node in range(len(tree))]
    overlap = [(m & square).sum() / (m | square).sum() for m in masks]
    best = int(np.argmax(overlap))
    assert overlap[best] > 0.85
    away = [node for node, mask in enumerate(masks) if not (mask & near).any()]
    assert away
    assert all(tree.outline[best, 1] > 2 * tree.outline[node, 1] for node in away)


def test_arrays_survive_a_file_without_pickling():
    tree = tree_of(noise())
    file = io.BytesIO()
    np.savez(file, **tree.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        again = RegionTree.from_arrays(arrays)
    assert (again.height, again.width, again.nbytes) == (40, 50, tree.nbytes)
    first, second = tree.to_arrays(), again.to_arrays()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert all(first[name].dtype == second[name].dtype for name in first)


def test_a_tree_with_an_array_missing_is_refused():
    arrays = tree_of(noise()).to_arrays()
    del arrays["parent"]
    with pytest.raises(InputError, match="parent missing"):
        RegionTree.from_arrays(arrays)


def test_nobody_writes_to_a_tree():
    tree = tree_of(noise())
    with pytest.raises(ValueError, match="read-only"):
        tree.leaves[0, 0] = 1


def test_one_tree_serves_every_cut():
    image = noise(60, 60)
    tree = tree_of(image)
    for parameters in (RegionParameters(), RegionParameters(levels=(64,), objects=9)):
        first, second = proposals.cut(tree, parameters), proposals.propose(image, parameters)
        assert (first.masks == second.masks).all()
        assert (first.quality == second.quality).all()
        assert first.quality.dtype == np.float32


def test_long_images_are_segmented_smaller():
    tree = build_tree(noise(40, 100), TreeParameters(max_side=50))
    assert tree.leaves.shape == (20, 50)
    assert (tree.height, tree.width) == (40, 100)


def test_the_best_match_by_comparing_masks():
    tree = tree_of(noise(30, 26))
    labels = np.zeros((30, 26), np.int32)
    labels[3:12, 2:20], labels[15:28, 5:9], labels[14:20, 12:25] = 4, 2, 7
    nodes, ious = best_match(tree, labels, [2, 4])
    for node, iou, number in zip(nodes.tolist(), ious.tolist(), (2, 4), strict=True):
        part = labels == number
        every = [
            (tree.mask(n) & part).sum() / (tree.mask(n) | part).sum() for n in range(len(tree))
        ]
        assert every[node] == pytest.approx(max(every))
        assert iou == pytest.approx(max(every))
    assert [len(x) for x in best_match(tree, labels, [])] == [0, 0]


def test_known_borders_part_what_looks_alike():
    plain = np.full((48, 48, 3), 120, np.uint8)
    borders = np.zeros((48, 48), np.float32)
    borders[10:38, [10, 37]], borders[[10, 37], 10:38] = 1, 1
    tree = build_tree(plain, TreeParameters(), borders)
    square = np.zeros((48, 48), np.int32)
    square[10:38, 10:38] = 1
    mask = tree.mask(int(best_match(tree, square, [1])[0][0]))
    assert (mask & (square > 0)).sum() / (mask | (square > 0)).sum() > 0.8
    blind = tree_of(plain)
    assert blind.leaf_count < tree.leaf_count


def test_what_nobody_wants_is_one_leaf():
    image, within = noise(), np.zeros((40, 50), dtype=bool)
    within[4:20, 6:30], within[30:32, 40] = True, True
    tree = build_tree(image, TreeParameters(), within=within)
    outside = np.unique(tree.leaves[~within])
    assert len(outside) == 1
    assert tree.parent[np.flatnonzero(tree.first == outside[0])].tolist() == [-1]
    whole = tree_of(image)
    assert 3 < tree.leaf_count < whole.leaf_count
    everywhere = build_tree(image, TreeParameters(), within=np.ones((40, 50), dtype=bool))
    assert np.array_equal(everywhere.leaves, whole.leaves)
