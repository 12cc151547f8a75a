"""What an image shows of concepts: the answers of its windows, put together. [ours].

Evidence of a pixel is what the semantic head or the surest instance on it says, times the presence
of the concept in the window, as SegEarth-OV3 (arXiv 2512.08730) fuses them. Instances that a
window's border cuts are joined with those of the next window.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis import masks
from dgl_rsis.concepts.model import Answer
from dgl_rsis.concepts.views import View, Views
from dgl_rsis.types import Floats, Mask

Box = tuple[int, int, int, int]  # XYXY

MAP_SIDE = 1024  # pixels of the longer side of maps, at most: that of proposals
MASK_THRESHOLD = 0.5  # probability, as `Sam3ImageProcessor` has it


@dataclass(frozen=True)
class ConceptParameters:
    """Which answers count.

    Attributes:
        present: presence below which a window shows nothing of a concept, [0, 1].
        least: score of an instance, [0, 1].
        doubled: IoU of two instances of one window that are the same.
        shared: what two instances of different windows have in common that are the same: IoU of
            what both windows show of them; between sizes of the image, a share of the smaller.
    """

    present: float = 0.5
    least: float = 0.5
    doubled: float = 0.7
    shared: float = 0.5


@dataclass(frozen=True)
class Instance:
    """One thing of a concept.

    Attributes:
        score: [0, 1].
        box: XYXY pixels of the map around its mask.
        mask: bool, of that box.
        level: size of the image that it was seen at.
        windows: that it was seen in, XYXY pixels of the map.
    """

    score: float
    box: Box
    mask: Mask
    level: int
    windows: tuple[Box, ...]

    @property
    def area(self) -> int:
        """Pixels of the map."""
        return int(self.mask.sum())

    def shared(self, other: "Instance") -> int:
        """Pixels that another has, too."""
        common = _common(self.box, other.box)
        return 0 if common is None else int((self._part(common) & other._part(common)).sum())

    def agrees(self, other: "Instance") -> float:
        """IoU of both in what windows of both show, [0, 1]; 0 where they show nothing of them."""
        both = either = 0
        for one, another in product(self.windows, other.windows):
            if (common := _common(one, another)) is None:
                continue
            parts = self._part(common), other._part(common)
            both += int((parts[0] & parts[1]).sum())
            either += int((parts[0] | parts[1]).sum())
        return both / max(either, 1)

    def _part(self, box: Box) -> Mask:
        """Its mask in a box of the map: (rows, columns) bool of that box."""
        plane = np.zeros((box[3] - box[1], box[2] - box[0]), dtype=np.bool_)
        if (common := _common(self.box, box)) is not None:
            left, top, right, bottom = common
            rows = slice(top - self.box[1], bottom - self.box[1])
            columns = slice(left - self.box[0], right - self.box[0])
            plane[top - box[1] : bottom - box[1], left - box[0] : right - box[0]] = self.mask[
                rows, columns
            ]
        return plane

    def drawn(self, shape: tuple[int, ...]) -> Mask:
        """(h, w) bool, at the size of the map."""
        plane = np.zeros(shape, dtype=np.bool_)
        left, top, right, bottom = self.box
        plane[top:bottom, left:right] = self.mask
        return plane


@dataclass(frozen=True)
class Concept:
    """What an image shows of a concept.

    Attributes:
        presence: the greatest of all windows, [0, 1].
        evidence: (h, w) float32 in [0, 1], that a pixel is of it, at the size of the map.
        instances: of it, the surest first.
    """

    presence: float
    evidence: Floats
    instances: tuple[Instance, ...]


def map_shape(height: int, width: int) -> tuple[int, int]:
    """The size of maps of an image: its own, or `MAP_SIDE` along its longer side."""
    factor = min(1.0, MAP_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def shown(
    seen: Views,
    ask: Callable[[View, Sequence[int]], Sequence[Answer]],
    heard: Sequence[Sequence[bool]],
    parameters: ConceptParameters,
) -> list[Concept]:
    """What the windows show of P concepts.

    Args:
        seen: the windows of the image.
        ask: a window and numbers of concepts → the answers of these.
        heard: K × P, whether a concept is asked of the windows of a level.
        parameters: see there.
    """
    count, shape = len(heard[0]), map_shape(seen.height, seen.width)
    evidence = np.zeros((count, *shape), dtype=np.float32)
    presence = np.zeros(count, dtype=np.float32)
    found: list[list[Instance]] = [[] for _ in range(count)]
    for level, windows in enumerate(seen.levels):
        asked = [number for number in range(count) if heard[level][number]]
        for view in windows if asked else ():
            place = _place(view, seen, shape)
            for number, answer in zip(asked, ask(view, asked), strict=True):
                presence[number] = max(presence[number], answer.presence)
                if answer.presence < parameters.present:
                    continue
                left, top, right, bottom = place
                own = evidence[number, top:bottom, left:right]
                np.maximum(own, _evidence(answer, own.shape, parameters), out=own)
                found[number] += _instances(answer, place, view, parameters)
    return [
        Concept(float(presence[i]), evidence[i], tuple(_told_apart(found[i], parameters)))
        for i in range(count)
    ]


def _place(view: View, seen: Views, shape: tuple[int, int]) -> Box:
    """The window in pixels of the map, at least one of them."""
    down, across = shape[0] / seen.height, shape[1] / seen.width
    left, top = round(view.box[0] * across), round(view.box[1] * down)
    right, bottom = round(view.box[2] * across), round(view.box[3] * down)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _evidence(answer: Answer, size: tuple[int, ...], parameters: ConceptParameters) -> Floats:
    """(h, w) float32 in [0, 1] at the size of the window in the map."""
    likely = answer.semantic.sigmoid() * answer.presence
    kept = answer.scores > parameters.least
    if kept.any():
        things = answer.masks[kept].sigmoid() * answer.scores[kept][:, None, None]
        likely = torch.maximum(likely, things.amax(dim=0))
    resized: Floats = _resized(likely[None], size)[0].numpy()
    return resized


def _instances(
    answer: Answer,
    place: Box,
    view: View,
    parameters: ConceptParameters,
) -> Iterator[Instance]:
    """Those of a window, the surest first, each once."""
    left, top, right, bottom = place
    kept = answer.scores > parameters.least
    order = answer.scores[kept].argsort(descending=True)
    scores, logits = answer.scores[kept][order], answer.masks[kept][order]
    earlier: list[Instance] = []
    for score, one in zip(scores.tolist(), logits, strict=True):
        likely = _resized(one.sigmoid()[None], (bottom - top, right - left))[0]
        mask = (likely > MASK_THRESHOLD).numpy()
        if not mask.any():
            continue
        x0, y0, x1, y1 = masks.box(mask)
        box = (left + x0, top + y0, left + x1, top + y1)
        thing = Instance(score, box, mask[y0:y1, x0:x1], view.level, (place,))
        if all(_iou(thing, other) <= parameters.doubled for other in earlier):
            earlier.append(thing)
            yield thing


def _told_apart(found: list[Instance], parameters: ConceptParameters) -> list[Instance]:
    """Each thing once, the surest first.

    What windows of one level show of the same thing is joined: the border of one may cut it. Of
    what levels say of the same thing, the surer is taken.
    """
    kept: list[Instance] = []
    for thing in sorted(found, key=lambda each: -each.score):
        same = [other for other in kept if _same(thing, other, parameters)]
        if any(other.level != thing.level for other in same):
            continue
        for other in same:  # a piece may be what joins two others
            kept.remove(other)
            thing = _union(other, thing)
        kept.append(thing)
    return sorted(kept, key=lambda each: -each.score)


def _same(one: Instance, other: Instance, parameters: ConceptParameters) -> bool:
    if one.level != other.level:
        return one.shared(other) > parameters.shared * min(one.area, other.area)
    if set(one.windows) & set(other.windows):
        return False
    return one.agrees(other) > parameters.shared


def _iou(one: Instance, other: Instance) -> float:
    both = one.shared(other)
    return both / (one.area + other.area - both)


def _union(one: Instance, other: Instance) -> Instance:
    """Both as one, as sure as the surer."""
    box = (
        min(one.box[0], other.box[0]),
        min(one.box[1], other.box[1]),
        max(one.box[2], other.box[2]),
        max(one.box[3], other.box[3]),
    )
    mask = one._part(box) | other._part(box)
    score, windows = max(one.score, other.score), (*one.windows, *other.windows)
    return Instance(score, box, mask, one.level, windows)


def _common(one: Box, other: Box) -> Box | None:
    """The part that two boxes share; None for nothing."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    return (left, top, right, bottom) if left < right and top < bottom else None


def _resized(planes: Tensor, size: tuple[int, ...]) -> Tensor:
    """(n, h, w) → (n, *size), as the model's own processor does it; on the CPU."""
    sized = F.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)
    return sized[0].cpu()
