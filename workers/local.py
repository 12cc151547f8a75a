"""Segmentation in this process: no queue, no server. Also what the queue's answers look like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgl_rsis import models, overlays, pipelines, rasters
from dgl_rsis.pipelines import OvssParameters
from dgl_rsis.types import RGB, Label
from workers.jobs import to_results
from workers.messages import LabelPrompt, SegmentReply


@dataclass(frozen=True)
class LocalAnswer:
    """One segmented file.

    Attributes:
        reply: as it would have crossed the queue.
        class_map: (H, W) uint16; 0 = none, i = the i-th label.
        overlay: (H', W', 3) uint8, the image with its masks and a legend.
    """

    reply: SegmentReply
    class_map: NDArray[np.uint16]
    overlay: RGB


class LocalSegmenter:
    """A loaded model.

    Args:
        model: as for `dgl_rsis.models.load_clip`.
        device: "cpu" or "cuda:0".
        max_pixels: budget of an image.

    Raises:
        ModelError: there is no such model.
    """

    def __init__(self, model: str, device: str, max_pixels: int) -> None:
        self._clip = models.load_clip(model, device)
        self._parameters = OvssParameters()
        self._max_pixels = max_pixels
        self.model_version = pipelines.model_version(self._clip, self._parameters)

    def segment(
        self, path: Path, prompts: Sequence[LabelPrompt], colours: Mapping[str, str]
    ) -> LocalAnswer:
        """Segment one file into classes and objects.

        Args:
            path: an image.
            prompts: the vocabulary.
            colours: CSS colours of labels, for the overlay.

        Raises:
            OSError: the file cannot be read.
            ImageError, InputError: it is no image, or one that cannot be segmented.
        """
        image = rasters.read_rgb(path.read_bytes(), self._max_pixels)
        labels = [Label(p.name, p.synonyms, p.threshold, p.background) for p in prompts]
        found = pipelines.segment_classes(image, labels, self._clip, self._parameters)
        height, width = image.shape[:2]
        reply = SegmentReply(
            height,
            width,
            self.model_version,
            to_results(found, classes=True, objects=True),
            found.seconds,
        )
        by_label = overlays.colours([label.name for label in labels], colours)
        return LocalAnswer(reply, found.class_map, overlays.overlay(image, found.classes, by_label))
