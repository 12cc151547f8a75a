"""Random windows of photographs and of generated scenes, at random ground resolutions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from starter.training.concepts import NUMBERS, Judgements
from starter.training.photographs import Photograph

PER_IMAGE = 40  # remembered pixels of each judgement in an image, for windows centred on them


@dataclass(frozen=True)
class Batch:
    """Windows and what is known of them.

    Attributes:
        images: (B, 3, S, S) float32 in [0, 1].
        truth: (B, S, S) int64, numbers of judgements.
        metres: (B,) float32, a pixel of the window; NaN where unknown.
        shows: (B, concepts) bool, what is there somewhere.
        borders: (B, S, S) float32, 1 at the border of an object, NaN where unknown.
    """

    images: Tensor
    truth: Tensor
    metres: Tensor
    shows: Tensor
    borders: Tensor


class Source:
    """Photographs to cut windows from.

    Args:
        photographs: of one set, at least one.
        known: the judgements.
        reach: least and most source pixels along a pixel of a window.
        borders: by photograph; (H, W) bool.
        straight: share of windows at full resolution that are only turned by quarters.
    """

    def __init__(
        self,
        photographs: Sequence[Photograph],
        known: Judgements,
        reach: tuple[float, float],
        borders: Sequence[NDArray[np.bool_]] | None = None,
        straight: float = 0.0,
    ) -> None:
        self.photographs, self.reach, self.straight = photographs, reach, straight
        self.borders = borders
        self.smaller: dict[int, list[NDArray[np.uint8]]] = {}
        rng = np.random.default_rng(0)
        self.places: dict[int, list[tuple[int, int, int]]] = {}
        for index, each in enumerate(photographs):
            for number in np.unique(each.truth):
                if len(known.sets[number]) > 4:
                    continue
                rows, columns = np.nonzero(each.truth == number)
                some = rng.choice(len(rows), min(PER_IMAGE, len(rows)), replace=False)
                self.places.setdefault(int(number), []).extend(
                    (index, int(rows[i]), int(columns[i])) for i in some
                )

    def window(
        self, rng: np.random.Generator, side: int, balanced: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float, Photograph, NDArray[np.bool_] | None]:
        """One window: image, truth, metres a pixel, its photograph, borders."""
        if self.places and rng.random() < balanced:
            numbers = sorted(self.places)
            places = self.places[numbers[int(rng.integers(len(numbers)))]]
            index, row, column = places[int(rng.integers(len(places)))]
            jitter = rng.uniform(-0.3, 0.3, 2) * side
            row, column = row + jitter[0], column + jitter[1]
        else:
            index = int(rng.integers(len(self.photographs)))
            height, width = self.photographs[index].truth.shape
            row, column = rng.uniform(0, height), rng.uniform(0, width)
        each = self.photographs[index]
        straight = rng.random() < self.straight
        low, high = (math.log(x) for x in self.reach)
        scale = 1.0 if straight else math.exp(rng.uniform(low, high))
        angle = rng.integers(4) * math.pi / 2 if straight else rng.uniform(0, 2 * math.pi)
        mirror = 1 if rng.random() < 0.5 else -1
        height, width = each.truth.shape
        reach = side * scale / 2
        row = _within(row, reach, height)
        column = _within(column, reach, width)
        if straight:
            row, column = round(row), round(column)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        centre = (side - 1) / 2
        matrix = np.array([[cos * mirror, -sin, 0], [sin * mirror, cos, 0]])
        offset = np.array([column - 0.5, row - 0.5]) - matrix[:, :2] @ [centre, centre]
        matrix[:, 2] = offset
        level = max(0, math.floor(math.log2(scale) + 0.25))
        image = self._level(index, level)
        shrunk = matrix / 2**level
        shrunk[:, 2] += (0.5 / 2**level) - 0.5 if level else 0.0
        flags = cv2.WARP_INVERSE_MAP
        cut = cv2.warpAffine(
            image, shrunk, (side, side),
            flags=flags | (cv2.INTER_NEAREST if straight else cv2.INTER_LINEAR),
            borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
        nearest = {"flags": flags | cv2.INTER_NEAREST, "borderMode": cv2.BORDER_REFLECT_101}
        truth = cv2.warpAffine(each.truth, matrix, (side, side), **nearest)
        borders = None
        if self.borders is not None and straight:
            plane = self.borders[index].view(np.uint8)
            borders = cv2.warpAffine(plane, matrix, (side, side), **nearest).astype(np.bool_)
        metres = math.nan if each.metres is None else each.metres * scale
        return np.asarray(cut), np.asarray(truth), metres, each, borders

    def _level(self, index: int, level: int) -> NDArray[np.uint8]:
        """An image, halved so many times."""
        levels = self.smaller.setdefault(index, [self.photographs[index].image])
        while len(levels) <= level:
            last = levels[-1]
            size = max(1, last.shape[1] // 2), max(1, last.shape[0] // 2)
            levels.append(np.asarray(cv2.resize(last, size, interpolation=cv2.INTER_AREA)))
        return levels[level]


def _within(centre: float, reach: float, size: int) -> float:
    """A centre whose window lies inside, where it fits."""
    if 2 * reach >= size:
        return size / 2
    return min(max(centre, reach), size - reach)


def draw(
    sources: Mapping[str, tuple[Source, float]], count: int, side: int, balanced: float,
    rng: np.random.Generator,
) -> Batch:  # fmt: skip
    """A batch of windows, from each source as often as its share says."""
    names = list(sources)
    shares = np.array([sources[name][1] for name in names])
    # Systematic sampling: the mix of a batch varies less than by independent draws.
    ends = np.cumsum(shares / shares.sum())
    picks = np.searchsorted(ends, (rng.random() + np.arange(count)) / count % 1)
    images, truths, metres, borders = [], [], [], []
    shows = torch.zeros(count, len(NUMBERS), dtype=torch.bool)
    for i, pick in enumerate(picks):
        source = sources[names[min(int(pick), len(names) - 1)]][0]
        image, truth, ground, photograph, border = source.window(rng, side, balanced)
        images.append(torch.from_numpy(image))
        truths.append(torch.from_numpy(truth))
        metres.append(ground)
        whole = side * ground / (photograph.metres or math.nan) >= 0.8 * max(truth.shape)
        if whole:
            for name in photograph.shows:
                shows[i, NUMBERS[name]] = True
        unknown = torch.full((side, side), math.nan)
        borders.append(unknown if border is None else torch.from_numpy(border).float())
    stacked = torch.stack(images).permute(0, 3, 1, 2).float() / 255
    return Batch(
        weathered(stacked),
        torch.stack(truths).long(),
        torch.tensor(metres, dtype=torch.float32),
        shows,
        torch.stack(borders),
    )


def weathered(images: Tensor) -> Tensor:
    """Another sensor, season, sun and air: gains, gamma, saturation, cast, haze, blur and noise.

    Half of them hardly at all; the others by anything up to what makes a place look like another.

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
    """
    count = len(images)
    strength = torch.rand(count, 1, 1, 1) * 0.9 + 0.1
    strength = torch.where(torch.rand(count, 1, 1, 1) < 0.5, 0.08, strength)

    def change(reach: float, channels: int = 1) -> Tensor:
        return torch.empty(count, channels, 1, 1).uniform_(-reach, reach) * strength

    x = images.clamp_min(1e-3) ** torch.exp(change(0.4))
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + change(0.6))
    centre = x.mean(dim=(1, 2, 3), keepdim=True)
    x = centre + (x - centre) * torch.exp(change(0.35))
    x = x * torch.exp(change(0.3) + change(0.1, 3)) + change(0.08) + change(0.03, 3)
    haze = (torch.rand(count, 1, 1, 1) < 0.2) * torch.rand(count, 1, 1, 1) * 0.5 * strength
    x = x * (1 - haze) + haze * (0.75 + 0.1 * torch.rand(count, 3, 1, 1))
    soft = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    x = torch.where(torch.rand_like(strength) < 0.25, soft, x)
    x = x + torch.randn_like(x) * change(0.04).abs()
    return x.clamp(0, 1)
