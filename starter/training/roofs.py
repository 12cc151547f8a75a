"""Roofs in other colours.

A roof is what its shape, its shadow and its place say; of what colour it is differs from town to
town. Where training has seen none that are blue, a blue one becomes a swimming pool.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

SHARE = 0.5  # of the roofs of a window
SOFT = 1.0  # pixels, of the edge between what is painted and what is not
LEAST = 12  # pixels of a roof
MOST = 60  # roofs of a window that are looked at
LIGHTNESS = (25.0, 92.0)  # CIE L* of a roof, from tar to fresh sheet metal
COLOURFUL = 45.0  # CIE a* and b*, of the brightest sheet metal
HUES = (0.8, 0.8, 2.8, 4.7, 4.7)  # radians from a*: of brick and rust, of green and of blue paint
SPREAD = 0.4  # radians, standard deviation of those
GREY = 0.4  # of painted roofs have hardly a colour: concrete, slate, dust
WARM = (2.0, 14.0)  # CIE b* of those


def repainted(
    image: NDArray[np.uint8], roofs: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Some of the roofs in another colour, with their texture.

    Args:
        image: (S, S, 3) uint8, RGB.
        roofs: (S, S) bool.
        rng: of what is painted how.
    """
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(
        roofs.astype(np.uint8), connectivity=4
    )
    own = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= LEAST]
    chosen = [i for i in own[:MOST] if rng.random() < SHARE]
    if not chosen:
        return image
    lab = np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    fresh = lab.copy()
    for number in chosen:
        left, top, width, height = stats[number, :4]
        window = np.s_[top : top + height, left : left + width]
        roof = numbers[window] == number
        colours = lab[window][roof]
        texture = (colours - colours.mean(axis=0)) * rng.uniform(0.6, 1.2)
        fresh[window][roof] = texture + _colour(rng)
    share = cv2.GaussianBlur(np.isin(numbers, chosen).astype(np.float32), (0, 0), SOFT)
    mixed = (lab + (fresh - lab) * share[..., None]).astype(np.float32)
    rgb = np.asarray(cv2.cvtColor(mixed, cv2.COLOR_LAB2RGB))
    painted: NDArray[np.uint8] = (rgb.clip(0, 1) * 255).round().astype(np.uint8)
    return painted


def _colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """CIE L*, a*, b* of a roof."""
    lightness = rng.uniform(*LIGHTNESS)
    if rng.random() < GREY:
        chroma = rng.uniform(-3, 5), rng.uniform(*WARM)
    else:
        angle, length = rng.normal(rng.choice(HUES), SPREAD), COLOURFUL * np.sqrt(rng.random())
        chroma = length * np.cos(angle), length * np.sin(angle)
    return np.array([lightness, *chroma], np.float32)
