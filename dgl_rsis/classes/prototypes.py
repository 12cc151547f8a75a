"""Learning from corrected masks without training: visual prototypes.

[ours, after Tip-Adapter, arXiv 2111.03930: text logits plus a term from a cache of labelled keys.]
Two things differ, both by measurement on Dubai tile 5 (docs/LOG.md):

- The keys are not CLIP's. What its encoder knows of a place is in the text logits already; what
  annotators correct is mostly colour and texture. A key holds a region's colour, its spread, its
  texture at three scales and its form. So it works with any CLIP, and outlives a change of model.
- The term is no sum over similar keys but the log-likelihood of a linear discriminant: with a few
  dozen keys a class, the nearest ones say more about their image than about their class.

Prototypes decide among the classes that were corrected, and text alone decides between those and
all others: a class that nobody marked yet neither gains nor loses by what was learnt of others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dgl_rsis.types import RGB, Floats, InputError, Mask, Proposals

Indices = NDArray[np.int64]

# Of a key, in order: mean L, a, b; their spread; texture at three scales; form. Each is divided by
# about what it differs by between regions of one class, so that no unit outweighs the others.
MEAN_UNITS = (12.0, 6.0, 6.0)  # CIELAB
LOG_UNIT = 0.4  # of ln(1 + CIELAB units)
FILL_UNIT = 1 / 3  # share of its box that a region fills
TEXTURE_SCALES = (1.0, 2.0, 4.0)  # standard deviations, pixels
KEY_LENGTH = 3 + 3 + len(TEXTURE_SCALES) + 2


@dataclass(frozen=True)
class PrototypeParameters:
    """How examples are chosen, and how much they say.

    Attributes:
        purity: least share of a region's pixels that its class must have.
        most_examples: of a class in one annotation, over all sizes of regions.
        fewest_examples: of a class in all annotations; with fewer it counts as not corrected.
        shrinkage: of the covariance towards a sphere, [0, 1], at most.
        few: annotations; of n of them the shrinkage is no more than few / (n + few).
        weight: α of the log-likelihoods in the limit of many annotations.
        half_weight: annotations at which α is half of that.
    """

    purity: float = 0.9
    most_examples: int = 64
    fewest_examples: int = 4
    shrinkage: float = 0.5
    few: float = 9.0
    weight: float = 9.0
    half_weight: float = 27.0


@dataclass(frozen=True)
class Prototypes:
    """What was learnt: examples of classes.

    Attributes:
        labels: names of the classes, as the annotators know them.
        keys: (M, KEY_LENGTH) float32.
        owners: (M,) int64, index of each example's class in `labels`.
        sources: (M,) int64, which annotation each example is of.
    """

    labels: tuple[str, ...]
    keys: Floats
    owners: Indices
    sources: Indices

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Evidence:
    """What prototypes say of regions.

    Attributes:
        logits: (N, C) float32, mean 0 over the classes that were corrected, 0 for all others.
        corrected: (C,) bool, the classes that were.
    """

    logits: Floats
    corrected: NDArray[np.bool_]


def describe(image: RGB, proposed: Proposals) -> Floats:
    """The keys of regions: (N, KEY_LENGTH) float32; zeros for an empty mask.

    Args:
        image: (H, W, 3) uint8.
        proposed: N regions of it.
    """
    height, width = proposed.masks.shape[1:]
    if image.shape[:2] != (height, width):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    shares = image.astype(np.float32) / 255
    lab = np.asarray(cv2.cvtColor(shares, cv2.COLOR_RGB2LAB), dtype=np.float32)  # (h, w, 3)
    light = lab[..., 0]
    details = [np.abs(light - cv2.GaussianBlur(light, (0, 0), scale)) for scale in TEXTURE_SCALES]
    texture = np.stack(details, axis=-1)  # (h, w, 3)
    keys = np.zeros((len(proposed), KEY_LENGTH), dtype=np.float32)
    for key, mask in zip(keys, proposed.masks, strict=True):
        if (window := _window(mask)) is not None:
            key[:] = _key(mask[window], lab[window], texture[window])
    return keys


def from_masks(
    image: RGB,
    proposed: Proposals,
    marked: NDArray[np.int32],
    labels: Sequence[str],
    parameters: PrototypeParameters | None = None,
) -> Prototypes:
    """Examples of the classes that somebody marked in one image.

    A region is an example of a class when nearly all of it is marked as that. Of many, some of each
    size are taken, so that no class and no image outweighs the others.

    Args:
        image: (H, W, 3) uint8.
        proposed: its regions.
        marked: (H, W), index into `labels`; negative where nothing is marked, or two classes.
        labels: names of the classes.
        parameters: default `PrototypeParameters()`.

    Raises:
        InputError: what is marked is not of the image's size.
    """
    parameters = parameters or PrototypeParameters()
    if marked.shape != image.shape[:2]:
        raise InputError(
            f"the masks are of an image of {marked.shape[1]} × {marked.shape[0]} pixels, but it "
            f"has {image.shape[1]} × {image.shape[0]}: it was replaced after it was marked"
        )
    shares = _shares(proposed.masks, _at_size(marked, *proposed.masks.shape[1:]), len(labels))
    areas = proposed.areas
    chosen = [
        _spread(np.flatnonzero(share >= parameters.purity), areas, parameters.most_examples)
        for share in shares.T
    ]
    rows = np.concatenate([*chosen, np.zeros(0, dtype=np.int64)])
    owners = np.repeat(np.arange(len(labels)), [len(each) for each in chosen])
    picked = Proposals(
        proposed.masks[rows], proposed.boxes[rows], proposed.quality[rows], *image.shape[:2]
    )
    return Prototypes(tuple(labels), describe(image, picked), owners, np.zeros_like(owners))


def judge(
    keys: Floats,
    prototypes: Prototypes,
    labels: Sequence[str],
    parameters: PrototypeParameters | None = None,
) -> Evidence:
    """What prototypes say of regions: α times a linear discriminant's log-likelihoods.

    −½ (q − μ_c)ᵀ Σ⁻¹ (q − μ_c) with the covariance within classes, the mean over the classes,
    shrunk towards a sphere; α = weight · n / (n + half_weight) for n annotations.

    Args:
        keys: (N, KEY_LENGTH), of the regions.
        prototypes: what was learnt; classes that are none of `labels` are left out.
        labels: C names.
        parameters: default `PrototypeParameters()`.
    """
    parameters = parameters or PrototypeParameters()
    examples = [_examples(prototypes, label) for label in labels]
    corrected = np.array([len(each) >= parameters.fewest_examples for each in examples], dtype=bool)
    logits = np.zeros((len(keys), len(labels)), dtype=np.float32)
    if corrected.sum() > 1:
        known = [each for each, counts in zip(examples, corrected, strict=True) if counts]
        count = len(np.unique(prototypes.sources))
        shrinkage = min(parameters.shrinkage, parameters.few / (count + parameters.few))
        likelihoods = _log_likelihoods(keys.astype(np.float64), known, shrinkage)
        alpha = parameters.weight * count / (count + parameters.half_weight)
        centred = likelihoods - likelihoods.mean(axis=1, keepdims=True)  # (N, corrected classes)
        logits[:, corrected] = alpha * centred
    return Evidence(logits, corrected)


def apply(cosines: Floats, owners: Sequence[int], temperature: float, evidence: Evidence) -> Floats:
    """The cosines of regions and phrases, changed as the evidence says.

    The best logit among the corrected classes and the implicit ones stays what it was, so whether
    a class without corrections is better than that is up to the text, as before.

    Args:
        cosines: (N, P) float32.
        owners: P class indices, 0 … C' − 1; those from C on are implicit, as the background.
        temperature: τ of the softmax over the cosines.
        evidence: of N regions and C classes.

    Returns:
        (N, P) float32.
    """
    count = max(owners) + 1
    terms = np.zeros((len(cosines), count), dtype=np.float32)
    terms[:, : evidence.logits.shape[1]] = evidence.logits
    among = np.ones(count, dtype=bool)
    among[: len(evidence.corrected)] = evidence.corrected
    if evidence.corrected.sum() < 2:
        return cosines
    texts = np.full((len(cosines), count), -np.inf, dtype=np.float32)  # (N, C'): best phrases
    for phrase, owner in enumerate(owners):
        texts[:, owner] = np.maximum(texts[:, owner], temperature * cosines[:, phrase])
    before, after = texts[:, among], (texts + terms)[:, among]
    terms[:, among] -= (after.max(axis=1) - before.max(axis=1))[:, None]
    changed: Floats = cosines + terms[:, np.asarray(owners)] / temperature
    return changed


def joined(parts: Sequence[Prototypes]) -> Prototypes:
    """The union of the examples of several annotations, or of several such collections."""
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    numbers = {label: i for i, label in enumerate(labels)}
    owners = [np.array([numbers[p.labels[o]] for o in p.owners], dtype=np.int64) for p in parts]
    empty = np.zeros(0, dtype=np.int64)
    keys = [np.zeros((0, KEY_LENGTH), dtype=np.float32), *(part.keys for part in parts)]
    counts = [int(part.sources.max(initial=0)) + 1 for part in parts]
    firsts = np.cumsum([0, *counts])
    sources = [first + part.sources for first, part in zip(firsts, parts, strict=False)]
    return Prototypes(
        labels,
        np.concatenate(keys),
        np.concatenate([empty, *owners]),
        np.concatenate([empty, *sources]),
    )


def _key(mask: Mask, lab: Floats, texture: Floats) -> Floats:
    """The key of one region from the part of the image that holds it, (KEY_LENGTH,)."""
    inside = mask.view(np.uint8)
    mean, spread = (each[:, 0] for each in cv2.meanStdDev(lab, mask=inside))
    detail = np.asarray(cv2.mean(texture, mask=inside))[: len(TEXTURE_SCALES)]
    height, width = mask.shape
    form = (mask.mean() / FILL_UNIT, np.log(max(height, width) / min(height, width)))
    logs = np.log1p(np.concatenate([spread, detail])) / LOG_UNIT
    key: Floats = np.concatenate([mean / MEAN_UNITS, logs, form]).astype(np.float32)
    return key


def _window(mask: Mask) -> tuple[slice, slice] | None:
    """The rows and columns that hold all of a mask; None when it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    down = slice(rows[0], rows[-1] + 1)
    columns = np.flatnonzero(mask[down].any(axis=0))
    return down, slice(columns[0], columns[-1] + 1)


def _at_size(marked: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """(H, W) → (height, width), by the nearest pixel."""
    if marked.shape == (height, width):
        return marked
    rows = (np.arange(height) * 2 + 1) * marked.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * marked.shape[1] // (2 * width)
    resized: NDArray[np.int32] = marked[rows[:, None], columns]
    return resized


def _shares(masks: Mask, marked: NDArray[np.int32], count: int) -> Floats:
    """(N, count) float32, the share of each mask's pixels that each class has."""
    shares = np.zeros((len(masks), count), dtype=np.float32)
    for share, mask in zip(shares, masks, strict=True):
        if (window := _window(mask)) is not None:
            inside = marked[window][mask[window]]  # (pixels of the mask,)
            share[:] = np.bincount(inside[inside >= 0], minlength=count) / len(inside)
    return shares


def _spread(rows: Indices, areas: Floats, most: int) -> Indices:
    """At most so many regions, evenly over the order of their sizes."""
    if len(rows) <= most:
        return rows
    ordered = rows[np.argsort(-areas[rows], kind="stable")]
    return np.sort(ordered[np.linspace(0, len(ordered) - 1, most).round().astype(np.int64)])


def _examples(prototypes: Prototypes, label: str) -> NDArray[np.float64]:
    """(n, KEY_LENGTH), the keys of a class."""
    if label not in prototypes.labels:
        return np.zeros((0, KEY_LENGTH))
    own = prototypes.owners == prototypes.labels.index(label)
    keys: NDArray[np.float64] = prototypes.keys[own].astype(np.float64)
    return keys


def _log_likelihoods(
    keys: NDArray[np.float64], classes: Sequence[NDArray[np.float64]], shrinkage: float
) -> NDArray[np.float64]:
    """(N, C), up to a constant in each row."""
    means = np.stack([each.mean(axis=0) for each in classes])  # (C, K)
    within = np.mean([np.cov(each.T, bias=True) for each in classes], axis=0)  # (K, K)
    size = within.shape[0]
    sphere = max(np.trace(within) / size, 1e-3) * np.eye(size)
    # Of few examples the covariance alone could hardly be inverted.
    inverse = np.linalg.inv((1 - shrinkage) * within + shrinkage * sphere)
    weights = means @ inverse  # (C, K)
    scores: NDArray[np.float64] = keys @ weights.T - (weights * means).sum(axis=1) / 2  # (N, C)
    return scores
