"""Boxes around things: which of their pixels surely are the thing."""

import cv2
import numpy as np
from numpy.typing import NDArray

from starter.training.concepts import VEHICLES

Box = tuple[float, float, float, float]  # XYXY pixels


def area(box: Box) -> float:
    """In pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])


def core(image: NDArray[np.uint8], box: tuple[int, int, int, int], name: str) -> NDArray[np.bool_]:
    """(h, w) bool: the pixels of a box that surely are its thing."""
    left, top, right, bottom = box
    height, width = bottom - top, right - left
    down, across = np.mgrid[0:height, 0:width] + 0.5
    y, x = np.abs(down / height * 2 - 1), np.abs(across / width * 2 - 1)
    if name in {"airplane", "helicopter", "ship", "wind turbine"}:
        outlined = _cut_out(image, box)
        return np.asarray(outlined | (x**2 + y**2 < 0.1)) if name == "ship" else outlined
    if name in {"storage tank", "roundabout"}:
        return np.asarray(x**2 + y**2 < 0.85)
    if name in {"tree", "forest", "swimming pool"}:
        return np.asarray(x**2 + y**2 < 0.5)
    if max(height, width) >= 1.7 * min(height, width):  # lies along an axis
        return np.asarray((x < 0.8) & (y < 0.8))
    if name in VEHICLES:
        return np.asarray(x**2 + y**2 < 0.1)
    return np.asarray(x + y < 0.75)  # any rectangle that touches all sides holds this much


def _cut_out(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """What stands out from around a box (GrabCut); nothing where that is unclear."""
    left, top, right, bottom = box
    height, width = bottom - top, right - left
    none = np.zeros((height, width), np.bool_)
    margin = max(6, max(height, width) // 3)
    window = (
        slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), right + margin)
    )  # fmt: skip
    zoom = max(1.0, 64 / max(height, width))
    patch = cv2.resize(
        np.ascontiguousarray(image[window]), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC
    )
    y0, x0 = top - window[0].start, left - window[1].start
    inner = [int(v * zoom) for v in (x0, y0, width, height)]
    labels = np.full(patch.shape[:2], cv2.GC_BGD, np.uint8)
    labels[inner[1] : inner[1] + inner[3], inner[0] : inner[0] + inner[2]] = cv2.GC_PR_FGD
    inside_model, outside_model = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.setRNGSeed(0)
        nowhere = (0, 0, 0, 0)  # the labels say where it may be
        cv2.grabCut(patch, labels, nowhere, outside_model, inside_model, 4, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return none
    found = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.erode(found, np.ones((3, 3), np.uint8))
    small = cv2.resize(
        found, (image[window].shape[1], image[window].shape[0]), interpolation=cv2.INTER_AREA
    )
    inside = small[y0 : y0 + height, x0 : x0 + width] > 0
    share = inside.mean()
    return inside if 0.1 < share < 0.85 else none
