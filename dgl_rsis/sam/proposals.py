"""Class-agnostic mask proposals from Segment Anything: a grid of points over the image and crops.

[paper] mask proposals. [ours] the provider `sam`: the procedure and formulas of
`SamAutomaticMaskGenerator` (segment-anything, Apache-2.0) with InstructSAM's settings for aerial
images. It finds the same masks with less work and memory:

- points are decoded in large batches, which share what the image alone decides: the decoder's
  first layer reads the image once instead of once a point;
- masks that the predicted IoU rules out are never computed, and those that can have no stable pixel
  are not enlarged;
- the others are enlarged a few at a time, measured, and kept as runs.
"""

import logging
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.utils import amg
from torch import Tensor
from torchvision.ops import nms

from dgl_rsis.sam.decoding import Batches
from dgl_rsis.sam.promptable import Embedding, Promptable, Size
from dgl_rsis.types import RGB, Mask, Proposals

log = logging.getLogger(__name__)

Corners = tuple[int, int, int, int]
MOST_PIXELS = 2**24  # of logits that are enlarged at a time: 64 MiB


@dataclass(frozen=True)
class SamParameters:
    """Where points are set, and which masks stay (InstructSAM's settings for aerial images).

    Attributes:
        points_per_side: of the grid, over the image and over each crop.
        pred_iou: masks stay whose IoU the model predicts to be above this.
        stability: masks stay whose stability, [0, 1], is at least this.
        stability_offset: logits; stability is the IoU of the masks cut at this much above and below
            the model's threshold.
        crop_layers: layer i sets grids over 4^i overlapping crops too; 0 for none.
        crop_overlap: of crops, as a share of the image's shorter side.
        box_nms: of masks of a crop whose boxes overlap by more IoU than this, the best stays.
        crop_nms: likewise between crops, where the smaller crop's stays.
        keep: at most so many, by the mean of predicted IoU and stability.
        fill_holes: fill the holes of masks.
        max_side: masks of longer images have this size, pixels.
        batch: points decoded at a time; None for 256 on CUDA, and 8 elsewhere, since more outgrow
            a processor's caches. Halved when memory runs out.
    """

    points_per_side: int = 24
    pred_iou: float = 0.75
    stability: float = 0.75
    stability_offset: float = 1.0
    crop_layers: int = 1
    crop_overlap: float = 512 / 1500
    box_nms: float = 0.5
    crop_nms: float = 0.7
    keep: int = 200
    fill_holes: bool = True
    max_side: int = 1024
    batch: int | None = None


def propose(
    image: RGB,
    sam: Promptable,
    parameters: SamParameters,
    embedding: Embedding | None = None,
) -> Proposals:
    """Masks of everything that Segment Anything finds at the points of a grid.

    Args:
        image: (H, W, 3) uint8.
        sam: the model.
        parameters: see there.
        embedding: of this image, where it is at hand; crops are encoded all the same.

    Returns:
        Proposals, best first; `quality` is the mean of the predicted IoU and the stability.
    """
    height, width = image.shape[:2]
    frames = _frames(height, width, parameters)
    batches = Batches(parameters.batch or (256 if sam.device.startswith("cuda") else 8))
    known = [embedding, *[None] * (len(frames) - 1)]
    masks = _joined(
        [
            _within(frame, image, sam, each, parameters, batches)
            for frame, each in zip(frames, known, strict=True)
        ]
    )
    total = len(masks.runs)
    if len(frames) > 1:  # the smaller crop's mask stays
        areas = torch.tensor([frame.area for frame, _ in masks.runs], dtype=torch.float32)
        masks = masks.taken(nms(masks.boxes, 1 / areas, parameters.crop_nms))
    best = masks.quality.argsort(descending=True, stable=True)
    masks = masks.taken(best[: parameters.keep])
    log.debug("%d masks of crops, %d kept", total, len(masks.runs))
    planes = _planes(masks.runs, frames[0].whole)
    if parameters.fill_holes:
        for plane in planes:
            _fill_holes(plane)
    return Proposals(
        planes,
        _image_boxes(masks.boxes, frames[0]),
        masks.quality.clamp(0, 1).numpy(),
        height,
        width,
    )


@dataclass(frozen=True)
class _Frame:
    """A crop, in pixels of the image and of the masks.

    Attributes:
        crop: XYXY pixels of the image.
        image: size of the image.
        place: XYXY pixels of the masks.
        whole: size of the masks.
    """

    crop: Corners
    image: Size
    place: Corners
    whole: Size

    @property
    def size(self) -> Size:
        """Of the crop within the masks."""
        left, top, right, bottom = self.place
        return bottom - top, right - left

    @property
    def area(self) -> int:
        """Pixels of the image."""
        left, top, right, bottom = self.crop
        return (bottom - top) * (right - left)

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the image to one of the masks, across and down."""
        return self.image[1] / self.whole[1], self.image[0] / self.whole[0]


def _frames(height: int, width: int, parameters: SamParameters) -> list[_Frame]:
    """The image, then its crops."""
    shrunk = min(1.0, parameters.max_side / max(height, width))
    whole = max(1, round(height * shrunk)), max(1, round(width * shrunk))
    across, down = whole[1] / width, whole[0] / height
    frames = []
    for crop in amg.generate_crop_boxes(
        (height, width), parameters.crop_layers, parameters.crop_overlap
    )[0]:
        left, top, right, bottom = crop
        place = (
            round(left * across),
            round(top * down),
            round(right * across),
            round(bottom * down),
        )
        if place[0] < place[2] and place[1] < place[3]:  # else the image is a pixel wide or high
            frames.append(_Frame((left, top, right, bottom), (height, width), place, whole))
    return frames


@dataclass(frozen=True)
class _Masks:
    """Masks on the CPU.

    Attributes:
        runs: of each, the crop it was found in, and int32 lengths of alternating runs in row-major
            order within the crop, the first of them background.
        boxes: (n, 4) float32, XYXY pixels of the masks, all edges included.
        iou: (n,) float32, as predicted.
        stability: (n,) float32.
    """

    runs: list[tuple[_Frame, NDArray[np.int32]]]
    boxes: Tensor
    iou: Tensor
    stability: Tensor

    @property
    def quality(self) -> Tensor:
        """(n,) float32."""
        return (self.iou + self.stability) / 2

    def taken(self, kept: Tensor) -> "_Masks":
        """Those of the given numbers, in that order."""
        runs = [self.runs[i] for i in kept.tolist()]
        return _Masks(runs, self.boxes[kept], self.iou[kept], self.stability[kept])


def _joined(parts: list[_Masks]) -> _Masks:
    """All masks, in the order of the parts."""
    none = torch.zeros(0)
    return _Masks(
        [run for part in parts for run in part.runs],
        torch.cat([torch.zeros(0, 4), *(part.boxes for part in parts)]),
        torch.cat([none, *(part.iou for part in parts)]),
        torch.cat([none, *(part.stability for part in parts)]),
    )


def _within(
    frame: _Frame,
    image: RGB,
    sam: Promptable,
    known: Embedding | None,
    parameters: SamParameters,
    batches: Batches,
) -> _Masks:
    """Masks of one crop, without duplicates."""
    left, top, right, bottom = frame.crop
    embedding = known or sam.encode(image[top:bottom, left:right])
    grid = amg.build_point_grid(parameters.points_per_side)
    # Half a pixel more, since the formulas of the generator take these for centres of pixels.
    points = grid * (right - left, bottom - top) + 0.5
    with torch.inference_mode():
        masks = _joined(
            batches.over(points, lambda part: _at(part, frame, sam, embedding, parameters))
        )
    return masks.taken(nms(masks.boxes, masks.iou, parameters.box_nms))


def _at(
    points: NDArray[np.float64],
    frame: _Frame,
    sam: Promptable,
    embedding: Embedding,
    parameters: SamParameters,
) -> _Masks:
    """Masks of one batch of points that pass all thresholds."""
    low, iou = sam.decode(embedding, points, parameters.pred_iou)
    if parameters.stability > 0:
        # Enlarging makes no logit greater, and without one above the upper cut stability is 0.
        hopeful = low.amax(dim=(1, 2)) > sam.threshold + parameters.stability_offset
        low, iou = low[hopeful], iou[hopeful]
    size = frame.size
    step = max(1, MOST_PIXELS // max(sam.side**2, size[0] * size[1]))
    return _joined(
        [
            _measured(sam.enlarged(some, embedding, size), scores, frame, sam, parameters)
            for some, scores in zip(low.split(step), iou.split(step), strict=True)
        ]
    )


def _measured(
    logits: Tensor, iou: Tensor, frame: _Frame, sam: Promptable, parameters: SamParameters
) -> _Masks:
    """The stable ones that the crop does not cut, as runs.

    Args:
        logits: (n, h, w) float32, at the size of the crop within the masks.
        iou: (n,) float32.
        frame: the crop.
        sam: the model.
        parameters: see there.
    """
    masks = logits > sam.threshold
    stability = amg.calculate_stability_score(logits, sam.threshold, parameters.stability_offset)
    boxes = amg.batched_mask_to_box(masks)  # (n, 4)
    scale = boxes.new_tensor(frame.scale * 2, dtype=torch.float32)
    cut = amg.is_box_near_crop_edge(boxes * scale, frame.crop, (0, 0, *frame.image[::-1]))
    kept = (stability >= parameters.stability) & masks.flatten(1).any(dim=1) & ~cut
    runs = _runs(masks[kept])
    corner = boxes.new_tensor(frame.place[:2] * 2)
    return _Masks(
        [(frame, counts) for counts in runs],
        (boxes[kept] + corner).float().cpu(),
        iou[kept].cpu(),
        stability[kept].cpu(),
    )


def _runs(masks: Tensor) -> list[NDArray[np.int32]]:
    """Run lengths of each mask, row-major, background first: (n, h, w) bool → n × int32."""
    flat = masks.flatten(1)  # (n, h · w)
    numbers, places = (flat[:, 1:] ^ flat[:, :-1]).nonzero(as_tuple=True)
    ends = torch.bincount(numbers, minlength=len(flat)).cumsum(0).tolist()
    changes = (places + 1).cpu().numpy()
    first = flat[:, 0].tolist()
    bounds = zip([0, *ends], ends, first, strict=False)
    return [
        np.diff(changes[start:end], prepend=[0, 0] if on else [0], append=[flat.shape[1]]).astype(
            np.int32
        )
        for start, end, on in bounds
    ]


def _planes(runs: list[tuple[_Frame, NDArray[np.int32]]], size: Size) -> Mask:
    """(n, h, w) bool: masks from their runs, each at the place of its crop."""
    planes = np.zeros((len(runs), *size), dtype=bool)
    for plane, (frame, counts) in zip(planes, runs, strict=True):
        left, top, right, bottom = frame.place
        inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        plane[top:bottom, left:right] = inside.reshape(frame.size)
    return planes


def _fill_holes(mask: Mask) -> None:
    """Fill what no path to the border leads out of, in place; paths step to the 4 neighbours."""
    bordered = np.pad(mask, 1).astype(np.uint8)
    cv2.floodFill(bordered, None, (0, 0), 2, flags=4)
    np.not_equal(bordered[1:-1, 1:-1], 2, out=mask)


def _image_boxes(boxes: Tensor, frame: _Frame) -> NDArray[np.int32]:
    """Boxes of masks, edges included → (n, 4) int32 of the image, right and bottom excluded."""
    scale = np.array(frame.scale)
    corners = boxes.numpy().astype(np.float64)
    return np.hstack(
        [np.floor(corners[:, :2] * scale), np.ceil((corners[:, 2:] + 1) * scale)]
    ).astype(np.int32)
