"""All things like one that somebody shows: masks ranked by how like an exemplar they are. [ours].

A mask of one thing says what is meant where words fail: a class without a name, or one that the
model does not know. Its look (the model's feature, at the size of the image that suits it), size,
form and colour are compared with those of other masks. A thing has to agree in all of them, so they
are multiplied, and what is not alike enough is left out: nothing is better than a guess.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis import masks
from dgl_rsis.classes import pipeline, prototypes, scales
from dgl_rsis.classes.pipeline import EncodedImage, OvssParameters
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.pixel_features import PixelFeatures
from dgl_rsis.expressions import instances, shapes
from dgl_rsis.expressions.instances import InstanceParameters
from dgl_rsis.expressions.shapes import Shapes
from dgl_rsis.regions import proposals
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.types import Floats, InputError, Mask, Proposals, Segment

MEAN = slice(0, 3)  # of a key: the mean colour, CIELAB in `prototypes.MEAN_UNITS`


@dataclass(frozen=True)
class ExemplarParameters:
    """What is like an exemplar.

    Likeness in size, form and colour is exp(−d² / 2σ²) of the difference d.

    Attributes:
        encoding: of the image, see `encoding`; its `objects` are those of a fitting size, and crops
            would cost too much.
        examples: parts of the exemplar at most, the largest; each is an example by itself.
        fellow: share of the largest part's area that another example has at least.
        size: σ of ln(area).
        form: σ of ln(length / width).
        colour: σ of the mean colour, in the units of `prototypes.describe`: 12 of L, 6 of a and b.
        parts: which parts of the map of likeness are candidates, where the model has one.
        least: likeness of what is returned, [0, 1].
        overlap: share of the smaller of two masks that both may have.
        most: masks returned at most.
    """

    encoding: OvssParameters = field(
        default_factory=lambda: OvssParameters(
            regions=RegionParameters(levels=(128, 32), objects=2000), margin=0.0
        )
    )
    examples: int = 16
    fellow: float = 0.25
    size: float = 0.5
    form: float = 0.4
    colour: float = 2.5
    parts: InstanceParameters = field(default_factory=lambda: InstanceParameters(least=0.5))
    least: float = 0.6
    overlap: float = 0.3
    most: int = 50


@dataclass(frozen=True)
class Alike:
    """What is like an exemplar, best first.

    Attributes:
        found: n masks, none of which lies on another, on the exemplar or on what is marked.
        scores: (n,) float32 in [0, 1], falling.
    """

    found: Proposals
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def segments(self, label: str) -> Iterator[Segment]:
        """Each under a label, at the size of the image: one at a time, since they are large."""
        for mask, score in zip(self.found.masks, self.scores.tolist(), strict=True):
            yield Segment(label, score, self.found.at_full_size(mask))


@dataclass(frozen=True)
class _Things:
    """Masks and what is compared of them.

    Attributes:
        masks: N of them.
        features: (K, N, D) float32, at each size that the image was seen at.
        shapes: of the N.
        colours: (N, 3) float32, see `ExemplarParameters.colour`.
    """

    masks: Proposals
    features: Tensor
    shapes: Shapes
    colours: Floats

    @classmethod
    def of(cls, encoded: EncodedImage, found: Proposals, features: Tensor) -> "_Things":
        measured = shapes.measure(found.masks, found.height, found.width, found.boxes)
        colours = prototypes.describe(encoded.image, found)[:, MEAN]
        return cls(found, features, measured, colours)


@dataclass(frozen=True)
class _Look:
    """What examples look like, each seen from the mean of the image.

    Within one image all cosines are high; what it has in common says nothing of what is alike.

    Attributes:
        levels: M, index of the size of the image that suits each.
        means: (M, D) float32, mean feature of the proposals there.
        directions: (M, D) float32, L2 norm 1, from that mean to the example's feature.
    """

    levels: Sequence[int]
    means: Tensor
    directions: Tensor

    def likeness(self, features: Tensor) -> Floats:
        """How like each example masks are: (K, N, D) → (M, N) float32 in [0, 1]."""
        cosines = [
            F.normalize(features[level] - mean, dim=-1) @ direction
            for level, mean, direction in zip(self.levels, self.means, self.directions, strict=True)
        ]
        likeness: Floats = torch.stack(cosines).clamp(0, 1).cpu().numpy()
        return likeness

    def plane(
        self, levels: Sequence[PixelFeatures], basis: Tensor, shape: tuple[int, int]
    ) -> Floats:
        """How like the most similar example each pixel is: (H, W) float32 in [0, 1].

        Args:
            levels: K, of the image at each size that it was seen at.
            basis: (R, D) float32, of the coordinates.
            shape: H and W.
        """
        best: Tensor | None = None
        for level, mean, direction in zip(
            self.levels, self.means @ basis.T, self.directions @ basis.T, strict=True
        ):
            apart = F.normalize(levels[level].coordinates - mean, dim=-1)  # (h, w, R)
            cosines = (apart @ direction)[None, None]
            sized = F.interpolate(cosines, size=shape, mode="bilinear")[0, 0]
            best = sized if best is None else torch.maximum(best, sized)
        assert best is not None
        plane: Floats = best.clamp(0, 1).cpu().numpy()
        return plane


def encoding(exemplar: Mask, parameters: ExemplarParameters) -> OvssParameters:
    """How to encode an image to look for things like an exemplar: with all regions of its size.

    The strongest regions of any size hold a half of the cars of a car park, all regions of a car's
    size nearly each of them (docs/LOG.md).

    Args:
        exemplar: (H, W) bool.
        parameters: see there.
    """
    general, regions = parameters.encoding, parameters.encoding.regions
    shrunk = min(1.0, regions.max_side / max(exemplar.shape)) ** 2
    areas = shrunk * np.array([np.count_nonzero(part) for part in _alone(exemplar, parameters)])
    factor = np.exp(_reach(parameters.size, parameters.least))
    least, most = (areas.min() / factor, areas.max() * factor) if len(areas) else (1, 1)
    fitting = replace(regions, min_area=max(1, int(least)), max_area=int(most) + 1)
    return replace(general, regions=fitting)


def like(
    encoded: EncodedImage,
    clip: ClipModel,
    exemplar: Mask,
    marked: Mask,
    parameters: ExemplarParameters,
) -> Alike:
    """All other things in an image that are like one, or like one of several.

    Args:
        encoded: the image, as `encoding` says.
        clip: the model.
        exemplar: (H, W) bool; each of its parts is an example.
        marked: (H, W) bool, where nothing is sought: what is known already.
        parameters: see there.

    Raises:
        InputError: a mask has another size than the image, or the exemplar is empty.
    """
    examples = _examples(encoded, clip, exemplar, parameters)
    look = _look(encoded, examples)
    candidates = _candidates(encoded, clip, examples, look, parameters)
    if candidates is None:
        return _chosen(encoded.proposed, [], [])
    scores = _scores(examples, candidates, look, parameters)
    taken = _at_size(_checked(marked, "mask of what is known", encoded), encoded.proposed)
    kept = _apart(candidates.masks, scores, examples.masks, taken, parameters)
    return _chosen(candidates.masks, kept, scores[kept])


def _examples(
    encoded: EncodedImage, clip: ClipModel, exemplar: Mask, parameters: ExemplarParameters
) -> _Things:
    """The parts of the exemplar, and what is compared of them."""
    shown = _at_size(_checked(exemplar, "exemplar", encoded), encoded.proposed)
    parts = _alone(shown, parameters)
    if not parts:
        raise InputError("the exemplar is empty: draw or click one thing first")
    found = proposals.of_masks(parts, *exemplar.shape)
    return _Things.of(encoded, found, _encode(encoded, clip, found, parameters))


def _alone(exemplar: Mask, parameters: ExemplarParameters) -> list[Mask]:
    """The parts of an exemplar, largest first, without crumbs."""
    parts = list(islice(masks.components(exemplar, 1), parameters.examples))
    least = parameters.fellow * np.count_nonzero(parts[0]) if parts else 0
    return list(takewhile(lambda part: np.count_nonzero(part) >= least, parts))


def _encode(
    encoded: EncodedImage, clip: ClipModel, found: Proposals, parameters: ExemplarParameters
) -> Tensor:
    """(K, N, D) float32: features of further masks, made as those of the proposals."""
    return pipeline.encode_masks(encoded.image, found, encoded.dense, clip, parameters.encoding)


def _look(encoded: EncodedImage, examples: _Things) -> _Look:
    factors = encoded.dense.factors[: len(encoded.by_mask)]
    levels = [_level(area, factors) for area in examples.masks.areas.tolist()]
    means = encoded.by_mask.mean(dim=1)[levels]  # (M, D)
    features = torch.stack([examples.features[level, i] for i, level in enumerate(levels)])
    return _Look(levels, means, F.normalize(features - means, dim=-1))


def _level(area: float, factors: Sequence[float]) -> int:
    """The size of the image at which a thing is nearest to the middle of the widths that suit."""
    middle = np.log(scales.BEST_WIDTHS).mean()
    apart = [abs(np.log(area) / 2 + np.log(factor) - middle) for factor in factors]
    return int(np.argmin(apart))


def _candidates(
    encoded: EncodedImage,
    clip: ClipModel,
    examples: _Things,
    look: _Look,
    parameters: ExemplarParameters,
) -> _Things | None:
    """Proposals of a fitting size, and parts of the map of likeness; None where there are none."""
    proposed = encoded.proposed
    rows = np.flatnonzero(_fits(proposed.areas, examples, parameters))
    parts = _parts(encoded, clip, examples, look, parameters)
    found = [*parts, *(proposed.masks[row] for row in rows.tolist())]
    if not found:
        return None
    joined = proposals.of_masks(found, proposed.height, proposed.width)
    features = encoded.by_mask[:, torch.from_numpy(rows).to(encoded.by_mask.device)]
    if parts:
        added = proposals.of_masks(parts, proposed.height, proposed.width)
        features = torch.cat([_encode(encoded, clip, added, parameters), features], dim=1)
    return _Things.of(encoded, joined, features)


def _fits(areas: Floats, examples: _Things, parameters: ExemplarParameters) -> NDArray[np.bool_]:
    """Whether masks of so many pixels of the image could be alike enough, by their size alone."""
    apart = np.log(np.maximum(areas, 1))[:, None] - np.log(examples.masks.areas)  # (N, M)
    reach = _reach(parameters.size, parameters.least)
    fits: NDArray[np.bool_] = (np.abs(apart) <= reach).any(axis=1)
    return fits


def _reach(deviation: float, least: float) -> float:
    """The difference at which likeness falls below the least."""
    return float(deviation * np.sqrt(-2 * np.log(max(least, 1e-3))))


def _parts(
    encoded: EncodedImage,
    clip: ClipModel,
    examples: _Things,
    look: _Look,
    parameters: ExemplarParameters,
) -> list[Mask]:
    """Parts of the map of likeness, connected and parted by borders, of a fitting size."""
    pixels = encoded.dense.pixel_levels
    if clip.pixels is None or not pixels:
        return []
    proposed = encoded.proposed
    rows, columns = proposed.masks.shape[1:]
    plane = look.plane(pixels, clip.pixels.basis, (rows, columns))
    border = instances.borders(pixels[0], (rows, columns))
    pixel = proposed.height * proposed.width / (rows * columns)
    parts = []
    for labels in instances.numbered(plane, border, parameters.parts):
        numbers = np.array(instances.largest(labels, parameters.parts), dtype=np.int64)
        areas = np.bincount(labels.reshape(-1))[numbers] * pixel
        fitting = numbers[_fits(areas.astype(np.float32), examples, parameters)]
        parts += [labels == number for number in fitting.tolist()]
    return parts


def _scores(
    examples: _Things, candidates: _Things, look: _Look, parameters: ExemplarParameters
) -> Floats:
    """How like the most similar example each candidate is: (N,) float32 in [0, 1]."""
    one, other = examples.shapes, candidates.shapes
    sizes = np.log(np.maximum(other.areas, 1)) - np.log(one.areas)[:, None]  # (M, N)
    forms = _elongation(other) - _elongation(one)[:, None]
    colours = np.linalg.norm(candidates.colours - examples.colours[:, None], axis=2)
    likeness = (
        look.likeness(candidates.features)
        * _near(sizes, parameters.size)
        * _near(forms, parameters.form)
        * _near(colours, parameters.colour)
    )
    scores: Floats = likeness.max(axis=0).astype(np.float32)
    return scores


def _elongation(measured: Shapes) -> Floats:
    """ln(length / width), whatever the direction: (N,) float32."""
    elongation: Floats = np.log(measured.sides[:, 0] / np.maximum(measured.sides[:, 1], 1e-6))
    return elongation


def _near(difference: Floats, deviation: float) -> Floats:
    near: Floats = np.exp(-((difference / deviation) ** 2) / 2)
    return near


def _apart(
    candidates: Proposals,
    scores: Floats,
    examples: Proposals,
    marked: Mask,
    parameters: ExemplarParameters,
) -> list[int]:
    """The best candidates that lie on nothing: neither on each other nor on what is known.

    Two masks lie on each other when one of them is largely in the other: a half of a roof is no
    thing beside the whole one.
    """
    owners = np.zeros(marked.shape, dtype=np.int32)
    areas = [0]

    def take(mask: Mask) -> None:
        owners[mask] = len(areas)
        areas.append(int(np.count_nonzero(mask)))

    for mask in examples.masks:
        take(mask)
    boxes = proposals.boxes_of_masks(candidates).tolist()
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if scores[index] < parameters.least or len(kept) == parameters.most:
            break
        left, top, right, bottom = boxes[index]
        window = (slice(top, bottom), slice(left, right))
        inside = candidates.masks[index][window]
        shared = np.bincount(owners[window][inside], minlength=len(areas))[1:]
        count = np.count_nonzero(inside)
        if (shared > parameters.overlap * np.minimum(areas[1:], count)).any():
            continue
        if np.count_nonzero(marked[window] & inside) <= parameters.overlap * count:
            take(candidates.masks[index])
            kept.append(index)
    return kept


def _chosen(candidates: Proposals, rows: Sequence[int], scores: Sequence[float] | Floats) -> Alike:
    index = np.array(rows, dtype=np.int64)
    found = Proposals(
        candidates.masks[index],
        candidates.boxes[index],
        candidates.quality[index],
        candidates.height,
        candidates.width,
    )
    return Alike(found, np.asarray(scores, dtype=np.float32))


def _checked(mask: Mask, name: str, encoded: EncodedImage) -> Mask:
    if mask.shape != encoded.image.shape[:2]:
        raise InputError(
            f"the {name} has {mask.shape} pixels, the image {encoded.image.shape[:2]} "
            "(rows, columns): give it at the size of the image"
        )
    return mask


def _at_size(mask: Mask, proposed: Proposals) -> Mask:
    """(H, W) → (h, w) of the proposals: what is covered by half; if that is nothing, at all."""
    rows, columns = proposed.masks.shape[1:]
    if mask.shape == (rows, columns):
        return mask
    shares = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    half: Mask = np.asarray(shares) >= 0.5
    return half if half.any() else np.asarray(shares) > 0
