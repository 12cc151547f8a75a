"""What a loaded model is for whoever asks it: one protocol, whatever it was trained for.

`segmenter.Segmenter` is a CLIP that compares regions with words, `concepts.ConceptSegmenter` a
SAM 3 that is asked for concepts. `loading.load_model` says which of them the settings mean.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from numpy import int32
from numpy.typing import NDArray

from dgl_rsis.classes.pipeline import ClassSegmentation
from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.expressions.exemplars import Alike, Look
from dgl_rsis.expressions.pipeline import ExpressionSegmentation, ResParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.types import Label, Mask, Prompt, Refined
from workers.images.pictures import Picture


class Model(Protocol):
    """A model with a provider of masks and a memory: answers about pictures."""

    say: Callable[[str], None]
    """Is told which stage begins, in words for people."""
    setting: Resolution | None
    """Resolution of all images whose task does not say it; None for none."""

    @property
    def batch(self) -> int:
        """How much is done at a time, as far as known to fit the device."""

    @property
    def model_version(self) -> str:
        """A name that changes when weights, parameters, provider, setting or package change."""

    def segment(
        self,
        picture: Picture,
        labels: Sequence[Label],
        batch: int,
        learnt: Prototypes | None = None,
    ) -> ClassSegmentation:
        """A class for every pixel, with what corrected masks taught.

        Raises:
            InputError: no labels, a name twice, or an image too small.
        """

    def marked_examples(
        self, picture: Picture, marked: NDArray[int32], labels: Sequence[str]
    ) -> Prototypes:
        """Examples of what somebody marked: (H, W), index into `labels`, negative for nothing.

        Raises:
            InputError: what is marked has another size than the image, or that is too small.
        """

    def refer(
        self, picture: Picture, expression: str, labels: Sequence[Label], batch: int, most: int = 0
    ) -> tuple[ExpressionSegmentation, str]:
        """What an expression means, at most so many candidates, and the label that fits it.

        Raises:
            InputError: an empty expression, no label for a mask, or an image too small.
        """

    def find(
        self, picture: Picture, expression: str, parameters: ResParameters
    ) -> ExpressionSegmentation:
        """What an expression means, without labels.

        Raises:
            InputError: an empty expression, or an image too small.
        """

    def alike(self, picture: Picture, exemplar: Mask, marked: Mask, batch: int) -> Alike:
        """Everything else in a picture that is like one thing, but what is marked.

        Raises:
            InputError: a mask of another size, an empty one, or an image too small.
        """

    def look(self, picture: Picture, exemplar: Mask, batch: int) -> Look:
        """What a thing looks like, to be sought in other pictures.

        Raises:
            InputError: as `alike`.
        """

    def alike_elsewhere(self, picture: Picture, look: Look, label: str, batch: int) -> Alike:
        """Everything in a picture that is like a thing of another one, which has a label.

        Raises:
            InputError: an image too small.
        """

    def point(self, picture: Picture, prompt: Prompt) -> Refined:
        """The mask that somebody points at.

        Raises:
            InputError: a prompt that cannot be answered, or an image too small.
        """

    def label_of(self, picture: Picture, mask: Mask, labels: Sequence[Label], batch: int) -> str:
        """The label that a mask, which is not empty, is most like.

        Raises:
            InputError: no label that a mask could get.
        """
