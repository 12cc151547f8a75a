"""Masks that an expression may mean, and how probably each is of every class asked for. [ours]."""

from itertools import islice

import numpy as np

from dgl_rsis import features, instances, masks, matching, pipelines, region_tree
from dgl_rsis.features import DenseFeatures
from dgl_rsis.instances import NodeParameters
from dgl_rsis.models import ClipModel
from dgl_rsis.pipelines import EncodedImage, OvssParameters
from dgl_rsis.questions import Question
from dgl_rsis.region_tree import RegionTree
from dgl_rsis.types import Floats, Proposals


def of_tree(
    dense: DenseFeatures,
    tree: RegionTree,
    question: Question,
    clip: ClipModel,
    encoding: OvssParameters,
    parameters: NodeParameters,
) -> tuple[Proposals, Floats]:
    """Nodes that may be what is asked for, and their class probabilities.

    Returns:
        n proposals and (n, C) float32, see `matching.match`.
    """
    temperature = encoding.temperature or clip.temperature
    own = instances.node_features(clip, dense, tree)
    likely = matching.match(own, question.texts, question.owners, temperature)
    named = likely[:, : len(question.classes)]
    nodes = instances.candidates(tree, named, parameters)
    return region_tree.as_proposals(tree, nodes), likely[nodes]


def of_proposals(
    encoded: EncodedImage,
    question: Question,
    clip: ClipModel,
    encoding: OvssParameters,
    parts: int,
) -> tuple[Proposals, Floats]:
    """The proposals and at most so many parts of the noun's map, and their class probabilities."""
    fused = pipelines.fuse(encoded, clip, question.texts, question.owners, encoding)
    temperature = encoding.temperature or clip.temperature
    cosines = (fused @ question.texts.T).cpu().numpy()
    classes = matching.best_phrase(cosines, question.owners, temperature)  # (N, C)
    return _with_parts(encoded, question, clip, cosines, classes, encoding, parts)


def _with_parts(
    encoded: EncodedImage,
    question: Question,
    clip: ClipModel,
    cosines: Floats,
    classes: Floats,
    encoding: OvssParameters,
    parts: int,
) -> tuple[Proposals, Floats]:
    """The proposals, and the connected parts of what the masks together call the noun.

    An object that no node of the hierarchy holds whole is often whole in the map.

    Returns:
        (N + parts) proposals and their class probabilities.
    """
    proposed = encoded.proposed
    best, _ = matching.semantic_map(
        proposed.masks,
        cosines,
        features.patch_features(clip, encoded.dense) @ question.texts.T,
        question.owners,
        pipelines.map_parameters(proposed, clip, encoding),
    )
    smallest = encoding.min_object
    found = list(islice(masks.components(best == 0, smallest), parts))
    if not found:
        return proposed, classes
    stacked = np.stack(found)
    scale = np.array([proposed.width, proposed.height] * 2) / ([*stacked.shape[:0:-1]] * 2)
    inside = np.array([masks.box(part) for part in found]) * scale
    boxes = np.hstack([np.floor(inside[:, :2]), np.ceil(inside[:, 2:])]).astype(np.int32)
    quality = np.full(len(found), np.median(proposed.quality), dtype=np.float32)
    pooled = features.mask_features(clip, encoded.dense, stacked) @ question.texts.T
    own = matching.best_phrase(
        pooled.cpu().numpy(),
        question.owners,
        encoding.temperature or clip.temperature,
    )
    together = Proposals(
        np.concatenate([proposed.masks, stacked]),
        np.concatenate([proposed.boxes, boxes]),
        np.concatenate([proposed.quality, quality]),
        proposed.height,
        proposed.width,
    )
    return together, np.concatenate([classes, own])
