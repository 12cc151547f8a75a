"""Segmentation in this process: no queue, no server. Also what the queue's answers look like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.project import colours
from dgl_rsis import masks, overlays, rasters, resolution
from dgl_rsis.decoupling import decouple
from dgl_rsis.expressions.pipeline import ExpressionSegmentation, ResParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.runs import to_runs
from dgl_rsis.types import RGB, Label, Segment
from workers.engine.answers import to_results
from workers.engine.model import Model
from workers.images.pictures import Picture
from workers.messages import SegmentReply


@dataclass(frozen=True)
class LocalAnswer:
    """One segmented file.

    Attributes:
        reply: as it would have crossed the queue.
        class_map: (H, W) uint16; 0 = none, i = the i-th label.
        overlay: (H', W', 3) uint8, the image with its masks and a legend.
        resolution: of the image; None where nobody knows.
    """

    reply: SegmentReply
    class_map: NDArray[np.uint16]
    overlay: RGB
    resolution: Resolution | None


@dataclass(frozen=True)
class LocalReference:
    """One file and what an expression refers to in it.

    Attributes:
        report: the expression as understood and the ranked candidates, as JSON types.
        mask: (H, W) bool, the best candidate; nothing where there is none.
        pictures: name → (H', W', 3) uint8: "overlay" with all candidates, and the activation maps
            where they were asked for.
        reason: why there is no candidate; empty otherwise.
        seconds: wall-clock seconds of each stage.
    """

    report: dict[str, Any]
    mask: NDArray[np.bool_]
    pictures: Mapping[str, RGB]
    reason: str
    seconds: Mapping[str, float]


class LocalSegmenter:
    """A model and images that are held whole.

    Args:
        segmenter: the loaded model.
        max_pixels: of an image; a larger one is refused.
    """

    def __init__(self, segmenter: Model, max_pixels: int) -> None:
        self._segmenter = segmenter
        self._max_pixels = max_pixels
        self.model_version = segmenter.model_version

    def segment(self, path: Path, labels: Sequence[Label], given: Mapping[str, str]) -> LocalAnswer:
        """Segment one file into classes and objects.

        Args:
            path: an image.
            labels: the vocabulary.
            given: CSS colours of labels, for the overlay; others get those of `colours`.

        Raises:
            OSError: the file cannot be read.
            ImageError, InputError: it is no image, or one that cannot be segmented.
        """
        picture = self._open(path)
        image = picture.pixels
        segmentation = self._segmenter.segment(picture, labels, self._segmenter.batch)
        height, width = image.shape[:2]
        reply = SegmentReply(
            height,
            width,
            self.model_version,
            to_results(segmentation, classes=True, objects=True),
            segmentation.seconds,
        )
        by_label = colours.colours([label.name for label in labels], given)
        overlay = overlays.overlay(image, segmentation.classes, by_label)
        return LocalAnswer(reply, segmentation.class_map, overlay, picture.resolution)

    def refer(self, path: Path, expression: str, top_k: int, *, explain: bool) -> LocalReference:
        """Find what an expression refers to in one file.

        Args:
            path: an image.
            expression: one sentence.
            top_k: candidates at most.
            explain: draw the activation maps, too.

        Raises:
            OSError: the file cannot be read.
            ImageError, InputError: it is no image, or one that cannot be segmented.
        """
        picture = self._open(path)
        image = picture.pixels
        segmentation = self._segmenter.find(picture, expression, ResParameters(top_k=top_k))
        candidates = segmentation.candidates
        best = candidates[0].mask if candidates else np.zeros(image.shape[:2], bool)
        report = {
            "model_version": self.model_version,
            "resolution": resolution_json(picture.resolution),
            **_report(segmentation),
        }
        pictures = _pictures(image, segmentation, explain=explain)
        return LocalReference(report, best, pictures, segmentation.reason, segmentation.seconds)

    def _open(self, path: Path) -> Picture:
        """The picture of a file; nothing of it is to be remembered."""
        data = path.read_bytes()
        photo = rasters.read_photo(data, self._max_pixels)
        known = resolution.preferred(
            self._segmenter.setting,
            rasters.read_resolution(data),
            resolution.of_tile(path.as_posix(), *photo.pixels.shape[:2]),
        )
        return Picture(photo.pixels, resolution=known, valid=photo.valid)


def resolution_json(known: Resolution | None) -> dict[str, Any] | None:
    """Metres a pixel and their source as JSON types; None where nobody knows them."""
    return None if known is None else known.to_json()


def _report(segmentation: ExpressionSegmentation) -> dict[str, Any]:
    candidates = [
        {
            "rank": rank,
            "score": round(candidate.score, 4),
            "parts": {name: round(value, 4) for name, value in candidate.parts.items()},
            "area": int(candidate.mask.sum()),
            "box": list(masks.box(candidate.mask)),
            "runs": list(to_runs(candidate.mask).counts),
        }
        for rank, candidate in enumerate(segmentation.candidates, start=1)
    ]
    return {
        "expression": decouple.to_json(segmentation.decoupled),
        "reason": segmentation.reason,
        "candidates": candidates,
    }


def _pictures(image: RGB, segmentation: ExpressionSegmentation, *, explain: bool) -> dict[str, RGB]:
    candidates = segmentation.candidates
    names = [f"{rank}. {segmentation.decoupled.noun}" for rank in range(1, len(candidates) + 1)]
    segments = [
        Segment(name, candidate.score, candidate.mask)
        for name, candidate in zip(names, candidates, strict=True)
    ]
    # The best one is painted last, over the others.
    pictures = {"overlay": overlays.overlay(image, segments[::-1], overlays.in_turn(names))}
    if explain and segmentation.cam is not None:
        best = segments[0].mask if segments else None
        for name, plane in (
            ("cam-local", segmentation.cam.local),
            ("cam-global", segmentation.cam.global_),
            ("cam-fused", segmentation.cam.fused),
        ):
            pictures[name] = overlays.heat(image, plane, best)
    return pictures
