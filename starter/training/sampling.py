"""Random windows of photographs and of generated scenes, at random ground resolutions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starter.training.concepts import NUMBERS, Judgements
from starter.training.photographs import Photograph
from starter.training.roofs import repainted
from starter.training.windows import Recolouring, recoloured, softened

PER_IMAGE = 40  # remembered pixels of each judgement in an image, for windows centred on them
WIDEST = 4  # concepts of a judgement; windows are not centred on what may be more
WEATHER = Recolouring(0.4, 0.6, 0.35, 0.3, 0.1, 0.08, 0.03)
CALM = 0.35  # of windows, whose weather hardly changes
MOST_SEEN = 0.8  # of an image's longer side; a window that has so much shows what the image shows


@dataclass(frozen=True)
class Batch:
    """Windows and what is known of them.

    Attributes:
        images: (B, 3, S, S) float32 in [0, 1].
        clean: (B, 3, S, S) float32 in [0, 1], the same before roofs and weather were changed.
        truth: (B, S, S) int64, numbers of judgements.
        metres: (B,) float32, a pixel of the window; NaN where unknown.
        shows: (B, concepts) bool, what is there somewhere.
        borders: (B, S, S) float32, 1 at the border of an object, NaN where unknown.
    """

    images: Tensor
    clean: Tensor
    truth: Tensor
    metres: Tensor
    shows: Tensor
    borders: Tensor


@dataclass(frozen=True)
class Window:
    """A part of a photograph.

    Attributes:
        image: (S, S, 3) uint8.
        clean: (S, S, 3) uint8, the same with the roofs as they are.
        truth: (S, S) uint8, numbers of judgements.
        metres: a pixel; None where nobody knows.
        shows: concepts that the photograph surely shows, where the window has nearly all of it.
        borders: (S, S) bool, whether an object's border lies there; None where nobody knows.
    """

    image: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    metres: float | None
    shows: frozenset[str]
    borders: NDArray[np.bool_] | None


class Source:
    """Photographs to cut windows from.

    Args:
        photographs: of one set, at least one.
        known: the judgements.
        reach: least and most source pixels along a pixel of a window.
        borders: by photograph; (H, W) bool.
        straight: share of windows at full resolution that are only turned by quarters.
        painted: share of windows whose roofs get other colours.
    """

    def __init__(
        self,
        photographs: Sequence[Photograph],
        known: Judgements,
        reach: tuple[float, float],
        borders: Sequence[NDArray[np.bool_]] | None = None,
        straight: float = 0.0,
        painted: float = 0.0,
    ) -> None:
        self.photographs, self.reach, self.straight = photographs, reach, straight
        self.borders, self.painted = borders, painted
        self.roof = known.number("building") if painted else -1
        self.smaller: dict[int, list[NDArray[np.uint8]]] = {}
        rng = np.random.default_rng(0)
        self.places: dict[int, list[tuple[int, int, int]]] = {}
        for index, each in enumerate(photographs):
            for number in np.unique(each.truth):
                if len(known.sets[number]) > WIDEST:
                    continue
                rows, columns = np.nonzero(each.truth == number)
                some = rng.choice(len(rows), min(PER_IMAGE, len(rows)), replace=False)
                self.places.setdefault(int(number), []).extend(
                    (index, int(rows[i]), int(columns[i])) for i in some
                )

    def window(self, rng: np.random.Generator, side: int, balanced: float) -> Window:
        """One random window.

        Args:
            rng: of everything random.
            side: S of the window, pixels.
            balanced: share of windows that are centred on a judgement, drawn uniformly.
        """
        index, row, column = self._centre(rng, side, balanced)
        each = self.photographs[index]
        straight = rng.random() < self.straight
        low, high = (math.log(x) for x in self.reach)
        scale = 1.0 if straight else math.exp(rng.uniform(low, high))
        angle = rng.integers(4) * math.pi / 2 if straight else rng.uniform(0, 2 * math.pi)
        mirror = 1 if rng.random() < 0.5 else -1
        height, width = each.truth.shape
        row = _within(row, side * scale / 2, height)
        column = _within(column, side * scale / 2, width)
        if straight:
            row, column = round(row), round(column)
        matrix = _placing(row, column, scale, angle, mirror, side)
        borders = None
        if self.borders is not None and straight:
            borders = _cut(self.borders[index].view(np.uint8), matrix, side).astype(np.bool_)
        clean = self._image(index, matrix, scale, side, straight)
        truth = _cut(each.truth, matrix, side)
        paint = rng.random() < self.painted
        return Window(
            repainted(clean, truth == self.roof, rng) if paint else clean,
            clean,
            truth,
            None if each.metres is None else each.metres * scale,
            each.shows if side * scale >= MOST_SEEN * max(height, width) else frozenset(),
            borders,
        )

    def _centre(
        self, rng: np.random.Generator, side: int, balanced: float
    ) -> tuple[int, float, float]:
        """Number of a photograph, and the row and column around which to cut."""
        if self.places and rng.random() < balanced:
            numbers = sorted(self.places)
            places = self.places[numbers[int(rng.integers(len(numbers)))]]
            index, row, column = places[int(rng.integers(len(places)))]
            down, across = rng.uniform(-0.3, 0.3, 2) * side
            return index, row + down, column + across
        index = int(rng.integers(len(self.photographs)))
        height, width = self.photographs[index].truth.shape
        return index, rng.uniform(0, height), rng.uniform(0, width)

    def _image(
        self, index: int, matrix: NDArray[np.float64], scale: float, side: int, straight: bool
    ) -> NDArray[np.uint8]:
        """(S, S, 3): cut from the image halved so often that hardly a pixel of it is skipped."""
        level = max(0, math.floor(math.log2(scale) + 0.25))
        shrunk = matrix / 2**level
        shrunk[:, 2] += 0.5 / 2**level - 0.5  # a halved pixel's centre lies between two
        return _cut(self._level(index, level), shrunk, side, smooth=not straight)

    def _level(self, index: int, level: int) -> NDArray[np.uint8]:
        """An image, halved so many times."""
        levels = self.smaller.setdefault(index, [self.photographs[index].image])
        while len(levels) <= level:
            last = levels[-1]
            size = max(1, last.shape[1] // 2), max(1, last.shape[0] // 2)
            levels.append(np.asarray(cv2.resize(last, size, interpolation=cv2.INTER_AREA)))
        return levels[level]


def _placing(
    row: float, column: float, scale: float, angle: float, mirror: int, side: int
) -> NDArray[np.float64]:
    """(2, 3), from a window's (x, y) to an image's, both at the centres of pixels.

    Args:
        row: of the window's centre, from the image's upper edge, pixels.
        column: of it, from the left edge.
        scale: source pixels along a pixel of the window.
        angle: it is turned by, radians.
        mirror: 1, or -1 for a mirrored one.
        side: S of the window, pixels.
    """
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    centre = (side - 1) / 2
    offset = np.array([column - 0.5, row - 0.5]) - linear @ [centre, centre]
    return np.concatenate([linear, offset[:, None]], axis=1)


def _cut(
    plane: NDArray[np.uint8], matrix: NDArray[np.float64], side: int, *, smooth: bool = False
) -> NDArray[np.uint8]:
    """A window: (S, S) or (S, S, 3), reflected where it reaches over the edge."""
    flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST)
    cut = cv2.warpAffine(
        plane, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(cut, np.uint8)


def _within(centre: float, reach: float, size: int) -> float:
    """A centre whose window lies inside, where it fits."""
    if 2 * reach >= size:
        return size / 2
    return min(max(centre, reach), size - reach)


def draw(
    sources: Mapping[str, tuple[Source, float]],
    count: int,
    side: int,
    balanced: float,
    rng: np.random.Generator,
) -> Batch:
    """A batch of windows, from each source as often as its share says.

    Args:
        sources: each with its share, of any sum.
        count: B of the batch.
        side: S of a window, pixels.
        balanced: see `Source.window`.
        rng: of everything random but the weather, which is torch's.
    """
    shares = np.array([share for _, share in sources.values()])
    # Systematic sampling: the mix of a batch varies less than by independent draws.
    ends = np.cumsum(shares / shares.sum())
    picks = np.searchsorted(ends, (rng.random() + np.arange(count)) / count % 1)
    each = [source for source, _ in sources.values()]
    windows = [each[min(int(pick), len(each) - 1)].window(rng, side, balanced) for pick in picks]
    shows = torch.zeros(count, len(NUMBERS), dtype=torch.bool)
    for row, window in zip(shows, windows, strict=True):
        row[[NUMBERS[name] for name in window.shows]] = True
    images = _stacked([window.image for window in windows])
    unknown = np.full((side, side), math.nan, np.float32)
    borders = [
        unknown if window.borders is None else window.borders.astype(np.float32)
        for window in windows
    ]
    return Batch(
        weathered(images),
        _stacked([window.clean for window in windows]),
        torch.from_numpy(np.stack([window.truth for window in windows])).long(),
        torch.tensor([math.nan if x.metres is None else x.metres for x in windows]),
        shows,
        torch.from_numpy(np.stack(borders)),
    )


def _stacked(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """B images, (S, S, 3) uint8 → (B, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def weathered(images: Tensor) -> Tensor:
    """Another sensor, season, sun and air: gains, gamma, saturation, cast, haze, blur and noise.

    About a third of them hardly at all; the others by anything up to what makes a place look like
    another.

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
    """
    count = len(images)
    strength = torch.rand(count, 1, 1, 1) * 0.9 + 0.1
    strength = torch.where(torch.rand(count, 1, 1, 1) < CALM, 0.08, strength)
    x = recoloured(images, strength, WEATHER)
    haze = (torch.rand(count, 1, 1, 1) < 0.2) * torch.rand(count, 1, 1, 1) * 0.5 * strength
    x = x * (1 - haze) + haze * (0.75 + 0.1 * torch.rand(count, 3, 1, 1))
    return softened(x, strength)
