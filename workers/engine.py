"""What a worker's jobs are answered with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from redis import Redis

from dgl_rsis.types import Label, Mask, Prompt, Refined
from workers.image_cache import ImageCache
from workers.pictures import Picture, Pictures

if TYPE_CHECKING:
    from dgl_rsis.pipelines import ClassSegmentation
    from dgl_rsis.referring import ExpressionSegmentation


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
        segment: (picture, labels, batch) → segmentation; `batch` crops at a time.
        refer: (picture, expression, labels, batch) → candidates and the label that fits them.
        point: (picture, prompt) → the mask that is meant.
        label_of: (picture, mask, labels, batch) → the label that a mask is most like.
        batch: crops at a time that fit the device, as far as known.
        model_version: of the model behind `segment`.
        fetch: image reference → bytes.
        redis: where replies go.
        max_pixels: budget of an image.
        reply_seconds: how long a reply is kept.
        pictures: opens images.
        suspect: set when a job ended unexpectedly: the worker then tests the model again.
    """

    segment: Callable[[Picture, Sequence[Label], int], "ClassSegmentation"]
    refer: Refer
    point: Callable[[Picture, Prompt], Refined]
    label_of: Callable[[Picture, Mask, Sequence[Label], int], str]
    batch: int
    model_version: str
    fetch: Callable[[str], bytes]
    redis: Redis
    max_pixels: int
    reply_seconds: int
    pictures: Pictures = field(default_factory=lambda: Pictures(ImageCache(0)))
    suspect: bool = False
