"""All things like one that somebody shows: masks ranked by how like an exemplar they are. [ours].

A mask of one thing says what is meant where words fail: a class without a name, or one that the
model does not know. Its look (the model's feature, at the size of the image that suits it), size,
form and colour are compared with those of other masks. A thing has to agree in all of them, so they
are multiplied, and what is not alike enough is left out: nothing is better than a guess.

What is compared is a `Look`, which can be taken to another image (`elsewhere`). The exemplar's own
image (`like`) is the case in which it stays where it is.
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
from dgl_rsis.types import RGB, Floats, InputError, Mask, Proposals, Segment

EMPTY = "the exemplar is empty: draw or click one thing first"
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
        least_elsewhere: the same in other images than the exemplar's, where nobody sees at once
            what is wrong; measured on orthophotos (docs/LOG.md).
        carried: examples that a look takes to another image at most, the largest.
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
    least_elsewhere: float = 0.7
    carried: int = 4
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
class Look:
    """What M examples look like, for any image that the same model encodes.

    Attributes:
        directions: (M, D) float32, L2 norm 1, from the mean feature of their image's proposals to
            each one's own, at the size of the image that suits it.
        areas: (M,) float32, pixels of their image.
        elongations: (M,) float32, ln(length / width).
        colours: (M, 3) float32, see `ExemplarParameters.colour`.
        metres: of the ground that a pixel of their image shows; None where nobody says.
    """

    directions: Tensor
    areas: Floats
    elongations: Floats
    colours: Floats
    metres: float | None

    def __len__(self) -> int:
        return len(self.areas)

    def at(self, metres: float | None) -> "Look":
        """The same on pixels of so many metres; as it is where one of both is unknown."""
        if metres is None or self.metres is None:
            return self
        factor = (self.metres / metres) ** 2
        return replace(self, areas=(self.areas * factor).astype(np.float32), metres=metres)


@dataclass(frozen=True)
class _Sought:
    """A look as it shows in one image: seen from the mean of that image.

    Within one image all cosines are high; what it has in common says nothing of what is alike.

    Attributes:
        look: M examples, their areas in pixels of the image.
        levels: M, index of the size of the image that suits each.
        means: (M, D) float32, mean feature of the proposals there.
    """

    look: Look
    levels: Sequence[int]
    means: Tensor

    @classmethod
    def of(cls, look: Look, encoded: EncodedImage) -> "_Sought":
        levels = _levels(look.areas, encoded)
        return cls(look, levels, encoded.by_mask.mean(dim=1)[levels])

    def likeness(self, features: Tensor) -> Floats:
        """How like each example masks are: (K, N, D) → (M, N) float32 in [0, 1]."""
        cosines = [
            F.normalize(features[level] - mean, dim=-1) @ direction
            for level, mean, direction in zip(
                self.levels, self.means, self.look.directions, strict=True
            )
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
            self.levels, self.means @ basis.T, self.look.directions @ basis.T, strict=True
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
    areas = [np.count_nonzero(part) for part in _alone(exemplar, parameters)]
    return _encoding(np.array(areas, dtype=np.float32), exemplar.shape, parameters)


def encoding_elsewhere(
    look: Look, shape: tuple[int, int], metres: float | None, parameters: ExemplarParameters
) -> OvssParameters:
    """The same for another image than the exemplar's.

    Args:
        look: of the exemplar.
        shape: H and W of the other image.
        metres: of the ground that a pixel of it shows; None where nobody says.
        parameters: see there.
    """
    return _encoding(look.at(metres).areas, shape, parameters)


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
    taken = _at_size(_checked(marked, "mask of what is known", encoded), encoded.proposed)
    look = _look(encoded, examples)
    return _search(encoded, clip, look, _Taken(tuple(examples.masks.masks), taken), parameters)


def look_of(
    encoded: EncodedImage, clip: ClipModel, exemplar: Mask, parameters: ExemplarParameters
) -> Look:
    """What an exemplar looks like, to be sought `elsewhere`; its largest examples alone.

    Args:
        encoded: its image, as `encoding` says.
        clip: the model.
        exemplar: (H, W) bool; each of its parts is an example.
        parameters: see there.

    Raises:
        InputError: the mask has another size than the image, or is empty.
    """
    fewer = replace(parameters, examples=min(parameters.examples, parameters.carried))
    return _look(encoded, _examples(encoded, clip, exemplar, fewer))


def elsewhere(
    encoded: EncodedImage, clip: ClipModel, look: Look, parameters: ExemplarParameters
) -> Alike:
    """All things in another image that are like an exemplar.

    Args:
        encoded: the other image, as `encoding_elsewhere` says.
        clip: the model that made the look.
        look: of the exemplar.
        parameters: see there.
    """
    nothing = np.zeros(encoded.proposed.masks.shape[1:], dtype=np.bool_)
    stricter = replace(parameters, least=parameters.least_elsewhere)
    return _search(encoded, clip, look, _Taken((), nothing), stricter)


@dataclass(frozen=True)
class _Taken:
    """Where nothing is sought, at the size of the proposals.

    Attributes:
        examples: (h, w) bool each.
        marked: (h, w) bool.
    """

    examples: Sequence[Mask]
    marked: Mask


def _search(
    encoded: EncodedImage,
    clip: ClipModel,
    look: Look,
    taken: _Taken,
    parameters: ExemplarParameters,
) -> Alike:
    metres = None if encoded.resolution is None else encoded.resolution.metres
    sought = _Sought.of(look.at(metres), encoded)
    candidates = _candidates(encoded, clip, sought, parameters)
    if candidates is None:
        return _chosen(encoded.proposed, [], [])
    scores = _scores(candidates, sought, parameters)
    kept = _apart(candidates.masks, scores, taken, parameters)
    return _chosen(candidates.masks, kept, scores[kept])


def _encoding(
    areas: Floats, shape: Sequence[int], parameters: ExemplarParameters
) -> OvssParameters:
    """With the regions that are so large, give or take what may still be alike."""
    general, regions = parameters.encoding, parameters.encoding.regions
    shrunk = min(1.0, regions.max_side / max(shape)) ** 2
    factor = np.exp(_reach(parameters.size, parameters.least))
    least, most = (1.0, 1.0)
    if len(areas):
        least, most = shrunk * areas.min() / factor, shrunk * areas.max() * factor
    fitting = replace(regions, min_area=max(1, int(least)), max_area=int(most) + 1)
    return replace(general, regions=fitting)


def _examples(
    encoded: EncodedImage, clip: ClipModel, exemplar: Mask, parameters: ExemplarParameters
) -> _Things:
    """The parts of the exemplar, and what is compared of them."""
    shown = _at_size(_checked(exemplar, "exemplar", encoded), encoded.proposed)
    parts = _alone(shown, parameters)
    if not parts:
        raise InputError(EMPTY)
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


def _look(encoded: EncodedImage, examples: _Things) -> Look:
    measured = examples.shapes
    levels = _levels(measured.areas, encoded)
    means = encoded.by_mask.mean(dim=1)[levels]  # (M, D)
    features = torch.stack([examples.features[level, i] for i, level in enumerate(levels)])
    metres = None if encoded.resolution is None else encoded.resolution.metres
    directions = F.normalize(features - means, dim=-1)
    return Look(directions, measured.areas, _elongation(measured), examples.colours, metres)


def _levels(areas: Floats, encoded: EncodedImage) -> list[int]:
    """The sizes of the image at which things of these areas are best seen."""
    factors = encoded.dense.factors[: len(encoded.by_mask)]
    return [_level(area, factors) for area in areas.tolist()]


def _level(area: float, factors: Sequence[float]) -> int:
    """The size of the image at which a thing is nearest to the middle of the widths that suit."""
    middle = np.log(scales.BEST_WIDTHS).mean()
    apart = [abs(np.log(area) / 2 + np.log(factor) - middle) for factor in factors]
    return int(np.argmin(apart))


def _candidates(
    encoded: EncodedImage, clip: ClipModel, sought: _Sought, parameters: ExemplarParameters
) -> _Things | None:
    """Proposals of a fitting size, and parts of the map of likeness; None where there are none."""
    proposed = encoded.proposed
    rows = np.flatnonzero(_fits(proposed.areas, sought.look, parameters))
    parts = _parts(encoded, clip, sought, parameters)
    found = [*parts, *(proposed.masks[row] for row in rows.tolist())]
    if not found:
        return None
    joined = proposals.of_masks(found, proposed.height, proposed.width)
    features = encoded.by_mask[:, torch.from_numpy(rows).to(encoded.by_mask.device)]
    if parts:
        added = proposals.of_masks(parts, proposed.height, proposed.width)
        features = torch.cat([_encode(encoded, clip, added, parameters), features], dim=1)
    return _Things.of(encoded, joined, features)


def _fits(areas: Floats, look: Look, parameters: ExemplarParameters) -> NDArray[np.bool_]:
    """Whether masks of so many pixels of the image could be alike enough, by their size alone."""
    apart = np.log(np.maximum(areas, 1))[:, None] - np.log(look.areas)  # (N, M)
    reach = _reach(parameters.size, parameters.least)
    fits: NDArray[np.bool_] = (np.abs(apart) <= reach).any(axis=1)
    return fits


def _reach(deviation: float, least: float) -> float:
    """The difference at which likeness falls below the least."""
    return float(deviation * np.sqrt(-2 * np.log(max(least, 1e-3))))


def _parts(
    encoded: EncodedImage, clip: ClipModel, sought: _Sought, parameters: ExemplarParameters
) -> list[Mask]:
    """Parts of the map of likeness, connected and parted by borders, of a fitting size."""
    pixels = encoded.dense.pixel_levels
    if clip.pixels is None or not pixels:
        return []
    proposed = encoded.proposed
    rows, columns = proposed.masks.shape[1:]
    plane = sought.plane(pixels, clip.pixels.basis, (rows, columns))
    border = instances.borders(pixels[0], (rows, columns))
    pixel = proposed.height * proposed.width / (rows * columns)
    parts = []
    for labels in instances.numbered(plane, border, parameters.parts):
        numbers = np.array(instances.largest(labels, parameters.parts), dtype=np.int64)
        areas = np.bincount(labels.reshape(-1))[numbers] * pixel
        fitting = numbers[_fits(areas.astype(np.float32), sought.look, parameters)]
        parts += [labels == number for number in fitting.tolist()]
    return parts


def _scores(candidates: _Things, sought: _Sought, parameters: ExemplarParameters) -> Floats:
    """How like the most similar example each candidate is: (N,) float32 in [0, 1]."""
    one, other = sought.look, candidates.shapes
    likeness = sought.likeness(candidates.features) * _outward(
        one, other, candidates.colours, parameters
    )
    scores: Floats = likeness.max(axis=0).astype(np.float32)
    return scores


def _outward(
    look: Look, measured: Shapes, colours: Floats, parameters: ExemplarParameters
) -> Floats:
    """How like each of M examples N masks are in size, form and colour: (M, N) in [0, 1]."""
    sizes = np.log(np.maximum(measured.areas, 1)) - np.log(look.areas)[:, None]
    forms = _elongation(measured) - look.elongations[:, None]
    apart = np.linalg.norm(colours - look.colours[:, None], axis=2)
    likeness: Floats = (
        _near(sizes, parameters.size)
        * _near(forms, parameters.form)
        * _near(apart, parameters.colour)
    )
    return likeness


def outward_look(
    image: RGB, exemplar: Mask, metres: float | None, parameters: ExemplarParameters
) -> Look:
    """The look of an exemplar for a model without features of masks: size, form and colour alone.

    Args:
        image: (H, W, 3) uint8.
        exemplar: (H, W) bool; each of its parts is an example.
        metres: of the ground that a pixel shows; None where nobody says.
        parameters: see there.

    Raises:
        InputError: the exemplar is empty.
    """
    parts = _alone(exemplar, replace(parameters, examples=parameters.carried))
    if not parts:
        raise InputError(EMPTY)
    found = proposals.of_masks(parts, *exemplar.shape)
    measured = shapes.measure(found.masks, found.height, found.width, found.boxes)
    colours = prototypes.describe(image, found)[:, MEAN]
    directions = torch.ones(len(parts), 1)
    return Look(directions, measured.areas, _elongation(measured), colours, metres)


def outward_scores(
    image: RGB, found: Proposals, look: Look, parameters: ExemplarParameters
) -> Floats:
    """How like the most similar example of such a look masks are: (N,) float32 in [0, 1]."""
    measured = shapes.measure(found.masks, found.height, found.width, found.boxes)
    colours = prototypes.describe(image, found)[:, MEAN]
    scores: Floats = _outward(look, measured, colours, parameters).max(axis=0).astype(np.float32)
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
    taken: _Taken,
    parameters: ExemplarParameters,
) -> list[int]:
    """The best candidates that lie on nothing: neither on each other nor on what is known.

    Two masks lie on each other when one of them is largely in the other: a half of a roof is no
    thing beside the whole one.
    """
    owners = np.zeros(taken.marked.shape, dtype=np.int32)
    areas = [0]

    def take(mask: Mask) -> None:
        owners[mask] = len(areas)
        areas.append(int(np.count_nonzero(mask)))

    for mask in taken.examples:
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
        if np.count_nonzero(taken.marked[window] & inside) <= parameters.overlap * count:
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
