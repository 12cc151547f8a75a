"""The nouns that stages exchange."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]  # (H, W, 3), 0-255
Mask = NDArray[np.bool_]  # (H, W)
Floats = NDArray[np.float32]
Json = dict[str, Any]
Extent = tuple[float, float]  # metres; how wide the smallest and the largest of a class are
Tie = tuple[float, float]  # of a spectral index and a class: threshold and softness


class InputError(ValueError):
    """What was asked cannot be answered as it is. The message is fit for users."""


class ImageError(ValueError):
    """The bytes are not an image that this project reads. The message is fit for users."""


class TooManyPixelsError(ImageError):
    """An image has more pixels than it may.

    Attributes:
        size: height and width, pixels.
    """

    def __init__(self, message: str, size: tuple[int, int]) -> None:
        super().__init__(message)
        self.size = size


@dataclass(frozen=True)
class Proposals:
    """Class-agnostic mask proposals; they may overlap.

    Attributes:
        masks: (N, h, w) bool, at the size that the provider worked at: at most (H, W).
        boxes: (N, 4) int32, XYXY pixels of the image, right and bottom edge excluded.
        quality: (N,) float32 in [0, 1].
        height, width: H and W of the image, pixels.
    """

    masks: NDArray[np.bool_]
    boxes: NDArray[np.int32]
    quality: Floats
    height: int
    width: int

    @property
    def areas(self) -> Floats:
        """(N,) float32, pixels of the image."""
        h, w = self.masks.shape[1:]
        pixels = np.array([np.count_nonzero(mask) for mask in self.masks], dtype=np.int64)
        areas: Floats = (pixels * (self.height * self.width / (h * w))).astype(np.float32)
        return areas

    def __len__(self) -> int:
        return len(self.masks)

    def at_full_size(self, plane: NDArray[Any]) -> NDArray[Any]:
        """(h, w) at the size of the masks → (H, W), by the nearest pixel."""
        height, width = plane.shape
        if (height, width) == (self.height, self.width):
            return plane
        rows = np.arange(self.height) * height // self.height
        columns = np.arange(self.width) * width // self.width
        resized: NDArray[Any] = plane[rows[:, None], columns]
        return resized


@dataclass(frozen=True)
class Label:
    """One class of the vocabulary.

    Attributes:
        name: as the user spells it.
        synonyms: the user's further names for it; the project's own knowledge adds more.
        threshold: smallest probability in [0, 1] at which a pixel takes this label; None for the
            pipeline's own.
        background: pixels won by this label stay unlabelled.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    threshold: float | None = None
    background: bool = False


@dataclass(frozen=True)
class Segment:
    """One labelled mask.

    Attributes:
        label: name of the class.
        score: mean probability of the class inside the mask, [0, 1].
        mask: (H, W) bool at the original size.
    """

    label: str
    score: float
    mask: Mask


@dataclass(frozen=True)
class Prompt:
    """What somebody points at, to get the mask of one object or to correct it.

    Attributes:
        positive: (n, 2) float32, x and y of pixels that belong to it; 0 is the outer edge of the
            first pixel.
        negative: (m, 2) float32, pixels that do not.
        box: XYXY pixels around it; None for none.
        stroke: (H, W) bool, painted roughly along it: mostly inside; None for none.
        outline: (H, W) bool, the inside of a rough outline; None for none.
        prior: (H, W) bool, the mask to correct; None to start anew.
    """

    positive: Floats = field(default_factory=lambda: np.zeros((0, 2), dtype=np.float32))
    negative: Floats = field(default_factory=lambda: np.zeros((0, 2), dtype=np.float32))
    box: tuple[float, float, float, float] | None = None
    stroke: Mask | None = None
    outline: Mask | None = None
    prior: Mask | None = None


@dataclass(frozen=True)
class Refined:
    """The answer to a `Prompt`.

    Attributes:
        mask: (H, W) bool at the size of the image.
        score: confidence, [0, 1].
    """

    mask: Mask
    score: float


ModifierKind = Literal["attribute", "size", "position", "relation", "ordinal", "count"]


@dataclass(frozen=True)
class Anchor:
    """Another thing that an expression measures its target by.

    Attributes:
        text: the noun phrase as written, lower case, without its article.
        noun: its head with its compounds, lower case, singular.
    """

    text: str
    noun: str


@dataclass(frozen=True)
class Modifier:
    """One global modifier of an expression.

    Attributes:
        kind: what it speaks of.
        text: the words as written, lower case.
        value: their canonical form, see `words.toml`: "white", "largest", "top left",
            "left of", "2", "all".
        anchors: of a relation or a comparison ("larger than the tank"), else none; several are
            alternatives but for "between".
        negated: the expression denies it: "not on the left", "non-white", "without a trailer" (a
            denied "with").
    """

    kind: ModifierKind
    text: str
    value: str
    anchors: tuple[Anchor, ...] = ()
    negated: bool = False


@dataclass(frozen=True)
class Decoupled:
    """An expression split into its local class noun and its global modifiers.

    Attributes:
        text: the expression as given.
        noun: class of the target with its compounds, lower case, singular, without adjectives.
        modifiers: in the order of the text.
        plural: the noun stands in the plural: more than one target is meant.
        reason: why the whole text had to serve as the noun, or what is denied that cannot be
            measured; empty where it was understood.
        refused: the reason is of the second kind: a mask would show the contrary of what is meant.
    """

    text: str
    noun: str
    modifiers: tuple[Modifier, ...] = ()
    plural: bool = False
    reason: str = ""
    refused: bool = False

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """Those of all relations, in the order of the text."""
        return tuple(anchor for modifier in self.modifiers for anchor in modifier.anchors)
