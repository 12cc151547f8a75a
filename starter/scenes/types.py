"""What a generated scene is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CLASSES: tuple[str, ...] = (
    "building",
    "road",
    "water",
    "forest",
    "tree",
    "grassland",
    "farmland",
    "bare land",
    "car",
    "ship",
    "airplane",
    "storage tank",
    "tennis court",
    "swimming pool",
    "parking lot",
    "solar panel",
    "beach",
    "roundabout",
    "bridge",
    "pier",
    "ground track field",
    "greenhouse",
    "runway",
)

EVALUATION_CLASSES: tuple[str, ...] = (
    "building",
    "road",
    "water",
    "forest",
    "farmland",
    "bare land",
    "storage tank",
    "tennis court",
    "swimming pool",
    "ship",
)

Stratum = Literal["image-relative", "object-relative", "attribute"]


@dataclass(frozen=True)
class SceneObject:
    """One thing, or one patch of land, as far as it can be seen.

    Attributes:
        label: one of CLASSES.
        box: XYXY pixels of the visible part, right and bottom edge excluded.
        attributes: "colour" and, where it says something, "kind"; plain English words.
        owners: (H, W) int32, number of the object that each pixel shows, 0 = unlabelled; one array
            shared by all objects of the scene, since a mask for each of hundreds of cars would
            fill the memory.
        number: this object's number in `owners`.
        area: visible pixels, at least 1.
    """

    label: str
    box: tuple[int, int, int, int]
    attributes: Mapping[str, str]
    owners: NDArray[np.int32] = field(repr=False)
    number: int
    area: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool, the visible pixels."""
        mask: NDArray[np.bool_] = self.owners == self.number
        return mask


@dataclass(frozen=True)
class Expression:
    """A referring expression and what it refers to.

    Attributes:
        text: for example "the red building in the upper right".
        mask: (H, W) bool, union of the targets' visible pixels.
        noun: class of the targets, one of CLASSES.
        stratum: what tells the targets from the rest: their place in the image, their place
            beside another thing, or their own look.
    """

    text: str
    mask: NDArray[np.bool_] = field(repr=False)
    noun: str
    stratum: Stratum


@dataclass(frozen=True)
class Scene:
    """A synthetic aerial image with its truth.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        class_map: (H, W) uint8; 0 = unlabelled, i = CLASSES[i - 1].
        objects: everything labelled; their masks are disjoint and together cover class_map > 0.
        captions: sentences that hold for the whole image.
        expressions: unambiguous referring expressions.
        metres_per_pixel: ground resolution, 0.15 to 1.5 m.
    """

    image: NDArray[np.uint8] = field(repr=False)
    class_map: NDArray[np.uint8] = field(repr=False)
    objects: tuple[SceneObject, ...] = field(repr=False)
    captions: tuple[str, ...]
    expressions: tuple[Expression, ...]
    metres_per_pixel: float
