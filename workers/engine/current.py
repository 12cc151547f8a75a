"""What a worker's jobs are answered with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from redis import Redis

from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.types import Label, Mask, Prompt, Refined
from workers.engine.learnt import Recall
from workers.images.cache import ImageCache
from workers.images.pictures import Picture, Pictures
from workers.queue.prototypes import PrototypeStore

if TYPE_CHECKING:
    from dgl_rsis.classes.pipeline import ClassSegmentation
    from dgl_rsis.expressions.pipeline import ExpressionSegmentation


class Segment(Protocol):
    """Finds classes."""

    def __call__(
        self,
        picture: Picture,
        labels: Sequence[Label],
        batch: int,
        learnt: Prototypes | None = None,
    ) -> "ClassSegmentation":
        """A class for every pixel, by the labels' names and what was learnt of them."""


class Refer(Protocol):
    """Finds what an expression means."""

    def __call__(
        self, picture: Picture, expression: str, labels: Sequence[Label], batch: int, most: int = 0
    ) -> tuple["ExpressionSegmentation", str]:
        """Candidates, `most` of them or the usual number, and the label that fits them."""


@dataclass
class Engine:
    """What a worker needs for its jobs; set once, by the process that loaded the model.

    Attributes:
        segment: (picture, labels, batch, learnt) → segmentation; `batch` crops at a time.
        refer: (picture, expression, labels, batch) → candidates and the label that fits them.
        point: (picture, prompt) → the mask that is meant.
        label_of: (picture, mask, labels, batch) → the label that a mask is most like.
        learn: (picture, marked, labels) → examples of what is marked, see `prototypes.from_masks`.
        batch: crops at a time that fit the device, as far as known.
        model_version: of the model behind `segment`.
        fetch: image reference → bytes.
        redis: where replies go.
        max_pixels: budget of an image.
        reply_seconds: how long a reply is kept.
        pictures: opens images.
        recall: what projects learnt.
        suspect: set when a job ended unexpectedly: the worker then tests the model again.
    """

    segment: Segment
    refer: Refer
    point: Callable[[Picture, Prompt], Refined]
    label_of: Callable[[Picture, Mask, Sequence[Label], int], str]
    learn: Callable[[Picture, NDArray[np.int32], Sequence[str]], Prototypes]
    batch: int
    model_version: str
    fetch: Callable[[str], bytes]
    redis: Redis
    max_pixels: int
    reply_seconds: int
    pictures: Pictures = field(default_factory=lambda: Pictures(ImageCache(0)))
    recall: Recall = field(init=False)
    suspect: bool = False

    def __post_init__(self) -> None:
        """What is learnt is kept where replies are."""
        self.recall = Recall(PrototypeStore(self.redis))
